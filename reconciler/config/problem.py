"""How the configuration says no: as a whole, or to one value."""

from reconciler.status import Problem


class ConfigRejected(Exception):  # a verdict, named as the event config.rejected is
    """The configuration cannot be used; `problems` has at least one entry, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Unfit(ValueError):  # read as "raise Unfit(...)"
    """A value that a key cannot take; the loader adds key, file and place.

    Args:
        expected: completes "expected ..., found ...".
        fix: what to do; by default, to write the key with an example.
        key: the key to blame, where a whole table was judged.
        reason: replaces "expected ..., found ..." altogether.
    """

    def __init__(
        self,
        expected: str = "",
        *,
        fix: str | None = None,
        key: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(reason or f"expected {expected}")
        self.expected = expected
        self.fix = fix
        self.key = key
        self.reason = reason
