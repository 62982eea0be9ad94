"""The only module that starts uv; returns uv's answers as types.

uv never writes to a live environment from here: it plans with a dry run, and installs into
a separate prefix, which a pass checks and merges afterwards.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from packaging.version import Version
from uv import find_uv_bin

from reconciler.confinement import Confinement
from reconciler.files.lock_holder import holder_if_locked
from reconciler.log.redact import redact
from reconciler.processes import (
    Cancellation,
    NotStarted,
    OnLine,
    Program,
    TookTooLong,
    run,
)
from reconciler.state.bounds import version_in
from reconciler.uv.answers import (
    EFFECTIVE_NAME,
    BuildFailed,
    DiskFull,
    NetworkTrouble,
    NoSolution,
    Plan,
    Planned,
    TimedOut,
    Unreadable,
    Unusable,
    UvError,
    UvMissing,
    Waited,
    failure,
    read_plan,
)

OLDEST = Version("0.13.0")
"""The oldest uv whose dry run prints the JSON that is read here."""

_PLAN = 32_000_000
"""In characters of standard output; a plan is read completely or not at all."""
_LOG = 2_000_000
"""In characters of standard error. Far more than an error needs: the addresses of packages without
a version are only here, a line for each."""
_VERSION_WITHIN_SECONDS = 60.0


class Ask(msgspec.Struct, frozen=True):
    """One run of `uv pip install`: its complete input, so that it finds nothing by itself."""

    python: Path
    project: Path
    """The generated project file."""
    settings: Path
    """The generated uv.toml, instead of every file that uv would find by itself."""
    folder: Path
    arguments: tuple[str, ...] = ()
    timeout: float | None = None
    """Seconds."""
    confined: Confinement | None = None
    """What uv, and the builds that it starts, may not change."""


class Uv:
    """uv as a program: found once, started with a known environment."""

    def __init__(self, executable: Path | None, environ: Mapping[str, str]) -> None:
        """Remember which uv, and the environment variables it may see.

        Args:
            executable: The configured uv, or None for the one installed with this package.
            environ: The variables for uv, already filtered (`settings.environ_for_uv`).
        """
        self._executable = executable
        self._environ = dict(environ)
        self._version: str | None = None

    @property
    def executable(self) -> Path:
        """The program.

        Raises:
            UvMissing: It does not exist.
        """
        try:
            found = self._executable or Path(find_uv_bin())
        except FileNotFoundError as error:
            raise UvMissing(
                "uv was not found beside this package. Reinstall Reconciler (uv comes with "
                "it), or set `uv` in [service]."
            ) from error
        if not (found.is_file() and os.access(found, os.X_OK)):
            raise UvMissing(f"{found} is not a program. Correct `uv` in [service].")
        return found

    def version(self) -> str:
        """Its version; uv is asked once.

        Raises:
            UvMissing: It does not exist, does not start, or is older than `OLDEST`.
        """
        if self._version is None:
            try:
                said = run(
                    Program([self.executable, "--version"], environ=self._environ),
                    limit=_VERSION_WITHIN_SECONDS,
                )
            except (NotStarted, TookTooLong) as error:
                raise UvMissing(f"uv does not start ({error}). Reinstall it.") from error
            if said.status != 0:
                raise UvMissing(
                    f"uv does not start (`uv --version` exited with {said.status}). Reinstall it."
                )
            version = said.out.removeprefix("uv ").partition(" ")[0].strip()
            found = version_in(version)
            if found is None:
                raise UvMissing(
                    f"{self.executable} is not uv: its version is {said.out[:100]!r}. "
                    "Correct `uv` in [service]."
                )
            if found < OLDEST:
                raise UvMissing(
                    f"uv {version} is too old: {OLDEST} or newer is needed. Install a newer "
                    "one, or correct `uv` in [service]."
                )
            self._version = version
        return self._version

    def create_environment(self, folder: Path, python: str, cancel: Cancellation) -> None:
        """Create a virtual environment.

        Raises:
            UvError: It could not be created.
        """
        # The folder is there already, so that we know it again if this is interrupted.
        self._run(["venv", "--no-config", "--no-project", "--allow-existing",
                   "--python", python, str(folder)], Path("/"), cancel)  # fmt: skip

    def plan(
        self,
        ask: Ask,
        cancel: Cancellation,
        on_line: OnLine | None = None,
        *,
        offline: bool = False,
        prefix: Path | None = None,
    ) -> Plan:
        """Ask uv what would change, with a dry run.

        Args:
            ask: Its input.
            cancel: Ends it.
            on_line: Gets each line that it prints.
            offline: Whether to use only its cache.
            prefix: Where to look for installed packages, if not in the environment itself.

        Raises:
            NoSolution: The requirements conflict, or something does not exist.
            BuildFailed: Metadata of a source distribution could not be built.
            NetworkTrouble: An index did not answer.
            Waited: Another uv works in the environment and did not end in time.
            UvError: uv failed for any other reason.
        """
        flags = ["--dry-run", "--output-format", "json", *_offline(offline)]
        flags += ["--prefix", str(prefix)] if prefix else []
        try:
            out, log = self._install(ask, flags, cancel, on_line)
        except TimedOut as late:
            lock = ask.python.parent.parent / ".lock"
            holder = holder_if_locked(lock)
            if holder is None:
                raise
            raise Waited(
                f"{late.message.partition('.')[0]}: {lock} is held by {holder}. Wait for it, or "
                "end it.",
                late.log,
            ) from late
        return read_plan(out, log)

    def install(
        self,
        ask: Ask,
        prefix: Path,
        cancel: Cancellation,
        on_line: OnLine,
        *,
        offline: bool = False,
        fresh: bool = False,
    ) -> None:
        """Install exactly what `ask` names, without dependencies, into `prefix`.

        Args:
            ask: Its input.
            prefix: The folder.
            cancel: Ends it.
            on_line: Gets each line that it prints.
            offline: Whether to use only its cache.
            fresh: Whether not to use its cache.

        Raises:
            UvError: As for `plan`.
        """
        prefix.mkdir(exist_ok=True)  # before uv is confined: perhaps it may not do so itself
        flags = ["--prefix", str(prefix), "--no-deps", *_offline(offline)]
        flags += ["--no-cache"] if fresh else []
        self._install(ask, flags, cancel, on_line)

    def _install(
        self, ask: Ask, flags: list[str], cancel: Cancellation, on_line: OnLine | None
    ) -> tuple[str, str]:
        command = ["pip", "install", "--python", str(ask.python), "-r", str(ask.project),
                   "--config-file", str(ask.settings), *flags, *ask.arguments]  # fmt: skip
        return self._run(command, ask.folder, cancel, on_line, ask.timeout, ask.confined)

    def _run(
        self,
        arguments: list[str],
        folder: Path,
        cancel: Cancellation,
        on_line: OnLine | None = None,
        timeout: float | None = None,
        confined: Confinement | None = None,
    ) -> tuple[str, str]:
        """Run uv, follow its output line by line, and return (stdout, log) as they are."""
        environ = self._environ
        temporary = Path(os.path.realpath(environ.get("TMPDIR") or "/tmp"))  # noqa: S108
        if confined is not None and confined.closes(temporary):
            own = folder / "tmp"
            own.mkdir(exist_ok=True)
            environ = {**environ, "TMPDIR": str(own)}
        program = Program(
            [str(self.executable), "--color", "never", "--no-progress", *arguments],
            environ=environ,
            folder=folder,
            confined=confined,
        )
        follow = None if on_line is None else _redacting(on_line)
        try:
            said = run(program, limit=timeout, cancel=cancel, on_line=follow, keep=_LOG,
                       keep_out=_PLAN)  # fmt: skip
        except NotStarted as refused:
            raise self._not_started(refused) from refused
        except TookTooLong as error:
            raise TimedOut(
                f"uv took longer than {error.limit:.0f} s and was stopped. Raise `timeout` if the "
                "network is slow.",
                _redacted(error.ended.err),
            ) from None
        if said.status != 0:
            raise failure(said.status, _redacted(said.err))
        if said.left_out:
            raise UvError(
                f"uv printed a plan of more than {_PLAN} characters. Split the project into "
                "several environments."
            )
        # Whole, because it is read: a password may look like one of its keys, and an address must
        # still lead somewhere. What is shown of it is masked on its way out.
        return said.out, said.err

    def _not_started(self, refused: NotStarted) -> Exception:
        """The error: uv itself does not start, or the machine is in trouble."""
        error = refused.error
        if isinstance(error, OSError) and error.errno in (errno.ENOEXEC, errno.EACCES):
            return UvMissing(
                f"{self.executable} does not start ({error.strerror}). Correct `uv` in [service]."
            )
        return error


def _offline(offline: bool) -> list[str]:
    return ["--offline"] if offline else []


def _redacting(on_line: OnLine) -> OnLine:
    return lambda line: on_line(redact(line))


def _redacted(text: str) -> str:
    return "".join(map(redact, text.splitlines(keepends=True)))


__all__ = [
    "EFFECTIVE_NAME", "Ask", "BuildFailed", "DiskFull", "NetworkTrouble", "NoSolution", "Plan",
    "Planned", "TimedOut", "Unreadable", "Unusable", "Uv", "UvError", "UvMissing", "failure",
]  # fmt: skip
