"""The whole examination, in the order in which a person would check."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from reconciler import __version__
from reconciler.config import Config, EnvironmentConfig
from reconciler.config.locate import xdg_folder
from reconciler.doctor import machine, packages, place
from reconciler.doctor.finding import Finding, Verdict, fine, problem, warning
from reconciler.doctor.imports import check_imports
from reconciler.doctor.index import check_indexes
from reconciler.doctor.vaults import check_vault
from reconciler.environment.creation import obstacle_to
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.environment.leads_out import LeadsOut
from reconciler.environment.snapshot import Snapshot
from reconciler.files.trust import Insecure
from reconciler.journal.history import JOURNAL
from reconciler.journal.peek import peek
from reconciler.status import Status
from reconciler.trees.interruption import interruption_of
from reconciler.uv.program import UvError
from reconciler.vault.whereabouts import places_of


class WhoAnswers(msgspec.Struct, frozen=True):
    """Who answers at the service's address: `status` is our service, `foreign` another program."""

    status: Status | None = None
    foreign: str | None = None


def examine(
    config: Config,
    targets: list[EnvironmentConfig],
    environ: Mapping[str, str],
    answer: WhoAnswers,
) -> Iterator[Finding]:
    """Examine everything, one finding at a time.

    Args:
        config: the configuration.
        targets: the environments to examine.
        environ: the environment variables.
        answer: who answers at the address of the status server.
    """
    uv = machine.check_uv(config, environ)
    yield uv
    yield machine.check_builds(config)
    yield machine.check_clock(config)
    watched = [f for t in targets for f in (t.pyproject.parent, t.root) if f.is_dir()]
    yield machine.check_inotify(watched)
    yield from machine.check_units(environ)
    yield _check_address(config, answer)
    yield machine.check_state(config)
    yield from machine.check_secrets(config, _uid_of_service(answer))
    yield from place.check_space(_cache_folder(environ), "uv's cache")
    for target in targets:
        for finding in _environment(config, target, environ, _uid_of_service(answer)):
            yield msgspec.structs.replace(finding, environment=target.name)


def _check_address(config: Config, answer: WhoAnswers) -> Finding:
    if answer.foreign is not None:
        return problem("address", answer.foreign.partition(". ")[0],
                       "Stop that program, or set another `listen` in [http].")  # fmt: skip
    if answer.status is None:
        return machine.check_free(config)
    service = answer.status.service
    words = f"the service {service.version} answers at {config.http.listen} (process {service.pid})"
    if service.version != __version__:
        return warning("address", f"{words}, but this is {__version__}",
                       "Restart the service to run the installed version.")  # fmt: skip
    if service.config_problem is not None:
        return problem("address", f"{words} with an old configuration: "
                       f"{service.config_problem.reason}", service.config_problem.fix)  # fmt: skip
    return fine("address", words)


def _cache_folder(environ: Mapping[str, str]) -> Path:
    given = environ.get("UV_CACHE_DIR")
    return Path(given) if given else xdg_folder(environ, "XDG_CACHE_HOME", ".cache") / "uv"


def _uid_of_service(answer: WhoAnswers) -> int:
    """The user that the service runs as; without one, the user that runs this command."""
    if answer.status is not None:
        with suppress(OSError):  # it has just ended
            return Path("/proc", str(answer.status.service.pid)).stat().st_uid
    return os.geteuid()


def _environment(
    config: Config, target: EnvironmentConfig, environ: Mapping[str, str], uid: int
) -> Iterator[Finding]:
    insecure = list(place.check_permissions(target, environ, uid))
    yield from insecure
    yield from place.check_space(target.root, "the environment")
    environment = Environment(target, environ, config.service.uv, places_of(config.service))
    interrupted = interruption_of(environment.place)
    if interrupted is not None:
        yield problem("recovery", f"{interrupted.reason} ({interrupted.file})", interrupted.fix)
        return
    if not environment.exists:
        yield from _missing(environment)
        return
    try:
        snapshot = environment.look(audit_files=True)
    except Insecure as error:
        if not insecure:  # in a file that only the look reads
            yield problem("permissions", error.problem.reason, error.problem.fix)
        return
    except InterpreterError as error:
        yield problem("interpreter", f"{error.executable}: {error.defect}", error.fix)
        return
    except LeadsOut as error:
        message, _, fix = error.message.partition(". ")
        yield problem("packages", message, fix)
        return
    except OSError as error:
        yield problem("packages", f"{error.filename} cannot be read ({error.strerror})",
                      "Run as the environment's owner.")  # fmt: skip
        return
    yield from _place(snapshot)
    if target.hold:
        yield check_vault(environment.store, snapshot.interpreter.prefix, uid)
    installer = place.check_other_installers(snapshot.interpreter)
    yield installer
    yield packages.check_project(snapshot)
    yield from packages.check_settings(snapshot)
    yield from packages.check_whole(snapshot)
    yield from packages.check_scripts(snapshot)
    before = peek(config.service.state_dir / JOURNAL, environment.key).held
    yield from packages.check_holds(snapshot, before)
    yield check_imports(target, snapshot)
    if installer.verdict is Verdict.OK:  # uv would wait for the other one (uv-facts 17)
        yield from _indexes(environment, snapshot)


def _missing(environment: Environment) -> Iterator[Finding]:
    target = environment.config
    obstacle = obstacle_to(environment)
    if obstacle is not None:
        yield problem("interpreter", f"{obstacle.executable}: {obstacle.defect}", obstacle.fix)
        return
    there = next(p for p in target.root.parents if p.exists())
    if os.access(there, os.W_OK | os.X_OK):
        yield fine("interpreter", f"{target.root} does not exist yet; the first pass creates it")
    else:
        yield problem("interpreter", f"{target.root} does not exist, and {there} is not writable",
                      "Create the environment, or run as a user who may.")  # fmt: skip
    if not target.pyproject.is_file():
        yield problem("project", f"{target.pyproject} does not exist",
                      "Create it, or correct `pyproject`.")  # fmt: skip


def _place(snapshot: Snapshot) -> Iterator[Finding]:
    interpreter = snapshot.interpreter
    yield place.check_interpreter(interpreter)
    yield place.check_writable(interpreter)
    yield place.check_owners(interpreter)
    yield from place.check_file_system(interpreter)
    yield place.check_own_place(interpreter)


def _indexes(environment: Environment, snapshot: Snapshot) -> Iterator[Finding]:
    try:
        yield from check_indexes(environment, snapshot)
    except UvError:
        return  # there is no uv, which is reported already
