"""The progress of a pass, package by package: from its plan and from uv's lines. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from packaging.utils import canonicalize_name

from reconciler.patterns import regex
from reconciler.status import Change

_NAME = r"(?P<name>[A-Za-z0-9._-]+)"
_STEPS = (
    ("building", regex(rf"^\s*Building {_NAME}")),
    ("built", regex(rf"^\s*Built {_NAME}")),
    ("downloading", regex(rf"^\s*Downloading {_NAME}")),
    ("downloaded", regex(rf"^\s*Downloaded {_NAME}")),
    ("failed", regex(rf"^error: Failed to (?:download and )?build `{_NAME}")),
    ("installed", regex(rf"^ \+ {_NAME}")),
)


class PackageStep(msgspec.Struct, frozen=True):
    """One package has come to a step: planned, downloading, building, installed, failed."""

    package: str
    step: str
    done: int
    total: int


@dataclass
class Progress:
    """Follows one pass.

    Attributes:
        step: What the pass is doing.
        planned: The packages that will be installed, by their normalised names.
    """

    step: str = ""
    planned: tuple[str, ...] = ()
    _done: set[str] = field(default_factory=set)

    def enter(self, step: str) -> None:
        """The pass has come to another step."""
        self.step = step
        if step in ("plan", "install"):
            self._done = set()

    def plan(self, changes: Sequence[Change]) -> list[PackageStep]:
        """The pass knows what is to change; whatever it knew before is out of date."""
        installed = (change.name for change in changes if change.action != "remove")
        self.planned = tuple(canonicalize_name(name) for name in installed)
        return [self._step(name, "planned") for name in self.planned]

    def read(self, line: str) -> PackageStep | None:
        """What a line of uv's says about one package, if anything."""
        for step, pattern in _STEPS if self.step == "install" else ():
            found = pattern.match(line)
            if found:
                name = canonicalize_name(found["name"])
                if step in ("installed", "failed"):
                    self._done.add(name)
                return self._step(name, step)
        return None

    def _step(self, package: str, step: str) -> PackageStep:
        return PackageStep(package, step, len(self._done), max(len(self.planned), len(self._done)))
