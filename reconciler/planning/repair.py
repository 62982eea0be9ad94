"""How a broken package is repaired: by the same version and build again, or not at all.

Reinstalling a package whose files are incomplete is not an upgrade: without this, uv would take
the newest version that the requirements allow, and move its dependencies along.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.utils import NormalizedName

from reconciler.config import Update
from reconciler.environment.snapshot import Snapshot
from reconciler.state.adjustments import Adjustments
from reconciler.state.distribution import Distribution
from reconciler.state.drift import diff
from reconciler.state.sources import DirectUrl
from reconciler.status import Failure, Reason
from reconciler.uv.effective import HELD_WEIGHT, Item
from reconciler.uv.program import Planned


class Repair(msgspec.Struct, frozen=True):
    """One broken package, and the requirement that brings exactly it back."""

    distribution: Distribution
    defect: str
    item: Item
    declared: bool = False
    """Whether the project itself says where it comes from, so uv is asked for it anyway."""

    @property
    def pin(self) -> str | None:
        """The constraint that keeps the version; None if the place decides about it.

        `==1.0` would also allow 1.0+cpu, another build (PEP 440).
        """
        return None if self.item.source or " @ " in self.item.text else self.item.text

    @property
    def in_plan(self) -> Item | None:
        """What the plan has to ask for in addition: where an undeclared package comes from."""
        return self.item if self.pin is None and not self.declared else None

    def hopeless(self) -> Failure:
        """Nobody has it any more."""
        name, version = self.distribution.name, self.distribution.version
        url = self.distribution.direct_url
        where = f"not at {url.url} any more" if url else "on no index and not in uv's cache"
        return Failure(
            name=name,
            requirement=f"{name}=={version}",
            reason=Reason.CANNOT_REPAIR,
            message=f"{name} {version} is broken ({self.defect}) and cannot be repaired: that "
            f"build is {where}, so it stays as it is. Install it again from where it came from, "
            "or uninstall it: then a version that is available takes its place.",
        )


class Irreplaceable(Exception):
    """A package of another installer would be replaced, but nobody knows its files."""

    def __init__(self, found: Distribution, planned: Planned) -> None:
        super().__init__(found.name)
        wanted = planned.version or planned.url
        self.failure = Failure(
            name=found.name,
            requirement=f"{found.name}=={wanted}",
            reason=Reason.CANNOT_REPLACE,
            message=f"{found.name} {found.version} would be replaced by {wanted}, but "
            f"{found.installer} installed it and left no list of its files (RECORD), so it stays. "
            f"Update or remove it with {found.installer}.",
        )


def repairs_of(snapshot: Snapshot, declared: Sequence[Item], update: Update) -> tuple[Repair, ...]:
    """The broken packages that should be the same again.

    Not those whose version the requirements no longer allow: these get what the requirements say.
    If the newest version is wanted anyway (`update = "latest"`), only builds that indexes usually
    do not have: one with a local label (2.1.2+rocm5.7), or from a URL.
    """
    broken = {row.name for row in snapshot.drift.broken}
    if not broken or snapshot.desired is None:
        return ()
    whole = diff(
        snapshot.desired, snapshot.installed, snapshot.holds, {}, snapshot.markers,
        Adjustments.of(snapshot.settings),
    )  # fmt: skip
    outdated = {row.name for row in whole.drifted}
    placed = {item.name: item for item in declared if item.source or " @ " in item.text}
    return tuple(
        _repair(found, snapshot.broken[name], placed.get(name))
        for name, found in _installed(snapshot, broken - outdated)
        if update is not Update.LATEST or found.direct_url or found.version.local
    )


def _installed(
    snapshot: Snapshot, names: set[NormalizedName]
) -> Iterator[tuple[NormalizedName, Distribution]]:
    for name in sorted(names):
        found = snapshot.installed.get(name)
        # Without a name and version, nobody can say what it was.
        if found is not None and found.version.release != (0,) and name in snapshot.broken:
            yield name, found


def _repair(found: Distribution, defect: str, declared: Item | None) -> Repair:
    if declared is not None:
        return Repair(found, defect, declared, declared=True)
    if found.direct_url is not None:
        source = _source_of(found.direct_url)
        return Repair(
            found, defect, Item(found.name, found.name, "its repair", source, HELD_WEIGHT)
        )
    pin = f"{found.name}==={found.version}"
    return Repair(found, defect, Item(found.name, pin, "its repair", weight=HELD_WEIGHT))


def _source_of(origin: DirectUrl) -> Mapping[str, object]:
    """Where an installed copy came from, as an entry of `[tool.uv.sources]`."""
    folder = {"subdirectory": origin.subdirectory} if origin.subdirectory else {}
    if origin.commit is not None:
        return {"git": origin.url, "rev": origin.commit, **folder}
    if origin.url.startswith("file:"):
        path = str(Path(unquote(urlsplit(origin.url).path)))
        return {"path": path, "editable": True} if origin.editable else {"path": path, **folder}
    return {"url": origin.url, **folder}
