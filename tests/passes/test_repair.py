"""Broken means: the same version and build again, or a reason why nobody has it."""

from pathlib import Path

import pytest

from reconciler.config import Update
from reconciler.status import PackageStatus, Reason, Result
from tests.holds.stand import failed_names
from tests.support.environments import (
    FileState,
    assert_whole,
    dist_infos,
    install,
    site_packages,
    snapshot,
    tree_fingerprint,
)
from tests.support.index import PackageIndex
from tests.support.passes import environment_for, reconcile
from tests.support.projects import Project
from tests.support.wheels import default_files, make_wheel


@pytest.fixture
def stock(index: PackageIndex, tmp_path: Path) -> Path:
    """An index with newer versions and other builds of everything; a folder of its own wheels."""
    own = tmp_path / "own"
    index.add(
        make_wheel(tmp_path, "beta", "1.0", requires=["gamma"]),
        make_wheel(tmp_path, "beta", "1.0+cpu", requires=["gamma"]),
        make_wheel(tmp_path, "beta", "2.0", requires=["gamma>=2"]),
        make_wheel(tmp_path, "gamma", "1.0"),
        make_wheel(tmp_path, "gamma", "2.0"),
        make_wheel(tmp_path, "torch-scatter", "2.1.2"),
        make_wheel(tmp_path, "torchaudio", "2.9.0"),
        make_wheel(tmp_path, "needs-scatter", "1.0", requires=["torch-scatter"]),
    )
    make_wheel(own, "torch-scatter", "2.1.2+pt23rocm57")
    make_wheel(own, "torchaudio", "2.3.1+rocm5.7")
    make_wheel(own, "beta", "1.5")
    return own


def lose_a_file(venv: Path, name: str) -> None:
    [path] = default_files(name, "0")
    (site_packages(venv) / path).unlink()


def files_like(venv: Path, start: str) -> dict[str, FileState]:
    return {path: state for path, state in tree_fingerprint(venv).items() if f"/{start}" in path}


def forget_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another-cache"))


def test_a_lost_file_comes_back_and_nothing_else_moves(project, venv, stock):
    install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
    project.write(["beta"])
    before = tree_fingerprint(venv, "gamma")
    lose_a_file(venv, "beta")

    outcome = reconcile(environment_for(project))

    assert outcome.result is Result.CHANGED
    assert [(c.name, c.action, c.from_, c.to) for c in outcome.changes] == [
        ("beta", "reinstall", "1.0", "1.0")
    ]
    assert snapshot(venv) == {"beta": "1.0", "gamma": "1.0"}
    assert tree_fingerprint(venv, "gamma") == before
    assert outcome.snapshot.drift.in_sync
    assert_whole(venv)


def test_a_dependency_that_nobody_declares_too(project, venv, stock):
    install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
    project.write(["beta"])
    lose_a_file(venv, "gamma")
    reconcile(environment_for(project))
    assert snapshot(venv) == {"beta": "1.0", "gamma": "1.0"}
    assert_whole(venv)


def test_what_the_requirements_no_longer_allow_is_an_upgrade(project, venv, stock):
    install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
    project.write(["beta>=2"])
    lose_a_file(venv, "beta")
    outcome = reconcile(environment_for(project))
    assert snapshot(venv) == {"beta": "2.0", "gamma": "2.0"}
    assert outcome.failed == ()


def test_what_a_new_requirement_does_not_allow_is_an_upgrade(project, venv, stock, index, tmp_path):
    install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
    index.add(make_wheel(tmp_path, "delta", "1.0", requires=["beta>=2"]))
    project.write(["beta", "delta"])
    lose_a_file(venv, "beta")
    outcome = reconcile(environment_for(project))
    assert outcome.failed == ()
    assert snapshot(venv) == {"beta": "2.0", "gamma": "2.0", "delta": "1.0"}


def test_the_newest_version_is_right_where_it_is_always_wanted(project, venv, stock):
    install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
    project.write(["beta"])
    lose_a_file(venv, "beta")
    reconcile(environment_for(project, update=Update.LATEST))
    assert snapshot(venv) == {"beta": "2.0", "gamma": "2.0"}


def test_a_build_that_no_index_has_comes_from_uvs_cache(project, venv, stock):
    install(venv, "--find-links", stock, "torch-scatter", "torchaudio")
    project.write(["torch-scatter", "torchaudio", "gamma==1.0"])
    lose_a_file(venv, "torch-scatter")
    (dist_infos(venv, "torchaudio")[0] / "RECORD").unlink()

    outcome = reconcile(environment_for(project))

    assert snapshot(venv) == {
        "gamma": "1.0", "torch-scatter": "2.1.2+pt23rocm57", "torchaudio": "2.3.1+rocm5.7"
    }  # fmt: skip
    assert outcome.failed == ()
    assert not (dist_infos(venv, "torch-scatter")[0] / "direct_url.json").exists()
    assert_whole(venv)


def test_a_build_that_nobody_has_is_reported_and_left(project, venv, stock, monkeypatch, tmp_path):
    install(venv, "--find-links", stock, "torch-scatter", "torchaudio")
    install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
    project.write(["torch-scatter", "torchaudio", "beta", "needs-scatter"])
    lose_a_file(venv, "torch-scatter")
    lose_a_file(venv, "beta")
    (dist_infos(venv, "torchaudio")[0] / "RECORD").unlink()
    before = files_like(venv, "torch")
    forget_cache(monkeypatch, tmp_path)

    outcome = reconcile(environment_for(project))

    assert failed_names(outcome) == dict.fromkeys(
        ["torch-scatter", "torchaudio"], Reason.CANNOT_REPAIR
    )
    assert "torch-scatter 2.1.2+pt23rocm57 is broken" in outcome.failed[0].message
    assert files_like(venv, "torch") == before
    assert snapshot(venv).items() >= {"beta": "1.0", "needs-scatter": "1.0"}.items()
    broken = {r.name for r in outcome.snapshot.drift.rows if r.status is PackageStatus.BROKEN}
    assert broken == {"torch-scatter", "torchaudio"}


def test_a_wheel_that_was_installed_by_its_file_comes_from_there(project, venv, stock):
    [wheel] = stock.glob("beta-1.5*")
    install(venv, "--find-links", stock.parent, "gamma==1.0")
    install(venv, wheel)
    project.write(["beta"])
    lose_a_file(venv, "beta")
    outcome = reconcile(environment_for(project))
    assert outcome.failed == ()
    assert snapshot(venv) == {"beta": "1.5", "gamma": "1.0"}
    assert_whole(venv)

    wheel.unlink()
    lose_a_file(venv, "beta")
    outcome = reconcile(environment_for(project))
    assert failed_names(outcome) == {"beta": Reason.CANNOT_REPAIR}
    assert wheel.name in outcome.failed[0].message
    assert snapshot(venv) == {"beta": "1.5", "gamma": "1.0"}


class TestAnotherInstaller:
    """conda, rpm and Debian write no RECORD: only they know which files are theirs."""

    @pytest.fixture
    def debian(self, venv: Path, stock: Path) -> Path:
        install(venv, "--find-links", stock.parent, "beta===1.0", "gamma==1.0")
        [info] = dist_infos(venv, "beta")
        (info / "RECORD").unlink()
        (info / "INSTALLER").unlink()
        (info / "INSTALLER").write_text("debian\n")
        return venv

    def test_its_package_is_not_broken(self, project: Project, debian: Path):
        project.write(["beta"])
        outcome = reconcile(environment_for(project))
        assert outcome.result is Result.UNCHANGED
        assert outcome.snapshot.drift.in_sync

    def test_its_package_is_never_replaced(self, project: Project, debian: Path):
        project.write(["beta>=2", "needs-scatter"])
        before = files_like(debian, "beta")
        outcome = reconcile(environment_for(project))
        assert failed_names(outcome) == {"beta": Reason.CANNOT_REPLACE}
        assert snapshot(debian).items() >= {"beta": "1.0", "needs-scatter": "1.0"}.items()
        assert files_like(debian, "beta") == before

    def test_its_package_is_not_pruned(self, project: Project, debian: Path):
        project.write(["needs-scatter"])
        reconcile(environment_for(project, prune=True))
        assert snapshot(debian) == {"beta": "1.0", "needs-scatter": "1.0", "torch-scatter": "2.1.2"}
