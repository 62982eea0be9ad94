"""Checks of the place where an environment is: can we write, link, exchange and add files there?"""

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.config import EnvironmentConfig
from reconciler.doctor.finding import Finding, fine, problem, warning
from reconciler.environment.deciding import decided_by_place, trees_of
from reconciler.environment.interpreter import Interpreter
from reconciler.environment.steadiness import INSTALLERS
from reconciler.environment.usage import users_of
from reconciler.files.trust import check_trust
from reconciler.trees.exchange import rename_exchange
from reconciler.trees.workspace import Workspace

_MIB = 1024 * 1024
LITTLE_SPACE, NO_SPACE = 2048 * _MIB, 200 * _MIB
FEW_INODES, NO_INODES = 100_000, 10_000
_MOST_SHOWN = 20


def check_interpreter(interpreter: Interpreter) -> Finding:
    """It works, it is a virtual environment, and it is not the system's."""
    words = f"Python {interpreter.version} ({interpreter.executable})"
    if interpreter.externally_managed:
        return problem(
            "interpreter",
            f"{words} belongs to the system's package manager (PEP 668)",
            "Create a virtual environment (`uv venv`), and set it as `python`.",
        )
    if not interpreter.is_venv:
        return warning(
            "interpreter",
            f"{words} is not a virtual environment, so changes cannot be atomic",
            "Create a virtual environment (`uv venv`), and set it as `python`.",
        )
    return fine("interpreter", words)


def check_writable(interpreter: Interpreter) -> Finding:
    """This user can write all folders that a pass changes."""
    folders = {interpreter.prefix, interpreter.scripts, *interpreter.site_directories}
    for folder in sorted(folders):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            return problem(
                "writable",
                f"this user cannot write {folder}",
                "Run as the environment's owner, or give it to this user with `chown -R`.",
            )
    return fine("writable", str(interpreter.prefix))


def check_owners(interpreter: Interpreter) -> Finding:
    """No file belongs to another user: such a file cannot be hard-linked (uv-facts 15c)."""
    own = os.geteuid()
    if own == 0:
        return fine("owners", "root may link any user's files")
    foreign = [
        path
        for folder in interpreter.site_directories
        for path in _entries(folder)
        if path.lstat().st_uid != own
    ]
    if not foreign:
        return fine("owners", "everything belongs to this user")
    return warning(
        "owners",
        f"{len(foreign)} entries of site-packages belong to other users ({foreign[0]}), so "
        "changes cannot be atomic",
        f"Run `chown -R {own} {interpreter.prefix}`, or run as their owner.",
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return [p for child in folder.iterdir() for p in (child, *_children(child))]
    except OSError:
        return []


def _children(folder: Path) -> Iterator[Path]:
    if folder.name.endswith(".dist-info") and folder.is_dir():
        yield from folder.iterdir()


def check_file_system(interpreter: Interpreter) -> Iterator[Finding]:
    """Hard links and exchange work here; both are tried in the workspace."""
    workspace = Workspace(interpreter.prefix)
    new = not workspace.root.exists()
    try:
        workspace.create()
        folder = workspace.new_work()
    except OSError as error:
        yield problem(
            "workspace",
            f"{workspace.root} cannot be used ({error.strerror})",
            "Run as the environment's owner.",
        )
        return
    try:
        yield _try_link(interpreter, folder)
        yield _try_exchange(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if new and not any(workspace.root.iterdir()):
            workspace.root.rmdir()


def _try_link(interpreter: Interpreter, folder: Path) -> Finding:
    sample = next(
        (f for d in interpreter.site_directories for f in sorted(d.glob("*.dist-info/METADATA"))),
        interpreter.prefix / "pyvenv.cfg",
    )
    try:
        os.link(sample, folder / "link")
    except OSError as error:
        return warning(
            "hard links",
            f"{sample} cannot be hard-linked ({error.strerror}), so changes are made in place and "
            "are not atomic",
            "Put the whole environment on one ordinary file system, with files of one owner.",
        )
    return fine("hard links", "supported")


def _try_exchange(folder: Path) -> Finding:
    one, other = folder / "one", folder / "other"
    one.mkdir()
    other.mkdir()
    try:
        rename_exchange(one, other)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            return warning(
                "exchange",
                "this file system does not support RENAME_EXCHANGE, so a tree goes live by two "
                "renames, which the next start finishes if they are interrupted",
                "You need not do anything; a local file system (ext4, xfs, btrfs) does it in one "
                "step.",
            )
        return problem(
            "exchange",
            f"folders cannot be exchanged here ({error.strerror})",
            "Put the environment on an ordinary local file system.",
        )
    return fine("exchange", "supported")


def check_space(folder: Path, what: str) -> Iterator[Finding]:
    """There is space for new packages.

    Args:
        folder: any folder on the file system.
        what: what needs the space.
    """
    there = next(p for p in (folder, *folder.parents) if p.exists())
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    words = f"{free // _MIB} MiB free for {what} ({there})"
    fix = "Free some space; `uv cache prune` helps if the cache is on this file system."
    if free < NO_SPACE:
        yield problem("space", words, fix)
    elif free < LITTLE_SPACE:
        yield warning("space", words, fix)
    else:
        yield fine("space", words)
    if found.f_files and found.f_favail < FEW_INODES:
        words = f"{found.f_favail} inodes free for {what} ({there})"
        kind = problem if found.f_favail < NO_INODES else warning
        yield kind("inodes", words, "Remove folders with many small files, such as old caches.")


def check_other_installers(interpreter: Interpreter) -> Finding:
    """No other installer is working in this environment right now."""
    if _is_locked(interpreter.prefix / ".lock"):
        return warning(
            "installer",
            "another uv is working in this environment (it holds .lock)",
            "Wait for it; a pass waits too.",
        )
    for user in users_of(interpreter.prefix):
        if user.words & INSTALLERS:
            return warning(
                "installer",
                f"{user} is working in this environment",
                "Wait for it, and let only one installer change an environment.",
            )
    return fine("installer", "no other installer is working")


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_own_place(interpreter: Interpreter) -> Finding:
    """Reconciler does not run from the environment that it manages."""
    if Path(sys.prefix).resolve() == interpreter.prefix:
        return warning(
            "own place",
            f"Reconciler itself is installed in {interpreter.prefix}, so a pass could change or "
            "remove it",
            "Install it separately: `uv tool install` gives it an environment of its own.",
        )
    return fine("own place", f"Reconciler runs from {sys.prefix}")


def check_permissions(
    target: EnvironmentConfig, environ: Mapping[str, str], uid: int
) -> Iterator[Finding]:
    """If the service runs as root, only root can write what decides what is installed."""
    it = decided_by_place(target, environ) + trees_of(target)
    for found in check_trust(it.paths, uid, folders=it.folders, trees=it.trees)[:_MOST_SHOWN]:
        yield problem("permissions", found.reason, found.fix)
