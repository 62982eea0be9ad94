"""`hold accept`: whatever a person may have done to a held package, it says what counts now."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from reconciler.holds.accepting import NothingToAccept
from reconciler.holds.monitor import HoldMonitor
from reconciler.holds.standing import holds_and_notices, holds_found
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Hold, Result
from tests.holds.stand import Stand
from tests.support.environments import install, site_packages, uninstall
from tests.support.passes import Follower, locked
from tests.support.wheels import make_wheel

ONES = ("other", "slim", "edited", "bare", "bare-copied", "gone", "twice", "emptied")
"""One package for each thing that may have happened to it."""


def held(folder: Path, name: str, version: str = "1.0", requires: Sequence[str] = ()) -> Path:
    module = name.replace("-", "_")
    parts = ("__init__.py", "a.py", f"lib{module}.so")
    files = {f"gpu_{module}/{part}": f"# {name} {version}\n" for part in parts}
    return make_wheel(folder, f"gpu-{name}", version, files=files, requires=requires)


def keep(stand: Stand) -> dict[str, Hold]:
    """The holds as a service that has just started sees them; `hold list` says the same."""
    environment = stand.environment()
    snapshot = environment.look(audit_files=True)
    with locked(environment) as lock:
        holds = HoldMonitor(environment).keep(snapshot, lock, compare=True)
    snapshot = stand.environment().look(audit_files=True)
    listed = {hold.name: hold.message for hold in holds_found(snapshot)}
    assert listed == {hold.name: hold.message for hold in holds}
    assert len(holds_and_notices(snapshot)[1]) == sum(1 for hold in holds if not hold.intact)
    return {hold.name: hold for hold in holds}


def accept(stand: Stand, name: str) -> str:
    environment = stand.environment()
    with locked(environment) as lock:
        return str(HoldMonitor(environment).accept(environment.look(audit_files=True), name, lock))


def restore_it(stand: Stand, name: str) -> Result:
    running = Pass(stand.environment(), Cancellation(), Follower())
    return restore(running, NormalizedName(name)).result


def module(stand: Stand, name: str) -> Path:
    return site_packages(stand.venv) / f"gpu_{name}" / "a.py"


def record(stand: Stand, name: str) -> Path:
    return site_packages(stand.venv) / f"gpu_{name}-1.0.dist-info" / "RECORD"


def test_whatever_was_done_to_it_the_holds_agree_afterwards(stand: Stand, tmp_path: Path) -> None:
    stand.settings["hold"] = ("gpu-*",)
    stand.project.write([])
    install(stand.venv, *(held(tmp_path, name) for name in ONES if name != "bare"))
    assert all(hold.vaulted for hold in keep(stand).values())

    install(stand.venv, held(tmp_path, "other", "2.0"), held(tmp_path, "bare"))
    module(stand, "slim").unlink()
    with module(stand, "edited").open("a") as file:
        file.write("# edited in place, and so is its copy\n")
    record(stand, "bare").unlink()
    record(stand, "bare_copied").unlink()
    uninstall(stand.venv, "gpu-gone")
    shutil.copytree(
        record(stand, "twice").parent, site_packages(stand.venv) / "gpu_twice-2.0.dist-info"
    )
    module(stand, "emptied").write_text("")

    broken = keep(stand)
    assert {name for name, hold in broken.items() if hold.intact} == set()
    said, refused = {}, {}
    for name in ONES:
        try:
            said[name] = accept(stand, f"gpu-{name}")
        except NothingToAccept as error:
            refused[name] = str(error)

    assert refused.keys() == {"twice", "emptied"}
    for name in ONES:
        advised = f"`reconciler hold accept gpu-{name}`" in broken[f"gpu-{name}"].message
        assert advised == (name in said), broken[f"gpu-{name}"].message
    assert said == {
        "other": "gpu-other 2.0 is the held build from now on.",
        "slim": "gpu-slim 1.0 is the held build from now on, as it is: without a file that its "
        "RECORD lists.",
        "edited": "gpu-edited 1.0 is the held build from now on.",
        "bare": "gpu-bare 1.0 is the held build from now on, as it is: without a RECORD.",
        "bare-copied": "gpu-bare-copied 1.0 is the held build from now on, as it is: without a "
        "RECORD.",
        "gone": "gpu-gone is gone on purpose. Since it is in `hold`, it is never installed for "
        "you; a build that you install by hand is held again.",
    }
    after = keep(stand)
    assert {name for name, hold in after.items() if not hold.intact} == {"gpu-twice", "gpu-emptied"}
    assert all(hold.vaulted for hold in after.values())
    assert "gpu-gone" not in after
    assert stand.environment().look(audit_files=True).broken.keys() == {"gpu-twice", "gpu-emptied"}

    # From now on, this is what is compared and restored.
    names = ("edited", "bare", "bare_copied")
    before = {name: module(stand, name).read_text() for name in names}
    for name in names:
        shutil.rmtree(module(stand, name).parent)
    assert not any(keep(stand)[f"gpu-{name.replace('_', '-')}"].intact for name in names)
    for name in names:
        assert restore_it(stand, f"gpu-{name.replace('_', '-')}") is Result.CHANGED
    assert {name: module(stand, name).read_text() for name in names} == before
    assert not record(stand, "bare").exists()
    assert keep(stand).keys() == after.keys()
    assert {name for name, hold in keep(stand).items() if not hold.intact} == {
        "gpu-twice",
        "gpu-emptied",
    }


def test_what_is_held_with_another_goes_with_it(stand: Stand, tmp_path: Path) -> None:
    stand.settings["hold"] = ("gpu-root",)
    stand.project.write([])

    def put(version: str) -> None:
        requires = [f"gpu-lib=={version}", "gpu-more==1.0"]
        root = held(tmp_path, "root", version, requires)
        install(stand.venv, root, held(tmp_path, "lib", version), held(tmp_path, "more"))

    put("1.0")
    assert keep(stand).keys() == {"gpu-root", "gpu-lib", "gpu-more"}

    for name in ("lib", "more"):
        module(stand, name).unlink()
    assert not any(keep(stand)[f"gpu-{name}"].intact for name in ("lib", "more"))
    assert "with gpu-lib 1.0, gpu-more 1.0" in accept(stand, "gpu-root")
    assert all(hold.intact and hold.vaulted for hold in keep(stand).values())

    uninstall(stand.venv, "gpu-more")
    assert "hold accept" not in keep(stand)["gpu-more"].message
    with pytest.raises(NothingToAccept, match=r"not installed, and gpu-root 1\.0 needs it"):
        accept(stand, "gpu-more")

    put("2.0")
    assert "hold accept gpu-lib" not in keep(stand)["gpu-lib"].message
    with pytest.raises(NothingToAccept, match=r"2\.0 belongs to gpu-root 2\.0.*accept gpu-root"):
        accept(stand, "gpu-lib")
    assert not keep(stand)["gpu-lib"].intact, "nothing was accepted by halves"
    assert "with gpu-lib 2.0, gpu-more 1.0" in accept(stand, "gpu-root")
    assert all(hold.intact and hold.vaulted for hold in keep(stand).values())

    uninstall(stand.venv, "gpu-root")
    assert "gone on purpose" in accept(stand, "gpu-root")
    assert keep(stand) == {}
    put("2.0")
    assert keep(stand).keys() == {"gpu-root", "gpu-lib", "gpu-more"}
