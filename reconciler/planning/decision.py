"""What a pass will do, decided completely before it does anything. It never touches a hold."""

from collections.abc import Mapping

import msgspec
from packaging.utils import NormalizedName

from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed
from reconciler.status import Change, ExpectedEnd, Failure, Reason
from reconciler.uv.effective import Item
from reconciler.uv.program import Plan, Planned


class HoldViolation(ExpectedEnd):
    """uv would change a held package; nothing has been changed."""

    reason = Reason.HOLD_VIOLATION

    def __init__(self, name: NormalizedName, change: str) -> None:
        super().__init__(
            f"uv's plan would {change} {name}, which is held, so nothing was changed. This should "
            "be impossible: please report it with the log of this pass."
        )
        self.name = name


class Decision(msgspec.Struct, frozen=True):
    """What a pass will do, decided completely before it does anything.

    `install` has exact versions, none of them held. `remove` has installed packages that are
    removed without a replacement. `failed` has what cannot be installed, and why.
    """

    install: Mapping[NormalizedName, Planned]
    remove: frozenset[NormalizedName]
    kept: tuple[Item, ...]
    failed: tuple[Failure, ...] = ()
    to_download: bool = True
    """Whether anything is not in uv's cache yet, as far as uv says."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.install and not self.remove

    def changes(self, installed: Installed) -> tuple[Change, ...]:
        """The decision as changes to the installed packages, by name."""
        names = sorted({*self.install, *self.remove})
        return tuple(_change(name, self.install.get(name), installed) for name in names)


def _change(name: NormalizedName, planned: Planned | None, installed: Installed) -> Change:
    before = installed.version(name)
    from_ = str(before) if before is not None else None
    if planned is None:
        return Change(name=name, action="remove", from_=from_)
    to = str(planned.version) if planned.version is not None else planned.url
    if before is None:
        return Change(name=name, action="install", to=to)
    if planned.version is None or planned.version == before:
        return Change(name=name, action="reinstall", from_=from_, to=to)
    down = planned.version < before
    return Change(name=name, action="downgrade" if down else "upgrade", from_=from_, to=to)


def without_stubs(plan: Plan, holds: HoldSet) -> dict[NormalizedName, Planned]:
    """The packages that the plan installs, without the stubs of the holds.

    Raises:
        HoldViolation: It changes a held package in any other way.
    """
    install = dict(plan.install)
    for name in [n for n in install if holds.covers(n)]:
        planned = install.pop(name)
        held = holds.held.get(name)
        if held is None or planned.version != held.version:
            raise HoldViolation(name, f"install {planned.version or planned.url} of")
    for name in plan.remove:
        if holds.covers(name) and name not in plan.install:
            raise HoldViolation(name, "remove")
    return install
