"""Takes secrets out of text that leaves the process: logs, status, journal rows, errors.

Recognises secrets by their context (credentials in a URL, `Authorization`, `...token=`) and,
once registered, by their value. It masks too much rather than too little, but never a package
name such as `tokenizers`.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

MASK = "****"
SHORTEST = 6
"""In characters; a shorter secret would match inside ordinary words."""

_WORDS = r"(?:password|passwd|token|secret|signature|credentials?|api[_-]?key|access[_-]?key)"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_IN_ADDRESS = re.compile(r"""(?<=://)[^\s/?#"'<>]*(?=@)""")
_IN_QUERY = re.compile(rf"""((?:{_WORDS}|[?&]sig)=(?!=))[^\s&#"',;<>]+""", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"""({_WORDS}(?:["']\s*:\s*|["']?\s+=\s+|=(?=["'])))(?:"[^"]*"|'[^']*'|[^\s"',;=][^\s"',;]*)""",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"""(authorization["']?\s*[:=]\s*["']?)(?:(?:basic|bearer|token|digest)\s+)?[^\s"',;]+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer\s+)(?=[^\s\d]*\d)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
_SECRET_NAME = re.compile(
    rf"(?:^|.*[_-])(?:{_WORDS}|authorization|cookie)$", re.IGNORECASE | re.DOTALL
)


class Redactor:
    """Masks secrets; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._registered: re.Pattern[str] | None = None

    def register(self, secret: str) -> None:
        """Mask `secret` from now on wherever it occurs, including percent-encoded.

        A secret shorter than `SHORTEST` is only masked by its context.
        """
        if len(secret) < SHORTEST:
            return
        with self._lock:
            self._secrets |= {secret, quote(secret, safe="")}
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._registered = re.compile("|".join(map(re.escape, longest_first)))

    def register_environment(self, env: Mapping[str, str]) -> None:
        """Register the secrets among environment variables.

        These are the values of `UV_INDEX_NAME_PASSWORD` and similar names, and the passwords in
        the URLs of indexes and proxies.
        """
        for name, value in env.items():
            if is_secret_name(name):
                self.register(value)
            for secret in _passwords(value):
                self.register(secret)

    def __call__(self, text: str) -> str:
        """`text` with every secret masked."""
        if self._registered is not None:
            text = self._registered.sub(MASK, text)
        if "://" in text:
            text = _IN_ADDRESS.sub(_without_credentials, text)
        text = _AUTHORIZATION.sub(rf"\1{MASK}", text)
        text = _BEARER.sub(rf"\1{MASK}", text)
        text = _IN_QUERY.sub(rf"\1{MASK}", text)
        return _ASSIGNED.sub(rf"\1{MASK}", text)


def _without_credentials(match: re.Match[str]) -> str:
    return match[0] if match[0] == "git" else MASK  # git@ is the usual user for ssh, not a secret


def _passwords(value: str) -> Iterator[str]:
    for address in _ADDRESS.findall(value):
        try:
            parts = urlsplit(address)
        except ValueError:
            continue
        secret = parts.password or parts.username
        if secret:
            yield from {secret, unquote(secret)}


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
