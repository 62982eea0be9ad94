"""A Chromium, pages that complain when something is refused, axe-core, and a studio to look at."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.support.environments import install, make_venv
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DECLARED = (
    "torch==2.3.1+rocm5.7",
    "torchvision==0.18.1+rocm5.7",
    "diffusers>=0.28.0",
    "transformers>=4.41.0",
    "accelerate>=0.9",
    "huggingface_hub>=0.23.0",
    "numpy>=1.24.0,<2.0",
    "pandas>=2.0.0",
    "pillow>=10.0",
    "safetensors>=0.4",
)
"""What the guide's project declares, as far as the tests' index has it."""

Opener: TypeAlias = Callable[..., Page]

expect.set_options(timeout=30_000)


# Playwright keeps an event loop running in this thread; it must not outlive the module, or
# tests elsewhere could start none of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without its windows: a page costs a third of what it does with them."""
    program = shutil.which("chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Opener]:
    """Open the page of a service; at the end fail if a script threw or the policy was broken."""
    complaints: list[str] = []
    contexts = []

    def opened(
        service: ServiceProcess,
        *,
        path: str = "/",
        width: int = 1280,
        height: int = 900,
        **kind: Any,
    ) -> Page:
        size: ViewportSize = {"width": width, "height": height}
        context = chromium.new_context(viewport=size, **kind)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"threw: {error.stack}"))
        page.on("console", lambda message: _hear(message.text, complaints))
        page.goto(service.url + path)
        expect(page.locator("#connection")).to_have_text("Live")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _hear(words: str, complaints: list[str]) -> None:
    if "Content Security Policy" in words or "Uncaught" in words:
        complaints.append(words)


@pytest.fixture(scope="session")
def shoot() -> Callable[[Page, str], Path]:
    """Write a screenshot to artifacts/browser/NAME.png, to be looked at."""
    folder = ARTIFACTS / "browser"
    folder.mkdir(parents=True, exist_ok=True)

    def shot(page: Page, name: str, *, full_page: bool = False) -> Path:
        path = folder / f"{name}.png"
        page.screenshot(path=path, full_page=full_page, animations="disabled")
        return path

    return shot


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def studio(project: Project, universe: PackageIndex, venv: Path, gpu_wheels: list[Path]) -> Project:
    """The guide's project: torch is installed by hand, from wheels that no index has."""
    assert universe.url == project.index_url
    install(venv, *gpu_wheels)
    project.write(DECLARED)
    return project


@pytest.fixture
def drifted(studio: Project, service: ServiceFactory) -> ServiceProcess:
    """A service that only observes the studio, so that the drift waits for somebody."""
    process = service(mode="observe")
    process.wait_for_phase("Drifted")
    return process


@pytest.fixture
def steady(studio: Project, service: ServiceFactory) -> ServiceProcess:
    """A service that has brought the studio in sync."""
    process = service()
    process.wait_for_phase("InSync")
    return process


@pytest.fixture(scope="session")
def waiting(
    tmp_path_factory: pytest.TempPathFactory, universe_wheels: list[Path], gpu_wheels: list[Path]
) -> Iterator[ServiceProcess]:
    """As `drifted`, for all tests that change nothing."""
    with _shared_studio(tmp_path_factory.mktemp("waiting"), universe_wheels, gpu_wheels) as service:
        process = service(mode="observe")
        process.wait_for_environment(lambda one: one["phase"] == "Drifted" and one["planned"])
        yield process


@pytest.fixture(scope="session")
def settled(
    tmp_path_factory: pytest.TempPathFactory, universe_wheels: list[Path], gpu_wheels: list[Path]
) -> Iterator[ServiceProcess]:
    """As `steady`, for all tests that change nothing."""
    with _shared_studio(tmp_path_factory.mktemp("settled"), universe_wheels, gpu_wheels) as service:
        process = service()
        process.wait_for_phase("InSync")
        yield process


@contextlib.contextmanager
def _shared_studio(
    folder: Path, universe: list[Path], gpu_wheels: list[Path]
) -> Iterator[ServiceFactory]:
    with contextlib.closing(PackageIndex()) as index:
        index.add(*universe)
        project = Project(folder / "project", index.url)
        project.write(DECLARED)
        install(make_venv(project.venv), *gpu_wheels)
        service = ServiceFactory(project, folder / "services")
        try:
            yield service
        finally:
            service.close()
