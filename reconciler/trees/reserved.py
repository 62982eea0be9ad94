"""Names in an environment that belong to it or to Reconciler, and so never to a package. Pure.

A package that brings one is refused; one whose RECORD claims it does not take it along.
"""

import re
from posixpath import normpath

from reconciler.patterns import regex

_RESERVED = regex(
    r"""(
      \.reconciler(-vault)?(/.*)?                       # ours
    | generation\.json | pyvenv\.cfg | \.lock | \.gitignore | cachedir\.tag
    | bin | lib(32|64)? | include | scripts             # a file instead of the folder
    | (bin|scripts)/(python|pypy|graalpy)(\d+(\.\d+)?)?[dtw]?(\.exe)?
    | (bin|scripts)/((de)?activate(\.(bat|csh|fish|nu|ps1))?|activate_this\.py)
    | lib(64)?/(python|pypy)[\d.]+t?/(?!(site|dist)-packages(/|$)).*  # the standard library
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_reserved(path: str) -> bool:
    """Whether this file belongs to the environment itself, or to Reconciler.

    Args:
        path: Relative to the environment, and plain; upper and lower case count as the same.
    """
    return _RESERVED.fullmatch(path) is not None


def is_plain(path: str) -> bool:
    """Whether a path is relative, normalized, and stays inside the folder that it starts in."""
    outside = path.startswith(("/", "../")) or path in ("", ".", "..")
    return not outside and "\0" not in path and normpath(path) == path


def may_belong_to_package(path: str) -> bool:
    """Whether this is a path inside an environment that a package can own."""
    return is_plain(path) and not is_reserved(path)
