"""Whether a PEP 508 marker holds on the target. Pure."""

from collections.abc import Mapping

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName


def applies(marker: Marker | None, markers: Mapping[str, str], *, extra: str = "") -> bool:
    """Whether what carries this marker counts on the target.

    A marker that compares what cannot be compared does not hold, as with uv: somebody
    else's metadata must not stop a reconciliation.

    Args:
        marker: The marker, or None where there is none.
        markers: The target's PEP 508 environment.
        extra: The extra that is asked for.
    """
    try:
        return marker is None or marker.evaluate({**markers, "extra": extra})
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False
