"""Light, dark and narrow; nothing that axe-core calls serious, on the page and in its dialogs."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opener
from tests.browser.test_fix import result_of
from tests.support.environments import install
from tests.support.projects import Project
from tests.support.service import ServiceProcess
from tests.support.thorough import sample
from tests.support.torch import fake_torch

pytestmark = pytest.mark.xdist_group("browser")

Shoot = Callable[..., object]
Scheme = Literal["light", "dark"]


def findings(page: Page, axe: str, *, of: str = "body") -> list[str]:
    """What axe-core calls serious or critical, of the whole page or of a part of it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished.catch(() => 0)))")
    report = page.evaluate("part => axe.run(part, {resultTypes: ['violations']})", of)
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']]}"
        for one in report["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


def test_axe_finds_nothing_serious(
    drifted: ServiceProcess, open_page: Opener, axe: str, shoot: Shoot
) -> None:
    page = open_page(drifted, reduced_motion="reduce")
    serious: list[str] = []

    def look(name: str, *, of: str = "dialog") -> None:
        """Wide in the light and narrow in the dark: colours do not depend on the width."""
        ways: list[tuple[Scheme, int]] = [("light", 1280), ("dark", 360)]
        for scheme, width in ways:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 900})
            way = f"{name}-{scheme}-{width}"
            serious.extend(f"{way}: {finding}" for finding in findings(page, axe, of=of))
            if name in {"drifted", "result"}:
                shoot(page, way, full_page=of == "body")

    look("drifted", of="body")
    page.get_by_role("button", name="Pause…").click()
    look("pause")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Fix Dependencies").click()
    look("fix")
    page.get_by_role("button", name="Install/update").click()
    result_of(page)
    look("result")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 420})
        whole = page.locator("dialog .sentence").evaluate(
            "it => it.scrollHeight <= it.clientHeight"
        )
        assert whole, f"{width} pixels wide, the counts are drawn over the sentence"
    page.get_by_role("button", name="View detailed logs").click()
    expect(page.get_by_role("region", name="Log of this pass")).to_be_visible()
    look("log")

    assert serious == []


@pytest.mark.parametrize("scheme", sample(["dark", "light"], every=2))
def test_axe_finds_nothing_serious_in_trouble(
    steady: ServiceProcess,
    studio: Project,
    open_page: Opener,
    axe: str,
    shoot: Shoot,
    scheme: Scheme,
    tmp_path: Path,
) -> None:
    page = open_page(steady, color_scheme=scheme, reduced_motion="reduce")
    install(studio.venv, fake_torch(tmp_path, "2.8.0"))
    expect(page.locator(".notice.holds")).to_be_visible()
    studio.write(["numpy ==,"])
    expect(page.locator(".notice.problem")).to_be_visible()
    found = findings(page, axe)
    shoot(page, f"trouble-{scheme}", full_page=True)

    page.get_by_role("button", name="Restore torch 2.3.1+rocm5.7…").click()
    found += findings(page, axe, of="dialog")
    page.keyboard.press("Escape")
    steady.kill()
    expect(page.locator("#connection")).to_have_text("Offline")
    found += findings(page, axe)

    assert found == []


def test_dark_follows_the_system(settled: ServiceProcess, open_page: Opener) -> None:
    light = open_page(settled, color_scheme="light")
    dark = open_page(settled, color_scheme="dark")
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"

    assert light.evaluate(brightness) > 200
    assert dark.evaluate(brightness) < 60


def test_360_pixels_are_enough(settled: ServiceProcess, open_page: Opener) -> None:
    page = open_page(settled, width=360, height=740)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("button", name="Fix Dependencies")).to_be_in_viewport()
    torch = page.get_by_role("row").filter(has_text="2.3.1+rocm5.7").first
    # As cards the rows keep their cells, for the eye and for a screen reader.
    expect(torch.get_by_role("cell")).to_have_count(3)
    box = torch.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
