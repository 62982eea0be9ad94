"""A decision names exact changes, and a plan that would touch a hold never becomes one."""

import pytest
from packaging.version import Version

from reconciler.planning.decision import Decision, HoldViolation, without_stubs
from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import Installed, InstalledReader
from reconciler.uv.program import Plan, Planned
from tests.state.markers import LINUX_39
from tests.state.site import Site


@pytest.fixture
def installed(tmp_path) -> Installed:
    site = Site(tmp_path / "site")
    site.add("torch", "2.3.1+rocm5.7")
    site.add("alpha", "1.0")
    return InstalledReader([site.folder]).read()


@pytest.fixture
def holds(installed) -> HoldSet:
    return hold_set(("torch", "torchvision", "nvidia-*"), installed, LINUX_39)


def planned(name: str, version: str | None = None, url: str | None = None) -> Planned:
    return Planned(name, Version(version) if version else None, url)


def plan(*install: Planned, remove: tuple[str, ...] = ()) -> Plan:
    return Plan({p.name: p for p in install}, dict.fromkeys(remove))


def test_the_stub_of_a_hold_is_not_installed(holds):
    found = without_stubs(plan(planned("torch", "2.3.1+rocm5.7"), planned("alpha", "2")), holds)
    assert found == {"alpha": planned("alpha", "2")}


@pytest.mark.parametrize(
    "forbidden",
    [
        plan(planned("torch", "2.8.0")),
        plan(planned("torch", "2.3.1")),
        plan(planned("torch", url="https://a.b/torch-2.3.1-py3-none-any.whl")),
        plan(planned("torchvision", "0.18.1")),
        plan(planned("nvidia-cublas-cu12", "12.4")),
        plan(planned("alpha", "2"), remove=("torch",)),
    ],
    ids=["newer", "without-its-build", "from-an-address", "not-installed", "by-a-glob", "removal"],
)
def test_any_other_change_of_a_hold_is_refused(holds, forbidden):
    with pytest.raises(HoldViolation, match=r"torch|nvidia"):
        without_stubs(forbidden, holds)


def test_the_changes_say_what_becomes_of_each_package(installed):
    coming = (
        planned("torch", "2.3.0"),
        planned("alpha", "1.0"),
        planned("beta", "1.0"),
        planned("gamma", url="git+https://a.b/gamma@0123"),
    )
    decision = Decision({p.name: p for p in coming}, frozenset({"old"}), kept=())
    assert [(c.name, c.action, c.from_, c.to) for c in decision.changes(installed)] == [
        ("alpha", "reinstall", "1.0", "1.0"),
        ("beta", "install", None, "1.0"),
        ("gamma", "install", None, "git+https://a.b/gamma@0123"),
        ("old", "remove", None, None),
        ("torch", "downgrade", "2.3.1+rocm5.7", "2.3.0"),
    ]
    assert not decision.is_empty
    assert Decision({}, frozenset(), kept=()).is_empty
