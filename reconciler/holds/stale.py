"""Scripts that no pass repairs: those of held packages, and of an environment that was moved.

A held package is never changed, and a moved environment would have to be installed again.
"""

from collections.abc import Iterator

from reconciler.environment.snapshot import Snapshot
from reconciler.state.notice import Notice
from reconciler.state.stale_scripts import Moved


def stale(snapshot: Snapshot) -> Iterator[Notice]:
    """What to know about them: a moved environment once, then each held package."""
    if snapshot.stale.moved is not None:
        yield _moved(snapshot.stale.moved)
    for name, why in snapshot.stale.broken.items():
        if snapshot.holds.covers(name):
            yield Notice(
                f"{name} is held, but {why}",
                "Install the same build by hand again: a held package is never reinstalled.",
            )


def _moved(moved: Moved) -> Notice:
    how, fix = "moved", "Move it back, or recreate it"
    if moved.copied:
        how, fix = "copied", "Recreate it"
    still = "`bin/activate` still activates that place"
    if moved.scripts:
        still = f"{moved.scripts} of its {moved.total} scripts still point there"
    return Notice(
        f"this environment was {how} from {moved.origin}, and {still}",
        f"{fix} and install held packages by hand again. Only an environment made with "
        "`uv venv --relocatable` may be moved.",
    )
