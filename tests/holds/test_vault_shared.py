"""One vault for many environments: shared, taken over from the old place, and outside of all."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.restore import NothingToRestore, restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Hold, Result
from reconciler.vault.whereabouts import BESIDE, VaultPlaces, store_for
from tests.support.environments import (
    assert_whole,
    delete,
    install,
    make_venv,
    run_uv,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import Follower, locked
from tests.support.projects import Project
from tests.support.vaults import contents_in, held_in
from tests.support.wheels import make_wheel


def environment_in(project: Project, places: VaultPlaces) -> Environment:
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python"
    )
    return Environment(config, dict(os.environ), None, places)


def keep(environment: Environment) -> dict[str, Hold]:
    """What a pass of a process that has just started does for the holds."""
    snapshot = environment.look(audit_files=True)
    with locked(environment) as lock:
        monitor = HoldMonitor(environment)
        monitor.take_over(lock)
        rows = monitor.keep(environment.look(audit_files=True), lock, compare=True)
    assert snapshot.problem is None
    return {row.name: row for row in rows}


def put_back(environment: Environment, name: str) -> Result:
    return restore(Pass(environment, Cancellation(), Follower()), name).result


def bytes_of(venv: Path, name: str) -> dict[str, str]:
    return {path: state.sha256 for path, state in tree_fingerprint(venv, name).items()}


def on_disk(*folders: Path) -> int:
    """The bytes that folders take on the disk; a file with several names counts once."""
    found = subprocess.run(
        ["du", "-s", "-B1", "-c", *folders], capture_output=True, text=True, check=True
    )
    return int(found.stdout.splitlines()[-1].split()[0])


@pytest.fixture
def torch(tmp_path: Path) -> Path:
    """A torch of some size."""
    files = {f"torch/lib/part{n}.so": os.urandom(4 * 1024 * 1024) for n in range(16)}
    return make_wheel(
        tmp_path / "torch", "torch", "2.3.1",
        files={"torch/__init__.py": "", "torch/nn/__init__.py": "", **files},
        scripts={"torchrun": "torch:main"},
    )  # fmt: skip


def test_ten_environments_with_one_torch_take_the_space_of_one(tmp_path: Path, torch: Path) -> None:
    data, projects = tmp_path / "data", [Project(tmp_path / f"p{n}", "http://x") for n in range(10)]
    places = VaultPlaces(data)
    taken = []
    for project in projects:
        project.write([])
        make_venv(project.venv)
        install(project.venv, torch)
        rows = keep(environment_in(project, places))
        assert rows["torch"].vaulted
        assert held_in(data / "vault", project.venv) == {"torch": ["1"]}
        bare = on_disk(make_venv(tmp_path / f"bare{project.directory.name}"))
        sites = [one.directory for one in projects if one.venv.exists()]
        taken.append(on_disk(data, *sites) - len(sites) * bare)
    assert taken[-1] <= 1.02 * taken[0], [round(one / taken[0], 4) for one in taken]

    # What one loses, it gets from what another brought; the others stay as they are.
    first, last = projects[0], projects[-1]
    before = bytes_of(first.venv, "torch")
    for project in projects[1:]:
        shutil.rmtree(project.directory)
    uninstall(first.venv, "torch")
    assert put_back(environment_in(first, places), "torch") is Result.CHANGED
    assert bytes_of(first.venv, "torch") == before
    assert not last.directory.exists()


def test_files_that_share_nothing_are_kept_once(tmp_path: Path, torch: Path) -> None:
    """As after `pip install`, and where uv copies: each environment has files of its own."""
    places, stores = VaultPlaces(tmp_path / "data"), tmp_path / "data" / "vault"
    one, other = Project(tmp_path / "one", "http://x"), Project(tmp_path / "other", "http://x")
    for project in (one, other):
        project.write([])
        make_venv(project.venv)
        run_uv("pip", "install", "--no-config", "--offline", "--no-index", "--no-deps",
               "--link-mode=copy", "--python", str(project.venv), str(torch))  # fmt: skip
    keep(environment_in(one, places))
    count = len(contents_in(stores))
    keep(environment_in(other, places))
    own = len(contents_in(stores)) - count
    assert own <= 3, "only what names the environment: the script, RECORD and direct_url.json"

    library = site_packages(other.venv) / "torch" / "lib" / "part3.so"
    before = library.read_bytes()
    shared = site_packages(one.venv) / "torch" / "lib" / "part3.so"
    with shared.open("r+b") as file:
        file.write(b"edited in place")
    assert not keep(environment_in(one, places))["torch"].intact
    library.unlink()
    with pytest.raises(Exception, match="damaged"):
        put_back(environment_in(other, places), "torch")
    library.write_bytes(before)
    third = Project(tmp_path / "third", "http://x")
    third.write([])
    make_venv(third.venv)
    install(third.venv, torch)
    keep(environment_in(third, places))  # it brings the right bytes again
    assert put_back(environment_in(one, places), "torch") is Result.CHANGED
    assert shared.read_bytes() == before


def test_it_outlives_everything_that_people_do_to_an_environment(
    tmp_path: Path, torch: Path
) -> None:
    project = Project(tmp_path / "p", "http://x")
    project.write([])
    data = tmp_path / "data"
    cache = tmp_path / "cache"
    make_venv(project.venv)
    run_uv("pip", "install", "--no-config", "--offline", "--no-index", "--no-deps", "--cache-dir",
           str(cache), "--python", str(project.venv), str(torch))  # fmt: skip
    keep(environment_in(project, VaultPlaces(data)))
    before = bytes_of(project.venv, "torch")

    def remove() -> None:
        delete(project.venv)
        make_venv(project.venv)

    def clear() -> None:
        run_uv("venv", "--no-config", "--offline", "--clear", str(project.venv))

    def forget_cache() -> None:
        run_uv("cache", "clean", "--cache-dir", str(cache))
        remove()

    for act in (remove, clear, forget_cache):
        act()
        row = keep(environment_in(project, VaultPlaces(data)))["torch"]
        assert (row.intact, row.vaulted) == (False, True)
        assert put_back(environment_in(project, VaultPlaces(data)), "torch") is Result.CHANGED
        assert bytes_of(project.venv, "torch") == before
        assert_whole(project.venv)
        assert keep(environment_in(project, VaultPlaces(data)))["torch"].intact

    moved = Project(tmp_path / "moved", "http://x")
    project.directory.rename(moved.directory)
    delete(moved.venv)
    make_venv(moved.venv)
    vault = environment_in(moved, VaultPlaces(data)).look().vault
    ((manifest, unfit),) = vault.offered("torch")
    assert unfit is None
    vault.check(manifest)
    assert vault.distribution(manifest) is not None


def test_a_copy_for_another_python_is_refused(tmp_path: Path, torch: Path) -> None:
    project = Project(tmp_path / "p", "http://x")
    project.write([])
    make_venv(project.venv)
    install(project.venv, torch)
    environment = environment_in(project, VaultPlaces())
    keep(environment)
    delete(project.venv)
    make_venv(project.venv)
    (description,) = environment.store.glob("packages/torch/copies/*/copy.json")
    text = json.loads(description.read_text())
    text["target"] |= {"python": "3.8", "library": "lib/python3.8/site-packages"}
    description.write_text(json.dumps(text))
    with pytest.raises(
        NothingToRestore, match=r"is for cpython 3\.8 on linux .*, and this environment"
    ):
        put_back(environment_in(project, VaultPlaces()), "torch")


def test_the_old_place_is_taken_over(tmp_path: Path, torch: Path) -> None:
    """As an earlier version left it: a folder in the environment, with trees and manifests."""
    project = Project(tmp_path / "p", "http://x")
    project.write([])
    make_venv(project.venv)
    install(project.venv, torch)
    environment = environment_in(project, VaultPlaces())
    environment.workspace.create()
    old = project.venv / ".reconciler" / "vault"
    fingerprint = tree_fingerprint(project.venv, "torch")
    for number in ("1", "2"):
        files = []
        for path, state in fingerprint.items():
            copied = old / "torch" / number / "tree" / path
            copied.parent.mkdir(parents=True, exist_ok=True)
            os.link(project.venv / path, copied)
            found = copied.stat()
            files.append([path, state.sha256, found.st_size, found.st_ino, found.st_mtime_ns])
        manifest = {"name": "torch", "version": "2.3.1", "pinned_by": None, "files": files,
                    "links": {}, "number": int(number), "slim": False, "omitted": []}  # fmt: skip
        (old / "torch" / number / "manifest.json").write_text(json.dumps(manifest))
    damaged = old / "torch" / "1" / "tree" / next(p for p in fingerprint if p.endswith("part1.so"))
    damaged.unlink()
    damaged.write_bytes(b"other")
    uninstall(project.venv, "torch")

    row = keep(environment)["torch"]

    assert (row.intact, row.vaulted) == (False, True)
    assert not old.exists()
    assert held_in(environment.store, project.venv) == {"torch": ["2"]}
    assert put_back(environment, "torch") is Result.CHANGED
    assert tree_fingerprint(project.venv, "torch") == fingerprint


def test_where_it_is(tmp_path: Path) -> None:
    """In the data folder if links lead there, else beside; and it stays where it is."""
    root = tmp_path / "p" / ".venv"
    root.mkdir(parents=True)
    here, elsewhere = tmp_path / "data", Path("/dev/shm/reconciler-data")
    assert elsewhere.parent.stat().st_dev != tmp_path.stat().st_dev
    assert store_for(root, VaultPlaces(here)) == here / "vault"
    assert store_for(root, VaultPlaces(elsewhere)) == root.parent / BESIDE
    assert store_for(root, VaultPlaces()) == root.parent / BESIDE
    assert store_for(root, VaultPlaces(here, tmp_path / "named")) == tmp_path / "named"
    (root.parent / BESIDE).mkdir()
    assert store_for(root, VaultPlaces(here)) == root.parent / BESIDE
    os.chown(root.parent / BESIDE, 65534, 65534)
    assert store_for(root, VaultPlaces(here)) == here / "vault"


def test_while_another_environment_writes_its_copies_this_one_goes_without(
    tmp_path: Path, torch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.vault.store._WAIT_SECONDS", 0.2)
    project, other = Project(tmp_path / "p", "http://x"), Project(tmp_path / "other", "http://x")
    places = VaultPlaces(tmp_path / "data")
    for one in (project, other):
        one.write([])
        make_venv(one.venv)
        install(one.venv, torch)
    store = environment_in(other, places).look().vault.store
    store.create()
    with store.alone(Cancellation()):
        row = keep(environment_in(project, places))["torch"]
        assert (row.intact, row.vaulted) == (True, False)
        assert contents_in(store.root) == []
    assert keep(environment_in(project, places))["torch"].vaulted

    # What a killed process left of its copy harms nobody else's, and goes with the next pass.
    package = store.package("torch")
    (package / "unfinished").touch()
    (package / "files" / ".new-half").write_text("half")
    (package / "files" / ("0" * 40)).write_text("of a copy that was never complete")
    whole = set(contents_in(store.root))
    assert keep(environment_in(other, places))["torch"].vaulted
    assert not (package / "unfinished").exists()
    assert {path.name for path in whole - set(contents_in(store.root))} == {".new-half", "0" * 40}
    for one in (project, other):
        vault = environment_in(one, places).look().vault
        vault.check(vault.current()["torch"])
