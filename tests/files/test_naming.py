"""An error of a write names the file, as an error of an open does."""

import errno
from pathlib import Path

import pytest

from reconciler.files.naming import naming

FULL = Path("/dev/full")


def test_an_error_without_a_file_gets_one():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'") as caught:  # noqa: SIM117
        with naming(FULL):
            FULL.write_text("more than fits")
    assert caught.value.errno == errno.ENOSPC


def test_an_error_that_names_its_file_keeps_it(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as caught, naming(FULL):
        missing.read_text()
    assert caught.value.filename == str(missing)
