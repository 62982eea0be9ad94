"""Writes shared libraries that have nothing except what the dynamic linker reads first."""

import struct
from collections.abc import Sequence

_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_HEADER, _SEGMENT, _ENTRY = 64, 56, 16


def shared_library(
    *,
    soname: str = "",
    needed: Sequence[str] = (),
    runpath: Sequence[str] = (),
    rpath: Sequence[str] = (),
) -> bytes:
    """Return a 64-bit ELF file with a dynamic segment (System V ABI, chapters 4 and 5).

    Args:
        soname: Its own name.
        needed: The libraries that it loads.
        runpath: Where these are looked for.
        rpath: The same, in the older way.
    """
    named = [(_NEEDED, name) for name in needed]
    named += [(_SONAME, soname), (_RUNPATH, ":".join(runpath)), (_RPATH, ":".join(rpath))]
    strings, entries = b"\0", []
    for tag, text in named:
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    dynamic = _HEADER + 2 * _SEGMENT
    table = dynamic + _ENTRY * (len(entries) + 3)
    entries += [(_STRTAB, table), (_STRSZ, len(strings)), (0, 0)]
    whole, size = table + len(strings), table - dynamic
    return b"".join([
        b"\x7fELF\2\1\1" + bytes(9),  # 64 bits, little-endian
        struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, _HEADER, 0, 0, _HEADER, _SEGMENT, 2, 0, 0, 0),
        struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, whole, whole, 4096),
        struct.pack("<IIQQQQQQ", 2, 4, dynamic, dynamic, dynamic, size, size, 8),
        *(struct.pack("<qQ", *entry) for entry in entries),
        strings,
    ])  # fmt: skip
