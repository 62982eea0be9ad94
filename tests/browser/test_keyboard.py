"""Everything can be done with the keyboard; focus is where one expects it and can be seen."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opener
from tests.support.service import ServiceProcess
from tests.support.thorough import only

pytestmark = pytest.mark.xdist_group("browser")


def press_until(page: Page, key: str, name: str, most: int = 40) -> None:
    """Press a key until the focus is on what has this name."""
    for _ in range(most):
        page.keyboard.press(key)
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    pytest.fail(f"{name!r} is not reached with {most} times {key}")


def test_skip_link_comes_first(settled: ServiceProcess, open_page: Opener) -> None:
    page = open_page(settled)

    page.keyboard.press("Tab")

    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_fix_with_keys_alone_and_changes_are_announced(
    drifted: ServiceProcess, open_page: Opener
) -> None:
    page = open_page(drifted)
    button = page.get_by_role("button", name="Fix Dependencies")
    expect(page.get_by_role("status").filter(has_text="Drifted")).to_have_count(1)

    press_until(page, "Tab", "Fix Dependencies")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Install/update ML dependencies?")
    expect(dialog.get_by_role("button", name="Install/update")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = (
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
        assert page.evaluate(inside), "the focus left the dialog"
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()

    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    close = page.get_by_role("dialog").get_by_role("button", name="Close")
    expect(close).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".pill")).to_have_text("In sync")
    expect(page.get_by_role("status").filter(has_text="In sync")).to_have_count(1)


@only
def test_sorting_keeps_the_focus(drifted: ServiceProcess, open_page: Opener) -> None:
    page = open_page(drifted)

    press_until(page, "Tab", "Status")
    page.keyboard.press("Space")

    header = page.get_by_role("columnheader", name="Status")
    expect(header).to_have_attribute("aria-sort", "ascending")
    expect(header.get_by_role("button")).to_be_focused()
