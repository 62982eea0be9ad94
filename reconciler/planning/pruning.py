"""What may go because nothing needs it: only where `prune` is set, and never a hold.

Pure but for one small file: `pyvenv.cfg` tells whether somebody asked for pip in the
environment, and then it stays, as with `uv pip sync`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.environment.environment import Look
from reconciler.state.adjustments import Adjustments
from reconciler.state.drift import diff
from reconciler.state.installed import Distribution, Installed

_SEEDS = frozenset(NormalizedName(name) for name in ("pip", "setuptools", "wheel", "uv"))


def prunable(
    look: Look, incoming: Mapping[NormalizedName, Distribution] | None = None
) -> frozenset[NormalizedName]:
    """The installed packages that nothing declared needs, directly or not.

    Args:
        look: The environment as it is.
        incoming: What is about to be put in; what it requires is needed.
    """
    if look.desired is None or look.problem is not None:
        return frozenset()
    reachable = look.drift.reachable
    if incoming:
        after = Installed({**look.installed.distributions, **incoming})
        settled = diff(look.desired, after, look.holds, {}, look.markers,
                       Adjustments.of(look.settings))  # fmt: skip
        reachable = settled.reachable
    keep = reachable | {look.desired.project} | _seeds_of(look.interpreter.prefix)
    names = set(look.installed.distributions) - set(incoming or ())
    return frozenset(n for n in names if n not in keep and not look.holds.covers(n))


def _seeds_of(prefix: Path) -> frozenset[NormalizedName]:
    """The tools that an environment was made with; uv makes one with none, unless asked to."""
    try:
        config = (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return _SEEDS
    bare = re.search(r"^uv\s*=", config, re.MULTILINE)
    seeded = re.search(r"^seed\s*=\s*true", config, re.MULTILINE)
    return frozenset() if bare and not seeded else _SEEDS
