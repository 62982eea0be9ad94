"""`plan` shows what a pass would do, and changes nothing."""

from pathlib import Path

import pytest

from tests.cli.conftest import Studio
from tests.support.environments import snapshot, tree_fingerprint
from tests.support.index import PackageIndex

KEYS = {
    "environment", "revision", "changes", "failed", "held_back", "holds", "problem", "unknown",
    "warnings",
}  # fmt: skip


def test_changes_are_listed_and_none_is_made(applied: Studio) -> None:
    applied.declare("alpha>=2", "delta")
    before = tree_fingerprint(applied.venv)

    ran = applied.run("plan")

    assert ran.returncode == 0
    assert [line.split() for line in ran.stdout.splitlines()[:4]] == [
        ["Package", "Change", "From", "To"],
        ["alpha", "upgrade", "1.0", "2.0"],
        ["delta", "install", "-", "1.0"],
        ["gamma", "install", "-", "1.0"],
    ]
    assert "studio: 3 changes. `reconciler apply` makes them." in ran.stdout
    assert "Held, and never touched: torch 2.3.1+rocm5.7" in ran.stdout
    assert "Only `apply` finds out whether everything builds" in ran.stdout
    assert ran.stderr == ""
    assert tree_fingerprint(applied.venv) == before


def test_what_a_hold_keeps_back_is_told(studio: Studio) -> None:
    studio.declare("fussy")

    document = studio.json("plan")

    (entry,) = document["held_back"]
    assert (entry["name"], entry["chosen"], entry["newest"]) == ("fussy", "1.0", "2.0")
    assert "torch==2.3.1+rocm5.7" in entry["because"]
    assert "Held back: fussy 1.0 (newest 2.0)" in studio.ok("plan")


def test_the_json_document_has_just_these_fields(studio: Studio) -> None:
    studio.declare("alpha")

    document = studio.json("plan")

    assert document.keys() == KEYS
    assert document["changes"] == [
        {"name": "alpha", "action": "install", "from": None, "to": "2.0"}
    ]
    assert document["failed"] == []


@pytest.mark.parametrize(
    ("dependencies", "status"),
    [
        ((), 0),
        (("alpha",), 2),
        (("nowhere-to-be-found",), 4),
        (("alpha", "nowhere-to-be-found"), 6),
    ],
)
def test_the_exit_status_tells_what_there_is(
    studio: Studio, dependencies: tuple[str, ...], status: int
) -> None:
    studio.declare(*dependencies)

    assert studio.run("plan", "--detailed-exitcode").returncode == status
    assert studio.run("plan").returncode == 0


def test_what_cannot_be_had_is_told_with_the_reason(studio: Studio) -> None:
    studio.declare("alpha>=7")

    shown = studio.ok("plan")

    assert "Failed: alpha>=7 (NoSolution)" in shown
    assert "alpha" in shown


def test_an_index_that_is_down_is_an_error(studio: Studio, small: PackageIndex) -> None:
    studio.declare("alpha")
    small.down()

    ran = studio.run("plan", UV_HTTP_RETRIES="0")

    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: ")
    assert "alpha" in ran.stderr


def test_an_environment_that_is_not_there_is_planned_and_not_made(
    studio: Studio, tmp_path: Path
) -> None:
    studio.configure(python=str(tmp_path / "nowhere"))
    studio.declare("delta", base=())

    document = studio.json("plan")

    assert [change["name"] for change in document["changes"]] == ["delta", "gamma"]
    assert not (tmp_path / "nowhere").exists()


def test_it_leaves_nothing_behind(studio: Studio) -> None:
    studio.declare("alpha")
    before = snapshot(studio.venv)

    studio.ok("plan")

    assert snapshot(studio.venv) == before
    left = {path.name for path in (studio.venv / ".reconciler").iterdir()}
    assert left == {"pass.lock"}
