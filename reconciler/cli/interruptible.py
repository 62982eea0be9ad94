"""Runs long work so that Ctrl-C stops it cleanly at any point."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from reconciler.processes import Cancellation

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOTICED_WITHIN_SECONDS = 0.1


def cancellable(work: Callable[[Cancellation], T]) -> T:
    """Run `work` on its own thread and return its result; signals cancel it.

    Raises:
        KeyboardInterrupt: it was cancelled, and has ended.
    """
    cancel = Cancellation()

    def stop(_number: int, _frame: object) -> None:
        for number in _SIGNALS:  # a second one would deadlock while `cancel` holds its lock
            signal.signal(number, lambda _number, _frame: None)
        cancel.cancel()

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        with ThreadPoolExecutor(1, "command") as pool:
            working = pool.submit(work, cancel)
            # The signal may reach the other thread, which does not wake this one, and only this
            # one runs its handler (Python's `signal`, "Signals and threads").
            while not wait([working], timeout=_NOTICED_WITHIN_SECONDS).done:
                pass
            return working.result()
    except Exception as error:
        if cancel.cancelled:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
