"""Libraries that others wrote are read within bounds, and only once."""

import os
import struct
import sys

from reconciler.files.shared_objects import SharedObject, read_shared_object
from tests.support.elf import shared_library

GOOD = shared_library(
    soname="libcusparse.so.12", needed=["libnvJitLink.so.12", "libc.so.6"],
    runpath=["$ORIGIN", "$ORIGIN/../jit"], rpath=["/old"],
)  # fmt: skip


def test_what_the_linker_reads(tmp_path) -> None:
    path = tmp_path / "a.so"
    path.write_bytes(GOOD)
    assert read_shared_object(path) == SharedObject(
        "libcusparse.so.12", ("libnvJitLink.so.12", "libc.so.6"), ("$ORIGIN", "$ORIGIN/../jit")
    )
    found = read_shared_object(sys.executable)  # a real one, whatever it is linked with
    assert found is not None
    assert any(name.startswith("libc.so") for name in found.needed)


def test_a_file_is_read_again_only_after_it_has_changed(tmp_path) -> None:
    path = tmp_path / "a.so"
    path.write_bytes(GOOD)
    first = read_shared_object(path)
    assert read_shared_object(path) is first
    link = tmp_path / "b.so"
    os.link(path, link)
    assert read_shared_object(link) is first
    path.unlink()
    path.write_bytes(shared_library(needed=["other.so"]))
    assert read_shared_object(path) == SharedObject(needed=("other.so",))
    path.unlink()
    assert read_shared_object(path) is None


def test_nothing_that_is_made_to_do_harm_is_an_error_or_takes_long(tmp_path) -> None:
    """A string without an end, a segment without an end, endless sections, a pipe, a folder."""
    path = tmp_path / "a.so"
    os.mkfifo(tmp_path / "pipe.so")
    harmful = {
        "no end of a string": GOOD.rstrip(b"\0") + b"a" * 8_000_000,
        "no end of the tags": GOOD[:176] + struct.pack("<qQ", 1, 1) * 500_000,
        "many sections": GOOD[:40] + struct.pack("<Q", 64) + GOOD[48:58]
        + struct.pack("<HHH", 64, 65_535, 1) + GOOD[64:] + bytes(8_000_000),
        "many segments": GOOD[:56] + struct.pack("<H", 65_535) + GOOD[58:] + bytes(8_000_000),
        "cut off": GOOD[:100],
        "only a name": b"\x7fELF",
        "empty": b"",
        "text": b"import torch\n",
    }  # fmt: skip
    for content in harmful.values():
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        found = read_shared_object(path)
        assert found is None or len(found.needed) <= 2_000
    assert [read_shared_object(tmp_path / name) for name in ("pipe.so", ".", "gone")] == [None] * 3
