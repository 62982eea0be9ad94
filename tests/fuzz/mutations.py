"""Turns a valid document into a broken or odd one; the same seed makes the same documents."""

import copy
import json
from collections.abc import Iterator, MutableMapping, MutableSequence
from random import Random
from typing import Any

import tomli
import tomli_w

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e308, -0.0, float("nan"),
    float("inf"), "", " ", "\0", "\n", "\r", "\x1b[2J", "\u2028", "\ufeff", "\u202e", "\ud800",
    "é" * 300, "\U0001d54f", "/", "..", "../../etc", "/etc/passwd", "~", "~nobody/x", "a/../b",
    "//", "." * 300, "x" * 5_000, "1" * 5_000, "https://[x", "https://h:99999999/", "file:",
    "file:///a%00b", "git+", "git+ssh://git@[", "a @ ", "a>=", "a[", "a;", "!=", "*", "[", "%s",
    "${HOME}", "{}", "1!1", "1.0+é", "==1.*", "²", "٣", "-1", "1e999", "0x10", "9" * 30, "nan",
    [], {}, [[]], [{}], {"": ""}, {"a": {"a": {"a": []}}}, [None], [0], [""], ["a", 1],
    {"\0": "\0"},
)  # fmt: skip
"""Values that any field may be given in place of its own."""
WORDS: tuple[bytes, ...] = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b"\x0c",
    b"\x85", b"\x1b[31m", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"'", b'"', b'"""', b"'''", b"\\",
    b"\\u0000", b"\\ud800", b"#", b"=", b",", b";", b":", b"@", b"[", b"]", b"{", b"}", b"(",
    b")", b"[[", b"]]", b".", b"..", b"/", b"//", b"../", b"%00", b"%", b"~", b"$", b"${", b"*",
    b"**", b"-", b"--", b"+", b"!", b" ", b"\t", b"0", b"-1", b"1e999", b"9" * 40, b"1" * 5_000,
    b"true", b"null", b"nan", b"inf", b"\xc2\xb2", b"\xd9\xa3", b"https://", b"file:///", b"git+",
    b"'''exec' ", b"import ", b"error: ",
)  # fmt: skip
"""Pieces that mean something to one parser or another."""
_LARGEST = 200_000


def mutated(document: bytes, seed: int) -> bytes:
    """A document made from a valid one: mostly one change, sometimes several."""
    random = Random(seed)
    changes = (*_ANY, *((_in_json, _in_json, _in_json) if _is_json(document) else ()))
    if _is_toml(document):
        changes = (*changes, _in_toml, _in_toml, _in_toml)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        document = random.choice(changes)(document, random)[:_LARGEST]
    return document


def grown(document: bytes, seed: int) -> bytes:
    """A document of 250,000 bytes more: one piece of it many times over."""
    random = Random(seed)
    start = random.randrange(len(document) or 1)
    piece = document[start : start + random.choice((1, 3, 20, 200))] or b"x"
    return document[:start] + piece * (250_000 // len(piece)) + document[start:]


def _is_json(document: bytes) -> bool:
    return document.lstrip()[:1] in (b"{", b"[")


def _is_toml(document: bytes) -> bool:
    try:
        return bool(tomli.loads(document.decode()))
    except ValueError:
        return False


def _cut(document: bytes, random: Random) -> bytes:
    return document[: random.randrange(len(document) + 1)]


def _without(document: bytes, random: Random) -> bytes:
    start = random.randrange(len(document) + 1)
    return document[:start] + document[start + random.choice((1, 2, 10, 100)) :]


def _flipped(document: bytes, random: Random) -> bytes:
    changed = bytearray(document)
    for _ in range(random.choice((1, 1, 3, 30)) if document else 0):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def _inserted(document: bytes, random: Random) -> bytes:
    start = random.randrange(len(document) + 1)
    word = random.choice(WORDS) * random.choice((1, 1, 1, 2, 60))
    return document[:start] + word + document[start + random.choice((0, len(word))) :]


def _lines(document: bytes, random: Random) -> bytes:
    lines = document.splitlines(keepends=True) or [b""]
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            lines[at:at] = [lines[other]] * random.choice((1, 2, 50))
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = random.choice(WORDS) + lines[at]
    return b"".join(lines)


def _nested(document: bytes, random: Random) -> bytes:
    start = random.randrange(len(document) + 1)
    deep = random.choice((60, 2_000, 50_000))
    opened, closed = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}"), (b"(", b")")))
    middle = opened * deep + (b"1" + closed * deep if random.random() < 0.7 else b"")
    return document[:start] + middle + document[start:]


def _noise(_: bytes, random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 7, 300)))


_ANY = (_cut, _without, _flipped, _inserted, _inserted, _lines, _nested, _noise)


def _in_json(document: bytes, random: Random) -> bytes:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return document
    return json.dumps(_with_an_odd_value(value, random)).encode()


def _in_toml(document: bytes, random: Random) -> bytes:
    try:
        changed = _with_an_odd_value(tomli.loads(document.decode()), random)
        return tomli_w.dumps(changed).encode() if isinstance(changed, dict) else document
    except (ValueError, TypeError, RecursionError):
        return document


def _with_an_odd_value(value: Any, random: Random) -> Any:
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return random.choice(ODD)
    parent, key = random.choice(places)
    action = random.randrange(6)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, MutableMapping):
        parent[str(random.choice(ODD))[:300]] = parent.pop(key)
    elif action == 2:
        parent[key] = [parent[key]]
    else:
        parent[key] = copy.deepcopy(random.choice(ODD))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a tree: the table or list that has it, and its key or index."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, MutableMapping):
            pairs: Any = list(one.items())
        elif isinstance(one, MutableSequence):
            pairs = list(enumerate(one))
        else:
            continue
        for key, inner in pairs:
            yield one, key
            waiting.append(inner)
