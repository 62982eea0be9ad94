"""One pass over a real environment: real uv, a real index, real files."""

import os
import shutil
from pathlib import Path

import pytest

from reconciler.status import PackageStatus, Result
from tests.support.environments import (
    assert_whole,
    dist_infos,
    install,
    make_venv,
    pythons,
    run_python,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import environment_for, reconcile
from tests.support.projects import Project
from tests.support.thorough import sample
from tests.support.torch import gpu_stack
from tests.support.wheels import make_sdist, make_wheel


@pytest.fixture
def held(project: Project, venv: Path, universe: object, gpu_wheels: list[Path]) -> Path:
    install(venv, *gpu_wheels)
    return venv


def changes(outcome) -> dict[str, str]:
    return {change.name: change.action for change in outcome.changes}


def left_over(venv: Path) -> set[str]:
    """What of ours lies in the environment beside what is to be kept."""
    kept = {"generations", "live.json", "pass.lock", "last-good-pyproject.toml"}
    folder = venv / ".reconciler"
    return {p.name for p in folder.iterdir()} - kept if folder.exists() else set()


# The main job


def test_empty_environment_reaches_what_is_declared(project, held):
    before = tree_fingerprint(held, "torch")
    project.write(["transformers", "numpy>=1.24,<2.0", "torch==2.3.1+rocm5.7"])
    outcome = reconcile(environment_for(project))
    assert outcome.result is Result.CHANGED
    assert outcome.snapshot.drift.in_sync
    assert outcome.atomic
    assert snapshot(held)["numpy"] == "1.26.4"
    assert changes(outcome)["numpy"] == "install"
    assert tree_fingerprint(held, "torch") == before
    assert_whole(held)
    assert strays(held) == set()
    assert left_over(held) == set()


def test_held_torch_survives_a_dependent_that_wants_a_newer_one(project, held):
    before = tree_fingerprint(held, "torch")
    project.write(["accelerate", "torch>=2.4"])
    outcome = reconcile(environment_for(project))
    assert tree_fingerprint(held, "torch") == before
    assert snapshot(held)["accelerate"] == "0.9"
    [back] = outcome.held_back
    assert (back.name, str(back.chosen), str(back.newest)) == ("accelerate", "0.9", "1.0")
    assert back.because == ("torch==2.3.1+rocm5.7",)
    rows = {row.name: row for row in outcome.snapshot.drift.rows}
    assert rows["torch"].status is PackageStatus.HELD_MISMATCH
    assert_whole(held)


def test_a_pass_with_nothing_to_do_changes_nothing_and_starts_no_uv(project, held, tmp_path):
    project.write(["numpy<2"])
    environment = environment_for(project)
    reconcile(environment)
    before = tree_fingerprint(held)
    environment.uv._executable = tmp_path / "no-such-uv"
    outcome = reconcile(environment)
    assert outcome.result is Result.UNCHANGED
    assert outcome.changes == ()
    assert tree_fingerprint(held) == before
    assert outcome.generation == 1


@pytest.mark.parametrize("short", sample(["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"], every=5))
def test_every_python_of_this_machine_is_looked_after(short, project, index, tmp_path):
    if short not in pythons():
        pytest.skip(f"no Python {short} here")
    venv = make_venv(project.venv, short)
    install(venv, *gpu_stack(tmp_path / "gpu", files=2))
    before = tree_fingerprint(venv, "torch")
    tag = f"py3-none-linux_{os.uname().machine}"
    index.add(make_wheel(tmp_path, "pure", "1.0", scripts={"pure": "pure:main"}),
              make_wheel(tmp_path, "plat", "1.0", tag=tag),
              make_wheel(tmp_path, "old", "1.0"))  # fmt: skip
    project.write(["pure", "plat", "old; python_version < '3.10'", "torch"])
    outcome = reconcile(environment_for(project))
    assert outcome.result is Result.CHANGED
    assert outcome.atomic
    expected = {"pure", "plat", *(["old"] if short in ("3.8", "3.9") else [])}
    assert set(changes(outcome)) == expected
    assert run_python(venv, "import pure, plat; print(pure.__version__)") == "1.0"
    assert tree_fingerprint(venv, "torch") == before
    assert_whole(venv)


# Drift by hand


@pytest.fixture
def settled(project, held):
    """An environment that has been reconciled once."""
    project.write(["pandas", "transformers", "numpy<2"])
    environment = environment_for(project)
    reconcile(environment)
    return environment


def test_a_declared_package_that_somebody_uninstalled_comes_back(settled, held):
    uninstall(held, "numpy")
    outcome = reconcile(settled)
    assert changes(outcome) == {"numpy": "install"}
    assert outcome.snapshot.drift.in_sync
    assert_whole(held)


def test_a_dependency_of_a_dependency_that_somebody_uninstalled_comes_back(settled, held):
    uninstall(held, "certifi", "six")
    outcome = reconcile(settled)
    assert changes(outcome) == {"certifi": "install", "six": "install"}
    assert_whole(held)


def test_a_version_that_somebody_installed_past_the_bound_goes_back(settled, held, universe_wheels):
    [newest] = [w for w in universe_wheels if w.name.startswith("numpy-2.1.0")]
    install(held, newest)
    outcome = reconcile(settled)
    assert changes(outcome) == {"numpy": "downgrade"}
    assert snapshot(held)["numpy"] == "1.26.4"


def test_a_raised_bound_upgrades_just_that_package(project, settled, held):
    before = tree_fingerprint(held, "pandas")
    install_old = ["transformers==4.43.3", "pandas", "numpy<2"]
    project.write(install_old)
    assert changes(reconcile(settled)) == {"transformers": "downgrade"}
    project.write(["transformers>=4.44", "pandas", "numpy<2"])
    assert changes(reconcile(settled)) == {"transformers": "upgrade"}
    assert tree_fingerprint(held, "pandas") == before


def test_a_stray_package_is_left_alone(settled, held, wheelhouse, project):
    install(held, make_wheel(wheelhouse, "stray", "1.0"))
    project.write(["pandas", "transformers", "numpy<2", "tqdm"])
    reconcile(settled)
    assert snapshot(held)["stray"] == "1.0"


# Packages that are not whole


DAMAGES = {
    "a module is gone": lambda info, site: (site / "pandas/__init__.py").unlink(),
    "a module is empty": lambda info, site: (
        (site / "pandas/__init__.py").unlink(), (site / "pandas/__init__.py").touch()
    ),
    "RECORD is gone": lambda info, site: (info / "RECORD").unlink(),
    "RECORD is zeroes": lambda info, site: (info / "RECORD").write_bytes(b"\0" * 5000),
    "METADATA is gone": lambda info, site: (info / "METADATA").unlink(),
    "nothing but a shell": lambda info, site: [f.unlink() for f in info.iterdir()],
    "a second dist-info": lambda info, site: shutil.copytree(info, site / "pandas-2.0.0.dist-info"),
    "half an older one": lambda info, site: (
        shutil.copytree(info, site / "pandas-1.0.dist-info"),
        (site / "pandas-1.0.dist-info" / "RECORD").unlink(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", sample(DAMAGES, every=2))
def test_a_broken_package_is_mended(settled, held, damage):
    site = site_packages(held)
    [info] = dist_infos(held, "pandas")
    DAMAGES[damage](info, site)
    before = tree_fingerprint(held, "torch")
    outcome = reconcile(settled)
    assert "pandas" in changes(outcome)
    assert outcome.snapshot.drift.in_sync
    assert len(dist_infos(held, "pandas")) == 1
    assert_whole(held)
    assert run_python(held, "import pandas; print(pandas.__version__)") == "2.2.2"
    assert tree_fingerprint(held, "torch") == before
    assert reconcile(settled).result is Result.UNCHANGED


def test_several_broken_packages_are_mended_at_once(settled, held):
    for name in ("pandas", "numpy", "certifi"):
        (site_packages(held) / name / "__init__.py").unlink()
    outcome = reconcile(settled)
    assert changes(outcome) == dict.fromkeys(("certifi", "numpy", "pandas"), "reinstall")
    assert_whole(held)


def test_files_that_only_an_audit_finds_are_left_to_the_audit(settled, held):
    (site_packages(held) / "pandas" / "__init__.py").unlink()
    assert reconcile(settled, audit=False).result is Result.UNCHANGED
    assert reconcile(settled, audit=True).result is Result.CHANGED


# Scripts and data


def test_scripts_and_data_files_go_live_and_leave_again(project, venv, index, tmp_path):
    index.add(make_wheel(tmp_path, "tool", "1.0", scripts={"tool": "tool:main", "old": "tool:main"},
                         data={"share/tool/one.txt": "1", "top.txt": "1", "etc/t.conf": "1"}),
              make_wheel(tmp_path, "tool", "2.0", scripts={"tool": "tool:main"},
                         data={"share/tool/two.txt": "2", "new/n.txt": "2"}))  # fmt: skip
    project.write(["tool==1.0"])
    environment = environment_for(project)
    reconcile(environment)
    assert run_python(venv, _run(venv, "tool")) == "1.0"
    assert (venv / "share/tool/one.txt").read_text() == "1"
    assert (venv / "top.txt").read_text() == "1"
    project.write(["tool==2.0"])
    reconcile(environment)
    assert run_python(venv, _run(venv, "tool")) == "2.0"
    assert not (venv / "bin" / "old").exists()
    assert (venv / "share/tool/two.txt").read_text() == "2"
    assert (venv / "new/n.txt").read_text() == "2"
    assert not (venv / "share/tool/one.txt").exists()
    assert not (venv / "top.txt").exists()
    assert_whole(venv)
    assert left_over(venv) == set()


def _run(venv: Path, script: str) -> str:
    return f"import subprocess; print(subprocess.check_output([{str(venv / 'bin' / script)!r}], text=True), end='')"  # noqa: E501


# Sources


def test_packages_from_places_of_their_own(project, venv, index, tmp_path):
    wheel = make_wheel(tmp_path / "w", "wheeled", "1.0", requires=["needed"])
    sdist = make_sdist(tmp_path / "w", "built", "1.0")
    remote = make_wheel(tmp_path / "w", "remote", "1.0")
    index.add(remote, make_wheel(tmp_path, "needed", "1.0"), make_wheel(tmp_path, "wheeled", "9"))
    project.write(
        ["wheeled", f"built @ {sdist.as_uri()}", f"remote @ {index.file_url(remote.name)}"],
        extra=f'[tool.uv.sources]\nwheeled = {{ path = "{os.path.relpath(wheel, project.directory)}" }}\n',  # noqa: E501
    )
    environment = environment_for(project)
    outcome = reconcile(environment)
    assert snapshot(venv) == {"wheeled": "1.0", "built": "1.0", "remote": "1.0", "needed": "1.0"}
    assert outcome.snapshot.drift.in_sync
    assert reconcile(environment).result is Result.UNCHANGED
    assert_whole(venv)


def test_a_package_from_an_index_gives_way_to_the_place_that_is_declared(
    project, venv, index, tmp_path
):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    project.write(["thing"])
    environment = environment_for(project)
    reconcile(environment)
    wheel = make_wheel(tmp_path / "mine", "thing", "1.0", files={"thing.py": "mine = 1\n"})
    project.write([f"thing @ {wheel.as_uri()}"])
    outcome = reconcile(environment)
    assert outcome.result is Result.CHANGED
    assert outcome.snapshot.drift.in_sync
    assert (site_packages(venv) / "thing.py").read_text() == "mine = 1\n"
    assert not (site_packages(venv) / "thing").exists()
