"""Whatever is in a file, an answer or a request: a value or a documented error, and in time.

An ordinary run tries a sample of each reader. As many as you like, here 5,000 of each:

    RECONCILER_TEST_FUZZ=5000 uv run pytest -n 2 tests/fuzz

The inputs follow from a seed, RECONCILER_TEST_FUZZ_SEED; a failure names the one it came from.
"""

import os
import signal
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.fuzz.cases import CASES
from tests.fuzz.mutations import grown, mutated
from tests.fuzz.readers import Reader, readers
from tests.support.attacks import COUNTED

_ORDINARY = 15
_INPUTS = int(os.environ.get("RECONCILER_TEST_FUZZ", _ORDINARY))
_SEED = int(os.environ.get("RECONCILER_TEST_FUZZ_SEED", "1"))
_SLOW = 3.0
"""Seconds of processor time that no input may take; the largest takes a third of it."""
_HANGS = 20.0
_MOST_MEMORY = 60 * 1024 * 1024
"""Bytes for a document of 250,000."""
_GROWN = 1 if _INPUTS <= _ORDINARY else 40
_SHOWN = 12


class _Hangs(BaseException):
    """It takes so long that it would never end."""


def test_every_reader_survives_whatever_it_reads(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    wrong: dict[str, str] = {}
    tried = 0
    for reader in readers(tmp_path):
        known = [case for name, case in CASES if name == reader.name]
        for number, content in enumerate((*reader.documents, *known)):
            tried += 1
            _note(wrong, reader, f"case {number}", content)
        share = max(1, int(_INPUTS * reader.share))
        for seed in range(_SEED, _SEED + share):
            tried += 1
            document = reader.documents[seed % len(reader.documents)]
            _note(wrong, reader, f"seed {seed}", mutated(document, seed))
        for seed in range(_SEED, _SEED + max(1, int(_GROWN * reader.share))):
            tried += 1
            _note(wrong, reader, f"grown, seed {seed}", grown(reader.documents[0], seed), size=True)
        reader.done()
    record_property(COUNTED, ["inputs fuzzed", "readers", tried])
    assert not wrong, f"{len(wrong)} faults in {tried} inputs\n" + "\n".join(
        [*wrong.values()][:_SHOWN]
    )


def _note(
    wrong: dict[str, str], reader: Reader, which: str, content: bytes, *, size: bool = False
) -> None:
    """Try one input; of each kind of fault only the shortest input is kept."""
    fault = _fault(reader, content, size=size)
    if fault is None:
        return
    kind, said = fault
    said = f"{reader.name}, {which}: {said}\n{content[:300]!r}"
    if kind not in wrong or len(said) < len(wrong[kind]):
        wrong[kind] = said


def _fault(reader: Reader, content: bytes, *, size: bool) -> tuple[str, str] | None:
    """What is wrong: its kind, and in words."""
    start = time.process_time()
    if size:
        tracemalloc.start()
    try:
        with _within(_HANGS):
            reader.read(content)
    except reader.errors as error:
        if isinstance(error, OSError) and not error.strerror:
            return f"{reader.name} strerror", f"an OSError without a sentence: {error!r}"
    except (Exception, _Hangs) as error:  # noqa: BLE001 -- it would end a pass or the service
        where = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "reconciler/" in f.filename]
        place = ours[-1] if ours else where
        at = f"{Path(place.filename).name}:{place.lineno}"
        return f"{type(error).__name__} {at}", f"{type(error).__name__}: {error} at {at}"[:400]
    finally:
        peak = tracemalloc.get_traced_memory()[1] if size else 0
        tracemalloc.stop()
    spent = time.process_time() - start
    if spent > _SLOW * (4 if size else 1):  # tracing is slow
        return f"{reader.name} slow", f"{spent:.1f} s"
    return (f"{reader.name} memory", f"{peak:,} bytes") if peak > _MOST_MEMORY else None


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End what takes more processor time than this."""

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise _Hangs

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
