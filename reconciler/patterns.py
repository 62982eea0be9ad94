"""Regular expressions that are compiled when they are first used, not when they are imported.

A command uses few of the expressions in the modules that it loads, and compiling all of them took
a third of its time.
"""

import re
from typing import Any, AnyStr, cast


class _Compiled:
    """Stands for a `re.Pattern` until it is used; then it has that one's methods."""

    def __init__(self, pattern: Any, flags: int) -> None:
        self.pattern = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Compile it. What was asked for is kept, so that it is as fast as the real one later."""
        value = getattr(re.compile(self.pattern, self._flags), name)
        setattr(self, name, value)
        return value


def regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """The same as `re.compile`, but an invalid expression is only noticed when it is used."""
    return cast("re.Pattern[AnyStr]", _Compiled(text, flags))
