"""One secret in everything that it may look like: raw, percent-encoded, escaped, or wrapped."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote

from reconciler.patterns import regex

MASK = "****"

_SAFE = regex(r"[A-Za-z0-9_.~-]+")
_ESCAPES = {"\n": "n", "\r": "r", "\t": "t"}
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot|#34|#x22", "'": "apos|#39|#x27"}
_MOST_DECODINGS = 3
_SHORTEST_HALF = 4


@dataclass(frozen=True)
class Disguised:
    """A secret, masked in all its forms.

    Args:
        secret: Its text, in any encoding.
        before: An expression for what has to stand before it and stays.
        after: An expression for what has to follow.
    """

    secret: str
    before: str = ""
    after: str = ""
    core: str = field(init=False)
    """Its longest part that looks the same in every form: a cheap test for most texts."""

    def __post_init__(self) -> None:
        plain = decoded(self.secret)
        object.__setattr__(self, "core", max(_SAFE.findall(plain), key=len, default=""))

    def mask(self, text: str) -> str:
        """The text with the secret masked."""
        return self._pattern.sub(rf"\1{MASK}", text) if self.core in text else text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        body = "".join(map(_forms_of, _pieces(decoded(self.secret))))
        return re.compile(f"({self.before}){body}{self.after}", re.MULTILINE)


def decoded(secret: str) -> str:
    """The secret without percent-encoding, however often it was encoded."""
    for _ in range(_MOST_DECODINGS):
        plain = unquote(secret, errors="surrogateescape")
        if plain == secret:
            break
        secret = plain
    return secret


def _pieces(plain: str) -> list[str]:
    return re.findall(r"\s+|\S", plain)


def _forms_of(piece: str) -> str:
    """An expression for one character, or for white space, in every form.

    Each form is bounded and none is the beginning of another's repetition, so that matching is
    linear.
    """
    if _SAFE.fullmatch(piece):
        return re.escape(piece)
    if piece.isspace():  # uv and terminals break lines there
        return r"(?:\s{1,80}(?:[│|]\s{0,80})?|\+|(?:%(?:25){0,3}(?:20|0[9aAdD])){1,8}|\\[nrt])"
    code = ord(piece)
    raw = piece.encode("utf-8", "surrogateescape")
    percent = "".join(f"%(?:25){{0,3}}{_hex(f'{byte:02x}')}" for byte in raw)
    forms = [percent, rf"\\{{0,4}}{re.escape(piece)}"]
    forms += [f"&(?:{_ENTITIES[piece]});"] if piece in _ENTITIES else []
    if piece == "\\":
        forms[1] = r"\\{1,4}"
    if code <= 0xFFFF:
        forms.append(rf"\\{{1,2}}u\{{?{_hex(f'{code:04x}')}\}}?")
    if code > 0x7F:
        forms.append("".join(rf"\\{{1,2}}x{_hex(f'{byte:02x}')}" for byte in raw))
        forms.append(rf"\\{{1,2}}u\{{{_hex(f'{code:x}')}\}}")
    return f"(?:{'|'.join(forms)})"


def _hex(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def disguises_of(value: str) -> list[Disguised]:
    """A value wherever it occurs; also half of it, where a line was broken within it."""
    found = [Disguised(value)]
    words = decoded(value).split()
    for number in range(1, min(len(words), 9)):
        head, tail = " ".join(words[:number]), " ".join(words[number:])
        if len(head) >= _SHORTEST_HALF:
            found.append(Disguised(head, r"(?<![A-Za-z0-9])", r"(?=[ \t]{0,80}$)"))
        if len(tail) >= _SHORTEST_HALF:
            found.append(Disguised(tail, r"^[ \t│|]{0,80}", r"(?![A-Za-z0-9])"))
    return found
