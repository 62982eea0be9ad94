"""The forms that a configuration value can have: how each is read, named and shown.

A form judges one value and knows neither its key nor its file. Nothing here reads a file; at
most it checks whether a path is a folder.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from reconciler.config import names, paths, times
from reconciler.config.address import Address, UnixAddress, parse_tcp
from reconciler.config.duration import format_duration, parse_duration
from reconciler.config.paths import Place
from reconciler.config.problem import Unfit
from reconciler.config.toml import toml_text

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Form(msgspec.Struct, frozen=True):
    """One kind of value."""

    words: str
    """Its name in the reference."""
    read: Callable[[Any, Place], Any]
    """From the TOML value to ours; raises `Unfit`."""
    write: Callable[[Any], str] = toml_text
    """From our value to TOML."""


class Tables(msgspec.Struct, frozen=True):
    """A list of tables, each described by the same struct."""

    words: str
    struct: type[msgspec.Struct]


class Key(msgspec.Struct, frozen=True):
    """The description of a key, besides its type and default."""

    form: Form | Tables
    meaning: str
    default: str | None
    """The default in words, if it is not a value."""
    example: Any
    """A sample value for the reference and for fixes, if the default is not a useful one."""
    note: str | None
    """Further explanation, in a paragraph."""


def key(
    form: Form | Tables,
    meaning: str,
    *,
    default: str | None = None,
    example: object = None,
    note: str | None = None,
) -> Key:
    """Describe a key, as metadata of its field's type (`typing.Annotated`)."""
    return Key(form, meaning, default, example, note)


def strict(value: object, wanted: type[T], expected: str) -> T:
    """Return `value` if it has the type `wanted`; never converts.

    Raises:
        Unfit: It has another type.
    """
    try:
        return msgspec.convert(value, wanted, strict=True)
    except msgspec.ValidationError:
        raise Unfit(expected) from None


def one_of(kind: type[E]) -> Form:
    """One word of a fixed set."""
    words = [f'"{member}"' for member in kind]
    expected = ", ".join(words[:-1]) + f" or {words[-1]}"
    return Form(expected, lambda value, _: strict(value, kind, expected))


def some_of(kind: type[E]) -> Form:
    """A non-empty list of words of a fixed set."""
    expected = "a list of " + ", ".join(f'"{member}"' for member in kind)

    def read(value: object, _: Place) -> tuple[E, ...]:
        members = strict(value, tuple[kind, ...], expected)  # type: ignore[valid-type]
        if not members:
            raise Unfit(f"{expected}, at least one")
        return tuple(dict.fromkeys(members))

    return Form(expected, read)


def duration(*, minimum: float = 0.0) -> Form:
    """A duration of at least `minimum` seconds."""
    expected = 'a duration like "300ms" or "10m"'

    def read(value: object, _: Place) -> float:
        return parse_duration(strict(value, str, expected), minimum=minimum)

    return Form("duration", read, lambda seconds: toml_text(format_duration(seconds)))


def count(*, minimum: int, maximum: int = 1000) -> Form:
    """A whole number."""
    expected = f"a whole number from {minimum} to {maximum}"

    def read(value: object, _: Place) -> int:
        number = strict(value, int, expected)
        if not minimum <= number <= maximum:
            raise Unfit(expected)
        return number

    return Form(expected, read)


def tables(struct: type[msgspec.Struct]) -> Tables:
    """A list of tables."""
    return Tables("list of tables", struct)


def _read_wait(value: object, _: Place) -> float | None:
    if isinstance(value, bool):
        return math.inf if value else None
    expected = 'false, true or a duration like "2h"'
    return parse_duration(strict(value, str, expected), minimum=1.0)


def _write_wait(seconds: float | None) -> str:
    if seconds is None or math.isinf(seconds):
        return toml_text(seconds is not None)
    return toml_text(format_duration(seconds))


def _read_commands(value: object, _: Place) -> tuple[tuple[str, ...], ...]:
    expected = "a command as a list of words, or a list of such lists"
    words = strict(value, list[Any], expected)
    commands = [words] if words and isinstance(words[0], str) else words
    return tuple(_command(command, expected) for command in commands)


def _command(value: object, expected: str) -> tuple[str, ...]:
    words = strict(value, tuple[str, ...], expected)
    if not words or not words[0].strip():
        raise Unfit(f"{expected}, each with at least the program's name")
    program, *arguments = words
    odd = [paths.odd_character(program)]
    odd += [paths.odd_character(it, allowed="\t\n") for it in arguments]  # `python -c` of lines
    found = next(filter(None, odd), None)
    if found is not None:
        raise Unfit(
            reason=f"expected {expected}, without control characters, found {found}",
            fix="Write the character as an escape of the program's own language, or remove it.",
        )
    return words


def _write_commands(commands: tuple[tuple[str, ...], ...]) -> str:
    return toml_text(commands[0] if len(commands) == 1 else commands)


def _read_listen(value: object, place: Place) -> Address:
    text = strict(value, str, 'an address like "127.0.0.1:8765", "[::1]:8765" or "unix:PATH"')
    scheme, colon, path = text.partition(":")
    if colon and scheme == "unix":
        return UnixAddress(paths.socket_path(path, place))
    return parse_tcp(text)


def _text(expected: str, judge: Callable[[str, str], T]) -> Callable[[object, Place], T]:
    return lambda value, _: judge(strict(value, str, expected), expected)


def _path(expected: str, resolve: Callable[[str, Place], Path]) -> Form:
    return Form(
        "path",
        lambda value, place: resolve(strict(value, str, expected), place),
        lambda path: toml_text(str(path)),
    )


def _list(words: str, expected: str, judge: Callable[[str], str]) -> Form:
    def read(value: object, _: Place) -> tuple[str, ...]:
        items = strict(value, tuple[str, ...], expected)
        return tuple(dict.fromkeys(judge(item) for item in items))

    return Form(words, read)


def _read_users(value: object, _: Place) -> tuple[str | int, ...]:
    expected = "a list of user names and numeric user ids"
    entries = strict(value, tuple[str | int, ...], expected)
    return tuple(dict.fromkeys(names.user(entry) for entry in entries))


BOOLEAN = Form("true or false", lambda value, _: strict(value, bool, "true or false"))
PATH = _path("a path", paths.absolute)
PYPROJECT = _path(
    "the path of a project's file or of its folder",
    lambda text, place: paths.pyproject_of(paths.absolute(text, place)),
)
PYTHON = _path(
    "the path of an environment's folder or of its interpreter",
    lambda text, place: paths.interpreter_of(paths.absolute(text, place)),
)
NAMES = _list("list of names", "a list of names", names.normalised)
HOLD = _list("list of names or globs", "a list of package names or globs", names.pattern)
HOSTS = _list("list of host names", "a list of host names", names.host)
USERS = Form("list of user names or uids", _read_users)
COMMAND = Form("list of words", lambda value, _: _command(value, "a command as a list of words"))
COMMANDS = Form("list of words, or a list of such lists", _read_commands, _write_commands)
WAIT = Form("true, false or duration", _read_wait, _write_wait)
LISTEN = Form("address", _read_listen, lambda address: toml_text(str(address)))
URL = Form("http or https address", _text("an address like https://example.org/hook", names.url))
CRON = Form("cron expression", _text('five cron fields like "0 3 * * *"', times.cron))
TIMEZONE = Form("time zone", _text('a time zone like "Europe/Berlin"', times.timezone))
