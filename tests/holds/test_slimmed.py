"""A hold whose files were deleted on purpose is accepted as it is, and whole again when asked."""

import shutil

import pytest

from reconciler.holds.accepting import NothingToAccept
from reconciler.holds.monitor import HoldMonitor
from reconciler.holds.standing import holds_and_notices, holds_found
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.state.words import message_of
from reconciler.status import Result
from tests.holds.stand import BESIDE, Stand
from tests.support.environments import install, site_packages
from tests.support.passes import Follower, locked
from tests.support.torch import TORCH


def keep(stand: Stand):
    """The hold on torch, as a service that has just started sees it."""
    environment = stand.environment()
    snapshot = environment.look(audit_files=True)
    with locked(environment) as lock:
        holds = HoldMonitor(environment).keep(snapshot, lock, compare=True)
    listed = {hold.name: hold for hold in holds_found(snapshot)}
    found = {hold.name: hold for hold in holds}["torch"]
    assert listed["torch"].intact == found.intact, (listed["torch"], found)
    return found, snapshot


def accept(stand: Stand) -> None:
    environment = stand.environment()
    monitor = HoldMonitor(environment)
    with locked(environment) as lock:
        monitor.accept(environment.look(audit_files=True), "torch", lock)
        seen = environment.look(refresh=True)  # as the request that asked for it answers
        assert {h.name: h.intact for h in monitor.keep(seen, lock, compare=False)}["torch"]


def put_back(stand: Stand) -> Result:
    return restore(Pass(stand.environment(), Cancellation(), Follower()), "torch").result


def slim(stand: Stand) -> list[str]:
    """Delete what torch does not need to run; what is left of it."""
    shutil.rmtree(site_packages(stand.venv) / "torch" / "include")
    return left(stand)


def left(stand: Stand) -> list[str]:
    torch = site_packages(stand.venv) / "torch"
    return sorted(str(p.relative_to(torch)) for p in torch.rglob("*") if p.is_file())


@pytest.mark.parametrize("copied", [True, False], ids=["with a copy", "never seen whole"])
def test_it_is_accepted_as_it_is_and_later_losses_count_again(stand, copied):
    stand.project.write(["torch", *BESIDE])
    whole = left(stand)
    if copied:
        keep(stand)
    slimmed = slim(stand)
    assert slimmed != whole

    torch, snapshot = keep(stand)
    assert not torch.intact
    told = [
        torch.message,
        *(str(notice) for notice in holds_and_notices(snapshot)[1]),
        *(message_of(row) for row in snapshot.drift.rows if row.name == "torch"),
    ]
    assert [text for text in told if "hold accept torch" not in text] == []
    assert ["hold restore torch" in text for text in told] == [copied] * 2 + [True]

    accept(stand)
    torch, snapshot = keep(stand)
    assert (torch.intact, torch.version, torch.message) == (True, TORCH, None)
    assert holds_and_notices(snapshot)[1] == ()
    assert stand.reconcile().snapshot.drift.unfit == ()
    assert left(stand) == slimmed

    (site_packages(stand.venv) / "torch" / "version.py").unlink()
    torch, _ = keep(stand)
    assert not torch.intact
    assert "torch/version.py" in torch.message
    assert put_back(stand) is Result.CHANGED
    assert (keep(stand)[0].intact, left(stand)) == (True, slimmed)

    assert put_back(stand) is (Result.CHANGED if copied else Result.UNCHANGED)
    assert left(stand) == (whole if copied else slimmed)
    assert keep(stand)[0].intact
    if copied:  # whole again, so the same loss counts again
        slim(stand)
        assert not keep(stand)[0].intact


def test_the_same_build_installed_by_hand_again_is_whole(stand, stack):
    stand.project.write(BESIDE)
    keep(stand)
    slim(stand)
    accept(stand)
    install(stand.venv, "--reinstall", *stack)
    assert keep(stand)[0].intact
    slim(stand)
    assert not keep(stand)[0].intact


def test_what_is_damaged_or_gone_altogether_was_not_slimmed(stand):
    stand.project.write(BESIDE)
    keep(stand)
    version = site_packages(stand.venv) / "torch" / "version.py"
    text = version.read_text()
    version.unlink()
    version.touch()  # as a power cut leaves it
    with pytest.raises(NothingToAccept, match="not whole"):
        accept(stand)
    version.unlink()
    version.write_text(text)
    shutil.rmtree(version.parent)
    with pytest.raises(NothingToAccept, match="not whole"):
        accept(stand)
