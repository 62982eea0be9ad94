"""The structure that the folders promise: imports go downwards only, uv is started once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler

ROOT = Path(reconciler.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the top down: a part may import what stands below it, and its own level.
LEVELS = [
    {"cli", "__main__"},
    {"demo", "doctor"},
    {"web"},
    {"service"},
    {"daemon"},
    {"recording"},
    {"restore", "rollback", "gates"},
    {"reconcile"},
    {"planning", "verify", "creation", "holds"},
    {"outcome"},
    {"environment", "notices", "metrics", "journald"},
    {"uv", "vault", "gpu"},
    {"trees", "journal"},
    {"log", "ownership", "usage", "processes", "event_names"},
    {"memory", "lean"},
    {"state"},
    {"config"},
    {"interpreter", "status", "redact"},
]
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}


def part_of(module: str) -> str:
    """`reconciler.state.drift` is a part of `state`."""
    return module.split(".")[1] if "." in module else ""


def module_of(file: Path) -> str:
    relative = file.relative_to(ROOT.parent).with_suffix("")
    return ".".join(p for p in relative.parts if p != "__init__")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "reconciler":
                yield from ((f"reconciler.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def test_every_part_has_its_place():
    parts = {part_of(module_of(file)) for file in FILES} - {""}
    assert parts <= LEVEL.keys(), f"without a level: {sorted(parts - LEVEL.keys())}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_downwards_only(file):
    own = part_of(module_of(file))
    for module, line in imports(tree_of(file)):
        if module.startswith("reconciler.") and own:
            part = part_of(module)
            if part in LEVEL and part != own:
                assert LEVEL[part] >= LEVEL[own], f"{file}:{line}: {own} imports {part} above it"


def test_uv_is_started_in_one_module_only():
    finders = [
        file.name
        for file in FILES
        for module, _ in imports(tree_of(file))
        if module == "uv" or module.startswith("uv.")
    ]
    assert finders == ["program.py"]


@pytest.mark.parametrize("file", sorted((ROOT / "state").glob("*.py")), ids=lambda f: f.name)
def test_the_state_is_pure(file):
    """Takes text, paths and mappings; needs no process, no network, no clock."""
    effects = {"subprocess", "socket", "sqlite3", "asyncio", "threading", "time", "random", "http"}
    assert {m.partition(".")[0] for m, _ in imports(tree_of(file))}.isdisjoint(effects)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_asyncio_stays_where_something_waits(file):
    uses = any(m.partition(".")[0] in ("asyncio", "anyio") for m, _ in imports(tree_of(file)))
    assert not uses or part_of(module_of(file)) in {"daemon", "web"}


def test_no_module_has_a_name_that_says_nothing():
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "handler"}
    assert {part for file in FILES for part in file.with_suffix("").parts}.isdisjoint(empty)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(file):
    if file.name != "__init__.py" or file.stat().st_size:
        assert ast.get_docstring(tree_of(file))
