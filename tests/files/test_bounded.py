"""Reading what others wrote: regular files only, within a limit, and never a wait."""

import os
import socket
from pathlib import Path

import pytest

from reconciler.files.bounded import NotRegular, TooLarge, read_bytes, read_text


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path):
    fifo, link, folder = tmp_path / "fifo", tmp_path / "link", tmp_path / "folder"
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    expected = {
        fifo: (NotRegular, "it is a named pipe, not a file"),
        link: (NotRegular, "it is a named pipe, not a file"),
        tmp_path / "socket": (NotRegular, "it is a socket, not a file"),
        Path("/dev/zero"): (NotRegular, "it is a device, not a file"),
        folder: (IsADirectoryError, "Is a directory"),
        tmp_path / "none": (FileNotFoundError, "No such file or directory"),
    }
    found = {}
    for path in expected:
        with pytest.raises(OSError) as caught:
            read_bytes(path)
        found[path] = (caught.type, caught.value.strerror)
    listener.close()
    assert found == expected


def test_a_file_is_read_up_to_the_limit_and_not_a_byte_further(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    assert read_bytes(file, 1000) == b"x" * 1000
    with pytest.raises(TooLarge, match="it is larger than 999 bytes"):
        read_bytes(file, 999)
    assert len(read_bytes("/proc/self/maps")) > 1000  # its size is said to be 0


def test_text_is_utf8_with_or_without_a_byte_order_mark(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbf\xc3\xa4\n")
    assert read_text(file) == "\u00e4\n"
    file.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(file)
