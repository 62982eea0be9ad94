"""Compares a declaration with a folder of distributions, as a look does."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

from reconciler.state.adjustments import Adjustments
from reconciler.state.desired import parse
from reconciler.state.drift import diff
from reconciler.state.holds import Held, HoldSet, hold_set
from reconciler.state.installed import Installed, InstalledReader, audit
from reconciler.state.rows import Drift
from tests.state.markers import LINUX_39
from tests.state.site import Site


def installed_in(site: Site) -> Installed:
    return InstalledReader([site.folder]).read()


def compare(
    site: Site,
    *requirements: str,
    extra: str = "",
    holds: tuple[str, ...] = ("torch", "torchvision"),
    held: Mapping[str, Held] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Drift:
    lines = ", ".join(f"'''{r}'''" for r in requirements)
    head = f'[project]\nname = "studio"\ndependencies = [{lines}]\n'
    text = head + textwrap.dedent(extra)
    desired = parse(Path("/srv/studio/pyproject.toml"), text.encode(), LINUX_39)
    installed = installed_in(site)
    hold = hold_set(holds, installed, LINUX_39)
    if held is not None:
        hold = HoldSet(hold.patterns, {**hold.held, **held})
    adjustments = Adjustments.of(settings or {})
    return diff(desired, installed, hold, audit(installed), LINUX_39, adjustments)


def shown(drift: Drift) -> list[tuple[str, str]]:
    return [(row.name, row.status) for row in drift.rows]
