"""Whether two addresses of a package mean the same place, as uv compares them. Pure.

uv records its own spelling in `direct_url.json` (PEP 610), so texts cannot be compared. The
disk is asked only when two local paths differ: a symbolic link may lead from one to the other.
"""

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.patterns import regex

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_IGNORES_CASE = "github.com"
_ESCAPED_DOT = regex(r"%2e", re.IGNORECASE)


def same_place(asked: str, installed: str, *, repository: bool = False) -> bool:
    """Whether two URLs mean the same place.

    Fragments, credentials and `.git` make no difference, nor does the case of scheme and host.
    Escapes count only in a local path: to a server, `%2B` and `+` may be two files.

    Args:
        asked: The declared URL, or a local path.
        installed: The recorded URL.
        repository: Whether they are repositories, which uv never compares through links.
    """
    if asked == installed:
        return True
    one, other = local_path(asked), local_path(installed)
    if one is None or other is None:
        return one is other and _remote(asked, repository) == _remote(installed, repository)
    return one == other or (not repository and _is_same_file(one, other))


def local_path(url: str) -> Path | None:
    """The path that a URL (or a plain path) means on this machine, normalized; None if remote."""
    parts = parts_of(url)
    if parts.scheme not in ("", "file") or _host(parts) not in ("", "localhost"):
        return None
    path = unquote(parts.path)
    if "\0" in path:  # no path of this machine has one, and every call of the system refuses it
        return None
    return Path(posixpath.normpath("/" + path.lstrip("/")))


def from_home(path: str | Path) -> Path:
    """A path with `~` and `~USER` replaced; as in a shell, it stays if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def parts_of(url: str) -> SplitResult:
    """The parts of a URL; anything else is a path."""
    try:
        return urlsplit(url)
    except ValueError:  # not an address: a path with brackets, say
        return SplitResult("", "", url, "", "")


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").lower()


def _remote(url: str, repository: bool) -> tuple[str, ...]:
    parts = parts_of(url)
    host, path = _host(parts), _without_dots(parts.path)
    if host == _IGNORES_CASE:
        path = path.lower()
    path = path.removesuffix("/")
    if path.lower().endswith(".git"):
        path = path[: -len(".git")]
    return parts.scheme, host, _port(parts), path, "" if repository else parts.query


def _port(parts: SplitResult) -> str:
    """The port as written, unless it is the scheme's own."""
    written = parts.netloc.rpartition("]")[2].rpartition(":")[2]
    return written if written.isdigit() and written != _DEFAULT_PORTS.get(parts.scheme) else ""


def _without_dots(path: str) -> str:
    """Without `.` and `..`, as a browser would ask for it; `//` stays."""
    kept: list[str] = []
    for part in path.split("/"):
        plain = _ESCAPED_DOT.sub(".", part)
        if plain == "..":
            del kept[max(1, len(kept) - 1) :]
        elif plain != ".":
            kept.append(part)
    return "/".join(kept)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 -- as uv compares them
    except (OSError, ValueError):  # ValueError: a NUL
        return False
