"""The long form of the tests, before a change lands: RECONCILER_TEST_THOROUGH=1.

An ordinary run takes a sample of families whose members differ only in a value, and leaves out
what cheaper tests hold already without a service.
"""

import os
from collections.abc import Iterable
from typing import TypeVar

import pytest

THOROUGH = os.environ.get("RECONCILER_TEST_THOROUGH") == "1"

T = TypeVar("T")

only = pytest.mark.skipif(not THOROUGH, reason="RECONCILER_TEST_THOROUGH=1 runs it")
"""Marks tests with a real service of what cheaper tests hold already."""


def sample(family: Iterable[T], *, every: int) -> list[T]:
    """Every n-th member of a family, the first one included; all of them in a thorough run."""
    return list(family)[:: 1 if THOROUGH else every]


def at_most(thorough: T, *, otherwise: T) -> T:
    """The value for a thorough run, or the one for an ordinary run."""
    return thorough if THOROUGH else otherwise
