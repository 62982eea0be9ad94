"""Shared libraries that say what they need, and nothing else: enough for readers of ELF files."""

import struct
from collections.abc import Sequence

_HEADER, _PROGRAM = 64, 56
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS, _STRINGS_SIZE, _END = 1, 5, 10, 0


def shared_library(needed: Sequence[str]) -> bytes:
    """An x86-64 library with these `DT_NEEDED`."""
    strings, places = b"\0", []
    for name in needed:
        places.append(len(strings))
        strings += name.encode() + b"\0"
    start = _HEADER + 2 * _PROGRAM
    after = start + 16 * (len(places) + 3)
    entries = [*((_NEEDED, place) for place in places), (_STRINGS, after),
               (_STRINGS_SIZE, len(strings)), (_END, 0)]  # fmt: skip
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    size = after + len(strings)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, _HEADER, 0, 0, _HEADER, _PROGRAM, 2, 64, 0, 0
    )  # fmt: skip
    segments = [(_LOAD, 0, size), (_DYNAMIC, start, len(dynamic))]
    programs = b"".join(
        struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, length, length, 8)
        for kind, offset, length in segments
    )
    return header + programs + dynamic + strings
