"""What a change could break, and so is imported: pure, except that it reads metadata.

Only what was there can regress. What changes is imported, and what requires it.
"""

from collections.abc import Collection

import msgspec
from packaging.utils import NormalizedName

from reconciler.proof.dependents import DependencyGraph
from reconciler.proof.importable import modules_of
from reconciler.proof.verdict import Import
from reconciler.state.held_modules import ImportLayout
from reconciler.state.installed import Distribution, Installed

_SHARED_BY = 2
"""So many others make it worthwhile to import a package once for all of them."""


class Selection(msgspec.Struct, frozen=True):
    """What is imported.

    Attributes:
        changed: The packages that were there, and are replaced or go.
        imports: The modules, those of the most required package first.
        first: Those of changed packages that several others need.
    """

    changed: frozenset[NormalizedName]
    imports: tuple[Import, ...] = ()
    first: tuple[Import, ...] = ()


def select(
    before: Installed,
    after: Installed,
    going: Collection[NormalizedName],
    needs: DependencyGraph,
    layout: ImportLayout,
    *,
    everything: bool = False,
) -> Selection:
    """Decide what to import after a change.

    Args:
        before: What is installed in the live tree.
        after: What is installed in the changed one.
        going: What the plan installs or removes.
        needs: The requirements between the packages of the changed tree.
        layout: How the target's Python names modules.
        everything: Whether to import every package that was there.
    """
    changed = frozenset(name for name in going if name in before.distributions)
    hurt = changed | needs.all_dependents(changed)
    stay = before.distributions.keys() & after.distributions.keys()
    names = needs.most_required(stay if everything and going else hurt & stay)
    imports = {
        name: [Import(name, module) for module in modules_of(after.distributions[name], layout)]
        for name in names
    }
    shared = [
        name for name in names
        if name in changed and len(needs.all_dependents([name]) & set(names)) >= _SHARED_BY
    ]  # fmt: skip
    return Selection(
        changed,
        tuple(one for name in names for one in imports[name]),
        tuple(one for name in shared for one in imports[name]),
    )


def comparable(
    failed: Import, before: Installed, after: Installed, layout: ImportLayout
) -> tuple[Import, ...]:
    """What to import in the live tree to find out whether a failure there is a regression.

    It is one if any of these works there. A module that is new beside others is none: nobody can
    have used it.
    """
    old = _modules(before.distributions.get(failed.package), layout)
    if failed.module in old:
        return (failed,)
    new = _modules(after.distributions.get(failed.package), layout)
    if {_top(module) for module in old} & {_top(module) for module in new}:
        return ()
    return tuple(Import(failed.package, module) for module in old)


def _modules(distribution: Distribution | None, layout: ImportLayout) -> tuple[str, ...]:
    return modules_of(distribution, layout) if distribution is not None else ()


def _top(module: str) -> str:
    return module.partition(".")[0]
