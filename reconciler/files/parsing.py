"""Parses TOML and JSON that others wrote; whatever is wrong with it is an error of the parser.

A parser gives up on deep nesting with a RecursionError, and on a number of too many digits with a
plain ValueError; and what it accepts may still be too deep for those who walk through it. Here
both are ordinary errors of the format, which every caller expects anyway.
"""

import json
from typing import Any, TypeVar

import msgspec
import tomli

T = TypeVar("T")

DEEPEST = 50
"""Levels of tables and lists in a TOML document. No real file has more than ten."""
_DEEP = "tables or lists are nested too deeply"


def toml_of(text: str) -> dict[str, Any]:
    """A TOML document.

    Raises:
        tomli.TOMLDecodeError: It is not one, is nested too deeply, or has too long a number.
    """
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomli.TOMLDecodeError(_DEEP, text, 0) from None
    except ValueError as error:
        raise tomli.TOMLDecodeError("a number has too many digits", text, 0) from error
    if _deeper_than(document, DEEPEST):
        raise tomli.TOMLDecodeError(_DEEP, text, 0)
    return document


def json_of(text: str | bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: It is none, is nested too deeply, or has half of a surrogate pair.
    """
    try:
        value = json.loads(text)
        if (b"\\u" if isinstance(text, bytes) else "\\u") in text:  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(_DEEP) from None
    return value


def json_as(text: str | bytes, kind: type[T]) -> T:
    """A JSON value as a `kind`.

    Raises:
        msgspec.DecodeError: It is none, is nested too deeply, or is not UTF-8.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        raise
    except RecursionError:
        raise msgspec.DecodeError(_DEEP) from None
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8 text: {error.reason}") from error


def _deeper_than(document: dict[str, Any], levels: int) -> bool:
    """Level by level, without recursion."""
    level: list[Any] = [document]
    for _ in range(levels):
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return False
    return True
