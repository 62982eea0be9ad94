"""Short phrases for what is wrong with a file."""

from collections.abc import Iterable


def kind_of(value: object) -> str:
    """The kind of a TOML value, with its article."""
    names = {dict: "a table", list: "a list", str: "a string", bool: "a boolean",
             int: "an integer", float: "a number"}  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A question about the known word that is most like this one, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 -- only for a wrong name

    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
