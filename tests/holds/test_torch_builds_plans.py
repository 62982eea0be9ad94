"""No plan touches what a real build of torch needs; what is free is upgraded."""

from pathlib import Path

import pytest
from packaging.version import Version

from reconciler.config import Update
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import plan
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.holds.stand import Stand, failed_names
from tests.state.site import Site
from tests.support.environments import site_packages
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.thorough import only
from tests.support.torch_builds import ROOTS, Build, data, put
from tests.support.wheels import make_wheel

NEWEST = "9999"
EACH_REASON = ("torch 2.1.2, CUDA 12.1", "torch 2.12.0+rocm7.14.0, all", "torch 2.14.1, CUDA 13.0")
"""One build with each reason why something is held; the others are for a thorough run."""
BUILDS = [
    pytest.param(it, id=it.build, marks=() if it.build.startswith(EACH_REASON) else only)
    for it in data().builds
]


def next_release(version: str) -> str:
    """A newer version that `~=` and a range admit as well."""
    *head, last = Version(version).release
    return ".".join(map(str, (*head, last + 1)))


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Newer versions of everything, and a dependent of each that wants the newest."""
    folder = tmp_path_factory.mktemp("bait")
    versions: dict[str, set[str]] = {}
    for build in data().builds:
        for name, version in build.versions.items():
            versions.setdefault(name, {NEWEST}).add(next_release(version))
    return [
        *(make_wheel(folder, name, one) for name, them in versions.items() for one in them),
        *(make_wheel(folder, f"wants-{n}", "1.0", requires=[f"{n}>={NEWEST}"]) for n in versions),
    ]


@pytest.fixture
def tempted(project: Project, venv: Path, index: PackageIndex, tmp_path: Path,
            bait: list[Path]) -> Stand:  # fmt: skip
    """An environment, and an index that has newer versions of all that will be in it."""
    index.add(*bait)
    return Stand(project, venv, index, tmp_path / "xdg")


def planned(stand: Stand) -> Outcome:
    """What a pass would do."""
    return plan(Pass(stand.environment(), Cancellation(), Quiet()))


class Quiet:
    def step(self, name: str) -> None: ...

    def planned(self, changes: object) -> None: ...

    def line(self, text: str) -> None: ...


def one_of(build: Build) -> str:
    """The member that is most easily missed."""
    return next(iter((*build.linked, *build.device, *reversed(build.compatible), *build.because)))


@pytest.mark.parametrize("build", BUILDS)
def test_no_plan_touches_a_member(tempted, build: Build) -> None:
    site = Site(site_packages(tempted.venv))
    put(build, site)
    site.add("leftover")
    wanted = f"wants-{one_of(build)}"

    tempted.settings = {"prune": True}
    tempted.project.write([*ROOTS])
    pruned = {one.name for one in planned(tempted).plan if one.action == "remove"}
    tempted.settings = {"prune": True, "update": Update.LATEST}
    tempted.project.write([*ROOTS, "numpy", wanted])
    latest = planned(tempted)

    changed = {one.name: one.to for one in latest.plan}
    members = {*ROOTS, *build.because}
    assert "leftover" in pruned
    assert members.isdisjoint({*pruned, *changed})
    assert {name: changed.get(name) for name in ("numpy", "pillow", "jinja2", "networkx")} == (
        dict.fromkeys(("numpy", "pillow", "jinja2", "networkx"), NEWEST)
    )
    assert failed_names(latest) == {wanted: "NoSolution"}
    assert f"{one_of(build)} {build.versions[one_of(build)]} is held, because" in (
        latest.failed[0].message
    )
