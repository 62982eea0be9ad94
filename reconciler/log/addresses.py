"""Finds the secrets that stand in addresses: user information, queries and fragments.

Pure. It reads addresses as people write them, also where a password has characters that RFC 3986
does not allow there (`/`, `?`, `#`, `@`, a space). It takes too much rather than too little.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

from reconciler.patterns import regex

LONGEST = 4096
"""In characters; what is longer is not an address with a password."""

_SCHEME = regex(r"([A-Za-z][A-Za-z0-9+.-]{0,30})?://")
_AUTHORITY = regex(r"[^/?#\\\s]*")
_HOST = regex(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][\w.-]*)(?::\d+)?(?=[/?#\s;,\"']|$)")
_FAMILIAR_HOST = regex(r"[\w-]+\.[\w.-]+|localhost|\[.*\]")
_SECRET_KEY = regex(
    r"key|auth|token|sig|pass|pwd|secret|code|access|cred|session|ticket|bearer", re.IGNORECASE
)
_END_OF_STRING = regex(r"""["'](?=\s*(?:[,;\]})]|$))""")
"""Where the string in a file ends that contains an address, as in `"name @ https://...",`."""
_WORD = regex(r"[A-Za-z]?[a-z]{0,15}|[0-9.]{1,12}")
_TOKEN_LENGTH = 16
_NO_SECRET_USERS = frozenset({"git", "hg", "svn"})
_NO_SECRET_PASSWORDS = frozenset({"", "x-oauth-basic", "x-token-auth"})


class Found(msgspec.Struct, frozen=True):
    """One secret.

    Either a `value`, masked wherever it occurs; or a `secret`, masked only between `before` and
    `after`.
    """

    value: str = ""
    before: str = ""
    secret: str = ""
    after: str = ""


def secrets_in(text: str) -> Iterator[Found]:
    """The secrets of all addresses in a text: a value, a line of a file, or a whole file."""
    starts = list(_SCHEME.finditer(text))
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        yield from _of_address(start[1] or "", _region(text, start, end))


def secrets_of_proxy(text: str) -> Iterator[Found]:
    """The secrets of a proxy's address, which may have no scheme."""
    yield from secrets_in(text if "://" in text else f"http://{text}")


def _region(text: str, start: re.Match[str], end: int) -> str:
    """What belongs to the address: up to the end of its quotes or of its line."""
    end = min(end, start.end() + LONGEST)
    line = text.find("\n", start.end(), end)
    end = line if line >= 0 else end
    quote = text[start.start() - 1 : start.start()]
    if quote in ("'", '"'):
        closing = text.find(quote, start.end(), end)
        end = closing if closing >= 0 else end
    return text[start.end() : end]


def _of_address(scheme: str, rest: str) -> Iterator[Found]:
    infos = tuple(_user_infos(rest, repository=scheme.startswith(("git+", "hg+", "svn+"))))
    for info in infos:
        yield from _of_user_info(info)
    after = rest[len(infos[-1]) + 1 :] if infos else rest
    after, _, fragment = after.partition("#")
    query = after.partition("?")[2]
    yield from _of_pairs(query, "?&", every=True)
    if query and fragment and "=" not in fragment:  # a `#` in the secret itself
        yield from _of_pairs(f"{query}#{fragment}", "?&", every=True)
        yield Found(value=fragment.strip())
    yield from _of_pairs(fragment, "#&", every=False)


def _user_infos(rest: str, *, repository: bool) -> Iterator[str]:
    """What may be the user information, the shortest first."""
    matched = _AUTHORITY.match(rest)
    authority = matched[0] if matched else ""
    info, at, _host = authority.rpartition("@")
    if at:
        yield info
    whole = rest
    head, reference, _ = rest.rpartition("@")
    if repository and reference and "@" in head:
        whole = head  # git+https://me:pa/ss@host/r.git@main
    wide, wide_at, after = whole.rpartition("@")
    if (
        wide_at
        and wide != info
        and _HOST.match(after)
        and _is_wide(authority, at, after, repository)
    ):
        yield wide


def _is_wide(authority: str, at: str, after: str, repository: bool) -> bool:
    """Whether a later `@` ends the user information, and not a path."""
    if at:
        return True
    bracketed, _, _ = authority.rpartition("]")
    if bracketed:  # IPv6
        return False
    host, colon, port = authority.partition(":")
    if colon and port and not port.isdecimal():
        return True
    if _FAMILIAR_HOST.fullmatch(host):
        return False
    follows = _FAMILIAR_HOST.match(after) is not None
    return follows and "/" in after if repository else follows or bool(colon)


def _of_user_info(info: str) -> Iterator[Found]:
    if info in _NO_SECRET_USERS:
        return
    yield Found(before="://", secret=info, after="@")
    user, _, password = info.partition(":")
    if password not in _NO_SECRET_PASSWORDS:
        yield Found(value=password)
        pair = f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogateescape")
        yield Found(value=b64encode(pair).decode().rstrip("="))
        if is_token(user):
            yield Found(value=user)
    elif user:
        yield Found(value=user)


def is_token(user: str) -> bool:
    """Whether a user name beside a password looks like a token; `ana` and `__token__` do not."""
    return len(user) >= _TOKEN_LENGTH and any(map(str.isdigit, user))


def _of_pairs(text: str, separators: str, *, every: bool) -> Iterator[Found]:
    """The secrets of a query, or of a fragment, in which only some keys count."""
    for pair in re.split("[&;]", text) if text else ():
        name, equals, value = pair.partition("=")
        if not equals:
            name, value = "", pair
        telling = _SECRET_KEY.search(name) is not None
        if not every and not telling:
            continue
        words = value.split()
        quoted = _END_OF_STRING.split(value, 1)[0]
        for one in dict.fromkeys((*words[:1], quoted.strip(), value.strip())):
            if not one:
                continue
            for separator in separators:
                yield Found(before=f"{separator}{name}{equals}", secret=one)
            if telling or not _WORD.fullmatch(one):
                yield Found(value=one)
