"""Installs and removes the service: checks that nothing is in the way, writes, tells systemd.

It only overwrites and removes files that carry its mark, and never touches a configuration
or an environment.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from reconciler.config.locate import SYSTEM_CONFIG, SYSTEM_STATE, default_state_dir
from reconciler.environment.deciding import Deciding, decided_by_place
from reconciler.files.bounded import read_text
from reconciler.files.trust import check_trust
from reconciler.journal.history import JOURNAL
from reconciler.processes import NotStarted, Program, TookTooLong, run
from reconciler.systemd.installation import (
    CannotInstall,
    Installation,
    Wanted,
    own_folder,
    unit_names,
)
from reconciler.systemd.systemctl import Manager, ManagerFailed
from reconciler.systemd.units import MARK, SYSTEM_FOLDER, Unit
from reconciler.trees.workspace import write_durably

Tell = Callable[[str], None]
_LINGER = Path("/var/lib/systemd/linger")
_TRIED_WITHIN_SECONDS = 60.0


def install(installation: Installation, tell: Tell) -> None:
    """Write the units, enable and start them. Running it again changes nothing.

    Raises:
        CannotInstall: something is in the way; nothing was written.
        ManagerFailed: systemd refused, or the service did not start.
    """
    if not installation.own:
        _require_root()
    manager = Manager(own=installation.own)
    _check(installation)
    changed = _write(installation.units, tell)
    gone = _remove(_obsolete(installation), manager, tell)
    if changed or gone:
        manager("daemon-reload")
        manager("stop", *installation.names)
    ran = _start(installation.names, manager, tell)
    if ran:
        _reload(installation, manager, tell)
    _explain(installation, tell)


def uninstall(wanted: Wanted, tell: Tell, environ: Mapping[str, str] = os.environ) -> None:
    """Stop the service and remove everything that installing and running it created.

    Raises:
        CannotInstall: one of the units is not ours.
        ManagerFailed: systemd refused.
    """
    if not wanted.own:
        _require_root()
    manager = Manager(own=wanted.own)
    folder = own_folder(environ) if wanted.own else SYSTEM_FOLDER
    files = [path for path in _files(wanted, folder) if path.exists()]
    for path in files:
        _require_ours(path)
    if not files:
        tell("Nothing is installed.")
        return
    _end(wanted, manager, tell)
    for path in files:
        path.unlink()
        tell(f"Removed {path}.")
        _remove_if_empty(path.parent)
    if wanted.own:
        _remove_if_empty(folder.parent)
        _remove_history(default_state_dir(environ), tell)
    manager("daemon-reload")
    if not wanted.own:
        _remove_if_empty(SYSTEM_CONFIG.parent)
    tell("The configuration and the environments, with their generations, are unchanged.")


def _end(wanted: Wanted, manager: Manager, tell: Tell) -> None:
    """Stop and disable it, and let systemd remove the folders that it created."""
    names = [name for name in _all_names(wanted) if _known(name, manager)]
    if not names:
        return
    manager("disable", "--now", *names)
    manager.ask("reset-failed", *names)  # a failed unit cannot be cleaned
    for name in names:
        if name.endswith(".service"):
            manager("clean", "--what=state", "--what=cache", "--what=runtime", name)
    tell(f"Stopped and disabled {' and '.join(names)}; removed state, cache and runtime files.")


def _remove_history(folder: Path, tell: Tell) -> None:
    """Remove the history: a user unit has no StateDirectory= that systemd could clean.

    Root's own history is the system service's, which stays.
    """
    found = sorted(folder.glob(f"{JOURNAL}*")) if folder != SYSTEM_STATE else []
    for path in found:
        path.unlink()
    if found:
        tell(f"Removed the history in {folder}.")
    _remove_if_empty(folder)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise CannotInstall(
            "Only root can install or remove a system service. Use `sudo reconciler service ...`, "
            "or `--user` for a user service."
        )


def _check(installation: Installation) -> None:
    for unit in installation.units:
        _require_ours(unit.path)
    if installation.user.pw_uid == 0:
        _check_trust(installation)
    if installation.user.pw_uid != os.geteuid():
        _check_reach(installation)


def _require_ours(path: Path) -> None:
    if path.exists() and not _is_ours(path):
        raise CannotInstall(
            f"{path} was not written by `reconciler service install`. Move it away first."
        )


def _is_ours(path: Path) -> bool:
    return MARK in read_text(path, errors="replace")


def _check_trust(installation: Installation) -> None:
    """Only root may write what a service that runs as root uses (`files.trust`)."""
    config = installation.config
    deciding = Deciding((Path(installation.program[0]), *config.in_charge))
    for it in config.environments.values():
        deciding += decided_by_place(it, os.environ)
    problems = check_trust(deciding.paths, 0, folders=deciding.folders)
    if problems:
        lines = [it.sentence for it in problems]
        raise CannotInstall("\n".join(["The service would run as root, but:", *lines]))


def _check_reach(installation: Installation) -> None:
    """Try it: whether a user may run a program depends on more than file modes."""
    name = installation.user.pw_name
    program = [*installation.program, "--version"]
    if not _works_as(installation, program):
        raise CannotInstall(
            f"{name} cannot run `{' '.join(program)}`. Install Reconciler where every user can "
            "read it: `UV_TOOL_DIR=/opt/uv UV_TOOL_BIN_DIR=/usr/local/bin "
            "UV_PYTHON_INSTALL_DIR=/opt/uv/python uv tool install /path/to/its/clone`."
        )
    config = installation.config.path
    if config is not None and not _works_as(installation, ["test", "-r", str(config)]):
        raise CannotInstall(
            f"{name} cannot read {config}. Move it to a folder that everyone may enter, and run "
            f"`chgrp {name} {config}; chmod 640 {config}`."
        )


def _works_as(installation: Installation, command: list[str]) -> bool:
    user = installation.user
    environ = {"PATH": os.defpath, "HOME": user.pw_dir}
    program = Program(command, environ=environ, folder=Path("/"), user=user)
    try:
        return run(program, limit=_TRIED_WITHIN_SECONDS).status == 0
    except (NotStarted, TookTooLong):
        return False


def _write(units: Iterable[Unit], tell: Tell) -> bool:
    """Write the units that differ; return whether any did."""
    changed = False
    for unit in units:
        if unit.path.exists() and read_text(unit.path, errors="replace") == unit.text:
            tell(f"{unit.path} is up to date.")
            continue
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(unit.path, unit.text)
        unit.path.chmod(0o644)
        tell(f"Wrote {unit.path}.")
        changed = True
    return changed


def _obsolete(installation: Installation) -> list[Path]:
    """Our own socket unit if it is no longer wanted."""
    written = {unit.path for unit in installation.units}
    sockets = {path.with_name("reconciler.socket") for path in written if "@" not in str(path)}
    return [it for it in sockets - written if it.exists() and _is_ours(it)]


def _remove(paths: Iterable[Path], manager: Manager, tell: Tell) -> bool:
    gone = False
    for path in paths:
        manager("disable", "--now", path.name)
        path.unlink()
        tell(f"Removed {path}.")
        gone = True
    return gone


def _start(names: tuple[str, ...], manager: Manager, tell: Tell) -> bool:
    """Enable and start them; return whether they already were."""
    before = [manager.ask("is-enabled", name).status == 0 for name in names]
    running = [manager.ask("is-active", name).status == 0 for name in names]
    manager.ask("reset-failed", *names)
    manager("enable", *names)
    since = time.time()
    for name in names:
        try:
            manager("start", name)
        except ManagerFailed:
            tell(manager.last_words(name, since))
            raise
    ran = all(before + running)
    done = "Already enabled and running" if ran else "Enabled and started"
    tell(f"{done}: {', '.join(names)}.")
    return ran


def _reload(installation: Installation, manager: Manager, tell: Tell) -> None:
    """Reload the configuration, which may have changed even if the unit has not."""
    name = installation.names[-1]
    manager("reload", name)
    tell(f"{name} has reloaded its configuration.")


def _explain(installation: Installation, tell: Tell) -> None:
    scope = "--user " if installation.own else ""
    name = installation.names[-1]
    tell(f"It runs as {installation.user.pw_name}; see `systemctl {scope}status {name}` and ")
    tell(f"`journalctl {scope}-u {name} -f`.")
    if installation.own and not (_LINGER / installation.user.pw_name).exists():
        tell(
            "It starts when you log in and stops when your last session ends. To run it from boot "
            "on, without a login, run `loginctl enable-linger`."
        )


def _files(wanted: Wanted, folder: Path) -> list[Path]:
    if wanted.named is None:
        return [folder / "reconciler.socket", folder / "reconciler.service"]
    own = folder / f"reconciler@{wanted.named}.service.d" / "50-paths.conf"
    others = set(folder.glob("reconciler@*.service.d/50-paths.conf")) - {own}
    return [own] if others else [own, folder / "reconciler@.service"]


def _all_names(wanted: Wanted) -> tuple[str, ...]:
    both = ("reconciler.socket", "reconciler.service")
    return unit_names(wanted) if wanted.named is not None else both


def _known(name: str, manager: Manager) -> bool:
    return manager("show", "--property=LoadState", "--value", name).strip() != "not-found"


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()) and folder.name != "system":
        folder.rmdir()
