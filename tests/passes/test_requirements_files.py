"""A project in a requirements file, from the look to the pass: every file of it decides."""

import hashlib
import os
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.daemon.watched import targets_of
from reconciler.environment.environment import Environment
from reconciler.files.trust import Insecure
from reconciler.passes import reconcile as passes
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Result
from tests.support.environments import make_venv, snapshot
from tests.support.passes import FAST, Follower, reconcile
from tests.support.wheels import make_wheel


class Site:
    """A folder with a requirements.txt, wheels and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        make_wheel(self.wheels, "alpha", "1.0", requires=["gamma"])
        make_wheel(self.wheels, "beta", "1.0")
        make_wheel(self.wheels, "beta", "2.0")
        make_wheel(self.wheels, "gamma", "1.0")
        self.venv = make_venv(folder / ".venv")

    def write(self, text: str, name: str = "requirements.txt") -> None:
        (self.folder / name).write_text(text)

    def environment(self, **settings: object) -> Environment:
        table = {"pyproject": self.folder / "requirements.txt", **settings}
        config = EnvironmentConfig(name="site", python=self.venv / "bin" / "python", **table)
        return Environment(config, {**os.environ, **FAST})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "project")


def declared(environment: Environment) -> list[str]:
    desired = environment.look().desired
    return [one.text for one in desired.requirements] if desired else ["nothing"]


def test_every_file_that_decides_is_followed_and_bad_ones_change_nothing(site: Site) -> None:
    offline = "--no-index\n--find-links ./wheels\n"
    site.write(f"{offline}-r more.txt\n-c limits.txt\n")
    site.write("beta\n", "more.txt")
    site.write("beta<2\n", "limits.txt")
    environment = site.environment()

    outcome = reconcile(environment)
    assert snapshot(site.venv) == {"beta": "1.0"}
    environment.remember_good(outcome.snapshot)
    assert environment.look() is environment.look()
    targets = targets_of(environment.config, environment.look())
    assert {f"{site.folder}/{name}" for name in ("more.txt", "limits.txt", "pyproject.toml")} <= (
        targets.files
    )

    site.write("beta\ngamma\n", "more.txt")
    assert declared(environment) == ["beta", "gamma"]
    site.write("beta>=2\n", "limits.txt")
    assert [row.name for row in environment.look().drift.drifted] == ["beta", "gamma"]

    site.write("beta=2\n", "more.txt")
    look = environment.look()
    assert declared(environment) == ["beta", "gamma"]
    assert look.problem is not None
    assert look.problem.place == f"{site.folder}/more.txt:1:1"

    (site.folder / "more.txt").unlink()
    assert "requirements.txt:3 that names it" in environment.look().problem.fix
    started = site.environment()
    assert declared(started) == ["beta"], "as an earlier process kept it"
    assert f"{site.folder}/more.txt" in targets_of(started.config, started.look()).files


def test_the_files_that_setuptools_would_read_are_followed_as_well(site: Site) -> None:
    site.write(
        '[project]\nname = "x"\nversion = "1"\ndynamic = ["dependencies"]\n'
        "[tool.setuptools.dynamic]\ndependencies = { file = 'more.txt' }\n",
        "pyproject.toml",
    )
    site.write("beta\n", "more.txt")
    environment = site.environment(pyproject=site.folder / "pyproject.toml")
    assert declared(environment) == ["beta"]
    environment.workspace.create()
    environment.remember_good(environment.look())
    assert environment.look() is environment.look()
    assert f"{site.folder}/more.txt" in targets_of(environment.config, environment.look()).files

    site.write("beta\ngamma\n", "more.txt")
    assert declared(environment) == ["beta", "gamma"]

    for text, place, reason in (
        ("beta\n-r other.txt\n", "more.txt:2:1", "an option, which setuptools refuses"),
        ("beta=1\n", "more.txt:1:1", "not a valid requirement"),
        (None, "more.txt", "the file cannot be read"),
    ):
        if text is None:
            (site.folder / "more.txt").unlink()
        else:
            site.write(text, "more.txt")
        problem = environment.look().problem
        assert problem is not None
        assert (problem.place, reason in problem.reason) == (f"{site.folder}/{place}", True)
        assert declared(environment) == ["beta", "gamma"]
    started = site.environment(pyproject=site.folder / "pyproject.toml")
    assert declared(started) == ["beta"], "as an earlier process kept it"


def test_what_must_have_a_hash_is_not_installed_without_one(site: Site) -> None:
    site.write(
        "--no-index\n--find-links ./wheels\n--require-hashes\n"
        f"alpha==1.0 --hash={_hash(site.wheels, 'alpha-1.0')}\n"
        f"beta==1.0 --hash={_hash(site.wheels, 'beta-1.0')}\n"
    )
    environment = site.environment()

    planned = passes.plan(Pass(environment, Cancellation(), Follower()))
    outcome = reconcile(environment)

    assert outcome.result is Result.PARTIAL
    assert snapshot(site.venv) == {"beta": "1.0"}
    reasons = {failure.name: failure.reason.value for failure in outcome.failed}
    assert reasons == {"alpha": "DependencyFailed", "gamma": "BadSource"}
    assert planned.plan == outcome.changes

    with (site.folder / "requirements.txt").open("a") as file:
        file.write(f"gamma==1.0 --hash={_hash(site.wheels, 'gamma-1.0')}\n")
    assert reconcile(environment).result is Result.CHANGED
    assert snapshot(site.venv) == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    assert reconcile(environment).result is Result.UNCHANGED


def test_a_hash_counts_even_without_an_exact_version(site: Site) -> None:
    """uv installs any file of a requirement that is not pinned; here the hash is kept to."""
    site.write(f"--no-index\n-f wheels\nbeta --hash={_hash(site.wheels, 'beta-1.0')}\ngamma\n")

    outcome = reconcile(site.environment())

    assert [(f.name, f.reason.value) for f in outcome.failed] == [("beta", "Unusable")]
    assert "Hash mismatch for `beta==2.0`" in outcome.failed[0].message
    assert snapshot(site.venv) == {"gamma": "1.0"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_as_root_no_file_of_it_may_be_anothers(site: Site) -> None:
    site.write("-r more.txt\n")
    site.write("beta\n", "more.txt")
    os.chown(site.folder / "more.txt", 65534, 65534)

    with pytest.raises(Insecure, match=r"more\.txt"):
        site.environment().look()


def _hash(wheels: Path, stem: str) -> str:
    [wheel] = wheels.glob(f"{stem}-*.whl")
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
