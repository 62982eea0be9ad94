"""One project of the corpus: its files, what they mean, and how to set it up.

`projects/SHELF/NAME` is the project as someone would have it, with `expected.toml` beside its
file. Its words `@index@`, `@house@`, `@flat@` ... stand for places of the stock, and
`@root@` for the project's own folder.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from tests.corpus.repositories import commit_folder
from tests.corpus.stock import Stock
from tests.support.environments import run_uv, site_packages
from tests.support.passes import FAST
from tests.support.wheels import make_sdist, make_wheel

PROJECTS = Path(__file__).parent / "projects"
EXPECTED = "expected.toml"


class Made(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A wheel or an sdist that lies in the project's folder."""

    name: str
    version: str
    requires: list[str] = []
    into: str = "wheels"


class Edit(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change to one of the project's files, made after the first installation."""

    file: str
    old: str
    new: str


class Before(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The environment before the pass."""

    venv: list[str] = []
    """Arguments for `uv venv`."""
    install: list[str] = []
    """Arguments for `uv pip install --no-deps`."""
    lose: list[str] = []
    """Files in site-packages that are lost."""
    write: dict[str, str] = {}
    """Files in site-packages that are written, and their content."""
    edits: list[Edit] = []


class Bare(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is said to uv alone, so that it knows what we know."""

    without: list[str] = []
    """Names that cannot be installed: uv would refuse the whole project."""
    constraints: list[str] = []
    arguments: list[str] = []
    """Further arguments, when it looks and when it installs."""
    install: list[str] = []
    """Further arguments only when it installs."""
    file: str | None = None
    """A file that says the same: to read the project's, it would build it with setuptools."""
    only_groups: bool = False
    """Whether it is given no `-r`: it would build a file without [project] to read it."""
    sees_nothing: bool = False
    """Whether uv cannot see what is wrong before the pass (uv-facts 22)."""


class Expected(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """Everything that is expected of one project."""

    about: str
    file: str = "pyproject.toml"
    """The project's file, in a workspace that of the member that is meant."""
    extras: list[str] = []
    groups: list[str] = []
    settings: dict[str, Any] = {}
    """Further configuration of the environment."""
    environ: dict[str, str] = {}
    wheels: list[Made] = []
    sdists: list[Made] = []
    repositories: list[str] = []
    """Folders that become git repositories, with the branch main and the tag v1."""
    before: Before = msgspec.field(default_factory=Before)
    desired: list[str]
    verdict: dict[str, str] = {}
    """What is not as declared before the pass: package to status."""
    result: str = "changed"
    installed: dict[str, str]
    failed: dict[str, str] = {}
    """What cannot be installed: package to reason."""
    unforeseen: list[str] = []
    """Failures that only a build shows, so that `plan` cannot know them."""
    bare: Bare = msgspec.field(default_factory=Bare)


@dataclass(frozen=True)
class Case:
    """One project, set up in a folder of its own."""

    name: str
    root: Path
    expected: Expected
    environ: dict[str, str]

    @property
    def file(self) -> Path:
        """The project's file."""
        return self.root / self.expected.file

    @property
    def venv(self) -> Path:
        """The environment, which lies beside the file."""
        return self.file.parent / ".venv"

    def environment(self) -> Environment:
        """The environment as the product has it."""
        expected = self.expected
        table = {
            "name": "corpus", "pyproject": self.file, "python": self.venv / "bin" / "python",
            "extras": expected.extras, "groups": expected.groups, **expected.settings,
        }  # fmt: skip
        return Environment(msgspec.convert(table, EnvironmentConfig), self.environ)


def shelves() -> list[str]:
    """The folders that the projects are sorted into."""
    return sorted(folder.name for folder in PROJECTS.iterdir() if folder.is_dir())


def names_on(shelf: str) -> list[str]:
    """The projects of one shelf, as `SHELF/NAME`."""
    found = sorted((PROJECTS / shelf).glob(f"*/{EXPECTED}"))
    return [f"{shelf}/{path.parent.name}" for path in found]


def set_up(name: str, folder: Path, stock: Stock) -> Case:
    """Copy the project, make what its folder holds, and install what was there before."""
    root = folder / name.replace("/", "-")
    shutil.copytree(PROJECTS / name, root)
    _fill_in({**stock.places(), "@root@": str(root)}, root)
    expected = msgspec.toml.decode((root / EXPECTED).read_bytes(), type=Expected)
    (root / EXPECTED).unlink()
    for made in expected.wheels:
        make_wheel(root / made.into, made.name, made.version, requires=made.requires)
    for made in expected.sdists:
        make_sdist(root / made.into, made.name, made.version, requires=made.requires)
    for repository in expected.repositories:
        commit_folder(root / repository, tag="v1")
    environ = {**os.environ, **FAST, "UV_DEFAULT_INDEX": stock.index.url, **expected.environ}
    case = Case(name, root, expected, environ)
    _install_before(case, stock)
    return case


def _fill_in(places: dict[str, str], root: Path) -> None:
    for path in (p for p in root.rglob("*") if p.suffix in (".toml", ".txt", ".py")):
        text = path.read_text()
        for word, place in places.items():
            text = text.replace(word, place)
        path.write_text(text)


def _install_before(case: Case, stock: Stock) -> None:
    before = case.expected.before
    run_uv("venv", "--quiet", "--no-project", *before.venv, str(case.venv))
    if before.install:
        run_uv(
            "pip", "install", "--quiet", "--no-config", "--no-deps", "--python", str(case.venv),
            "--default-index", stock.index.url, "--find-links", str(stock.gpu), *before.install,
        )  # fmt: skip
    site = site_packages(case.venv)
    for path in before.lose:
        (site / path).unlink()
    for path, text in before.write.items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_text(text)
    for edit in before.edits:
        file = case.root / edit.file
        text = file.read_text()
        assert edit.old in text, edit
        file.write_text(text.replace(edit.old, edit.new))
