"""The page shows what is installed, declared and held, and what drifted; live."""

import re
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import DECLARED, Opener
from tests.support.environments import make_venv, uninstall
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.thorough import only
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.xdist_group("browser")


def row(page: Page, package: str) -> Locator:
    """The line of one package."""
    name = page.locator(".package", has_text=re.compile(f"^{re.escape(package)}$"))
    return page.get_by_role("row").filter(has=name)


def cells(page: Page, package: str) -> list[str]:
    """Installed, Required and Status of one package."""
    return [cell.inner_text().strip() for cell in row(page, package).get_by_role("cell").all()]


def times_shown(page: Page, message: str) -> int:
    """How often the page has a message of the API in full."""
    shown, wanted = (" ".join(text.replace("`", "").split())
                     for text in (page.locator("main").inner_text(), message))  # fmt: skip
    return shown.count(wanted)


def test_guides_facts_and_columns(drifted: ServiceProcess, open_page: Opener) -> None:
    page = open_page(drifted, path="/ai-models-setup")

    facts = page.locator(".facts")
    expect(facts).to_contain_text("GPU Status")
    expect(facts).to_contain_text("✓ GPU Available (Radeon Instinct MI25)")
    expect(facts).to_contain_text("Python Version")
    expect(facts).to_contain_text(drifted.environment()["python"]["version"])
    expect(facts).to_contain_text("PyTorch Version")
    expect(facts).to_contain_text("2.3.1+rocm5.7")
    expect(facts).to_contain_text("Platform")
    expect(facts).to_contain_text("linux")
    table = page.get_by_role("table", name="ML Package Versions")
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "Package", "Installed", "Required", "Status",
    ]  # fmt: skip
    expect(page.get_by_text(
        "This will install/update missing or outdated ML packages. "
        "Installation may take several minutes."
    )).to_be_visible()  # fmt: skip


def test_rows_say_what_is_installed_required_and_held(
    drifted: ServiceProcess, open_page: Opener
) -> None:
    page = open_page(drifted)

    assert cells(page, "torch") == ["2.3.1+rocm5.7", "==2.3.1+rocm5.7", "Held"]
    expect(row(page, "torch").locator(".badge")).to_have_text("held")
    torch, torchvision = page.locator(".holds > li").all()
    expect(torch).to_contain_text("intact")
    expect(torchvision.locator("details")).to_be_hidden()
    triton = torch.locator(".members li", has_text="pytorch-triton-rocm")
    expect(triton).to_be_hidden()
    fold = torch.locator("summary", has_text="1 package held with it")
    fold.press("Enter")
    expect(triton).to_be_visible()
    expect(triton).to_contain_text("pinned by torch · no copy")  # a service that only observes
    fold.press("Enter")
    expect(triton).to_be_hidden()
    installed, required, status = cells(page, "numpy")
    assert (installed, status) == ("Not installed", "Missing")
    assert set(required.split(",")) == {">=1.24.0", "<2.0"}
    expect(page.locator(".legend")).to_contain_text(
        "A held package is never installed, upgraded or removed"
    )


@only
def test_a_dependency_of_a_dependency_is_labelled(
    steady: ServiceProcess, studio: Project, open_page: Opener
) -> None:
    page = open_page(steady)
    names = page.locator("tbody .package")
    expect(names).to_have_text(list(steady.packages()))
    steady.client.post("/environments/studio/pause", json={})

    uninstall(studio.venv, "tokenizers")

    expect(row(page, "tokenizers")).to_contain_text("required by transformers")
    expect(row(page, "tokenizers").locator(".status")).to_have_text("Missing")
    expect(names).to_have_text(list(steady.packages()))


def test_filters_and_sorting(drifted: ServiceProcess, open_page: Opener) -> None:
    page = open_page(drifted)
    visible = page.locator("tbody tr:visible .package")
    total = len(drifted.packages())

    page.get_by_label("Filter packages by name").fill("TORCH")
    expect(visible).to_have_count(sum("torch" in name for name in drifted.packages()))
    expect(page.locator(".shown")).to_have_text(re.compile(rf"^\d+ of {total} packages$"))
    page.get_by_label("Filter packages by name").fill("no such package")
    expect(page.get_by_text("No package matches the filter.")).to_be_visible()
    page.get_by_label("Filter packages by name").fill("")

    page.get_by_label("Filter packages by status").select_option("attention")
    wrong = {name for name, package in drifted.packages().items() if not package["ok"]}
    expect(visible).to_have_count(len(wrong))
    assert set(visible.all_inner_texts()) == wrong
    page.get_by_label("Filter packages by status").select_option("all")

    header = page.get_by_role("columnheader", name="Package")
    declared_order = visible.all_inner_texts()
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert visible.all_inner_texts() == sorted(declared_order)
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert visible.all_inner_texts() == sorted(declared_order, reverse=True)
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "none")
    assert visible.all_inner_texts() == declared_order


def test_what_drifted_and_what_is_held_back_is_said_above(
    steady: ServiceProcess, studio: Project, open_page: Opener, shoot: Callable[..., object]
) -> None:
    page = open_page(steady)

    # accelerate 1.0 needs torch>=2.4.
    expect(page.locator(".notice.held-back")).to_contain_text("accelerate stays at 0.9")
    expect(page.locator(".notice.held-back")).to_contain_text("torch==2.3.1+rocm5.7")
    shoot(page, "in-sync", full_page=True)


def test_a_saved_file_changes_the_table_in_place(
    steady: ServiceProcess, studio: Project, open_page: Opener
) -> None:
    page = open_page(steady)
    search = page.get_by_label("Filter packages by name")
    search.fill("sympy")
    page.evaluate("window.sameDocument = true")

    studio.save([*DECLARED, "sympy>=1.13", "numpy"])

    expect(row(page, "sympy").locator(".status")).to_have_text("OK")
    assert cells(page, "sympy")[:2] == ["1.13.1", ">=1.13"]
    steady.wait_for_phase("InSync")
    # Declared twice, numpy has two rows, however often they are drawn.
    expect(page.locator("tbody tr")).to_have_count(len(steady.environment()["packages"]))
    expect(search).to_have_value("sympy")
    expect(search).to_be_focused()
    assert page.evaluate("window.sameDocument") is True


def test_problem_of_the_file_with_its_line(
    steady: ServiceProcess, studio: Project, open_page: Opener, shoot: Callable[..., object]
) -> None:
    page = open_page(steady)

    studio.write([*DECLARED, "sympy >=1.13,,<2"])

    notice = page.locator(".notice.problem")
    problem = steady.wait_for_environment(lambda one: one["problem"])["problem"]
    place = f"{problem['file']}:{problem['line']}:{problem['column']}"
    expect(notice.locator(".place")).to_have_text(place)
    expect(notice.locator(".source")).to_contain_text('"sympy >=1.13,,<2",')
    expect(notice).to_contain_text(problem["reason"].replace("`", ""))
    expect(notice.locator("code", has_text="project.dependencies[10]")).to_be_visible()
    assert times_shown(page, problem["reason"]) == 1
    expect(page.locator(".lead")).to_have_text(
        "BadFile: show why · 10 of 10 requirements satisfied, 3 held"
    )
    page.get_by_role("button", name="BadFile: show why").click()
    expect(notice).to_be_focused()
    expect(notice.locator(".fix")).to_contain_text(problem["mend"])
    expect(page.locator("main")).not_to_contain_text("`")
    expect(row(page, "numpy").locator(".status")).to_have_text("OK")
    shoot(page, "problem", full_page=True)

    studio.write(DECLARED)
    expect(notice).to_have_count(0)


@only
def test_problem_of_the_configuration(drifted: ServiceProcess, open_page: Opener) -> None:
    page = open_page(drifted)

    drifted.write_config(drifted.config.read_text() + 'colour = "blue"\n')
    drifted.signal(signal.SIGHUP)

    notice = page.locator(".notice.config")
    expect(notice.locator(".place")).to_contain_text(f"{drifted.config}:")
    problem = drifted.wait_for(lambda status: status["service"]["config_problem"])
    said = problem["service"]["config_problem"]
    expect(notice).to_contain_text(said["reason"].replace("`", ""))
    expect(notice.locator(".fix")).to_contain_text(said["mend"].replace("`", ""))
    expect(row(page, "torch").locator(".status")).to_have_text("Held")

    drifted.write_config()
    drifted.signal(signal.SIGHUP)
    expect(notice).to_have_count(0)


@only
def test_several_environments(
    drifted: ServiceProcess, studio: Project, open_page: Opener, shoot: Callable[..., object]
) -> None:
    other = studio.directory.parent / "a-very-long-name-of-another-project" / "pyproject.toml"
    other.parent.mkdir()
    other.write_text('[project]\nname = "other"\nversion = "1"\ndependencies = []\n')
    name = "an-environment-with-a-name-that-is-far-too-long-for-any-tab"
    keys = {"pyproject": str(other), "python": str(make_venv(other.parent / ".venv"))}
    drifted.stop()
    drifted.environments[name] = keys
    drifted.write_config()
    drifted.start(until="/livez")
    drifted.wait_for_phase("InSync", name=name)
    drifted.wait_for_phase("Drifted", name="studio")

    page = open_page(drifted)
    expect(page.get_by_role("heading", level=2)).to_have_text("studio")
    expect(page.locator("#state")).to_have_text("1 of 2 drifted")
    tabs = page.get_by_role("navigation", name="Environments")
    tabs.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=2)).to_have_text(name)
    shoot(page, "several-environments")
    page.reload()
    expect(page.get_by_role("heading", level=2)).to_have_text(name)


@only
def test_no_environment_at_all(drifted: ServiceProcess, open_page: Opener) -> None:
    """The service does not start without one, but a reload may take the last one away."""
    page = open_page(drifted)

    def without_environments(route: Route) -> None:
        # Without its ETag the page gets the whole document each time, never a 304.
        headers = {**route.request.headers, "if-none-match": ""}
        answer = route.fetch(headers=headers)
        document = answer.json()
        route.fulfill(response=answer, json={**document, "environments": []})

    page.route("**/status", without_environments)
    page.reload()

    expect(page.get_by_role("heading", name="No environment is configured")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)
    page.unroute_all(behavior="ignoreErrors")


@only
def test_three_hundred_rows(
    project: Project,
    index: PackageIndex,
    venv: object,
    service: ServiceFactory,
    open_page: Opener,
    tmp_path: object,
) -> None:
    names = [f"package-{number:03}" for number in range(299)] + ["very-long-name-" * 8 + "end"]
    wheels = project.directory.parent / "many"
    index.add(*(make_wheel(wheels, name, "1.0") for name in names))
    project.write([f"{name}>=1.0" for name in names])
    process = service(mode="observe")
    process.wait_for_phase("Drifted")

    page = open_page(process, width=360)

    expect(page.locator("tbody tr")).to_have_count(300)
    expect(page.locator(".notice.drift li")).to_have_count(6)
    page.get_by_role("button", name="Show all 300 in the table").click()
    expect(page.get_by_label("Filter packages by status")).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
