"""What the dynamic linker reads of a compiled file: what it needs, and where that is looked for.

Reads ELF files that others wrote, with pyelftools and within bounds: a damaged one, or one made to
do harm, says nothing. Nothing is loaded or run.
"""

import os
from collections.abc import Callable, Iterator
from io import SEEK_CUR, SEEK_END, SEEK_SET
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from reconciler.files.bounded import open_regular

_MAGIC = b"\x7fELF"
_MOST_READ = 1024 * 1024
_MOST_READS = 20_000
"""Of one file. libtorch_cuda.so needs the most that we have seen: 4,000 bytes in 370 pieces."""
_MOST_TAGS = 2_000
_MOST_KNOWN = 4_096
_known: "dict[tuple[int, ...], SharedObject | None]" = {}
"""What was read of each file, whatever its path: a stage has the same files as the live tree."""


class SharedObject(msgspec.Struct, frozen=True):
    """A shared library or an extension module, as the dynamic linker sees it."""

    soname: str | None = None
    needed: tuple[str, ...] = ()
    """The names of the libraries that are loaded with it (`DT_NEEDED`), in their order."""
    search: tuple[str, ...] = ()
    """The folders in which they are looked for (`DT_RUNPATH`, else `DT_RPATH`), as written."""


def read_shared_object(path: str | Path) -> SharedObject | None:
    """What the dynamic linker reads of a file; None if it cannot be read, or is not an ELF file.

    Read once as long as inode, size and modification time stay the same.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 -- for each library of torch
    except OSError:
        return None
    stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    if stamp not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[stamp] = _read(path)
    return _known[stamp]


def _read(path: str | Path) -> SharedObject | None:
    try:
        descriptor = open_regular(path)
    except OSError:
        return None
    try:
        if os.pread(descriptor, len(_MAGIC), 0) != _MAGIC:
            return None
        return _parsed(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _parsed(descriptor: int) -> SharedObject | None:
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 -- slow to import
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    # What pyelftools raises for a damaged file, apart from its own errors.
    wrong = (
        ELFError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError,
        OSError, RecursionError, TypeError, ValueError,
    )  # fmt: skip
    try:
        # It only reads, seeks and tells.
        return _dynamic(ELFFile(cast("IO[bytes]", _Bounded(descriptor))))
    except wrong:
        return None


def _dynamic(file: Any) -> SharedObject:
    """Its dynamic segment."""
    # The linker uses no section. pyelftools would read all of them first: for libtriton.so, 66,000
    # numbers one by one.
    file.header["e_shoff"] = 0
    tags: dict[str, list[str]] = {}
    for segment in _all(file.num_segments, file.get_segment):
        if segment["p_type"] == "PT_DYNAMIC":
            for tag in islice(segment.iter_tags(), _MOST_TAGS):
                kind = str(tag.entry.d_tag)
                text = getattr(tag, kind.removeprefix("DT_").lower(), None)
                if isinstance(text, str):
                    tags.setdefault(kind, []).append(text)
            break
    folders = tags.get("DT_RUNPATH") or tags.get("DT_RPATH") or []
    return SharedObject(
        soname=next(iter(tags.get("DT_SONAME", ())), None),
        needed=tuple(tags.get("DT_NEEDED", ())),
        search=tuple(folder for text in folders for folder in text.split(":") if folder),
    )


def _all(count: Callable[[], int], get: Callable[[int], Any]) -> Iterator[Any]:
    return (get(number) for number in range(count()))


class _Bounded:
    """An open file, of which only so much is read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._size = os.fstat(descriptor).st_size
        self._bytes = _MOST_READ
        self._reads = _MOST_READS

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            OSError: It would be more than anybody needs.
        """
        wanted = self._size if size < 0 else size
        self._bytes -= min(wanted, self._size)
        self._reads -= 1
        if self._bytes < 0 or self._reads < 0:
            raise OSError("more of it would be read than an ELF file needs")
        found = os.pread(self._descriptor, min(wanted, self._size), self._position)
        self._position += len(found)
        return found

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to another place.

        Raises:
            ValueError: It is before the beginning, or further than a file can reach.
        """
        start = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence]
        if not 0 <= start + offset < 1 << 63:
            raise ValueError("there is no such place")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The place that is read next."""
        return self._position
