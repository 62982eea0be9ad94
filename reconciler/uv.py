"""The only module that starts uv; what uv answers comes back as types.

uv never writes to a live environment from here: it plans by a dry run, and installs
into a prefix of its own that a pass merges and checks afterwards.
"""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from uv import find_uv_bin

from reconciler.processes import Cancellation, Cancelled, die_with_parent, end_group
from reconciler.redact import redact

OLDEST = Version("0.9.0")
"""The oldest uv whose dry run answers in JSON as it is read here."""

EFFECTIVE_NAME = "reconciler-effective"
"""The name of the generated project that uv is given."""

OnLine = Callable[[str], None]


class UvError(Exception):
    """uv did not do what it was asked; `reason` is one CamelCase word, `log` uv's own words."""

    reason = "UvFailed"

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.log = log


class UvMissing(UvError):
    """There is no uv to start, or one that is too old."""

    reason = "UvMissing"


class NoSolution(UvError):
    """What is asked for cannot be had together; the message is uv's explanation."""

    reason = "NoSolution"


class BuildFailed(UvError):
    """A source distribution did not build."""

    reason = "BuildFailed"

    def __init__(self, name: NormalizedName, message: str, log: str = "") -> None:
        super().__init__(message, log)
        self.name = name


class NetworkTrouble(UvError):
    """An index did not answer, or refused: nobody's requirement is to blame."""

    reason = "NetworkTrouble"


class DiskFull(UvError):
    """There is no space left for uv's cache or for the stage."""

    reason = "DiskFull"


class TimedOut(UvError):
    """uv took longer than the configured time limit and was ended."""

    reason = "TimedOut"


@dataclass(frozen=True, slots=True)
class Planned:
    """One package that uv would install: an exact version, or the place that it comes from."""

    name: NormalizedName
    version: Version | None
    url: str | None = None


@dataclass(frozen=True)
class Plan:
    """What uv would do, complete before anything is done.

    `install` is what would be put in, `remove` the versions that would go.
    """

    install: Mapping[NormalizedName, Planned]
    remove: Mapping[NormalizedName, Version | None]
    to_download: bool = True
    """Whether anything is not in uv's cache yet; if that cannot be told, something may be."""


@dataclass(frozen=True)
class Ask:
    """One run of `uv pip install`: everything that it is told, nothing that it finds."""

    python: Path
    project: Path
    """The generated project file."""
    settings: Path
    """The generated uv.toml, in place of every file that uv would find by itself."""
    folder: Path
    arguments: tuple[str, ...] = ()
    timeout: float | None = None
    """Seconds."""
    secrets: Sequence[str] = field(default=(), repr=False)


class Uv:
    """uv as a program: found once, started with a known environment."""

    def __init__(self, executable: Path | None, environ: Mapping[str, str]) -> None:
        """Remember which uv, and the environment variables it may see.

        Args:
            executable: The configured uv, or None for the one that came with this package.
            environ: The variables for uv, already sifted (`effective.environ_for_uv`).
        """
        self._executable = executable
        self._environ = dict(environ)
        self._version: str | None = None

    @property
    def executable(self) -> Path:
        """The program.

        Raises:
            UvMissing: There is none.
        """
        try:
            found = self._executable or Path(find_uv_bin())
        except FileNotFoundError as error:
            raise UvMissing(
                "uv is not found beside this package. Install it (`pip install uv`), or set "
                "`uv` in [service]."
            ) from error
        if not os.access(found, os.X_OK):
            raise UvMissing(f"{found} is no program. Correct `uv` in [service].")
        return found

    def version(self) -> str:
        """Its version, asked once.

        Raises:
            UvMissing: There is none, it does not start, or it is older than `OLDEST`.
        """
        if self._version is None:
            try:
                said = subprocess.run(
                    [self.executable, "--version"],
                    capture_output=True, text=True, check=True, timeout=60, env=self._environ,
                ).stdout  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                raise UvMissing(f"uv does not start ({error}). Install it anew.") from error
            version = said.split()[1]
            if Version(version) < OLDEST:
                raise UvMissing(f"uv {version} is too old: {OLDEST} or newer is needed.")
            self._version = version
        return self._version

    def create_environment(self, folder: Path, python: str, cancel: Cancellation) -> None:
        """Make a new virtual environment.

        Raises:
            UvError: It could not be made.
        """
        # What is ours may lie there already: `rm -rf .venv/*` leaves it, and the vault with it.
        self._run(["venv", "--no-config", "--no-project", "--allow-existing",
                   "--python", python, str(folder)], Path("/"), cancel)  # fmt: skip

    def plan(
        self,
        ask: Ask,
        cancel: Cancellation,
        on_line: OnLine | None = None,
        *,
        offline: bool = False,
    ) -> Plan:
        """Ask what would change, by a dry run.

        Args:
            ask: What it is told.
            cancel: Ends it.
            on_line: Follows what it says.
            offline: By its cache alone.

        Raises:
            NoSolution: The requirements exclude each other, or something does not exist.
            BuildFailed: Metadata of a source distribution could not be built.
            NetworkTrouble: An index did not answer.
            UvError: Anything else that uv says no to.
        """
        flags = ["--dry-run", "--output-format", "json", *_offline(offline)]
        out, log = self._install(ask, flags, cancel, on_line)
        return _read_plan(out, log)

    def install(
        self,
        ask: Ask,
        prefix: Path,
        cancel: Cancellation,
        on_line: OnLine,
        *,
        offline: bool = False,
    ) -> None:
        """Install exactly what `ask` names, without dependencies, into `prefix`.

        Raises:
            UvError: As `plan`.
        """
        flags = ["--prefix", str(prefix), "--no-deps", *_offline(offline)]
        self._install(ask, flags, cancel, on_line)

    def _install(
        self, ask: Ask, flags: list[str], cancel: Cancellation, on_line: OnLine | None
    ) -> tuple[str, str]:
        command = ["pip", "install", "--python", str(ask.python), "-r", str(ask.project),
                   "--config-file", str(ask.settings), *flags, *ask.arguments]  # fmt: skip
        return self._run(command, ask.folder, cancel, on_line, ask.timeout)

    def _run(
        self,
        arguments: list[str],
        folder: Path,
        cancel: Cancellation,
        on_line: OnLine | None = None,
        timeout: float | None = None,
    ) -> tuple[str, str]:
        """Start uv, follow its words line by line, and wait for it; (stdout, log)."""
        cancel.check()
        process = subprocess.Popen(
            [self.executable, "--color", "never", "--no-progress", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", cwd=folder, env=self._environ,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 -- it says itself why it is safe
        )  # fmt: skip
        out: list[str] = []
        log: list[str] = []
        readers = [
            threading.Thread(target=_follow, args=(process.stdout, out.append)),
            threading.Thread(target=_follow, args=(process.stderr, _both(log.append, on_line))),
        ]
        for reader in readers:
            reader.start()
        try:
            cancel.wait_for(process, timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(
                f"uv took longer than {timeout:.0f} s and was ended. Raise `timeout` if the "
                "network is slow.",
                "".join(log),
            ) from None
        finally:
            end_group(process)
            for reader in readers:
                reader.join()
        if process.returncode != 0:
            raise failure(process.returncode, "".join(log))
        return "".join(out), "".join(log)


def _offline(offline: bool) -> list[str]:
    return ["--offline"] if offline else []


def _follow(stream: IO[str] | None, take: OnLine) -> None:
    if stream is None:
        return
    with stream:
        for line in stream:
            take(redact(line))


def _both(first: OnLine, second: OnLine | None) -> OnLine:
    def take(line: str) -> None:
        first(line)
        if second is not None:
            second(line.rstrip("\n"))

    return take


_URL_LINE = re.compile(
    r"^ \+ (?P<name>\S+?)(?:==\S+)? (?:@ |\(from )(?P<url>[^\s)]+)\)?", re.MULTILINE
)


def _read_plan(out: str, log: str) -> Plan:
    """Read the dry run's JSON; the places of packages without a version stand in the log."""
    try:
        changes = json.loads(out)["changes"]
    except (ValueError, KeyError, TypeError) as error:
        raise UvError(
            f"the answer of uv's dry run is not understood ({error}). This uv is newer than "
            "Reconciler knows: set `uv` in [service] to the one that it was installed with.",
            log,
        ) from error
    urls = {canonicalize_name(m["name"]): m["url"] for m in _URL_LINE.finditer(log)}
    install: dict[NormalizedName, Planned] = {}
    remove: dict[NormalizedName, Version | None] = {}
    for change in changes:
        name = canonicalize_name(change["name"])
        version = Version(change["version"]) if change.get("version") else None
        if change["action"] == "installed":
            install[name] = Planned(name, version, urls.get(name))
        else:
            remove[name] = version
    to_download = "Would download" in log or "Would install" not in log
    return Plan(install, remove, to_download)


_BUILD = re.compile(
    r"Failed to (?:download and )?build `(?P<name>[A-Za-z0-9._-]+?)(?:==[^`]*| @ [^`]*)?`"
)
_NETWORK = re.compile(
    r"error sending request|dns error|tcp connect error|timed out|operation timed out"
    r"|connection (?:reset|closed|refused)|HTTP status server error|Request failed after"
    r"|network (?:is unreachable|was disabled|connectivity is disabled)|unable to access"
    r"|could not be queried due to|HTTP status client error \((?:401|403|407|408|429)"
    r"|Could not resolve host|IncompleteMessage|error decoding response body",
    re.IGNORECASE,
)


# uv tells of the generated project by its name; to the user it is what he requires.
_OUR_NEED = re.compile(rf"\b{EFFECTIVE_NAME}(?:==0)? depends on")
_OURS = re.compile(rf"\b{EFFECTIVE_NAME}\b")


def failure(code: int, log: str) -> UvError:
    """Tell from uv's words what kind of failure this was (uv-facts 25 to 29)."""
    words = _explanation(log)
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return DiskFull(f"{words} Free some space; the environment is as it was.", log)
    if _NETWORK.search(words):
        return NetworkTrouble(words, log)
    built = _BUILD.search(words)
    if built:
        return BuildFailed(canonicalize_name(built["name"]), words, log)
    if "No solution found" in words or re.search(r"not found|does not exist|404|410", words):
        return NoSolution(words, log)
    if code < 0:
        return UvError(f"uv was ended by {signal.Signals(-code).name}.", log)
    return UvError(words or f"uv ended with {code} and said nothing.", log)


def _explanation(log: str) -> str:
    """uv's error, without what it said before, as running text."""
    start = re.search(r"^error: ", log, re.MULTILINE)
    text = log[start.end() :] if start else log
    lines = [line.strip().removeprefix("cause:").strip() for line in text.splitlines()]
    words = [line for line in lines if line]
    if len(words) > 1 and words[0].startswith("No solution found"):
        words[0] += ":"
    return _OURS.sub("your project", _OUR_NEED.sub("you require", " ".join(words)))


__all__ = [
    "Ask", "BuildFailed", "Cancelled", "DiskFull", "NetworkTrouble", "NoSolution", "Plan",
    "Planned", "TimedOut", "Uv", "UvError", "UvMissing", "failure",
]  # fmt: skip
