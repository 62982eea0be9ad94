"""The one way to start a program, follow it, and end it with everything it started.

Each program leads its own session, has a supervisor (`descendants`), and dies with this process.
It never runs through a shell and never gets our standard input.
"""

import codecs
import io
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from pwd import struct_passwd
from typing import IO

import msgspec

from reconciler.confinement import Confinement
from reconciler.descendants import END, ENDED_WITHIN, supervise
from reconciler.excerpts import OUTPUT, Excerpt, shortened

_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 3600.0
"""poll(2) takes milliseconds as an int, which cannot hold a time limit of weeks."""
_CHUNK = 65_536
_MOST_LEFT_CHUNKS = 64
"""A pipe holds at most a megabyte (pipe(7)); anything after that is from another process."""

OnLine = Callable[[str], None]


class Cancelled(Exception):
    """The pass was asked to end; nothing that it began is live."""


class NotStarted(Exception):
    """A program could not be started; `error` says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Ended(msgspec.Struct, frozen=True):
    """A program that has ended, and what it printed."""

    status: int
    """Its exit status, or the negative number of the signal that ended it."""
    out: str
    err: str
    left_out: int = 0
    """How many characters in the middle of `out` were not kept."""


class TookTooLong(Exception):
    """A program ran past its time limit and was ended; `ended` is what it printed until then."""

    def __init__(self, limit: float, ended: Ended) -> None:
        super().__init__(f"it took longer than {limit:g} s")
        self.limit = limit
        self.ended = ended


class Program(msgspec.Struct, frozen=True):
    """What to start, and what it can see."""

    words: Sequence[str | Path]
    environ: Mapping[str, str] | None = None
    """None: our own."""
    folder: Path | None = None
    """Where it runs; None: where we do."""
    given: str = ""
    """What it reads from standard input."""
    merged: bool = False
    """Standard error goes where standard output does."""
    user: struct_passwd | None = None
    """The user it runs as; None: ours."""
    confined: Confinement | None = None
    """What it may not change; None: only the user's permissions count."""
    channel: Callable[[], tuple[int, int]] = os.pipe
    """Opens the channel for its standard output: the descriptors to read and to write."""


class Cancellation:
    """Tells a pass, at each of its steps, that it should end."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.RLock()  # a signal handler may cancel in the middle of anything
        self._alarms: set[int] = set()
        self.checked_at = time.monotonic()
        """When the pass last asked whether it should end (monotonic seconds)."""

    def cancel(self) -> None:
        """Ask the pass to end; a running program is ended at once. From any thread."""
        self._event.set()
        with self._lock:
            for alarm in list(self._alarms):
                os.eventfd_write(alarm, 1)

    @property
    def has_children(self) -> bool:
        """Whether a program is being waited for right now."""
        with self._lock:
            return bool(self._alarms)

    @property
    def cancelled(self) -> bool:
        """Whether the pass should end."""
        return self._event.is_set()

    def check(self) -> None:
        """End here if asked to.

        Raises:
            Cancelled: Someone called `cancel`.
        """
        self.checked_at = time.monotonic()
        if self._event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but not past a cancellation.

        Raises:
            Cancelled: Someone called `cancel`.
        """
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def alarm(self) -> Iterator[int]:
        """A descriptor that poll(2) reports as soon as the pass should end."""
        descriptor = os.eventfd(int(self.cancelled))
        with self._lock:
            self._alarms.add(descriptor)
            if self.cancelled:
                os.eventfd_write(descriptor, 1)
        try:
            yield descriptor
        finally:
            with self._lock:
                self._alarms.discard(descriptor)
            os.close(descriptor)


def run(
    program: Program,
    *,
    limit: float | None,
    cancel: Cancellation | None = None,
    on_line: OnLine | None = None,
    keep: int = OUTPUT,
    keep_out: int | None = None,
) -> Ended:
    """Run a program to its end, then end everything that it started, in other sessions as well.

    Args:
        program: What to start.
        limit: The time limit in seconds, or None.
        cancel: Ends it.
        on_line: Gets each line of its standard error as it comes, on the calling thread; of
            very much output the first lines at once, and the last ones at the end.
        keep: How many characters of each output to keep, from its beginning and its end.
        keep_out: The same for its standard output alone, if that has to be read completely.

    Raises:
        NotStarted: It could not be started.
        TookTooLong: It ran past `limit`, and was ended.
        Cancelled: Someone called `cancel`; the program was ended, or not even started.
    """
    cancel = cancel or Cancellation()
    cancel.check()
    deadline = None if limit is None else time.monotonic() + limit
    with ExitStack() as opened:
        alarm = opened.enter_context(cancel.alarm())
        out, err = _Output(keep if keep_out is None else keep_out), _Output(keep, on_line)
        child = _start(program, out, err, opened)
        try:
            in_time = _follow(child, (out, err), alarm, deadline)
        finally:
            child.end()
        out.take_the_rest()
        err.take_the_rest()
    cancel.check()
    ended = Ended(child.status, out.text, err.text, out.left_out)
    if limit is not None and not in_time:
        raise TookTooLong(limit, ended)
    return ended


class _Output:
    """One output of a program: passes on its lines, and keeps the beginning and the end of it.

    However much a program prints, only the first and the last lines are passed on, and a line
    without an end is cut.
    """

    def __init__(self, keep: int, on_line: OnLine | None = None) -> None:
        self._kept = Excerpt(keep)
        self._on_line = on_line
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
        self._line = ""
        self._room = OUTPUT
        """How many more characters are passed on while it runs."""
        self._rest = Excerpt(OUTPUT)
        """What comes after those; its lines are passed on at the end."""
        self.descriptor = -1
        """Where to read it; negative after its end, or if there is none."""

    def attach(self, descriptor: int) -> None:
        """Read from this descriptor."""
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor

    @property
    def text(self) -> str:
        """What is kept of it."""
        return self._kept.text

    @property
    def left_out(self) -> int:
        """How many characters in the middle are not kept."""
        return self._kept.left_out

    def read(self) -> bool:
        """Read what is there; return whether there was anything."""
        if self.descriptor < 0:
            return False
        try:
            chunk = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the other side of the terminal is closed (pty(7))
            chunk = b""
        if not chunk:
            self.descriptor = -1
        self._take(self._decoder.decode(chunk, final=not chunk))
        return bool(chunk)

    def take_the_rest(self) -> None:
        """Read what is left, without waiting for more."""
        for _ in range(_MOST_LEFT_CHUNKS):
            if not self.read():
                break
        self._take(self._decoder.decode(b"", final=True))
        if self._on_line is not None:
            rest = self._line + self._rest.text
            self._pass_on(rest.removesuffix("\n").split("\n") if rest else [])
            self._line, self._rest = "", Excerpt(OUTPUT)

    def _take(self, text: str) -> None:
        self._kept.add(text)
        if self._on_line is None:
            return
        if self._room <= 0:
            self._rest.add(text)
            return
        self._room -= len(text)
        *lines, self._line = (self._line + text).split("\n")
        self._pass_on(lines)

    def _pass_on(self, lines: list[str]) -> None:
        if self._on_line is not None:
            for line in lines:
                self._on_line(shortened(line))


class _Child:
    """A running program, seen through its supervisor, which ends as it does; reaped only here."""

    def __init__(self, process: "subprocess.Popen[bytes]", opened: ExitStack) -> None:
        self._process = process
        self.told = -1
        """Readable for poll(2) once it has ended. Some seccomp filters forbid it: then we poll."""
        with suppress(OSError):
            self.told = os.pidfd_open(process.pid)
            opened.callback(os.close, self.told)

    @property
    def status(self) -> int:
        """Its exit status, after `end`."""
        return self._process.returncode

    def has_ended(self) -> bool:
        """Whether it has ended; its pid is not reused before it is reaped."""
        with suppress(ChildProcessError):
            how = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self._process.pid, how) is not None
        return True

    def end(self) -> None:
        """Make sure that it and all that it started are gone: TERM, a grace period, then KILL."""
        for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (END, 2 * ENDED_WITHIN)):
            if not self.has_ended():
                self._signal(number)
                self._signal(signal.SIGCONT)  # the program may have stopped its supervisor
                _follow(self, (), -1, time.monotonic() + patience)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self._process.pid, number)


def _file_with(text: str) -> IO[bytes]:
    from tempfile import TemporaryFile  # noqa: PLC0415 -- slow to import, and few programs need it

    file = TemporaryFile()  # noqa: SIM115 -- the caller closes it
    file.write(text.encode())
    file.seek(0)
    return file


def _start(program: Program, out: _Output, err: _Output, opened: ExitStack) -> _Child:
    with ExitStack() as theirs:
        channels = []
        for output, channel in ((out, program.channel), (err, os.pipe)):
            ours, its = channel()
            opened.callback(os.close, ours)
            theirs.callback(os.close, its)
            output.attach(ours)
            channels.append(its)
        given = theirs.enter_context(_file_with(program.given)) if program.given else None
        user = program.user
        try:
            process = subprocess.Popen(
                [os.fspath(word) for word in program.words],  # named so in an error
                stdin=given or subprocess.DEVNULL,
                stdout=channels[0],
                stderr=subprocess.STDOUT if program.merged else channels[1],
                cwd=program.folder,
                env=None if program.environ is None else dict(program.environ),
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and os.getgrouplist(user.pw_name, user.pw_gid),
                start_new_session=True,
                preexec_fn=partial(_become, program),  # noqa: PLW1509 -- `supervise` says why
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotStarted(error) from error
        return _Child(process, opened)


def _become(program: Program) -> None:
    """In the child, before exec."""
    supervise()
    if program.confined is not None:
        program.confined.enter()


def _follow(child: _Child, outputs: Sequence[_Output], alarm: int, deadline: float | None) -> bool:
    """Read its output until it ends, is cancelled or is out of time; whether it ended."""
    while not child.has_ended():
        left = _LONGEST_WAIT_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return False
        waited = {o.descriptor: o for o in outputs if o.descriptor >= 0}
        poll = select.poll()
        for descriptor in (*waited, alarm, child.told):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        pause = min(left, _LONGEST_WAIT_SECONDS if child.told >= 0 else _POLL_SECONDS)
        for descriptor, _ in poll.poll(pause * 1000):
            if descriptor == alarm:
                return False
            if descriptor in waited:
                waited[descriptor].read()
    return True
