"""Reads what we wrote into our folder. It is not trusted: someone may have changed it since."""

from pathlib import Path
from typing import TypeVar

from reconciler.files.bounded import MOST, NotRegular, TooLarge, read_bytes
from reconciler.files.parsing import json_as

_Kind = TypeVar("_Kind")


class NotOurs(ValueError):
    """One of our files is not as we wrote it; says why."""


def read_own(path: Path, kind: type[_Kind], limit: int = MOST) -> _Kind:
    """What one of our JSON files says.

    Args:
        path: The file; a symbolic link is not followed.
        kind: The type to read.
        limit: The most bytes that it may have.

    Raises:
        NotOurs: It is a link, or it is not such a file.
        OSError: It is missing, or cannot be read.
    """
    if path.is_symlink():
        raise NotOurs("it is a symbolic link")
    try:
        return json_as(read_bytes(path, limit), kind)
    except (NotRegular, TooLarge, IsADirectoryError) as error:
        raise NotOurs(error.strerror) from error
    except ValueError as error:
        raise NotOurs(f"it is damaged ({error})") from error
