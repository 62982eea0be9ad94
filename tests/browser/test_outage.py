"""A service that is gone is said to be gone, without anything jumping; it comes back by itself."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.browser.test_fix import start_fix
from tests.browser.test_table import row
from tests.support.index import PackageIndex
from tests.support.service import ServiceProcess
from tests.support.thorough import only, sample

pytestmark = [only, pytest.mark.xdist_group("browser")]

Shoot = Callable[..., object]
UNREACHABLE = re.compile(r"^Service unreachable — showing the state of \d\d:\d\d:\d\d; retrying$")


@pytest.mark.parametrize("width", sample([1280, 360], every=2))
def test_gone_and_back(
    drifted: ServiceProcess, open_page: Opener, shoot: Shoot, width: int
) -> None:
    page = open_page(drifted, width=width)
    where = row(page, "torch").bounding_box()

    drifted.kill()

    expect(page.locator("#state")).to_have_text(UNREACHABLE)
    expect(page.locator("#connection")).to_have_text("Offline")
    expect(row(page, "torch").locator(".installed")).to_have_text("2.3.1+rocm5.7")
    assert row(page, "torch").bounding_box() == where
    button = page.get_by_role("button", name="Fix Dependencies")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.click(force=True)
    expect(page.locator("#toast")).to_contain_text("The service is unreachable")
    expect(page.get_by_role("dialog")).to_have_count(0)
    shoot(page, f"gone-{width}")

    drifted.start(until="/livez")

    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#state")).to_have_text("Drifted")
    expect(button).not_to_have_attribute("aria-disabled", "true")


def test_killed_during_a_fix(
    drifted: ServiceProcess, universe: PackageIndex, open_page: Opener
) -> None:
    page = open_page(drifted)
    stall = universe.stall_downloads(for_name="pandas")
    start_fix(page)
    stall.wait_reached()

    drifted.kill()
    expect(page.locator("dialog .counted")).to_contain_text("The service does not answer")
    universe.heal()
    drifted.start(until="/livez")

    # Either the journal tells how the pass ended, or the page says that it was cut off.
    expect(page.get_by_role("heading", name=re.compile("^(Result|Interrupted)$"))).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.locator("#connection")).to_have_text("Live")
    start_fix(page)
    expect(page.locator("dialog .sentence")).to_contain_text(
        "✅ Successfully installed/upgraded all"
    )


def test_without_events_the_page_still_follows(drifted: ServiceProcess, open_page: Opener) -> None:
    page = open_page(drifted)
    page.context.route("**/events", lambda route: route.abort())
    page.reload()
    expect(page.locator("#connection")).to_have_text("Polling")

    drifted.client.post("/environments/studio/reconcile", json={"apply": True})

    expect(page.locator(".pill")).to_have_text("In sync")
    expect(row(page, "numpy").locator(".installed")).to_have_text("1.26.4")
