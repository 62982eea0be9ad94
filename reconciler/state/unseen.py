"""Held packages that Python imports but uv does not see: in the base environment, or an egg.

uv would install them again. They count only if they are held: everything else is as for uv.
"""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.files.bounded import open_regular, read_bytes, read_text
from reconciler.state.distribution import Distribution, Unseen, read_egg
from reconciler.state.holds import HoldClosure, hold_set
from reconciler.state.installed import Installed, InstalledReader

_EGG = ".egg"
_MOST_PTH = 1024 * 1024
_MOST_METADATA = 1024 * 1024
_LARGEST_EGG = 1024 * 1024 * 1024


class UnseenReader:
    """Reads what uv does not see in one environment, again and again.

    Args:
        own: The environment's folders with distributions, which may have eggs.
        base: Those of the base environment that it also imports from.
    """

    def __init__(self, own: Sequence[Path], base: Sequence[Path]) -> None:
        self._own = tuple(own)
        self._base = InstalledReader(base)
        self._last: tuple[Installed, Mapping[NormalizedName, Distribution]] | None = None
        self._counted: Installed | None = None

    def with_held(
        self,
        installed: Installed,
        patterns: Sequence[str],
        markers: Mapping[str, str],
        closure: HoldClosure = HoldClosure.RUNTIME,
    ) -> Installed:
        """The installed state with the held packages that uv does not see.

        The same object while nothing has changed. What the environment itself has comes first,
        as it does for Python.
        """
        unseen = {d.name: d for d in self._read()}
        if self._last is None or self._last[0] is not installed or self._last[1] != unseen:
            self._last = installed, unseen
            self._counted = with_held(installed, unseen, patterns, markers, closure)
        return self._counted or installed

    def _read(self) -> Iterator[Distribution]:
        for found in self._base.read().distributions.values():
            if found.defect is None:
                # Not ours to check, copy or restore: it counts as one without a RECORD.
                yield replace(found, unseen=Unseen.BASE, legacy=True)
        for directory in self._own:
            yield from _eggs(directory)


def with_held(
    installed: Installed,
    unseen: Mapping[NormalizedName, Distribution],
    patterns: Sequence[str],
    markers: Mapping[str, str],
    closure: HoldClosure = HoldClosure.RUNTIME,
) -> Installed:
    """The same, of what has been read: what the patterns match, and what belongs to that."""
    if not unseen:
        return installed
    everything = Installed({**unseen, **installed.distributions}, installed.duplicates)
    names = hold_set(patterns, everything, markers, closure).held
    held = {n: d for n, d in unseen.items() if n in names and n not in installed.distributions}
    if not held:
        return installed
    return Installed({**installed.distributions, **held}, installed.duplicates)


def unseen_of(installed: Installed) -> dict[NormalizedName, Distribution]:
    """Those of the distributions that uv does not see."""
    return {n: d for n, d in installed.distributions.items() if d.unseen is not None}


def _eggs(directory: Path) -> Iterator[Distribution]:
    """The eggs that a .pth file puts on Python's path; others are not imported."""
    try:
        eggs = sorted(p for p in directory.iterdir() if p.name.endswith(_EGG))
        if not eggs:
            return
        lines = {
            Path(line.strip()).name
            for pth in directory.glob("*.pth")
            for line in read_text(pth, _MOST_PTH, errors="replace").splitlines()
        }
    except OSError:
        return
    for egg in eggs:
        metadata = _pkg_info(egg) if egg.name in lines else None
        if metadata is not None:
            found = read_egg(egg, metadata)
            if found.defect is None:
                yield found


def _pkg_info(egg: Path) -> bytes | None:
    """An egg is a folder or a zip file."""
    import zipfile  # noqa: PLC0415 -- slow to import, and eggs are rare

    try:
        if egg.is_dir():
            return read_bytes(egg / "EGG-INFO" / "PKG-INFO", _MOST_METADATA)
        if egg.stat().st_size > _LARGEST_EGG:
            return None
        with (
            os.fdopen(open_regular(egg), "rb") as file,
            zipfile.ZipFile(file) as archive,
            archive.open("EGG-INFO/PKG-INFO") as metadata,
        ):
            return metadata.read(_MOST_METADATA)
    except (OSError, KeyError, EOFError, ValueError, RuntimeError):
        return None  # or encrypted, or compressed in a way that Python does not know
    except (zipfile.BadZipFile, zlib.error):
        return None
