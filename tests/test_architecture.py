"""The structure drawn in docs/architecture.md, held against the code; each test lists all."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import reconciler

pytestmark = pytest.mark.xdist_group("source")  # one process parses all of it

ROOT = Path(reconciler.__file__).parent

# The rule: a part imports only parts that stand below it. From the top down.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"web", "demo", "doctor"},
    {"daemon"},
    {"passes"},
    {"planning", "holds", "proof"},
    {"systemd"},
    {"environment"},
    {"vault"},
    {"uv", "trees", "journal"},
    {"config"},
    {"state"},
    {"files"},
    {"status"},
    {"log", "processes"},
    {"confinement", "descendants", "excerpts"},
    {"patterns", "landlock"},
)
LEVEL = {part: number for number, parts in enumerate(LAYERS) for part in parts}

LONGEST_FILE = 400
LOOSE = {
    "__init__", "__main__", "confinement", "descendants", "excerpts", "landlock", "patterns",
    "processes",
}  # fmt: skip
SAME_SUBJECT = {
    "deciding": "what decides in an environment, and how it is read",
    "environment": "its configuration, and the environment itself",
    "history": "the command, and what it shows",
    "passes": "the pass, and how the terminal shows it",
    "progress": "the progress of a pass, and how the terminal shows it",
    "rollback": "the command, and what it does",
    "service": "the command, and what it installs",
    "status": "the command, and what it shows",
}
"""Base names that several modules share, since they are about the same thing."""


def module_of(file: Path) -> str:
    relative = file.relative_to(ROOT.parent).with_suffix("")
    return ".".join(p for p in relative.parts if p != "__init__")


FILES = {module_of(file): file for file in sorted(ROOT.rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """Every module's syntax tree. (Not parsed while tests are collected.)"""
    return {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def part_of(module: str) -> str:
    """`reconciler.state.drift` is a part of `state`."""
    return module.split(".")[1] if "." in module else ""


def imports(module: str) -> Iterator[tuple[str, int]]:
    """What a module imports, submodules by their own names, and on which line."""
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in FILES else node.module), node.lineno


def foreign(module: str) -> set[str]:
    return {name.partition(".")[0] for name, _ in imports(module)}


def drawn(heading: str) -> list[str]:
    """The lines of the drawing below a heading of docs/architecture.md."""
    text = (ROOT.parent / "docs/architecture.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].split("```")[1].strip("\n").splitlines()


def test_the_page_draws_the_rooms_that_are_there() -> None:
    names = [word for line in drawn("The rooms") for word in line.split() if word.endswith("/")]
    rooms = {p.parent.relative_to(ROOT) for p in (*FILES.values(), ROOT / "web/static/index.html")}
    assert sorted(names) == sorted(f"{room.name}/" for room in rooms if room.name)


def test_the_page_states_the_rule() -> None:
    stated = tuple({part.strip() for part in line.split(",")} for line in drawn("The rule"))
    assert ({"__main__"}, *stated) == LAYERS


def test_the_page_names_files_that_exist() -> None:
    text = (ROOT.parent / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text)
    missing = [n for n in named if not ((ROOT / n).is_file() or (ROOT.parent / n).is_file())]
    assert named
    assert missing == []


def test_every_part_has_its_place() -> None:
    assert {part_of(module) for module in FILES} - {""} == set(LEVEL)


def test_imports_go_downwards_only() -> None:
    upwards = [
        f"{module}:{line} imports {name}"
        for module in FILES
        for name, line in imports(module)
        if part_of(name) in LEVEL and part_of(module) in LEVEL
        if part_of(name) != part_of(module)
        if LEVEL[part_of(name)] <= LEVEL[part_of(module)]
    ]
    assert upwards == []


def test_no_imports_go_in_a_circle() -> None:
    graph = {m: {n for n, _ in imports(m) if n in FILES and n != m} for m in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_few_modules_are_loose() -> None:
    assert {file.stem for file in ROOT.glob("*.py")} == LOOSE


def test_no_file_is_too_long() -> None:
    lengths = {m: len(file.read_text().splitlines()) for m, file in FILES.items()}
    assert {m: n for m, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_two_modules_share_a_name_without_a_reason() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for module, file in FILES.items():
        if file.stem != "__init__":
            named[file.stem].append(module)
    shared = {stem: ms for stem, ms in named.items() if len(ms) > 1 and stem not in SAME_SUBJECT}
    assert shared == {}


def test_no_two_public_classes_share_a_name() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named[node.name].append(module)
    assert {name: modules for name, modules in named.items() if len(modules) > 1} == {}


def test_uv_is_started_in_one_module_only() -> None:
    assert [m for m in FILES if "uv" in foreign(m)] == ["reconciler.uv.program"]


def test_programs_are_started_and_supervised_in_one_module_each() -> None:
    modules = {"subprocess", "pty", "multiprocessing"}
    calls = {
        "fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "execv", "execve",
        "execvp", "execvpe", "create_subprocess_exec", "create_subprocess_shell",
    }  # fmt: skip
    named = {
        module: {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for module, tree in trees().items()
    }
    starting = [m for m in FILES if foreign(m) & modules or named[m] & calls]
    assert starting == [
        "reconciler.confinement", "reconciler.descendants", "reconciler.processes",
    ]  # fmt: skip


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: everything outside functions."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import(child)


def test_no_regular_expression_is_compiled_at_import() -> None:
    """`patterns.regex` compiles it when it is used: every command paid for all of them."""
    compiled = [
        f"{module}:{node.lineno}"
        for module, tree in trees().items()
        for node in at_import(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"
    ]
    assert compiled == []


def test_values_are_replaced_by_msgspec() -> None:
    """`dataclasses.replace` fails on a struct, and mypy does not see it."""
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
        if "replace" in {alias.name for alias in node.names}
    ]
    assert wrong == []


def test_the_state_is_pure() -> None:
    """Takes text, paths and mappings; needs no process, no network, no clock."""
    effects = {"subprocess", "socket", "sqlite3", "asyncio", "threading", "time", "random", "http"}
    impure = {m: foreign(m) & effects for m in FILES if part_of(m) == "state"}
    assert {m: found for m, found in impure.items() if found} == {}


def test_asyncio_stays_where_something_waits() -> None:
    users = {part_of(m) for m in FILES if foreign(m) & {"asyncio", "anyio"}}
    assert users == {"daemon", "web"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "handler", "manager"}
    assert [m for m in FILES if empty & set(m.split("."))] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [m for m, file in FILES.items() if file.stat().st_size]
    assert [m for m in silent if not ast.get_docstring(trees()[m])] == []


DECIDING = (
    "config.load",
    "environment.declaration",
    "environment.deciding",
    "environment.uv_lock",
    "planning.addressed",
    "planning.pruning",
    "uv.discovery",
    "uv.requirement_files",
    "uv.settings",
)
"""Modules that read files that decide what is installed or run."""
OPENING = {"open", "read_text", "read_bytes", "fdopen", "open_regular", "read_opened"}
LISTED_ANYWAY = {
    "config.load": {"read_bytes"},
    "environment.deciding": {"read_text"},
    "environment.uv_lock": {"read_text"},
}
"""The configuration that root installs a unit of another user for; .pth files and INSTALLER, which
are checked with the folder that they are in."""


def test_files_that_decide_are_read_in_one_way() -> None:
    """Through `files.deciding`, which checks what it reads and notes it."""
    otherwise = [
        f"{module}:{node.lineno} calls {name}"
        for module in DECIDING
        for node in ast.walk(trees()[f"reconciler.{module}"])
        if isinstance(node, ast.Call)
        for name in [getattr(node.func, "attr", getattr(node.func, "id", ""))]
        if name in OPENING - LISTED_ANYWAY.get(module, set())
    ]
    assert otherwise == []


def test_whoever_parses_toml_reads_it_in_that_way() -> None:
    """A new module that reads a TOML file is found; one that is given the text is named here."""
    given_the_text = {
        f"state.{name}" for name in ("build_stamp", "places", "position", "toml_reading")
    }
    reading = {m for m in FILES if "reconciler.files.deciding" in {name for name, _ in imports(m)}}
    parsing = {
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        if {"tomli", "toml_of"} & {alias.name for alias in node.names}
    }
    found = {module.removeprefix("reconciler.") for module in parsing - reading}
    assert found - given_the_text == {"files.parsing"}


OPENS = {
    "read_bytes", "read_text", "open", "fdopen", "FileIO", "open_code", "fromfile", "readlines",
}  # fmt: skip
OPENS_OTHERWISE = {
    "reconciler.files.bounded": "is the way",
    "reconciler.files.deciding": "reads what bounded opened",
    "reconciler.confinement": "the kernel's tables",
    "reconciler.descendants": "the kernel's tables",
    "reconciler.landlock": "names a place to the kernel, and reads nothing",
    "reconciler.files.lock_holder": "the kernel's tables",
    "reconciler.daemon.webhook": "an address, not a file",
    "reconciler.trees.relocatable": "a new file of its own",
    "reconciler.environment.steadiness": "uv's lock, which never waits for a writer",
    "reconciler.trees.workspace": "locks, which never wait for a writer, and files of its own",
    "reconciler.trees.durability": "a file system, to sync it",
    "reconciler.environment.creation": "a folder, to sync it",
    "reconciler.trees.tree": "compares two regular files of equal size",
    "reconciler.vault.copies": "hashes what bounded opened",
    "reconciler.vault.whereabouts": "a folder, to name it to the kernel",
    "reconciler.vault.archive": "what bounded opened, and new files of its own",
    "reconciler.uv.cached": "hashes what bounded opened",
    "reconciler.state.unseen": "unzips what bounded opened",
    "reconciler.web.security.token": "reads the beginning of what bounded opened",
    "reconciler.web.security.owners": "the kernel's tables",
    "reconciler.web.routes.page": "our own page",
    "reconciler.systemd.units": "our own templates",
    "reconciler.doctor.place": "uv's lock, for writing, which never waits",
    "reconciler.cli.app": "/dev/null",
    "reconciler.demo.world": "what the demo has just written",
}


def test_files_are_opened_within_bounds() -> None:
    """`files.bounded` never waits for a pipe and never reads a device to its end."""
    opening = {
        module: [
            f"{module}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and _opens(node.func)
        ]
        for module, tree in trees().items()
    }
    unexplained = [at for m, places in opening.items() if m not in OPENS_OTHERWISE for at in places]
    assert unexplained == [], "\n".join(unexplained)
    assert [m for m in OPENS_OTHERWISE if not opening.get(m)] == []


def _opens(called: ast.expr) -> bool:
    """`path.open()`, `os.open()` and `open()`; not `read_text()`, which is from `files.bounded`."""
    if isinstance(called, ast.Attribute):
        return called.attr in OPENS
    return isinstance(called, ast.Name) and called.id == "open"


def test_toml_and_json_are_parsed_within_bounds() -> None:
    """`files.parsing` turns too deep a nesting into an error of the format."""
    loads = {("tomli", "loads"), ("json", "loads"), ("json", "load"), ("json", "decode")}
    allowed = {"reconciler.files.parsing", "reconciler.demo.story"}
    parsing = {
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        if (_last(node.value), node.attr) in loads
    }
    assert parsing == allowed


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
