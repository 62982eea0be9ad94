"""The words of Fix Dependencies for every way that a pass can end."""

from typing import Any

import pytest

from reconciler.status import (
    Change,
    Failure,
    HeldBack,
    Hold,
    PackageStatus,
    PassDetail,
    Problem,
    Result,
    Suspension,
)
from reconciler.web.routes.fixed import summary
from tests.web.steered import STARTED, environment, row


def _pass(result: Result, **fields: Any) -> PassDetail:
    return PassDetail(id=3, trigger="manual", result=result, started_at=STARTED, **fields)


def test_34_packages() -> None:
    rows = [row(f"p{n}", ">=1" if n else None, "1.0") for n in range(34)]
    held = [row("torch", "==2.3.1", "2.3.1", PackageStatus.HELD)]
    further = [row("certifi", "certifi>=1", "2", required_by="p1")]
    found = summary(environment(packages=(*held, *rows, *further)), _pass(Result.CHANGED))
    assert found.message == (
        "Successfully installed/upgraded all 34 packages (torch/torchvision preserved)"
    )
    assert found.packages_installed == 34


def test_some_failed() -> None:
    failure = Failure(name="foo", requirement="foo>=9", reason="NoSolution", message="no foo 9")
    rows = (row("a", ">=1", "1"), row("foo", ">=9", None, PackageStatus.FAILED))
    found = summary(environment(packages=rows), _pass(Result.PARTIAL, failed=(failure,)))
    assert found.success is False
    assert found.message == "Installed 1 package, 1 failed (torch/torchvision preserved)"
    assert (found.packages_installed, found.packages_failed) == (1, 1)
    assert found.failed_packages == ("foo>=9",)
    assert "=== Installing foo>=9 ===\nERROR: foo>=9 is not installed\n" in found.stdout
    assert found.stderr == "ERROR: foo>=9: NoSolution: no foo 9\n"


def test_a_dependency_that_failed_counts_as_well() -> None:
    failure = Failure(name="dep", requirement="dep==2", reason="BuildFailed", message="no gcc")
    rows = (row("a", ">=1", "1"),)
    found = summary(environment(packages=rows), _pass(Result.PARTIAL, failed=(failure,)))
    assert found.failed_packages == ("dep==2",)
    assert (found.success, found.packages_installed, found.packages_failed) == (False, 1, 1)


def test_what_is_left_alone_has_not_failed() -> None:
    pause = Suspension(reason="training run", since=STARTED)
    rows = (row("a", ">=1", "1"), row("b", ">=2", "1", PackageStatus.MISMATCH))
    paused = environment(packages=rows, suspended=True, suspension=pause)
    found = summary(paused, _pass(Result.UNCHANGED))
    assert found.success is False
    assert found.message == (
        "Nothing was changed: studio is left alone (training run); resume it first "
        "(torch/torchvision preserved)"
    )
    assert found.failed_packages == ("b>=2",)
    assert "ERROR: b>=2 is not satisfied; 1 is installed\n" in found.stdout


@pytest.mark.parametrize("result", [Result.UNCHANGED, Result.CHANGED])
def test_a_file_that_cannot_be_used_is_no_success(result: Result) -> None:
    problem = Problem(file="/p.toml", line=6, column=5, reason="no requirement", fix="Correct it.")
    broken = environment(packages=(row("a", ">=1", "1"),), problem=problem)
    found = summary(broken, _pass(result))
    assert found.success is False
    assert found.stderr == "ERROR: /p.toml:6:5: no requirement. Correct it.\n"
    if result is Result.UNCHANGED:
        assert found.message.startswith("Nothing was changed: /p.toml:6:5: no requirement (torch/")


def test_what_others_require_counts_as_well() -> None:
    missing = row("dep", "dep>=2", None, PackageStatus.MISSING, required_by="a")
    found = summary(environment(packages=(row("a", None, "1"), missing)), _pass(Result.UNCHANGED))
    assert found.success is False
    assert (found.packages_installed, found.failed_packages) == (1, ("dep>=2",))
    assert found.message.startswith("Nothing was changed: 1 package not as declared")


def test_what_others_require_is_named_once() -> None:
    missing = row("dep", "dep>=2", None, PackageStatus.MISSING, required_by="a")
    found = summary(environment(packages=(row("a", None, "1"), missing)), _pass(Result.UNCHANGED))
    assert found.stderr == "ERROR: dep>=2: missing\n"
    assert found.stdout.startswith("=== Installing a ===\nRequirement already satisfied: a (1)\n")


def test_a_broken_hold_is_none_of_the_packages() -> None:
    holds = (Hold(name="torch", version="2", intact=False, message="files are missing"),)
    broken = row("torch", None, "2", PackageStatus.BROKEN)
    found = summary(environment(packages=(broken,), holds=holds), _pass(Result.UNCHANGED))
    assert (found.packages_installed, found.packages_failed) == (0, 0)
    assert "WARNING: torch is held and broken: files are missing" in found.stderr


def test_nothing_was_changed() -> None:
    rows = (row("a", ">=1", "1"), row("b", ">=1", None, PackageStatus.MISSING))
    outcome = _pass(Result.FAILED, message="the index cannot be reached.")
    found = summary(environment(packages=rows), outcome)
    assert found.success is False
    assert found.message == (
        "Nothing was changed: the index cannot be reached (torch/torchvision preserved)"
    )
    assert (found.packages_installed, found.failed_packages) == (0, ("b>=1",))
    assert found.stderr.startswith("ERROR: the index cannot be reached.\n")


@pytest.mark.parametrize("holds", [(), (Hold(name="torch", version="2.3.1", intact=False),)])
def test_only_what_is_preserved_is_called_so(holds: tuple[Hold, ...]) -> None:
    found = summary(environment(packages=(), holds=holds), _pass(Result.CHANGED))
    assert found.message == "Successfully installed/upgraded all 0 packages"
    assert ("torch is held and broken" in found.stderr) == bool(holds)


def test_dependencies_and_removals_have_sections() -> None:
    changes = (
        Change(name="a", action="upgrade", from_="1", to="2"),
        Change(name="dep", action="install", to="3"),
        Change(name="old", action="remove", from_="4"),
    )
    found = summary(
        environment(packages=(row("a", ">=2", "2"),)), _pass(Result.CHANGED, changes=changes)
    )
    assert found.stdout == (
        "=== Installing a>=2 ===\nSuccessfully installed a-2\n"
        "=== Installing dep==3 ===\nSuccessfully installed dep-3\n"
        "=== Removing old ===\nSuccessfully uninstalled old-4\n"
    )


def test_a_direct_reference_is_written_as_one() -> None:
    rows = (row("a", "file:///a.whl", "1"),)
    found = summary(environment(packages=rows), _pass(Result.UNCHANGED))
    assert "=== Installing a @ file:///a.whl ===" in found.stdout


def test_held_packages_that_do_not_fit_are_told() -> None:
    rows = (row("torch", "==3", "2", PackageStatus.HELD_MISMATCH, message="kept at 2"),)
    back = HeldBack(name="x", chosen="1", newest="2", because="torch==2")
    found = summary(environment(packages=rows, held_back=(back,)), _pass(Result.UNCHANGED))
    assert found.success is True
    assert "torch==3: held-mismatch: kept at 2" in found.stderr
    assert "x is held back at 1 (2): torch==2" in found.stderr
