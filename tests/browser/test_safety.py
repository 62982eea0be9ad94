"""What users, projects and packages say is shown as text; nothing comes from elsewhere."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

import reconciler
from tests.browser.conftest import DECLARED, Opener
from tests.support.projects import Project
from tests.support.service import ServiceProcess
from tests.support.thorough import only

pytestmark = pytest.mark.xdist_group("browser")

STATIC = Path(reconciler.__file__).parent / "web/static"
MARKUP = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"


def test_markup_in_a_requirement_is_text(
    steady: ServiceProcess, studio: Project, open_page: Opener
) -> None:
    page = open_page(steady)

    studio.write_text(studio.text([*DECLARED, MARKUP]))

    expect(page.locator(".notice.problem .source")).to_contain_text(MARKUP)
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.hacked") is None


@only
def test_markup_in_a_reason_is_text(steady: ServiceProcess, open_page: Opener) -> None:
    page = open_page(steady)

    page.get_by_role("button", name="Pause…").click()
    page.get_by_label("Reason").fill(f"until `{MARKUP}` is over")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()

    expect(page.locator(".notice.paused code")).to_have_text(MARKUP)
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.hacked") is None


@only
def test_only_pairs_of_backticks_on_one_line_are_code(
    steady: ServiceProcess, open_page: Opener
) -> None:
    page = open_page(steady)
    shown = """(messages) => import("./static/dom.js").then(({ prose }) => messages.map((message) =>
        prose(message).map((part) => part.nodeName ? [part.nodeName, part.textContent] : part)))"""

    assert page.evaluate(shown, [
        f"say `{MARKUP}` now",
        f"{MARKUP} `reconciler apply`",
        "one ` alone",
        "`a` and ` b",
        "one ` here\nand `code` there",
        "nothing between ``",
        "",
        None,
    ]) == [
        ["say ", ["CODE", MARKUP], " now"],
        [f"{MARKUP} ", ["CODE", "reconciler apply"]],
        ["one ` alone"],
        ["`a` and ` b"],
        ["one ` here\n", "and ", ["CODE", "code"], " there"],
        ["nothing between ", "``"],
        [],
        [],
    ]  # fmt: skip
    assert page.evaluate("window.hacked") is None


def test_policy_refuses_an_inline_script(settled: ServiceProcess, chromium: Browser) -> None:
    page = chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(settled.url)

    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
    }""")

    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in words for words in said)
    page.close()


def test_only_the_service_is_asked(settled: ServiceProcess, open_page: Opener) -> None:
    page = open_page(settled)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.reload()
    expect(page.locator("#connection")).to_have_text("Live")

    assert asked
    assert [url for url in asked if not url.startswith(f"{settled.url}/")] == []


def test_files_are_small_and_their_own() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]

    assert {path.suffix for path in files} == {".html", ".css", ".js", ".svg"}
    assert sum(path.stat().st_size for path in files) < 115_000
    for path in files:
        text = path.read_text()
        addresses = set(re.findall(r"https?://[\w.]+", text))
        assert addresses <= {"http://www.w3.org"}, path  # the name of SVG's elements
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
