"""What is wrong with a configuration file, where, and how to mend it.

Never carries more of the file than the one line that is wrong.
"""

from dataclasses import dataclass

from reconciler import status


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing wrong with the configuration; `str()` is one line for people."""

    file: str
    key: str
    """Dotted, as in `environments.studio.interval`; empty if it is the file as a whole."""
    reason: str
    mend: str
    line: int | None = None
    """Counted from 1."""
    column: int | None = None
    """Counted from 1."""
    text: str | None = None
    """The line itself."""

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        what = f"{self.key}: {self.reason}" if self.key else self.reason
        return f"{where}: {what}. {self.mend}"

    def to_status(self) -> status.Problem:
        """As `/status` shows it."""
        return status.Problem(
            file=self.file,
            line=self.line,
            column=self.column,
            reason=f"{self.key}: {self.reason}" if self.key else self.reason,
            mend=self.mend,
            text=self.text,
        )


class ConfigRejected(Exception):  # a verdict, named as the event config.rejected is
    """The configuration cannot be used; `problems` has at least one entry, in file order."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Unfit(ValueError):  # read as "raise Unfit(...)"
    """A value that a key cannot take; the loader adds key, file and place.

    Args:
        expected: completes "expected ..., found ...".
        mend: what to do; by default, to write the key with an example.
        key: the key to blame, where a whole table was judged.
        reason: replaces "expected ..., found ..." altogether.
    """

    def __init__(
        self,
        expected: str = "",
        *,
        mend: str | None = None,
        key: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(reason or f"expected {expected}")
        self.expected = expected
        self.mend = mend
        self.key = key
        self.reason = reason
