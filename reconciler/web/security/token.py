"""Reads the bearer token from a file that nobody else may read. It is never shown or logged."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from reconciler.files.bounded import open_regular
from reconciler.log.redact import register_secret

SHORTEST = 16


@dataclass(slots=True, eq=False)
class TokenUnusable(Exception):
    """The token file cannot be used."""

    path: Path
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"token_file {self.path}: {self.reason}. {self.fix}"


def read_token(path: Path) -> str:
    """The token: the first line of the file.

    Raises:
        TokenUnusable: the file cannot be read, others may read it, or it has no valid token.
    """
    try:
        descriptor = open_regular(path)
        with os.fdopen(descriptor, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            line = file.readline(4096).strip()
    except OSError as error:
        fix = "Make it readable for the service's user, or remove http.token_file."
        raise TokenUnusable(path, error.strerror or str(error), fix) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise TokenUnusable(path, "other users may read or change it", f"Run `chmod 600 {path}`.")
    if len(line) < SHORTEST or not line.isascii() or b" " in line:
        fix = f"Create one with `head -c 24 /dev/urandom | base64 > {path}`."
        raise TokenUnusable(
            path, f"its first line is not a token of at least {SHORTEST} ASCII characters", fix
        )
    token = line.decode()
    register_secret(token)
    return token
