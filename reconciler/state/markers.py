"""Whether a PEP 508 marker is true on the target. Pure."""

from collections.abc import Mapping

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName


def applies(marker: Marker | None, markers: Mapping[str, str], *, extra: str = "") -> bool:
    """Whether a requirement with this marker applies on the target.

    A marker that cannot be evaluated is false, as with uv: someone else's metadata must not
    stop a reconciliation.

    Args:
        marker: The marker, or None if there is none.
        markers: The target's PEP 508 environment.
        extra: The requested extra.
    """
    try:
        return marker is None or marker.evaluate({**markers, "extra": extra})
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False
