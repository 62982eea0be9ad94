"""Suggests the nearest existing name for a name that does not exist."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean torch?`, or a list of the names."""
    from difflib import get_close_matches  # noqa: PLC0415 -- only for a wrong name

    names = list(known)
    lowered = {name.lower(): name for name in reversed(names)}
    near = get_close_matches(word.lower(), list(lowered), 1)
    if near:
        return f"Did you mean {lowered[near[0]]}?"
    return f"Known: {', '.join(names)}." if names else "There are none."
