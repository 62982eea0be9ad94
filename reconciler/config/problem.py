"""The errors of the configuration: for the whole, and for one value."""

from reconciler.status import Problem


class ConfigRejected(Exception):  # named like the event config.rejected
    """The configuration cannot be used; `problems` has at least one entry, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Unfit(ValueError):  # read as "raise Unfit(...)"
    """A value that a key cannot have; the loader adds the key, the file and the position.

    Args:
        expected: Completes "expected ..., found ...".
        fix: What to do; by default, to write the key with an example.
        key: The key to blame, if a whole table was judged.
        reason: Replaces "expected ..., found ...".
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
