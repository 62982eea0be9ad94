"""Judges a world after a fault, and again after the next start. Shares no code with the product."""

import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.crash.scenarios import Packages, Scenario
from tests.crash.worlds import World
from tests.support.environments import damage, snapshot, strays, tree_fingerprint
from tests.support.vaults import contents_in

_DEFECT = re.compile(r"Traceback|bug in Reconciler|UnexpectedError")
_RANDOM = re.compile(r"(?<=-)[a-z0-9_]{8}$|[0-9]+")
_PASSED_OVER = frozenset({
    "cache", "wheels", "site-packages", "__pycache__", "service.lock", "service.sock",
})  # fmt: skip
"""What an interrupted uv leaves in its own cache is uv's. The lock of the service stays once it is
there; its socket is replaced by the next service."""
_HISTORY = re.compile(r"/[.]reconciler/(generations|live[.]json)")
_EMPTY = re.compile(
    r"^tmp/(?:reconciler-proof-)?[a-z0-9_#]{1,8}$|^project/[.]venv/[.]tmp[A-Za-z0-9#]{1,6}$"
)
"""Python writes a file to find out whether it may; uv makes its lock under such a name."""
_IN_PART = re.compile("could not be satisfied|package[.]failed")
"""What a pass says that has left one package out, and has installed the others."""

Bytes = dict[str, str]


class Judge:
    """Knows how the world was before.

    Args:
        world: Prepared, before anything happened.
        scenario: What is going to be interrupted.
    """

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._held = self._held_bytes()
        self._expected: Counter[str] = Counter()
        self._vault: Bytes = {}

    def learn(self) -> None:
        """Remember the world after an undisturbed run and the next start."""
        self._expected = Counter(_listing(self._world))
        self._vault = _vault_bytes(self._world)

    def packages(self) -> Packages | None:
        """What is installed; None: there is no environment."""
        return snapshot(self._world.venv) if self._world.has_environment() else None

    def after_fault(self, *, done: bool, unchanged: bool, helpless: bool) -> Iterator[str]:
        """What is wrong right after the fault, one sentence each.

        Args:
            done: The command said that it had succeeded.
            unchanged: It said that nothing had changed.
            helpless: It could not undo anything.
        """
        if helpless and not done and self._may_be_between():
            return
        yield from self._wrong_bytes()
        found = self.packages()
        if unchanged and found != self._scenario.old and found:
            yield "it said that nothing had changed, but something has"
        if not self._is_expected(found, done=done):
            yield f"neither old nor new: {_difference(found, self._scenario.old)}"
        yield from self._broken_tree() if found else ()

    def _may_be_between(self) -> bool:
        """Whether a record says that the next start finishes or undoes a change.

        Documented: between the exchanges of `bin` and `lib`, and during a change in place.
        """
        records = ("in-place.json",) if self._scenario.in_place else ("intent.json",)
        return any((self._world.workspace / name).exists() for name in records)

    def _is_expected(self, found: Packages | None, *, done: bool) -> bool:
        old, new = self._scenario.old, self._scenario.new
        if found == new or (found == old and not done):
            return True
        if old is None and not done and not found:
            return True  # an environment that is being created
        either = {*(old or {}).items(), *new.items()}
        return (
            bool(_IN_PART.search(self._world.said()))
            and not done
            and set((found or {}).items()) <= either
        )

    def after_next_start(self, *, without_stage: bool = False) -> Iterator[str]:
        """What is wrong in the end, one sentence each.

        Args:
            without_stage: The change may have been made in place, which leaves no older tree.
        """
        if shown := _DEFECT.search(self._world.said()):
            yield f"a defect is shown ({shown[0]})"
        found = self.packages()
        if found != self._scenario.last:
            yield f"not what is desired: {_difference(found, self._scenario.last)}"
        if found is None:
            return
        yield from self._broken_tree()
        yield from self._wrong_bytes()
        yield from (f"a stray file: {path}" for path in sorted(strays(self._world.venv)))
        listing = Counter(_listing(self._world))
        surplus = (listing - self._expected).elements()
        yield from (f"left over: {path}" for path in sorted(surplus) if not _EMPTY.match(path))
        yield from (
            f"missing: {path}"
            for path in sorted(self._expected - listing)
            if not (without_stage and _HISTORY.search(path))
        )
        if _vault_bytes(self._world) != self._vault:
            yield "the vault's newest copies are not what they should be"

    def _broken_tree(self) -> Iterator[str]:
        yield from damage(self._world.venv)
        if not _runs(self._world.interpreter):
            yield "its Python does not run"
        for tree in _generations(self._world):
            yield from (f"generation {tree.name}: {wrong}" for wrong in damage(tree))

    def _wrong_bytes(self) -> Iterator[str]:
        if self._world.has_environment() and (found := self._held_bytes()) != self._held:
            paths = {path for path, _ in found.items() ^ self._held.items()}
            yield f"held files changed: {', '.join(sorted(paths)[:5])}"

    def _held_bytes(self) -> Bytes:
        if not self._scenario.held or not self._world.has_environment():
            return {}
        installed = snapshot(self._world.venv)
        return {
            path: state.sha256
            for name in self._scenario.held & installed.keys()
            for path, state in tree_fingerprint(self._world.venv, name).items()
        }


def _difference(found: Packages | None, wanted: Packages | None) -> str:
    one, other = dict(found or {}), dict(wanted or {})
    rows = sorted(one.items() - other.items()) + [
        (name, "gone") for name in sorted(other.keys() - one.keys())
    ]
    return ", ".join(f"{name} {version}" for name, version in rows) or "nothing installed"


def _runs(interpreter: Path) -> bool:
    command = [interpreter, "-I", "-S", "-c", "pass"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _generations(world: World) -> list[Path]:
    folder = world.workspace / "generations"
    return [tree for tree in sorted(folder.iterdir()) if tree.is_dir()] if folder.is_dir() else []


def _listing(world: World) -> Iterator[str]:
    """What lies in the world, packages apart; numbers and random names look the same."""
    for path in _walk(world.root):
        inside = path.relative_to(world.root)
        yield "/".join(_RANDOM.sub("#", part) for part in inside.parts)


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _PASSED_OVER or _is_empty_shelf(path):
            continue
        yield path
        if path.is_dir() and not path.is_symlink() and path.parent.name != "generations":
            yield from _walk(path)


def _is_empty_shelf(path: Path) -> bool:
    """Whether this was the place of a package's copies; it takes no space, and nobody reads it."""
    return path.parents[1].name == "environments" and path.is_dir() and not any(path.iterdir())


def _vault_bytes(world: World) -> Bytes:
    """The files of each package's newest copy, as they are; nothing else may be there."""
    found = {}
    vault = world.root / "state" / "vault"
    contents = {hashlib.sha256(p.read_bytes()).hexdigest() for p in contents_in(vault)}
    for package in sorted(vault.glob("environments/*/*/")):
        newest = max(package.glob("*.json"), key=lambda path: int(path.stem), default=None)
        if newest is not None:
            copy = json.loads(newest.read_text())["copy"]
            described = vault / "packages" / package.name / "copies" / copy / "copy.json"
            for path, digest, *_ in json.loads(described.read_text())["files"]:
                found[f"{package.name}/{path}"] = digest if digest in contents else "gone"
    return found
