"""Pause, resume, history, rolling back, restoring and accepting a hold: each confirmed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DECLARED, Opener
from tests.browser.test_table import row, times_shown
from tests.support.environments import delete, install, make_venv, snapshot, tree_fingerprint
from tests.support.projects import Project
from tests.support.service import ServiceProcess
from tests.support.thorough import only
from tests.support.torch import fake_torch

pytestmark = pytest.mark.xdist_group("browser")

Shoot = Callable[..., object]


def test_pause_with_a_reason_and_resume(
    steady: ServiceProcess, studio: Project, open_page: Opener, shoot: Shoot
) -> None:
    page = open_page(steady)

    page.get_by_role("button", name="Pause…").click()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.get_by_label("Reason").fill("Training run of Ana")
    page.get_by_label("For how long").select_option("1 hour")
    shoot(page, "pause")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()

    notice = page.locator(".notice.paused")
    expect(notice).to_contain_text("Training run of Ana")
    assert times_shown(page, "Training run of Ana") == 1
    expect(page.locator(".pill")).to_have_text("Paused")
    suspension = steady.environment()["suspension"]
    assert suspension["reason"] == "Training run of Ana"
    assert suspension["until"] is not None
    studio.save([*DECLARED, "sympy"])
    expect(row(page, "sympy").locator(".status")).to_have_text("Missing")

    notice.get_by_role("button", name="Resume…").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(notice).to_have_count(0)
    expect(row(page, "sympy").locator(".status")).to_have_text("OK")


@only
def test_the_gpu_is_checked_again(steady: ServiceProcess, open_page: Opener) -> None:
    before = steady.wait_for_environment(lambda one: one["gpu"])["gpu"]["checked_at"]
    page = open_page(steady)
    value = page.locator(".facts .value").first
    expect(value).to_have_text("✓ GPU Available (Radeon Instinct MI25)")

    with page.expect_response("**/environments/studio/gpu") as answered:
        page.get_by_role("button", name="Check again").click()

    assert answered.value.status == 202
    expect(page.locator("#toast")).to_have_text("Checking the GPU again.")
    after = steady.wait_for_environment(lambda one: one["gpu"]["checked_at"] > before)["gpu"]
    expect(value).to_have_attribute("title", re.compile("^Checked "))
    assert after["available"] is True


def test_history_shows_changes_and_log(
    steady: ServiceProcess, open_page: Opener, shoot: Shoot
) -> None:
    page = open_page(steady)
    changed = page.locator(".passes button", has_text="Changed").last

    changed.click()

    dialog = page.get_by_role("dialog")
    numpy = dialog.locator(".changes li", has_text=re.compile("^numpy"))
    expect(numpy.locator(".from")).to_have_text("not installed")
    expect(numpy.locator(".to")).to_have_text("1.26.4")
    expect(dialog.get_by_role("region", name="Log of this pass")).to_contain_text("numpy")
    shoot(page, "history")


@only
def test_older_passes_are_read_on_demand(steady: ServiceProcess, open_page: Opener) -> None:
    for _ in range(8):
        last = steady.client.post("/environments/studio/reconcile", json={}).json()["pass"]
        steady.wait_for_environment(lambda one, last=last: one["last_pass"]["id"] >= last)
    recorded = steady.client.get("/history?limit=100").json()["passes"]
    assert len(recorded) > 6
    page = open_page(steady)

    expect(page.locator(".passes li")).to_have_count(6)
    page.get_by_role("button", name="Show older passes").click()

    expect(page.locator(".passes li")).to_have_count(len(recorded))
    shown = page.locator(".passes li").all_inner_texts()
    assert [int(text.rpartition("pass ")[2]) for text in shown] == [one["id"] for one in recorded]
    expect(page.get_by_role("button", name="Show older passes")).to_be_hidden()


def test_roll_back(
    steady: ServiceProcess, studio: Project, open_page: Opener, shoot: Shoot
) -> None:
    before = snapshot(studio.venv)
    generation = steady.environment()["generation"]
    studio.save([*DECLARED, "sympy"])
    steady.wait_for_environment(lambda one: one["generation"] > generation)
    page = open_page(steady)

    page.get_by_role("button", name=f"Roll back to generation {generation}").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert "sympy" in snapshot(studio.venv)
    page.get_by_role("button", name=f"Roll back to generation {generation}").click()
    shoot(page, "roll-back")
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()

    sentence = page.locator("dialog .sentence")
    expect(sentence).to_have_text(f"✅ Generation {generation} is live again")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert snapshot(studio.venv) == before
    expect(page.locator(".notice.paused")).to_contain_text("Rolled back")


def test_restore_a_broken_hold(
    steady: ServiceProcess, studio: Project, open_page: Opener, shoot: Shoot, tmp_path: Path
) -> None:
    contents = {
        path: state.sha256 for path, state in tree_fingerprint(studio.venv, "torch").items()
    }
    page = open_page(steady)

    install(studio.venv, fake_torch(tmp_path, "2.8.0"))

    notice = page.locator(".notice.holds")
    expect(notice).to_contain_text("torch")
    command = notice.locator("code", has_text="reconciler hold restore torch")
    expect(command).to_have_text("reconciler hold restore torch")
    expect(page.locator("main")).not_to_contain_text("`")
    expect(page.locator(".pill")).to_have_text("Degraded")
    (broken,) = [hold for hold in steady.environment()["holds"] if not hold["intact"]]
    assert times_shown(page, broken["message"]) == 1
    expect(row(page, "torch").locator(".message")).to_be_hidden()
    shoot(page, "broken-hold", full_page=True)
    notice.get_by_role("button", name="Restore torch 2.3.1+rocm5.7…").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()

    expect(page.locator("dialog .sentence")).to_have_text("✅ torch 2.3.1+rocm5.7 is restored")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(notice).to_have_count(0)
    restored = {
        path: state.sha256 for path, state in tree_fingerprint(studio.venv, "torch").items()
    }
    assert restored == contents


def test_after_a_recreation_a_hold_is_restored_with_one_click(
    steady: ServiceProcess, studio: Project, open_page: Opener, shoot: Shoot
) -> None:
    page = open_page(steady)
    torch = page.locator(".holds > li", has_text="torch 2.3.1+rocm5.7").first
    expect(torch).to_contain_text("copy in the vault")
    torch.locator("summary").click()

    delete(studio.venv)
    make_venv(studio.venv)

    notice = page.locator(".notice.holds")
    expect(row(page, "torch").locator(".status")).to_have_text("Held, not installed")
    expect(notice.locator("summary")).to_have_text("1 package held with it is broken, too")
    member = notice.locator(".members li", has_text="pytorch-triton-rocm 2.3.1")
    expect(member).to_be_hidden()
    notice.locator("summary").press("Enter")
    expect(member).to_be_visible()
    expect(torch).to_contain_text("missing")
    expect(torch.locator(".members")).to_be_visible()  # still open, and says the same
    expect(torch.locator("summary .bad")).to_have_text(" · 1 broken")
    expect(notice.get_by_role("button", name="Accept")).to_have_count(0)
    shoot(page, "hold-gone", full_page=True)
    notice.get_by_role("button", name="Restore torch 2.3.1+rocm5.7").click()

    expect(page.locator("dialog .sentence")).to_have_text("✅ torch 2.3.1+rocm5.7 is restored")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(notice).to_contain_text("1 held package is broken")  # torchvision
    expect(torch.locator(".members")).to_be_visible()
    assert snapshot(studio.venv)["pytorch-triton-rocm"] == "2.3.1"


@only
def test_accept_a_broken_hold(
    steady: ServiceProcess, studio: Project, open_page: Opener, tmp_path: Path
) -> None:
    page = open_page(steady)
    install(studio.venv, fake_torch(tmp_path, "2.8.0"))

    page.get_by_role("button", name="Accept torch as it is…").click()
    page.get_by_role("dialog").get_by_role("button", name="Accept").click()

    expect(page.locator("dialog .sentence")).to_have_text(re.compile("^✅ torch 2.8.0 is now held"))
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(row(page, "torch").locator(".installed")).to_have_text("2.8.0")
    holds = {hold["name"]: hold for hold in steady.environment()["holds"]}
    assert holds["torch"]["version"] == "2.8.0"
    assert holds["torch"]["intact"]
