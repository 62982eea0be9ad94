"""Names in the configuration: of packages, environments, hosts, users and addresses."""

import ipaddress
import re
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from reconciler.config.problem import Unfit
from reconciler.patterns import regex

_NAME = regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PATTERN = regex(r"[A-Za-z0-9*?](?:[A-Za-z0-9._*?-]*[A-Za-z0-9*?])?")
_LEADING_NAME = regex(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*[\[(<>=!~;@ ]")
_HOST = regex(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.?)+")
_USER = regex(r"[A-Za-z_][A-Za-z0-9_.@-]{0,254}\$?")
_ENVIRONMENT = regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HIGHEST_UID = 2**32 - 2
"""To the kernel, the next number means "no user"."""


def normalised(name: str) -> str:
    """The name of a package, an extra or a group, normalised by PEP 503 and PEP 685.

    Raises:
        Unfit: It is not such a name.
    """
    if not _NAME.fullmatch(name):
        raise _unfit_name(name, "a name of letters, digits, '-', '_' and '.'")
    return canonicalize_name(name)


def pattern(text: str) -> str:
    """The same for a glob with `*` and `?`."""
    if not _PATTERN.fullmatch(text):
        raise _unfit_name(text, "a package name, or a glob with * and ?")
    return canonicalize_name(text)


def _unfit_name(text: str, expected: str) -> Unfit:
    leading = _LEADING_NAME.match(text)
    return Unfit(
        reason=f'expected {expected}, found the entry "{text}"',
        fix=f'Write "{leading[1]}", without version, extras or markers.' if leading else None,
    )


def environment(name: str) -> str:
    """The name of an environment; it is used in URLs and file names.

    Raises:
        Unfit: It cannot be used there.
    """
    if not _ENVIRONMENT.fullmatch(name):
        raise Unfit(
            reason="expected a name of at most 64 letters, digits, '.', '_' and '-' that begins "
            "with a letter or digit",
            fix=f"Write [environments.{environment_like(name)}].",
        )
    return name


def environment_like(text: str) -> str:
    """The nearest valid name for an environment."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("-._")[:64].rstrip("-")
    return name or "default"


def host(text: str) -> str:
    """A name that a Host header may carry, in lower case, without port.

    Raises:
        Unfit: It is a wildcard, has a port or a path, or is not a host name.
    """
    lowered = text.lower()
    bracketed = lowered.startswith("[") and lowered.endswith("]")
    if (bracketed and _is_ip(lowered[1:-1])) or _HOST.fullmatch(lowered):
        return lowered
    if _is_ip(lowered):
        return f"[{lowered}]"
    fix = None
    if "*" in text:
        fix = "Write each name out; a wildcard would give any web page access."
    elif re.fullmatch(r".+:\d+", text):
        fix = "Leave out the port."
    raise Unfit(reason=f'expected a host name without a port, found the entry "{text}"', fix=fix)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
        if "%" in text:  # a zone may be any text, and no Host header has one
            return False
    except ValueError:
        return False
    return True


def user(entry: str | int) -> str | int:
    """A local user by name or uid; not checked for existence here.

    Raises:
        Unfit: It is not a valid user name or id.
    """
    if isinstance(entry, int):
        if 0 <= entry <= HIGHEST_UID:
            return entry
        raise Unfit(reason=f"expected a user id from 0 to {HIGHEST_UID}, found the entry {entry}")
    if not _USER.fullmatch(entry):
        raise Unfit(
            reason=f'expected a user name or a numeric user id, found the entry "{entry}"',
            fix=f"Write {entry}, without quotes." if entry.isdecimal() else None,
        )
    return entry


def url(text: str, expected: str) -> str:
    """The URL of a webhook, without credentials.

    Raises:
        Unfit: It has another scheme, no host, or a user name or password.
    """
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or re.search(r"[\s\x00-\x1f\x7f-\x9f]", text):
        raise Unfit(expected)
    if "@" in parts.netloc:
        raise Unfit(
            reason="expected an address without a user name and password",
            fix="Put the whole address into a file, and set url_file to its path.",
        )
    return text
