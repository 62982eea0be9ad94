"""Checks of the machine and of the service: uv, clock, inotify, unit, address, state."""

import os
import socket
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import reconciler
from reconciler.config import Build, Config, TcpAddress
from reconciler.confinement import Means, best_means
from reconciler.doctor.finding import Finding, fine, problem, warning
from reconciler.files.inotify import watch_refused
from reconciler.files.trust import check_trust
from reconciler.journal.database import Newer, is_damage, version_of
from reconciler.systemd.systemctl import Manager, ManagerFailed
from reconciler.uv.program import OLDEST, Uv, UvError
from reconciler.uv.settings import environ_for_uv

_MINUTE = 60.0


def check_uv(config: Config, environ: Mapping[str, str]) -> Finding:
    """uv is installed, starts, and is new enough."""
    uv = Uv(config.service.uv, environ_for_uv(environ))
    try:
        return fine("uv", f"uv {uv.version()} ({uv.executable})")
    except UvError as error:
        fix = (
            f"Install uv {OLDEST} or newer (`pip install --upgrade uv`), or set `uv` in [service]."
        )
        return problem("uv", error.message, fix)


def check_builds(config: Config) -> Finding:
    """Whether code of a package that is built is kept from changing the environments."""
    allowed = [e.name for e in config.environments.values() if e.build is not Build.NEVER]
    if not allowed:
        return fine("builds", "nothing is built")
    fix = 'Set `build = "never"` if no package has to be built.'
    unconfined = [e.name for e in config.environments.values() if e.build is Build.UNCONFINED]
    if unconfined:
        said = f'builds may change {", ".join(unconfined)} (`build = "unconfined"`)'
        return warning("builds", said, f'Set `build = "allow"` again if you can. {fix}')
    means = best_means()
    if means is Means.NONE:
        said = "builds may change the environments: neither user namespaces nor Landlock work here"
        return warning("builds", said, f"Use Linux 5.19 or newer, with Landlock. {fix}")
    return fine("builds", f"builds cannot change the environments ({means})")


def check_clock(config: Config) -> Finding:
    """The clock is not behind the files' times: certificates and retries depend on it."""
    now = time.time()
    files = [Path(reconciler.__file__), *(e.pyproject for e in config.environments.values())]
    for file in files:
        ahead = file.stat().st_mtime - now if file.exists() else 0.0
        if ahead > _MINUTE:
            return warning(
                "clock",
                f"the clock says {time.strftime('%Y-%m-%d %H:%M', time.gmtime(now))} UTC, but "
                f"{file} was changed {ahead / _MINUTE:.0f} minutes later",
                "Set the clock (`timedatectl set-ntp true`), or `touch` that file if it is right.",
            )
    return fine("clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def check_inotify(folders: list[Path]) -> Finding:
    """The kernel lets us watch the folders that the service has to watch."""
    refused = watch_refused(folders)
    if refused is not None:
        return problem("inotify", f"{refused.reason}, so the service polls", refused.fix)
    return fine("inotify", f"{len(folders)} folders can be watched")


def check_units(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The systemd units, if any, run, are enabled, and are the ones on the disk."""
    for own in (False, True):
        try:
            manager = Manager(own=own, environ=environ)
            names = "LoadState,ActiveState,UnitFileState,Result,NeedDaemonReload"
            answer = manager.ask("show", "reconciler.service", f"--property={names}")
        except ManagerFailed as failed:
            if not own:
                yield fine("unit", f"no unit: {str(failed).partition('.')[0]}")
            return
        unit = dict(line.partition("=")[::2] for line in answer.out.splitlines())
        yield _judge_unit(unit, "--user " if own else "")


def _judge_unit(unit: Mapping[str, str], flag: str) -> Finding:
    name = f"{'user' if flag else 'system'} unit"
    if unit.get("LoadState") != "loaded":
        return fine("unit", f"no {name} is installed (`reconciler service install {flag}`)".strip())
    state = f"{unit.get('ActiveState')}, {unit.get('UnitFileState')}"
    if unit.get("ActiveState") == "failed":
        return problem(
            "unit",
            f"the {name} has failed ({unit.get('Result')})",
            f"See `journalctl {flag}-u reconciler -n 20`.",
        )
    if unit.get("NeedDaemonReload") == "yes":
        return warning(
            "unit",
            f"the {name} on the disk is not the one that systemd has loaded",
            f"Run `systemctl {flag}daemon-reload`, and restart it.",
        )
    return fine("unit", f"{name}: {state}")


def check_free(config: Config) -> Finding:
    """Nothing answers at the address, so check that the service can listen there."""
    address = config.http.listen
    if not isinstance(address, TcpAddress):
        folder = address.path.parent
        if os.access(folder, os.W_OK):
            return fine("address", f"no service runs; {address} is free")
        return problem(
            "address",
            f"{folder} is not writable, so no socket can be created there",
            "Create it for the service's user, or change `listen` in [http].",
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return problem(
                "address",
                f"the service cannot listen on {address} ({error.strerror})",
                "Set another `listen` in [http].",
            )
    return fine("address", f"no service runs; {address} is free")


def check_state(config: Config) -> Finding:
    """The journal is intact, and its folder is writable."""
    folder = config.service.state_dir
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(
            "state",
            f"{there} is not writable, so no pass can be recorded",
            "Run this as the service's user, or set state_dir in [service].",
        )
    journal = folder / "journal.sqlite3"
    if not journal.exists():
        return fine("state", f"{folder} (nothing recorded yet)")
    try:
        if _is_whole(journal):
            _take_turn(journal)
            return fine("state", str(journal))
    except Newer as newer:
        reason, _, fix = str(newer).partition("). ")
        return problem("state", f"{reason})", fix)
    except sqlite3.OperationalError as error:
        return problem("state", f"{journal} cannot be used ({error})",
                       "Run this as the service's user, or stop what has locked it.")  # fmt: skip
    return warning(
        "state",
        f"{journal} is damaged",
        "The next start sets it aside and begins a new one. Check the disk for errors.",
    )


def _take_turn(journal: Path) -> None:
    """Be the one who may write for a moment, if others have it open: nobody keeps it locked.

    Raises:
        sqlite3.OperationalError: Someone does, or it cannot be written.
    """
    if not journal.with_name(journal.name + "-wal").exists():
        return
    connection = sqlite3.connect(
        f"{journal.as_uri()}?mode=rw", uri=True, timeout=5, isolation_level=None
    )
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _is_whole(journal: Path) -> bool:
    """Run SQLite's own check; it leaves no file behind, above all none owned by root.

    Raises:
        Newer: A newer version wrote it.
        sqlite3.OperationalError: It cannot be read.
    """
    in_use = journal.with_name(journal.name + "-wal").exists()
    mode = "mode=ro" if in_use else "immutable=1"
    try:
        connection = sqlite3.connect(f"{journal.as_uri()}?{mode}", uri=True, timeout=5)
        try:
            if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                return False
            version_of(connection, journal)
            return True
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise


def check_secrets(config: Config, uid: int) -> Iterator[Finding]:
    """The token is private, and as root, only root may change what decides for the service.

    Args:
        config: The configuration.
        uid: The user that the service runs as.
    """
    token = config.http.token_file
    if token is not None:
        yield _check_token(token)
    wrong = check_trust(config.in_charge, uid)
    for it in wrong:
        yield problem("permissions", it.reason, it.fix)
    if config.path is not None and not wrong:
        yield fine("configuration", str(config.path))


def _check_token(path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return problem(
            "token",
            f"{path}: {error.strerror}",
            "Create it, or remove http.token_file.",
        )
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return problem(
            "token", f"other users may read or change {path}", f"Run `chmod 600 {path}`."
        )
    return fine("token", str(path))
