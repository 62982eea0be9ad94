"""What a hold costs is told, and is never paid silently by going far back."""

import pytest

from reconciler.config import Update
from reconciler.planning.counterfactual import Withheld
from reconciler.status import Result
from tests.holds.stand import DECLARED, HELD, REACHED, Stand, failed_names
from tests.support.environments import install, uninstall
from tests.support.torch import TORCH, fake_torch
from tests.support.wheels import make_wheel

PIN = f"torch=={TORCH}"


def told(entries: tuple[Withheld, ...] | None) -> set[tuple[str, str | None, str, str]]:
    served = [entry.served() for entry in entries or ()]
    return {(e.name, e.chosen, e.newest, e.because) for e in served}


def refuse(stand: Stand, name: str, version: str) -> str:
    """The message with which a version is refused; it is not in the environment."""
    outcome = stand.reconcile()
    [failure] = [f for f in outcome.failed if f.name == name]
    assert stand.packages().get(name) != version
    return f"{failure.reason}: {failure.message}"


class TestTold:
    def test_package_chosen_newest_and_the_hold(self, stand):
        stand.project.write(DECLARED)
        outcome = stand.reconcile()
        assert told(outcome.held_back) == {
            ("accelerate", "0.9", "1.0", PIN),
            ("sympy", "1.12.1", "1.13.1", PIN),
        }
        messages = {entry.name: entry.message or "" for entry in outcome.held_back or ()}
        assert f"accelerate 1.0 is available, but {PIN} is held" in messages["accelerate"]
        assert "torch>=2.4" in messages["accelerate"]
        assert "sympy<1.13" in messages["sympy"]
        assert stand.packages() == REACHED

    def test_the_hold_named_is_the_one_responsible(self, stand, tmp_path):
        for version, requires in (("2.0", "torchvision>=0.19"), ("1.0", "torchvision>=0.15")):
            stand.index.add(make_wheel(tmp_path, "visionary", version, requires=[requires]))
        stand.project.write(["visionary"])
        outcome = stand.reconcile()
        pin = f"torchvision=={HELD['torchvision']}"
        assert told(outcome.held_back) == {("visionary", "1.0", "2.0", pin)}

    def test_a_dependency_of_a_dependency(self, stand, tmp_path):
        stand.index.add(make_wheel(tmp_path, "tools", "1.0", requires=["accelerate"]))
        stand.project.write(["tools"])
        outcome = stand.reconcile()
        assert told(outcome.held_back) == {("accelerate", "0.9", "1.0", PIN)}

    def test_what_the_project_itself_keeps_old_is_not_held_back(self, stand):
        stand.project.write(["accelerate<1", "numpy<2"])
        outcome = stand.reconcile()
        assert told(outcome.held_back) == set()

    def test_what_is_excluded_by_the_index_is_not_held_back(self, stand):
        stand.index.remove("accelerate", "1.0")
        stand.project.write(["accelerate"])
        outcome = stand.reconcile()
        assert told(outcome.held_back) == set()
        assert stand.packages()["accelerate"] == "0.9"

    def test_without_holds_there_is_nothing_to_tell(self, stand):
        uninstall(stand.venv, *HELD)
        stand.project.write(["accelerate"])
        outcome = stand.reconcile()
        assert told(outcome.held_back) == set()
        assert stand.packages()["accelerate"] == "1.0"

    def test_update_latest_tells_it_of_what_is_installed(self, stand):
        stand.project.write(DECLARED)
        stand.reconcile()
        stand.settings["update"] = Update.LATEST
        outcome = stand.reconcile()
        assert outcome.result is Result.UNCHANGED
        assert ("accelerate", "0.9", "1.0", PIN) in told(outcome.held_back)

    def test_a_bounded_dependent_fails_with_the_hold_named(self, stand):
        stand.project.write(["accelerate>=1.0", "numpy<2"])
        outcome = stand.reconcile()
        assert failed_names(outcome) == {"accelerate": "NoSolution"}
        assert PIN in outcome.failed[0].message
        assert "torch>=2.4" in outcome.failed[0].message
        assert stand.packages()["numpy"] == "1.26.4"


@pytest.fixture
def only_ancient(stand: Stand) -> Stand:
    """Of accelerate, only a version from before it declared torch fits."""
    stand.index.remove("accelerate", "0.9")
    return stand


class TestTooFarBack:
    def test_it_is_not_installed_and_the_rest_is(self, only_ancient):
        stand = only_ancient
        stand.project.write(["accelerate", "numpy<2"])
        message = refuse(stand, "accelerate", "0.0.1")
        assert message.startswith("HeldBackTooFar: ")
        assert "allow_downgrade" not in message  # it would let in a build for another torch
        assert "No older version does: install a build of accelerate" in message
        assert PIN in message
        assert "accelerate" not in stand.packages()
        assert stand.packages()["numpy"] == "1.26.4"

    def test_allow_downgrade_lets_it_through(self, only_ancient):
        stand = only_ancient
        stand.settings["allow_downgrade"] = True
        stand.project.write(["accelerate", "numpy<2"])
        outcome = stand.reconcile()
        assert stand.packages()["accelerate"] == "0.0.1"
        assert ("accelerate", "0.0.1", "1.0", PIN) in told(outcome.held_back)
        assert outcome.failed == ()

    def test_an_ancient_version_that_the_project_asks_for_is_fine(self, only_ancient):
        stand = only_ancient
        stand.project.write(["accelerate==0.0.1"])
        outcome = stand.reconcile()
        assert stand.packages()["accelerate"] == "0.0.1"
        assert outcome.failed == ()

    def test_what_needs_it_is_left_out_too(self, only_ancient, tmp_path):
        stand = only_ancient
        stand.index.add(make_wheel(tmp_path, "tools", "1.0", requires=["accelerate"]))
        stand.project.write(["tools", "numpy<2"])
        outcome = stand.reconcile()
        assert not {"tools", "accelerate"} & stand.packages().keys()
        assert stand.packages()["numpy"] == "1.26.4"
        assert failed_names(outcome).keys() == {"tools", "accelerate"}

    def test_through_a_package_between(self, stand, tmp_path):
        for version, requires in (("2.0", ["glue>=1"]), ("0.0.1", [])):
            stand.index.add(make_wheel(tmp_path, "farther", version, requires=requires))
        stand.index.add(make_wheel(tmp_path, "glue", "1.0", requires=["torch>=2.4"]))
        stand.project.write(["farther", "numpy<2"])
        assert refuse(stand, "farther", "0.0.1").startswith("HeldBackTooFar: ")
        assert stand.packages()["numpy"] == "1.26.4"

    def test_a_dozen_of_them(self, stand, tmp_path):
        names = [f"ancient-{n:02}" for n in range(12)]
        for name in names:
            stand.index.add(make_wheel(tmp_path, name, "2.0", requires=["torch>=2.4"]))
            stand.index.add(make_wheel(tmp_path, name, "0.0.1"))
        stand.project.write([*names, "numpy<2"])
        outcome = stand.reconcile()
        assert failed_names(outcome) == dict.fromkeys(names, "HeldBackTooFar")
        assert not set(names) & stand.packages().keys()
        assert stand.packages()["numpy"] == "1.26.4"

    def test_the_next_pass_says_the_same(self, only_ancient):
        stand = only_ancient
        stand.project.write(["accelerate", "numpy<2"])
        stand.reconcile()
        assert refuse(stand, "accelerate", "0.0.1").startswith("HeldBackTooFar: ")


class TestDowngrade:
    def test_an_installed_dependent_that_does_not_fit_is_kept(self, stand, wheelhouse):
        newer = make_wheel(wheelhouse, "accelerate", "1.0", requires=["torch>=2.4"])
        install(stand.venv, newer)
        before = stand.fingerprint()
        stand.project.write(["accelerate", "numpy<2"])
        message = refuse(stand, "accelerate", "0.9")
        stand.assert_untouched(before)
        assert message.startswith("WouldDowngrade: accelerate stays at 1.0; only 0.9 works")
        assert "allow_downgrade" in message
        assert stand.packages()["accelerate"] == "1.0"
        assert stand.packages()["numpy"] == "1.26.4"

    def test_a_dependency_past_the_bound_of_the_hold_is_kept(self, stand, wheelhouse):
        install(stand.venv, make_wheel(wheelhouse, "sympy", "1.13.1", requires=["mpmath"]))
        before = stand.fingerprint()
        stand.project.write(["sympy", "numpy<2"])
        message = refuse(stand, "sympy", "1.12.1")
        stand.assert_untouched(before)
        assert message.startswith("WouldDowngrade: sympy stays at 1.13.1")
        assert stand.packages()["sympy"] == "1.13.1"
        assert stand.packages()["numpy"] == "1.26.4"

    @pytest.mark.parametrize(
        ("name", "version", "requires", "chosen"),
        [
            ("accelerate", "1.0", ["torch>=2.4"], "0.9"),
            ("sympy", "1.13.1", ["mpmath"], "1.12.1"),
        ],
    )
    def test_allow_downgrade_lets_it_through(
        self, stand, wheelhouse, name, version, requires, chosen
    ):
        install(stand.venv, make_wheel(wheelhouse, name, version, requires=requires))
        before = stand.fingerprint()
        stand.settings["allow_downgrade"] = True
        stand.project.write([name, "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages()[name] == chosen
        assert stand.packages()["numpy"] == "1.26.4"
        [change] = [c for c in outcome.changes if c.name == name]
        assert (change.action, change.from_, change.to) == ("downgrade", version, chosen)

    def test_a_downgrade_that_the_project_asks_for_is_done(self, stand, wheelhouse):
        install(stand.venv, make_wheel(wheelhouse, "numpy", "2.1.0"))
        stand.project.write(["numpy<2"])
        outcome = stand.reconcile()
        assert stand.packages()["numpy"] == "1.26.4"
        assert outcome.failed == ()

    def test_a_downgrade_that_both_ask_for_is_done(self, stand, wheelhouse):
        install(stand.venv, make_wheel(wheelhouse, "sympy", "1.13.1", requires=["mpmath"]))
        stand.project.write(["sympy<1.13"])
        outcome = stand.reconcile()
        assert stand.packages()["sympy"] == "1.12.1"
        assert outcome.failed == ()

    def test_another_package_is_no_reason_to_go_back(self, stand, tmp_path):
        """A new requirement that fits the hold only with an older neighbour is left out."""
        install(stand.venv, make_wheel(tmp_path / "i", "datasets", "3.0"))
        stand.index.add(
            make_wheel(tmp_path, "datasets", "3.0"), make_wheel(tmp_path, "datasets", "2.0")
        )
        stand.index.add(
            make_wheel(tmp_path, "trainer", "2.0", requires=["datasets>=3", "torch>=2.4"]),
            make_wheel(tmp_path, "trainer", "1.0", requires=["datasets<3", "torch>=2.0"]),
        )  # fmt: skip
        stand.project.write(["datasets", "trainer", "numpy<2"])
        outcome = stand.reconcile()
        assert stand.packages()["datasets"] == "3.0"
        assert "trainer" not in stand.packages()
        assert stand.packages()["numpy"] == "1.26.4"
        assert {"datasets", "trainer"} & failed_names(outcome).keys()

    def test_a_hold_of_a_newer_build_holds_nothing_back(self, stand, tmp_path):
        uninstall(stand.venv, "torchvision")
        install(stand.venv, fake_torch(tmp_path, "2.9.0+rocm6.4"))
        stand.project.write(["accelerate"])
        outcome = stand.reconcile()
        assert told(outcome.held_back) == set()
        assert stand.packages()["accelerate"] == "1.0"
