"""What is held in an environment as it is: the one place that asks for it at a look."""

from collections.abc import Mapping

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.config import EnvironmentConfig
from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import Installed
from reconciler.vault.copies import Vault, expected


def holds_in(
    config: EnvironmentConfig, installed: Installed, markers: Mapping[str, str], vault: Vault
) -> HoldSet:
    """The hold set, with the held builds in place of what someone else put there.

    Args:
        config: The environment's configuration.
        installed: What is installed.
        markers: The target's PEP 508 environment.
        vault: The environment's vault.
    """
    there = expected(installed, config.hold, vault)
    return hold_set(config.hold, there, markers, config.hold_closure, _settled(there, vault))


def _settled(installed: Installed, vault: Vault) -> dict[NormalizedName, NormalizedName]:
    """What belongs to which hold by its copy, if both are still the same builds.

    So a process that has just started reads no library to find that out again.
    """
    same = {
        name: manifest.pinned_by
        for name, manifest in vault.current().items()
        if installed.version(name) == Version(manifest.version)
    }
    return {name: NormalizedName(holder) for name, holder in same.items() if holder in same}
