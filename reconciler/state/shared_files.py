"""Files that two installed packages claim with different contents: the last one written won.

uv and pip call such packages compatible (uv-facts 8e), so it shows only in their RECORDs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import msgspec
from packaging.utils import NormalizedName

from reconciler.patterns import regex
from reconciler.state.installed import Distribution, Installed, read_recorded_paths

_CODE = regex(r".*\.(py|pyi|pyd|so(\.\d+)*)")
_INCIDENTAL = regex(r".*/(site|dist)-packages/(tests?|docs?|examples?|scripts)/.*")
"""Folders that wheels include by mistake, so that unrelated packages share them."""


_MOST_IN_PAIRS = 20
"""Packages that share a file; of more, each is compared with the first only."""


class SharedFiles(msgspec.Struct, frozen=True):
    """Two packages and the files, by absolute path, that both claim with different contents."""

    one: Distribution
    other: Distribution
    paths: tuple[str, ...]

    @property
    def code(self) -> tuple[str, ...]:
        """The files that break a package if another one overwrites them."""
        return tuple(path for path in self.paths if is_code(path))


def is_code(path: str) -> bool:
    """Whether a file is part of what a package imports or loads."""
    return bool(_CODE.fullmatch(path)) and not _INCIDENTAL.fullmatch(path)


def shared_files(installed: Installed) -> tuple[SharedFiles, ...]:
    """Every two packages that claim the same files with different contents, sorted by name.

    A file for which a RECORD has no SHA-256 is not known to differ.
    """
    claims = _claimed_twice(installed)
    names = {d.name for claimants in claims.values() for d in claimants}
    hashes = {name: _hashes(installed.distributions[name], claims) for name in names}
    found: dict[tuple[NormalizedName, NormalizedName], list[str]] = defaultdict(list)
    for path, claimants in claims.items():
        for one, other in _pairs(sorted(d.name for d in claimants)):
            mine, theirs = hashes[one].get(path), hashes[other].get(path)
            if mine and theirs and mine != theirs:
                found[one, other].append(path)
    known = installed.distributions
    return tuple(
        SharedFiles(known[one], known[other], tuple(sorted(paths)))
        for (one, other), paths in sorted(found.items())
    )


def _pairs(names: Sequence[NormalizedName]) -> Iterable[tuple[NormalizedName, NormalizedName]]:
    if len(names) <= _MOST_IN_PAIRS:
        return combinations(names, 2)
    return ((names[0], other) for other in names[1:])


def claimants(
    installed: Installed, digests: Mapping[str, str]
) -> dict[NormalizedName, tuple[str, ...]]:
    """The packages whose RECORD claims one of these files with another content, and which.

    Args:
        installed: The packages to ask.
        digests: Absolute path to SHA-256, in hexadecimal.
    """
    found: dict[NormalizedName, tuple[str, ...]] = {}
    for name, distribution in installed.distributions.items():
        if digests.keys().isdisjoint(claimed_paths(distribution)):
            continue
        hashes = _hashes(distribution, digests)
        paths = tuple(sorted(path for path, digest in hashes.items() if digest != digests[path]))
        if paths:
            found[name] = paths
    return found


def _claimed_twice(installed: Installed) -> dict[str, list[Distribution]]:
    first: dict[str, Distribution] = {}
    found: dict[str, list[Distribution]] = {}
    for distribution in installed.distributions.values():
        for path in claimed_paths(distribution):
            earlier = first.setdefault(path, distribution)
            if earlier is not distribution:
                claimants = found.setdefault(path, [earlier])
                if claimants[-1] is not distribution:
                    claimants.append(distribution)
    return {path: them for path, them in found.items() if not path.endswith((".pyc", ".pyo"))}


def claimed_paths(distribution: Distribution) -> tuple[str, ...]:
    """The files that its RECORD claims, by absolute path; none if it has no good RECORD."""
    try:
        return () if distribution.legacy else read_recorded_paths(distribution.info)
    except (OSError, ValueError):
        return ()  # it is broken, and reported as such


def _hashes(distribution: Distribution, paths: Mapping[str, object]) -> dict[str, str]:
    try:
        files = distribution.files()
    except (OSError, ValueError):
        return {}
    mine = (file for file in files if file.path in paths)
    return {file.path: digest for file in mine if (digest := file.sha256) is not None}
