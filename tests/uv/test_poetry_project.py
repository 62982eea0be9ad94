"""Reading Poetry's own tables: what cannot be used is refused with its place."""

import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name

from reconciler.files.parsing import toml_of
from reconciler.state.desired import BadFile, parse
from reconciler.uv.discovery import context_of
from reconciler.uv.poetry_project import poetry_tables
from tests.state.markers import LINUX_39

HEAD = '[tool.poetry]\nname = "studio"\n[tool.poetry.dependencies]\npython = "^3.8"\n'


def made(folder: Path, text: str) -> list[str]:
    file = folder / "pyproject.toml"
    found = poetry_tables(file, text.encode(), toml_of(text))
    assert found is not None
    assert found.dependencies is not None
    return [one.line.value.replace(str(folder), ".") for one in found.dependencies]


WRITTEN = {
    '"^1.2.3"': ["a (>=1.2.3,<2.0.0)"],
    '"^0.3"': ["a (>=0.3,<0.4)"],
    '"~1.2"': ["a (>=1.2,<1.3)"],
    '"*"': ["a"],
    '"1.2"': ["a (==1.2)"],
    '">=1,!=1.5"': ["a (>=1,!=1.5)"],
    '{ git = "https://x.test/a.git", branch = "main", subdirectory = "s" }': [
        "a @ git+https://x.test/a.git@main#subdirectory=s"
    ],
    '{ url = "https://x.test/a-1.0.tar.gz" }': ["a @ https://x.test/a-1.0.tar.gz"],
    '{ path = "library", develop = true }': ["a @ file://./library"],
    '{ version = "*", optional = true }': [],
    """{ version = "1", python = "<3.9", markers = "os_name == 'x' or os_name == 'y'" }""": [
        'a==1; python_version < "3.9" and (os_name == "x" or os_name == "y")'
    ],
    '{ version = "1", python = "<3.9" }': ['a (==1) ; python_version < "3.9"'],
}


def test_each_entry_is_what_a_build_would_record(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\n')
    found = {entry: made(tmp_path, f"{HEAD}a = {entry}\n") for entry in WRITTEN}
    assert found == WRITTEN


def test_what_poetrys_library_brings_comes_after_what_is_installed(tmp_path: Path) -> None:
    text = f'{HEAD}a = "1"\n'
    code = f"""
import sys
from pathlib import Path
before = list(sys.path)
from tests.uv.test_poetry_project import made
assert made(Path({str(tmp_path)!r}), {text!r}) == ["a (==1)"]
assert sys.path[: len(before)] == before
assert len(sys.path) > len(before)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


BAD = {
    "a = '@'": (5, 1, "not a dependency of Poetry's"),
    "a = 3": (5, 1, "neither a version nor a table"),
    "b = '*'\na = { version = 'x y' }": (6, 1, "not a dependency of Poetry's"),
    "a = { version = '1', markers = 'o((' }": (5, 1, "not a dependency of Poetry's"),
    "a = { version = '1', platform = 'x y' }": (5, 1, "not a dependency of Poetry's"),
    "a = '^1 || ^3'": (5, 1, "not a valid requirement"),
}


def test_what_cannot_be_used_is_told_with_its_place(tmp_path: Path) -> None:
    wrong = {}
    file = tmp_path / "pyproject.toml"
    for entry, (line, column, reason) in BAD.items():
        text = f"{HEAD}{entry}\n".encode()
        try:
            wrong[entry] = parse(file, text, LINUX_39, context=context_of(file, text, {}))
        except BadFile as bad:
            found = bad.problem
            if (found.line, found.column) != (line, column) or reason not in found.reason:
                wrong[entry] = found
    assert wrong == {}


def test_python_groups_and_sources_of_poetry(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    text = (
        f"{HEAD}[tool.poetry.dev-dependencies]\nd = '*'\n"
        "[tool.poetry.group.Old_Docs.dependencies]\ne = '*'\n"
        "[[tool.poetry.source]]\nname = 'x'\nurl = 'https://x.test'\n"
    ).encode()

    found = parse(
        file, text, LINUX_39, groups=("dev", "old-docs"), context=context_of(file, text, {})
    )

    assert [one.name for one in found.requirements] == ["d", "e"]
    assert found.project == canonicalize_name("studio")
    assert str(found.requires_python) == "<4.0,>=3.8"
    assert "[[tool.poetry.source]]" in found.notices[0].message
