"""Whatever our own settings ask for, a held package stays, and the rest is done."""

import pytest

from reconciler.config import Update
from reconciler.passes.prove import VerifyFailed
from tests.holds.stand import BASE, BESIDE, DECLARED, HELD, REACHED
from tests.support.thorough import sample
from tests.support.wheels import make_sdist


def test_update_latest_goes_no_further_than_the_holds_admit(stand, universe_wheels):
    before = stand.fingerprint()
    stand.settings["update"] = Update.LATEST
    stand.project.write(["accelerate", "sympy", "numpy", "torch"])
    stand.reconcile()
    stand.assert_untouched(before)
    assert stand.packages() == {**REACHED, "numpy": "2.1.0"}


@pytest.mark.parametrize("declared", [BESIDE, ("numpy>=1.24,<2.0", "torch")])
def test_prune_keeps_the_holds_and_what_they_need(stand, declared):
    before = stand.fingerprint()
    stand.settings["prune"] = True
    stand.project.write(declared)
    outcome = stand.reconcile()
    stand.assert_untouched(before)
    packages = dict(BASE)
    del packages["leftover"]
    assert stand.packages() == packages
    assert ("leftover", "remove") in [(c.name, c.action) for c in outcome.changes]


def test_prune_and_latest_at_once(stand):
    before = stand.fingerprint()
    stand.settings |= {"prune": True, "update": Update.LATEST}
    stand.project.write(DECLARED)
    stand.reconcile()
    stand.assert_untouched(before)
    packages = dict(REACHED)
    del packages["leftover"]
    assert stand.packages() == packages


def test_a_project_that_declares_nothing_with_prune(stand):
    before = stand.fingerprint()
    stand.settings["prune"] = True
    stand.project.write([])
    stand.reconcile()
    stand.assert_untouched(before)
    assert stand.packages() == {**HELD, "sympy": "1.12.1", "mpmath": "1.3.0"}


@pytest.mark.parametrize(
    "deed",
    sample(
        every=2,
        family=[
            "os.unlink(file); open(file, 'w').write('x = 1')",
            "os.unlink(file)",
            "os.rename(os.path.dirname(file), os.path.dirname(file) + '.old')",
        ],
    ),
)
def test_a_verify_command_that_changes_a_hold_in_the_stage(stand, deed):
    before = stand.fingerprint()
    code = f"import os, torch; file = torch.__file__; {deed}"
    stand.settings["verify"] = (("python", "-c", code),)
    stand.project.write(DECLARED)
    with pytest.raises(VerifyFailed, match="verify command") as refused:
        stand.reconcile()
    stand.assert_untouched(before)
    assert refused.value.reason == "HoldViolation"
    assert stand.packages() == {**HELD, "leftover": "1.0"}


@pytest.mark.parametrize("name", ["extras", "groups"])
def test_an_extra_or_a_group_of_the_project_that_wants_torch(stand, name):
    before = stand.fingerprint()
    table = "project.optional-dependencies" if name == "extras" else "dependency-groups"
    wanted = '["torch==2.8.0", "torchvision", "accelerate"]'
    stand.project.write(BESIDE, extra=f"[{table}]\ngpu = {wanted}\n")
    stand.settings[name] = ("gpu",)
    stand.reconcile()
    stand.assert_untouched(before)
    assert stand.packages() == REACHED


@pytest.mark.parametrize(
    "table",
    sample(
        every=2,
        family=[
            "[tool.uv]\nno-binary = true\n",
            '[tool.uv.pip]\nno-binary = [":all:"]\n',
            '[tool.uv.pip]\nno-binary = ["numpy", "sympy", "mpmath"]\n',
            '[tool.uv]\nno-binary-package = ["numpy", "sympy", "mpmath", "torch"]\n',
        ],
    ),
)
def test_building_everything_from_source_but_the_holds(stand, tmp_path, table):
    before = stand.fingerprint()
    wanted = {"numpy": "1.26.4", "sympy": "1.12.1", "mpmath": "1.3.0"}
    for name, version in wanted.items():
        requires = ["mpmath"] if name == "sympy" else []
        stand.index.add(make_sdist(tmp_path, name, version, requires=requires))
    stand.project.write(BESIDE, extra=table)
    stand.reconcile()
    stand.assert_untouched(before)
    assert stand.packages() == BASE
    assert set(stand.index.downloads()) == {f"{n}-{v}.tar.gz" for n, v in wanted.items()}
