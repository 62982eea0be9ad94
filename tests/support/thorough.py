"""The long form of the tests, before a change lands: `.ci/thorough`.

An ordinary run takes a sample of families whose members differ only in a value, and leaves out
what cheaper tests hold already without a service.
"""

from collections.abc import Iterable

import pytest

ParameterSet = type(pytest.param())

only = pytest.mark.thorough
"""Marks tests with a real service of what cheaper tests hold already."""


def sample(family: Iterable[object], *, every: int) -> list[object]:
    """Every n-th member of a family, the first one included; the others in a thorough run.

    Args:
        family: Parameters of a test; a tuple is several arguments.
        every: n.
    """
    return [member if n % every == 0 else _thorough(member) for n, member in enumerate(family)]


def _thorough(member: object) -> object:
    if isinstance(member, ParameterSet):
        return pytest.param(*member.values, id=member.id, marks=[*member.marks, only])
    values = member if isinstance(member, tuple) else (member,)
    return pytest.param(*values, marks=only)
