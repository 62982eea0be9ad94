"""Finds packages that nothing needs, for `prune`; never a hold.

Pure, except for one small file: `pyvenv.cfg` says whether the environment was created with
pip. Then pip stays, as with `uv pip sync`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.files.deciding import read_deciding_text
from reconciler.state.adjustments import Adjustments
from reconciler.state.drift import diff
from reconciler.state.installed import Distribution, Installed

_SEEDS = frozenset(NormalizedName(name) for name in ("pip", "setuptools", "wheel", "uv"))


def prunable(
    snapshot: Snapshot, incoming: Mapping[NormalizedName, Distribution] | None = None
) -> frozenset[NormalizedName]:
    """The installed packages that no declared requirement needs, directly or not.

    Args:
        snapshot: The current environment.
        incoming: The packages about to be installed; what they require is needed.
    """
    if snapshot.desired is None or snapshot.unclear is not None:
        return frozenset()
    reachable = snapshot.drift.reachable
    if incoming:
        after = Installed({**snapshot.installed.distributions, **incoming})
        settled = diff(snapshot.desired, after, snapshot.holds, {}, snapshot.markers,
                       Adjustments.of(snapshot.settings))  # fmt: skip
        reachable = settled.reachable
    keep = reachable | {snapshot.desired.project} | _seeds_of(snapshot.interpreter.prefix)
    names = set(snapshot.installed.distributions) - set(incoming or ())
    return frozenset(
        name
        for name in names
        if name not in keep
        and not snapshot.holds.covers(name)
        and all(copy.installer is None for copy in snapshot.installed.copies(name))
    )


def _seeds_of(prefix: Path) -> frozenset[NormalizedName]:
    """The tools that the environment was created with; none if uv created it, unless requested."""
    try:
        config = read_deciding_text(prefix / "pyvenv.cfg")
    except (OSError, UnicodeDecodeError):
        return _SEEDS
    bare = re.search(r"^uv\s*=", config, re.MULTILINE)
    seeded = re.search(r"^seed\s*=\s*true", config, re.MULTILINE)
    return frozenset() if bare and not seeded else _SEEDS
