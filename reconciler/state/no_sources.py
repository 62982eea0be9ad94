"""What `no-sources` and `no-sources-package` of uv do to a desired state. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from packaging.utils import canonicalize_name

from reconciler.state.desired import Desired


def without_sources(desired: Desired, settings: Mapping[str, Any]) -> Desired:
    """The desired state without the sources that uv would ignore.

    Args:
        desired: The desired state with all its sources.
        settings: uv's settings, merged.
    """
    every = settings.get("no-sources") is True
    names = {canonicalize_name(n) for n in settings.get("no-sources-package", ()) if n}
    if not every and not names:
        return desired
    requirements = tuple(
        replace(one, source=None) if every or one.name in names else one
        for one in desired.requirements
    )
    return replace(desired, requirements=requirements)
