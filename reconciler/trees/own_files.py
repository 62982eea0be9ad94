"""Reads what we wrote into our folder. It is not trusted: someone may have changed it since."""

import errno
from pathlib import Path
from typing import TypeVar

from reconciler.files.bounded import MOST, NotRegular, TooLarge, read_bytes
from reconciler.files.parsing import json_as

_Kind = TypeVar("_Kind")
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP)
"""What does not end by itself; EMFILE, say, does."""


class NotOurs(ValueError):
    """One of our files is not as we wrote it; says why."""


def read_own(path: Path, kind: type[_Kind], limit: int = MOST) -> _Kind:
    """What one of our JSON files says.

    Args:
        path: The file; a symbolic link is not followed.
        kind: The type to read.
        limit: The most bytes that it may have.

    Raises:
        NotOurs: It is a link, it is not such a file, or it cannot be read.
        OSError: It is missing, or cannot be read just now.
    """
    if path.is_symlink():
        raise NotOurs("it is a symbolic link")
    try:
        return json_as(read_bytes(path, limit), kind)
    except (NotRegular, TooLarge, IsADirectoryError) as error:
        raise NotOurs(error.strerror) from error
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        raise NotOurs(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise NotOurs(f"it is damaged ({error})") from error
