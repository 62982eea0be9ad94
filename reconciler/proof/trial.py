"""Imports modules in a tree, each in a process of its own, within a budget of time and memory.

Code of packages runs here: isolated, without the network where the kernel allows that, with the
environment read-only, a home that is thrown away, no display and no GPU. It changes nothing.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from reconciler.confinement import Confinement
from reconciler.files.parsing import json_as
from reconciler.log.redact import redact
from reconciler.processes import Cancellation, Ended, NotStarted, Program, TookTooLong, run
from reconciler.proof.trial_script import SCRIPT
from reconciler.proof.verdict import Import, Trial, Tried

_SHARE = 4
"""One import may take this part of the budget."""
_MOST_ANSWERS = 16_000_000
_MOST_PRINTED = 10_000
_HIDDEN = (
    "PYTHON", "UV_", "PIP_", "XDG_", "DISPLAY", "WAYLAND_", "XAUTHORITY", "DBUS_", "SSH_AUTH_SOCK",
    "NOTIFY_SOCKET", "LISTEN_", "CREDENTIALS_DIRECTORY",
)  # fmt: skip
_ADDED = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    # Threads that exist before a fork may leave locks behind; and nothing is computed here.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Budget:
    """The time that the imports of a pass may take together.

    Args:
        seconds: The budget.
    """

    def __init__(self, seconds: float) -> None:
        self.each = seconds / _SHARE
        self._seconds = seconds
        self._spent = 0.0
        self._since: float | None = None

    @property
    def spent(self) -> float:
        """The seconds that were spent so far."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._spent + running

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self._seconds - self.spent)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The time is spent while this lasts."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent, self._since = self.spent, None


class TrialPlace(msgspec.Struct, frozen=True):
    """A tree whose modules can be imported.

    Attributes:
        python: Its interpreter.
        environ: The variables to start from.
        confined: What the imports may not change; None: they cannot be confined.
        scratch: Where to make the home that is thrown away; None: in the system's place.
    """

    python: Path
    environ: Mapping[str, str]
    confined: Confinement | None
    scratch: Path | None = None


class _Told(msgspec.Struct, frozen=True):
    """A line of what the program in the target tells."""

    began: int | None = None
    ended: int | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    missing: str | None = None
    seconds: float = 0.0
    timed_out: bool = False


class _Round(msgspec.Struct, frozen=True):
    """What one process, and those that it forked, have told."""

    ended: dict[int, _Told]
    in_flight: tuple[int, ...]
    how: str
    """How the process itself ended, in words."""


def try_imports(
    place: TrialPlace,
    imports: Sequence[Import],
    budget: Budget,
    cancel: Cancellation,
    first: Sequence[Import] = (),
) -> Trial:
    """Import modules in a tree; failures are results, never errors.

    Args:
        place: The tree.
        imports: The modules, the most important first.
        budget: The time; what this takes is subtracted.
        cancel: Ends it.
        first: Those among them that several others need. They are imported once, in the process
            that the others are forked from. What fails then is tried again without that.

    Raises:
        Cancelled: Someone called `cancel`.
        OSError: There is no room for a temporary folder.
    """
    if not imports:
        return Trial()
    with (
        budget.running(),
        tempfile.TemporaryDirectory(
            prefix="reconciler-proof-", dir=place.scratch, ignore_cleanup_errors=True
        ) as home,
    ):
        attempt = _Attempt(place, tuple(imports), budget, cancel, Path(home))
        attempt.run([imports.index(one) for one in first])
    return attempt.trial()


class _Attempt:
    """The rounds that it takes until every module has been tried, or the time is over."""

    def __init__(
        self, place: TrialPlace, imports: tuple[Import, ...], budget: Budget, cancel: Cancellation,
        home: Path,
    ) -> None:  # fmt: skip
        self._place, self._imports, self._budget = place, imports, budget
        self._cancel, self._home = cancel, home
        self._found: dict[int, Tried] = {}

    def run(self, first: Sequence[int]) -> None:
        """Try all; each import that ended its process, or that of others, once more and alone."""
        waiting = list(range(len(self._imports)))
        alone: list[int] = []
        while waiting and self._budget.left > 0:
            told = self._round(waiting, first)
            ended = {n: one for n, one in told.ended.items() if not (first and one.error)}
            if not (first or ended or told.in_flight):
                return  # its Python does not even start: others say why
            self._note(ended)
            alone += told.in_flight
            waiting = [n for n in waiting if n not in ended and n not in told.in_flight]
            first = ()
        for number in alone:
            if self._budget.left > 0:
                told = self._round([number], ())
                cut_short = self._budget.left <= 0
                died = {} if cut_short else {number: _Told(ended=number, error=told.how)}
                self._note(told.ended or died)

    def trial(self) -> Trial:
        """What was found."""
        numbers = range(len(self._imports))
        return Trial(
            tuple(self._found[n] for n in numbers if n in self._found),
            tuple(self._imports[n] for n in numbers if n not in self._found),
        )

    def _note(self, told: Mapping[int, _Told]) -> None:
        for number, one in told.items():
            self._found[number] = Tried(
                self._imports[number], one.seconds, redact(one.error) if one.error else None,
                one.files, one.missing,
            )  # fmt: skip

    def _round(self, waiting: Sequence[int], first: Sequence[int]) -> _Round:
        left = self._budget.left
        asked = {
            "first": [(n, self._imports[n].module) for n in first],
            "then": [(n, self._imports[n].module) for n in waiting if n not in first],
            "seconds": min(self._budget.each, left),
            "bytes": _half_of_the_memory(),
            "workers": len(os.sched_getaffinity(0)),
        }
        program = Program(
            [self._place.python, "-I", "-B", "-c", SCRIPT],
            environ=_environ(self._place.environ, self._home),
            folder=self._home,
            given=msgspec.json.encode(asked).decode(),
            confined=self._place.confined,
        )
        try:
            ended = run(program, limit=left, cancel=self._cancel, keep=_MOST_PRINTED,
                        keep_out=_MOST_ANSWERS)  # fmt: skip
        except NotStarted as error:
            return _Round({}, (), f"its Python does not start ({error})")
        except TookTooLong as error:
            return _read(error.ended, cut_short=left < self._budget.each)
        return _read(ended, cut_short=left < self._budget.each)


def _read(ended: Ended, *, cut_short: bool) -> _Round:
    """What was told; an import for which the budget was too short has not been tried."""
    began: list[int] = []
    told: dict[int, _Told] = {}
    for line in ended.out.splitlines():
        try:
            one = json_as(line, _Told)
        except msgspec.DecodeError:
            continue  # the end of a line is missing
        if one.began is not None:
            began.append(one.began)
        elif one.ended is not None and not (one.timed_out and cut_short):
            told.setdefault(one.ended, one)
    how = f"it ends its process by signal {-ended.status}" if ended.status < 0 else (
        f"it ends its process, with status {ended.status}"
    )  # fmt: skip
    return _Round(told, tuple(n for n in began if n not in told), how)


def _environ(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if not name.startswith(_HIDDEN)}
    return {**kept, **_ADDED, "HOME": str(home), "TMPDIR": str(home)}


def _half_of_the_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
