"""A real environment with a stage of it, and what uv puts into a folder of its own."""

from pathlib import Path

from reconciler.processes import Cancellation
from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import Installed, InstalledReader
from reconciler.trees.stage import clone
from reconciler.trees.tree import Tree
from tests.state.markers import LINUX_39
from tests.support.environments import (
    run_uv,
    site_packages,
)
from tests.support.wheels import make_wheel


class Staging:
    """A real environment, a stage of it, and what uv puts into a folder of its own."""

    def __init__(self, venv: Path, tmp_path: Path) -> None:
        self.venv = venv.resolve()
        self.tmp_path = tmp_path
        self.stage = tmp_path / "stage"
        self.incoming = tmp_path / "incoming"

    def wheel(self, name: str, version: str, **options) -> Path:
        folder = self.tmp_path / "wheels" / str(len(list(self.tmp_path.rglob("*.whl"))))
        return make_wheel(folder, name, version, **options)

    def installed(self) -> Installed:
        return InstalledReader([site_packages(self.venv)]).read()

    def tree(self, *hold: str, in_place: bool = False) -> Tree:
        installed = self.installed()
        holds = hold_set(hold, installed, LINUX_39) if hold else HoldSet((), {})
        if not in_place:
            self.stage.mkdir()
            clone(self.venv, self.stage, Cancellation())
        return Tree(self.venv if in_place else self.stage, self.venv, installed, holds)

    def unpack(self, *wheels: Path) -> list:
        """Let uv install wheels into its own folder; the distributions in it."""
        python = str(self.venv / "bin" / "python")
        run_uv("pip", "install", "--no-config", "--offline", "--no-index", "--no-deps",
               "--python", python, "--prefix", str(self.incoming), *map(str, wheels))  # fmt: skip
        reader = InstalledReader([self.incoming / site_packages(self.venv).relative_to(self.venv)])
        return list(reader.read().all())

    def replace(self, tree: Tree, *names: str) -> None:
        """Take packages out and put in what uv has unpacked."""
        tree.replace(frozenset(names), self.incoming, Cancellation())
