"""What uv cannot read of an environment is put in anew, and stands in nobody's way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.status import Result
from tests.support.environments import assert_whole, install, site_packages, snapshot
from tests.support.passes import environment_for, reconcile
from tests.support.thorough import sample
from tests.support.world import World


def zeroed(site: Path) -> None:
    (site / "odd-1.0.dist-info" / "METADATA").write_bytes(bytes(300))


def gone(site: Path) -> None:
    (site / "odd-1.0.dist-info" / "METADATA").unlink()


def of_another(site: Path) -> None:
    metadata = site / "odd-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Name: odd", "Name: even"))


def without_meaning(site: Path) -> None:
    metadata = site / "odd-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("\n\n", "\nRequires-Dist: plain~=1\n\n", 1))


def misnamed(site: Path) -> None:
    (site / "odd-1.0.dist-info").rename(site / "odd-1.0 (copy).dist-info")


def old_egg(site: Path) -> None:
    egg = site / "odd-2004d-py3.11.egg-info"
    (site / "odd-1.0.dist-info" / "METADATA").rename(site / "PKG-INFO")
    for file in (site / "odd-1.0.dist-info").iterdir():
        file.unlink()
    (site / "odd-1.0.dist-info").rmdir()
    egg.mkdir()
    (site / "PKG-INFO").rename(egg / "PKG-INFO")


DAMAGE = [zeroed, gone, of_another, without_meaning, misnamed, old_egg]


@pytest.fixture
def world(index, tmp_path) -> World:
    world = World(index, tmp_path / "world")
    for name in ("odd", "plain", "new"):
        world.wheel(name)
    return world


@pytest.mark.parametrize("damage", sample(DAMAGE, every=2))
def test_a_needed_package_that_uv_cannot_read_is_put_in_anew(
    project, venv, world, damage: Callable[[Path], None]
):
    install(venv, *world.folder.glob("*-1.0-*.whl"))
    damage(site_packages(venv))
    project.write(["odd", "plain", "new>=2"])
    world.wheel("new", "2.0")
    outcome = reconcile(environment_for(project))
    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert {(c.name, c.to) for c in outcome.changes} == {("odd", "1.0"), ("new", "2.0")}
    assert outcome.snapshot.drift.in_sync
    assert snapshot(venv) == {"odd": "1.0", "plain": "1.0", "new": "2.0"}
    assert not [*site_packages(venv).glob("*.egg-info"), *site_packages(venv).glob("* *")]
    assert_whole(venv)


@pytest.mark.parametrize("damage", sample(DAMAGE, every=3))
def test_a_package_that_nobody_needs_and_uv_cannot_read_is_left_alone(
    project, gpu_wheels, venv, world, damage: Callable[[Path], None]
):
    install(venv, *gpu_wheels, world.folder / "odd-1.0-py3-none-any.whl")
    damage(site_packages(venv))
    before = sorted(path.name for path in site_packages(venv).glob("odd*"))
    project.write(["torch", "plain"])
    outcome = reconcile(environment_for(project))
    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert [c.name for c in outcome.changes] == ["plain"]
    assert sorted(path.name for path in site_packages(venv).glob("odd*")) == before


def test_one_that_no_index_has_stands_in_nobodys_way(project, venv, world, index):
    install(venv, world.folder / "odd-1.0-py3-none-any.whl")
    without_meaning(site_packages(venv))
    index.remove("odd")
    project.write(["odd", "plain"])
    outcome = reconcile(environment_for(project))
    assert [f.name for f in outcome.failed] == ["odd"]
    assert set(snapshot(venv)) == {"odd", "plain"}


def test_an_old_package_of_one_file_stays_where_another_is_unreadable(project, venv, world):
    install(venv, world.folder / "odd-1.0-py3-none-any.whl")
    zeroed(site_packages(venv))
    (site_packages(venv) / "plain-1.0.egg-info").write_text("Name: plain\nVersion: 1.0\n\n")
    project.write(["odd", "plain"])
    outcome = reconcile(environment_for(project))
    assert [c.name for c in outcome.changes] == ["odd"]
