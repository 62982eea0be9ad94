"""Whatever our own settings ask for, a held package stays, and the rest is done."""

import pytest

from reconciler.config import Update
from tests.holds.stand import BASE, BESIDE, DECLARED, HELD, REACHED


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
