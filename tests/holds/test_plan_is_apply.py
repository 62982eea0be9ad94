"""`plan` says what `apply` then does, and what to do about what a hold pushed too far back."""

from collections.abc import Sequence

from reconciler.passes import reconcile as passes
from reconciler.passes.outcome import Outcome
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Change
from tests.holds.stand import Stand, failed_names
from tests.support.environments import install, uninstall
from tests.support.passes import Follower
from tests.support.wheels import make_wheel

SITUATIONS: dict[str, tuple[list[str], list[tuple[str, str]]]] = {
    "nothing is in the way": (["numpy<2", "requests"], []),
    "held back, and it fits": (["accelerate", "numpy<2"], []),
    "nothing fits": (["accelerate>=1.0", "numpy<2"], []),
    "made for another torch": (["torchaudio", "numpy<2"], []),
    "installed for another torch": (["torchaudio", "numpy<2"], [("torchaudio", "2.11.1")]),
    "no version says that it fits": (["ancient", "numpy<2"], []),
    "what needs it is left out too": (["tools", "requests"], []),
    "it would be a downgrade": (["accelerate", "numpy<2"], [("accelerate", "1.0")]),
    "past the bound of the hold": (["sympy", "requests"], [("sympy", "1.13.1")]),
    "a bound of the project leaves none": (["torchaudio>=2.5", "requests"], []),
    "the advice is followed": (["torchaudio==2.3.1", "numpy<2"], []),
}
"""What is declared, and what was installed before by hand."""

ADVICE = {
    "made for another torch": (
        "HeldBackTooFar",
        ["torchaudio 2.3.1 is the newest version that does: declare `torchaudio==2.3.1`"],
    ),
    "installed for another torch": ("WouldDowngrade", ["declare `torchaudio==2.3.1`"]),
    "no version says that it fits": ("HeldBackTooFar", ["No older version does"]),
    "a bound of the project leaves none": ("HeldBackTooFar", ["No older version does"]),
    "it would be a downgrade": ("WouldDowngrade", ["`accelerate==0.9`", "allow_downgrade = true"]),
    "past the bound of the hold": ("WouldDowngrade", ["`sympy==1.12.1`", "allow_downgrade = true"]),
}


def planned(stand: Stand) -> Outcome:
    return passes.plan(Pass(stand.environment(), Cancellation(), Follower()))


def shown(outcome: Outcome, changes: Sequence[Change]) -> dict[str, object]:
    held_back = [entry.served() for entry in outcome.held_back or ()]
    return {"changes": list(changes), "failed": list(outcome.failed), "held back": held_back}


def fill(stand: Stand, tmp_path) -> None:
    wheels = {
        ("torchaudio", "2.3.0"): ["torch==2.3.0"],
        ("torchaudio", "2.3.1"): ["torch==2.3.1"],
        ("torchaudio", "2.10.0"): ["torch==2.10.0"],
        ("torchaudio", "2.11.0"): [],  # as on PyPI: it does not say which torch it is made for
        ("torchaudio", "2.11.1"): ["torch>=2.11"],
        ("ancient", "2.0"): ["glue"],
        ("ancient", "0.1"): [],
        ("glue", "1.0"): ["torch>=2.4"],
        ("tools", "1.0"): ["torchaudio"],
    }
    for (name, version), requires in wheels.items():
        stand.index.add(make_wheel(tmp_path, name, version, requires=requires))


def test_plan_is_what_apply_does(stand, tmp_path):
    fill(stand, tmp_path)
    base, before = stand.packages(), stand.fingerprint()
    wrong: dict[str, object] = {}
    for situation, (declared, by_hand) in SITUATIONS.items():
        for name, version in by_hand:
            requires = [] if name == "sympy" else ["torch>=2.4"]
            install(stand.venv, make_wheel(tmp_path / "hand", name, version, requires=requires))
        stand.project.write(declared)

        plan = planned(stand)
        stays = stand.packages()
        apply = stand.reconcile()

        if shown(plan, plan.plan) != shown(apply, apply.changes):
            wrong[situation] = (shown(plan, plan.plan), shown(apply, apply.changes))
        if situation in ADVICE:
            reason, words = ADVICE[situation]
            said = {f.reason: f.message for f in plan.failed}.get(reason, "")
            missing = [word for word in words if word not in said]
            if missing or ("allow_downgrade" in said) != ("allow_downgrade = true" in words):
                wrong[f"advice: {situation}"] = (failed_names(plan), said)
        assert {**base, **dict(by_hand)} == stays, "plan has changed something"
        uninstall(stand.venv, *(stand.packages().keys() - base.keys()))
    assert wrong == {}
    stand.assert_untouched(before)


def test_what_has_to_be_unpacked_to_judge_it_and_cannot_be_fails_in_both(stand, tmp_path):
    fill(stand, tmp_path)
    stand.index.remove("torchaudio", "2.11.0")
    stand.index.add(make_wheel(tmp_path / "bad", "torchaudio", "2.11.0"))
    make_wheel(tmp_path / "bad", "torchaudio", "2.11.0", files={"more.py": ""})  # another hash
    stand.project.write(["torchaudio", "numpy<2"])
    plan, apply = planned(stand), stand.reconcile()
    assert shown(plan, plan.plan) == shown(apply, apply.changes)
    assert "torchaudio" in failed_names(plan)
