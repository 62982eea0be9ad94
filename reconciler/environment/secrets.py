"""Registers the secrets of one environment, so that nothing that quotes them shows them.

They stand in the addresses of its effective requirements and settings, after variables were
expanded, and in what installers recorded (PEP 610).
"""

from collections.abc import Mapping
from typing import Any

from reconciler.log.redact import redact
from reconciler.state.desired import Desired
from reconciler.state.installed import Installed


def register_effective(desired: Desired | None, settings: Mapping[str, Any]) -> None:
    """Register what is in the addresses of the requirements, their sources and uv's settings."""
    redact.register_document(settings)
    for one in desired.requirements if desired else ():
        if one.requirement.url:
            redact.register_addresses(one.requirement.url)
        if one.source is not None:
            redact.register_document(one.source.table)
            redact.register_document(one.source.index)


def register_installed(installed: Installed) -> None:
    """Register what is in the addresses that packages were installed from."""
    for one in installed.all():
        if one.direct_url is not None:
            redact.register_addresses(one.direct_url.url)
