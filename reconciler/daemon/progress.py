"""From uv's lines to progress, package by package, for whoever watches a pass. Pure."""

import re
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

_PLANNED = re.compile(r"^ \+ (?P<name>[A-Za-z0-9._-]+)")
_STEPS = (
    ("building", re.compile(r"^\s*Building (?P<name>[A-Za-z0-9._-]+)")),
    ("built", re.compile(r"^\s*Built (?P<name>[A-Za-z0-9._-]+)")),
    ("downloading", re.compile(r"^\s*Downloading (?P<name>[A-Za-z0-9._-]+)")),
    ("downloaded", re.compile(r"^\s*Downloaded (?P<name>[A-Za-z0-9._-]+)")),
    ("failed", re.compile(r"^error: Failed to (?:download and )?build `(?P<name>[A-Za-z0-9._-]+)")),
    ("installed", _PLANNED),
)


@dataclass(frozen=True, slots=True)
class PackageStep:
    """One package has come to a step: planned, downloading, building, installed, failed."""

    package: str
    step: str
    done: int
    total: int


@dataclass
class Progress:
    """Follows one pass; `step` is what the pass is doing.

    Attributes:
        held: Packages that uv plans as stubs, and that nobody installs.
    """

    held: frozenset[str] = frozenset()
    step: str = ""
    planned: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    def enter(self, step: str) -> None:
        """The pass has come to another step; a new plan begins anew."""
        self.step = step
        if step == "plan":
            self.planned, self._done = [], set()
        elif step == "install":
            self._done = set()

    def read(self, line: str) -> PackageStep | None:
        """What a line of uv's says about one package, if anything."""
        if self.step == "plan":
            return self._plan(line)
        for step, pattern in _STEPS if self.step == "install" else ():
            found = pattern.match(line)
            if found:
                if step in ("installed", "failed"):
                    self._done.add(found["name"])
                return self._step(found["name"], step)
        return None

    def _plan(self, line: str) -> PackageStep | None:
        if line.startswith("Resolved "):
            self.planned = []
        found = _PLANNED.match(line)
        if found is None or canonicalize_name(found["name"]) in self.held:
            return None
        self.planned.append(found["name"])
        return self._step(found["name"], "planned")

    def _step(self, package: str, step: str) -> PackageStep:
        return PackageStep(package, step, len(self._done), max(len(self.planned), len(self._done)))
