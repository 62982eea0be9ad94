"""Which intruders may go: from who requires what, extras and uv's overrides included."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.holds.intruders import Needs, intruders
from reconciler.state.adjustments import Adjustments
from reconciler.state.holds import hold_set
from reconciler.state.installed import Distribution, Installed
from reconciler.state.requires import Requires

MARKERS = {"python_version": "3.11", "sys_platform": "linux"}


def needs(declared: list[str], packages: dict[str, list[str]], **uv: object) -> Needs:
    found = {
        NormalizedName(name): Distribution(
            NormalizedName(name), Version("1.0"), Path(f"{name}.dist-info"), Requires.of(requires)
        )
        for name, requires in packages.items()
    }
    wanted = tuple(Requirement(one) for one in declared)
    return Needs(Installed(found), wanted, MARKERS, Adjustments.of(uv))


def decided(
    candidates: list[str], who: Needs, hold: tuple[str, ...] = ("torch",)
) -> tuple[list[str], dict[str, str]]:
    holds = hold_set(hold, who.installed, MARKERS)
    found = intruders([NormalizedName(name) for name in candidates], holds, who)
    return [gone.name for gone in found.leaving], dict(found.staying)


@pytest.mark.parametrize(
    ("declared", "packages", "staying"),
    [
        ([], {}, {}),
        (["triton"], {}, {"triton": "the project declares it"}),
        ([], {"foo": ["triton>=2"]}, {"triton": "foo requires it"}),
        ([], {"foo": ["triton; sys_platform == 'win32'"]}, {}),
        ([], {"foo": ["triton; extra == 'gpu'"]}, {}),
        (["foo[gpu]"], {"foo": ["triton; extra == 'gpu'"]}, {"triton": "foo requires it"}),
        (
            [],
            {"bar": ["foo[all]"], "foo": ["foo[gpu]; extra == 'all'", "triton; extra == 'gpu'"]},
            {"triton": "foo requires it"},
        ),
        ([], {"torch": ["triton"]}, {"triton": "torch requires it"}),
    ],
)
def test_what_something_requires_stays(declared, packages, staying):
    who = needs(declared, {"torch": [], "triton": [], **packages})
    leaving = [] if staying else ["triton"]
    assert decided(["triton"], who) == (leaving, staying)


def test_intruders_do_not_keep_each_other():
    who = needs([], {"cudnn": ["cublas"], "cublas": ["cudnn"], "torch": []})
    assert decided(["cublas", "cudnn"], who) == (["cublas", "cudnn"], {})


def test_an_intruder_that_stays_keeps_what_it_requires():
    who = needs(["cudnn"], {"cudnn": ["cublas"], "cublas": [], "torch": []})
    staying = {"cudnn": "the project declares it", "cublas": "cudnn requires it"}
    assert decided(["cublas", "cudnn"], who) == ([], staying)


def test_what_is_held_never_goes():
    who = needs([], {"triton": [], "torch": []})
    assert decided(["triton"], who, ("torch", "trit*")) == ([], {"triton": "it is held, too"})


def test_what_uv_is_told_to_leave_out_is_not_required():
    packages = {"torch": [], "triton": [], "foo": ["triton"]}
    who = needs(["foo", "triton"], packages, **{"exclude-dependencies": ["triton"]})
    assert decided(["triton"], who) == (["triton"], {})
