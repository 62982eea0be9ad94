"""Fix Dependencies as in the guide: ask, show progress, say what came of it, keep torch."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DECLARED, Opener
from tests.browser.test_table import row, times_shown
from tests.support.environments import snapshot, tree_fingerprint
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.thorough import only
from tests.support.wheels import BUILD_FAILURE, make_sdist

pytestmark = pytest.mark.xdist_group("browser")

Shoot = Callable[..., object]


def start_fix(page: Page) -> None:
    """Click through to the progress."""
    page.get_by_role("button", name="Fix Dependencies").click()
    page.get_by_role("button", name="Install/update").click()


def result_of(page: Page) -> str:
    """Wait for the result and return its sentence."""
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    sentence = page.locator("dialog .sentence")
    expect(sentence).not_to_be_empty()
    return sentence.inner_text()


def test_confirmation_says_what_changes_and_what_is_kept(
    waiting: ServiceProcess, open_page: Opener, shoot: Shoot
) -> None:
    planned = waiting.wait_for_environment(lambda one: one["planned"])["planned"]
    page = open_page(waiting)

    page.get_by_role("button", name="Fix Dependencies").click()

    dialog = page.get_by_role("dialog", name="Install/update ML dependencies?")
    expect(dialog.locator(".changes .package")).to_have_text([change["name"] for change in planned])
    numpy = dialog.locator(".changes li", has_text=re.compile("^numpy"))
    expect(numpy.locator(".to")).to_have_text("1.26.4")
    expect(dialog.locator(".kept")).to_contain_text("torch 2.3.1+rocm5.7")
    expect(dialog.locator(".kept")).to_contain_text("torchvision 0.18.1+rocm5.7")
    shoot(page, "fix-asks")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert waiting.environment()["phase"] == "Drifted"


def test_from_drift_to_in_sync_with_torch_untouched(
    drifted: ServiceProcess,
    studio: Project,
    universe: PackageIndex,
    open_page: Opener,
    shoot: Shoot,
) -> None:
    torch = tree_fingerprint(studio.venv, "torch")
    page = open_page(drifted)
    stall = universe.stall_downloads(for_name="pandas")

    start_fix(page)

    running = page.get_by_role(
        "dialog", name="Installing dependencies (excluding torch/torchvision)..."
    )
    expect(running).to_be_visible()
    stall.wait_reached()
    steps = running.locator(".steps .package")
    expect(steps.filter(has_text=re.compile("^pandas$"))).to_be_visible()
    expect(steps.filter(has_text=re.compile("^torch$"))).to_have_count(0)
    total = steps.count()
    expect(running.locator(".counted")).to_have_text(f"0 of {total} packages")
    shoot(page, "fix-runs")
    stall.release()

    sentence = result_of(page)
    pattern = (
        r"✅ Successfully installed/upgraded all (\d+) packages \(torch/torchvision preserved\)"
    )
    match = re.fullmatch(pattern, sentence)
    assert match, sentence
    changes = drifted.environment()["last_pass"]["changes"]
    assert int(match[1]) == len(changes) == total
    counts = page.locator("dialog .counts")
    expect(counts).to_contain_text(f"Installed:{len(changes)}")
    expect(counts).to_contain_text("Failed:0")
    shoot(page, "fix-result")

    page.get_by_role("button", name="View detailed logs").click()
    log = page.get_by_role("region", name="Log of this pass")
    expect(log).to_contain_text("numpy")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(row(page, "numpy").locator(".installed")).to_have_text("1.26.4")
    expect(row(page, "numpy").locator(".status")).to_have_text("OK")
    expect(page.locator(".pill")).to_have_text("In sync")
    assert snapshot(studio.venv)["numpy"] == "1.26.4"
    assert tree_fingerprint(studio.venv, "torch") == torch


def test_a_package_that_cannot_be_built(
    drifted: ServiceProcess,
    studio: Project,
    universe: PackageIndex,
    open_page: Opener,
    shoot: Shoot,
    tmp_path: Path,
) -> None:
    universe.add(make_sdist(tmp_path, "flash-attn", "2.6.3", fails=True))
    studio.write([*DECLARED, "flash-attn>=2"])
    drifted.wait_for_environment(
        lambda one: any(p["name"] == "flash-attn" for p in one["packages"])
    )
    page = open_page(drifted)

    start_fix(page)

    sentence = result_of(page)
    assert sentence.startswith("⚠️ Installed/upgraded ")
    assert sentence.endswith(" packages, 1 failed (torch/torchvision preserved)")
    failures = page.locator("dialog .failures")
    expect(failures).to_contain_text("flash-attn>=2")
    expect(failures).to_contain_text(BUILD_FAILURE)
    expect(failures.locator(".message code").first).to_have_text("flash-attn==2.6.3")
    expect(page.locator("dialog .counts")).to_contain_text("Failed:1")
    shoot(page, "fix-partly")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(row(page, "flash-attn").locator(".status")).to_have_text("Failed")
    expect(row(page, "flash-attn").locator(".message")).to_have_text("BuildFailed")
    expect(page.locator(".notice.failed")).to_contain_text("flash-attn")
    expect(page.locator("main")).not_to_contain_text("`")
    (failure,) = drifted.environment()["last_pass"]["failed"]
    assert times_shown(page, failure["message"]) == 1

    # A pass that only looks does not take away what an earlier one could not meet.
    look = drifted.client.post("/environments/studio/reconcile", json={}).json()["pass"]
    expect(page.locator(".passes li").first).to_contain_text(f"pass {look}")
    assert drifted.environment()["last_pass"]["failed"] == []
    expect(row(page, "flash-attn").locator(".message")).to_have_text("BuildFailed")
    assert times_shown(page, failure["message"]) == 1
    assert snapshot(studio.venv)["numpy"] == "1.26.4"


@only
def test_hidden_progress_goes_on_and_can_be_shown_again(
    drifted: ServiceProcess, universe: PackageIndex, open_page: Opener
) -> None:
    page = open_page(drifted)
    stall = universe.stall_downloads(for_name="pandas")
    start_fix(page)
    stall.wait_reached()

    page.get_by_role("button", name="Hide").click()
    page.get_by_role("button", name="Show progress").click()
    expect(page.locator("dialog .steps .package").first).to_be_visible()
    page.get_by_role("button", name="Hide").click()
    stall.release()

    expect(page.locator("#toast")).to_contain_text("Successfully installed/upgraded all")
    expect(page.locator(".pill")).to_have_text("In sync")


def test_nothing_to_do(settled: ServiceProcess, open_page: Opener) -> None:
    page = open_page(settled)

    start_fix(page)

    nothing = "✅ Nothing to install: everything is as declared (torch/torchvision preserved)"
    assert result_of(page) == nothing


@only
def test_beside_a_broken_file_the_last_good_state_is_applied(
    drifted: ServiceProcess, studio: Project, open_page: Opener, shoot: Shoot
) -> None:
    good = drifted.wait_for_environment(lambda one: one["planned"])
    planned = len(good["planned"])
    studio.save([*DECLARED, "sympy >=1.13,,<2"])  # in one step: no half file is ever seen
    problem = drifted.wait_for_environment(lambda one: one["problem"])["problem"]
    place = f"{problem['line']}:{problem['column']}"
    revision = good["revision"].removeprefix("sha256:")[:10]
    page = open_page(drifted)

    expect(page.locator(".hint")).to_have_text(
        f"This applies the last good state (revision {revision}, 10 requirements): "
        f"{planned} packages would change. "
        f"The broken edit at pyproject.toml:{place} is not applied until it is fixed."
    )
    page.get_by_role("button", name="Fix Dependencies").click()
    dialog = page.get_by_role("dialog", name="Install/update ML dependencies?")
    expect(dialog).to_contain_text(f"revision {revision}, 10 requirements")
    expect(dialog).to_contain_text(f"The broken edit at {problem['file']}:{place} is not applied")
    expect(dialog).to_contain_text(f"{planned} packages will change")
    shoot(page, "fix-last-good")
    dialog.get_by_role("button", name="Apply the last good state").click()

    assert result_of(page) == (
        f"⚠️ Successfully installed/upgraded all {planned} packages (torch/torchvision preserved). "
        f"The broken edit at pyproject.toml:{place} was not applied."
    )
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.locator(".hint")).to_contain_text("10 requirements): nothing would change.")
    assert snapshot(studio.venv)["numpy"] == "1.26.4"
    assert "sympy" not in snapshot(studio.venv)


@only
def test_without_a_good_state_there_is_nothing_to_fix(
    studio: Project, service: ServiceFactory, open_page: Opener
) -> None:
    studio.write(["numpy ==,"])
    process = service(until="/livez")
    problem = process.wait_for_environment(lambda one: one["problem"])["problem"]
    page = open_page(process)
    button = page.get_by_role("button", name="Fix Dependencies")
    reason = (
        "There is no last good state of pyproject.toml to apply. "
        f"Fix the problem at pyproject.toml:{problem['line']}:{problem['column']} first."
    )

    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description(reason)
    button.click(force=True)
    expect(page.locator("#toast")).to_have_text(reason)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert times_shown(page, problem["reason"]) == 1

    studio.write(DECLARED)
    expect(button).not_to_have_attribute("aria-disabled", "true")
    expect(page.locator(".pill")).to_have_text("In sync")


@only
def test_an_index_that_is_down(
    drifted: ServiceProcess, universe: PackageIndex, open_page: Opener, studio: Project
) -> None:
    page = open_page(drifted)
    universe.down()
    before = snapshot(studio.venv)

    start_fix(page)

    sentence = result_of(page)
    assert sentence.startswith("❌ ")
    assert sentence.endswith("(torch/torchvision preserved)")
    assert snapshot(studio.venv) == before
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    # The status itself may be that of a later look: one comes some seconds after a failure.
    assert drifted.environment()["last_pass"]["message"].startswith("NetworkTrouble: ")


def test_a_refused_request_is_explained_and_a_token_opens_it(
    studio: Project, service: ServiceFactory, open_page: Opener, shoot: Shoot, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-token-of-this-test-alone\n")
    secret.chmod(0o600)
    process = service(mode="observe", http={"token_file": str(secret)})
    page = open_page(process)
    # As for somebody whom the service does not know: without a good token it refuses.
    page.route(
        "**/reconcile",
        lambda route: route.continue_(
            headers={"authorization": "Bearer of-somebody-else", **route.request.headers}
        ),
    )

    start_fix(page)

    expect(page.get_by_role("alert")).to_have_text(re.compile("^Not allowed: The token is wrong"))
    shoot(page, "refused")
    page.get_by_role("button", name="Install/update").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("^Not allowed: The token is wrong"))
    page.get_by_label("Access token").fill("a-token-of-this-test-alone")
    page.get_by_label("Access token").press("Enter")
    assert result_of(page).startswith("✅ ")
    page.unroute_all(behavior="ignoreErrors")
