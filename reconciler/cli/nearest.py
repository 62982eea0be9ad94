"""Answers a name that does not exist with the nearest one that does."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean torch?`, or which names there are."""
    names = list(known)
    lowered = {name.lower(): name for name in reversed(names)}
    near = get_close_matches(word.lower(), list(lowered), 1)
    if near:
        return f"Did you mean {lowered[near[0]]}?"
    return f"There are: {', '.join(names)}." if names else "There are none."
