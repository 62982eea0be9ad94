"""Takes secrets out of text that leaves the process: logs, status, journal rows, errors.

Recognises secrets by their context (credentials in an address, `Authorization`, `...token=`) and,
once registered, by their value, in whatever form it is quoted. It masks too much rather than too
little, but never a package name such as `tokenizers`. The work is linear in the text.
"""

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from reconciler.log.addresses import LONGEST, Found, is_token, secrets_in, secrets_of_proxy
from reconciler.log.disguises import MASK, Disguised, decoded, disguises_of
from reconciler.patterns import regex

T = TypeVar("T")

SHORTEST = 6
"""In characters; a shorter secret would match inside ordinary words."""
SHORTEST_APART = 4
"""In characters; a secret this short is masked where it stands by itself and is not a word."""
MOST = 1000
"""Registered secrets; later ones are masked by their context only."""

_DEEPEST = 32

_WORDS = r"(?:password|passwd|token|secret|signature|credentials?|api[_-]?key|access[_-]?key)"
_IN_ADDRESS = regex(r"""(?<=://)[^\s/?#"<>]*(?=@)""")
_BROKEN_ADDRESS = regex(
    r"""(?<=://)[^\s/?#"<>@:\[]{1,200}:(?!\d+[/?#])[^\s/?#"<>@]{0,200}[/?#][^\s"<>@]{0,300}(?=@)"""
)
"""A password with a character that ends the host; bounded, as one may begin within another."""
_IN_QUERY = regex(
    rf"""((?:{_WORDS}|[?&](?:sig|key|auth|pass|pwd|pw|access|session|code|[A-Za-z0-9_.-]{{1,40}}[_.-](?:sig|key|auth|pass|pwd)))=(?!=))[^\s&#"',;<>]+""",
    re.IGNORECASE,
)
_ASSIGNED = regex(
    rf"""({_WORDS}(?:["']\s*:\s*|["']?\s+=\s+|=(?=["'])))(?:"[^"]*"|'[^']*'|[^\s"',;=][^\s"',;]*)""",
    re.IGNORECASE,
)
_AUTHORIZATION = regex(
    r"""(authorization["']?\s*[:=]\s*["']?)(?:(?:basic|bearer|token|digest)\s+)?[^\s"',;]+""",
    re.IGNORECASE,
)
_BEARER = regex(r"(\bbearer\s+)(?=[^\s\d]*\d)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
_SECRET_NAME = regex(rf"(?:^|.*[_-])(?:{_WORDS}|authorization|cookie)$", re.IGNORECASE | re.DOTALL)


class Redactor:
    """Masks secrets; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[object] = set()
        self._secrets: tuple[Disguised, ...] = ()

    def register(self, secret: str) -> None:
        """Mask `secret` from now on wherever it occurs, in all its forms.

        A secret shorter than `SHORTEST` is only masked where it stands by itself; a shorter
        word or number only by its context.
        """
        self._add(Found(value=secret))

    def register_addresses(self, text: str) -> None:
        """Register the user information and the queries of all addresses in `text`."""
        if "://" in text:
            for found in secrets_in(text):
                self._add(found)

    def register_document(self, value: object, name: str = "", depth: int = 0) -> None:
        """Register the secrets in a parsed document: in its addresses, and under secret names."""
        if depth > _DEEPEST:
            return
        if isinstance(value, str):
            self.register_addresses(value)
            if name and is_secret_name(name):
                self.register(value)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self.register_document(item, str(key), depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            for item in value:
                self.register_document(item, name, depth + 1)

    def register_addresses_of(self, value: object) -> None:
        """As `register_addresses`, for every text in a document that was parsed safely."""
        if isinstance(value, str):
            self.register_addresses(value)
        elif isinstance(value, Mapping | list):
            for one in value.values() if isinstance(value, Mapping) else value:
                self.register_addresses_of(one)

    def register_environment(self, env: Mapping[str, str]) -> None:
        """Register the secrets among environment variables.

        These are the values of `UV_INDEX_NAME_PASSWORD` and similar names, and whatever stands in
        the addresses of indexes and proxies.
        """
        for name, value in env.items():
            if is_secret_name(name) or (name.endswith("_USERNAME") and is_token(value)):
                self.register(value)
            if "://" in value:
                self.register_addresses(value)
            elif "@" in value and name.lower().endswith("_proxy"):
                for found in secrets_of_proxy(value):
                    self._add(found)

    def _add(self, found: Found) -> None:
        if found in self._known or len(self._known) >= MOST:
            return
        fresh = tuple(_disguised(found))
        with self._lock:
            if found not in self._known and fresh:
                self._known.add(found)
                # The longest first: a shorter one may be its beginning.
                every = (*self._secrets, *fresh)
                self._secrets = tuple(sorted(every, key=lambda it: len(it.secret), reverse=True))

    def __call__(self, text: str) -> str:
        """`text` with every secret masked."""
        for secret in self._secrets:
            if secret.core in text:
                text = secret.mask(text)
        if "://" in text:
            text = _IN_ADDRESS.sub(_without_credentials, text)
            text = _BROKEN_ADDRESS.sub(MASK, text)
        if "=" not in text and ":" not in text and "earer" not in text.lower():
            return text
        text = _AUTHORIZATION.sub(rf"\1{MASK}", text)
        text = _BEARER.sub(rf"\1{MASK}", text)
        if "=" in text:
            text = _IN_QUERY.sub(rf"\1{MASK}", text)
        return _ASSIGNED.sub(rf"\1{MASK}", text)


def _disguised(found: Found) -> Iterable[Disguised]:
    """How to recognise a secret; nothing if only its context can tell it."""
    if found.secret:
        after = re.escape(found.after)
        end = f"(?={after})" if after else r"(?![^\s&#;\"'<>)\],])"
        return [Disguised(found.secret, before=re.escape(found.before), after=end)]
    length = len(decoded(found.value).strip())
    if length > LONGEST or length < SHORTEST_APART:
        return []
    if length < SHORTEST:
        if found.value.isalpha() or found.value.replace(".", "").isdecimal():
            return []
        return [Disguised(found.value, before=r"(?<![A-Za-z0-9])", after=r"(?![A-Za-z0-9])")]
    return disguises_of(found.value.strip())


def _without_credentials(match: re.Match[str]) -> str:
    return match[0] if match[0] == "git" else MASK  # git@ is the usual user for ssh, not a secret


def is_secret_name(name: str) -> bool:
    """Whether a key, a header or a variable with this name contains a secret."""
    return bool(_SECRET_NAME.match(name))


redact = Redactor()
"""The process-wide redactor: `redact(text)`."""


def in_places(text: str | None) -> str | None:
    """`text` without the credentials of URLs in it; a text without a URL is returned as it is."""
    return redact(text) if text and "://" in text else text


def register_secret(secret: str) -> None:
    """Mask `secret` in everything from now on."""
    redact.register(secret)


_NAMES = frozenset(
    {"name", "environment", "executable", "python", "pyproject", "prefix", "file", "revision"}
)
"""Keys whose values are looked up again, and never quote others."""


def without_secrets(value: T) -> T:
    """The same structs, mappings and lists with every text masked; unchanged ones are kept."""
    return _masked(value)  # type: ignore[no-any-return]


def _masked(value: Any) -> Any:
    if type(value) is str:
        return redact(value)
    if isinstance(value, msgspec.Struct):
        changed = {}
        for name in value.__struct_fields__:
            before = getattr(value, name)
            after = before if name in _NAMES else _masked(before)
            if after is not before and after != before:
                changed[name] = after
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        return {k: v if k in _NAMES else _masked(v) for k, v in value.items()}
    if type(value) in (list, tuple):
        items = [_masked(item) for item in value]
        same = all(a is b or a == b for a, b in zip(items, value, strict=True))
        return value if same else type(value)(items)
    return value


def plain(value: Any, name: str = "") -> Any:
    """`value` as plain JSON types, without secrets; anything else becomes its `str()`.

    Args:
        value: Anything.
        name: The key that it belongs to, which may mark it as secret.
    """
    if isinstance(value, bool | int | float) or value is None:
        return value
    if name and is_secret_name(name):
        return MASK
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value, enc_hook=str)
    if isinstance(value, Mapping):
        return {str(key): plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return redact(str(value).encode("utf-8", "backslashreplace").decode())
