"""The trees that were live once: which ones exist, which one is live, which may be removed.

Each is a complete environment made of hard links, in a folder named after its number. The
live one is never among them and is never pruned.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import msgspec
from msgspec.structs import replace

from reconciler.status import GenerationStatus
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.stage import clonable_roots
from reconciler.trees.workspace import ASIDE_SUFFIX, META, Workspace, write_durably

_NEXT = META + ".next"
"""A label that waits until the unusable one is moved away."""
_MOST = 64 * 1024
"""A label has about 200 bytes."""


class Generation(msgspec.Struct, frozen=True):
    """The label of a complete tree: what `live.json` says of the live one."""

    number: int = 0
    created_at: str = ""
    packages: int = 0
    revision: str | None = None
    previous: int | None = None
    """The generation that it replaced: what a plain rollback goes to."""
    activation: int = 0
    """Goes up each time a tree goes live, by a change or a rollback. It tells which of two trees
    was live later, regardless of their numbers and the clock."""

    def to_dict(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "number": self.number,
            "created_at": self.created_at,
            "packages": self.packages,
            "revision": self.revision,
            "previous": self.previous,
            "activation": self.activation,
        }


def live(workspace: Workspace) -> Generation:
    """The live generation; number 0 if we have never changed the environment.

    If its label is gone or unusable, its number is one that no kept generation has.
    """
    return _read(workspace.live) or _after(kept(workspace))


def _after(known: list[Generation]) -> Generation:
    number = max((generation.number for generation in known), default=-1) + 1
    return Generation(number=number, activation=max((g.activation for g in known), default=0))


def _read(path: Path) -> Generation | None:
    try:
        return _decoded(path)
    except (OSError, NotOurs):
        return None


def _decoded(path: Path) -> Generation:
    """The label in a file.

    Raises:
        OSError: It cannot be read.
        NotOurs: It is not a label.
    """
    found = read_own(path, Generation, _MOST)
    if min(found.number, found.activation) < 0:
        raise NotOurs("its number is negative")
    return found


def set_aside_unusable(workspace: Workspace) -> list[str]:
    """Set aside the labels that cannot be used; call with the pass lock held.

    A tree gets a new label, since one without any is half removed. Going by its number, it was
    live after the trees with lower numbers, so that it is not the first one to be pruned.

    Returns:
        What was done, in words, for each.

    Raises:
        OSError: One cannot be moved.
    """
    done: list[str | None] = []
    for label in (workspace.live, *(folder / META for folder in _folders(workspace))):
        following = label.with_name(_NEXT) if label != workspace.live else None
        try:
            _decoded(label)
        except FileNotFoundError:
            pass
        except NotOurs as error:
            if following is not None:  # written first: without a label, the next start removes it
                guessed = _guessed(workspace, int(label.parent.name))
                write_durably(following, json.dumps(guessed.to_dict()))
            done.append(workspace.set_aside(label, str(error)))
        if following is not None and not os.path.lexists(label) and following.is_file():
            following.rename(label)
    return [words for words in done if words]


def _guessed(workspace: Workspace, number: int) -> Generation:
    activations = [g.activation for g in kept(workspace) if g.number < number]
    return Generation(number=number, activation=max(activations, default=0))


def keep_unrecorded(workspace: Workspace) -> None:
    """Keep the trees of an exchange whose record cannot be used: nobody knows how far it got.

    A folder that was moved away is moved back, and the other tree becomes a generation, whether
    it is the old one or the new one. Call with the pass lock held.

    Raises:
        OSError: The file system prevents it.
    """
    stages = workspace.stages()
    for tree in (*stages, *_folders(workspace)):
        for aside in tree.glob(f"*{ASIDE_SUFFIX}"):
            name = aside.name.removesuffix(ASIDE_SUFFIX)
            for place in (workspace.prefix / name, tree / name):
                if name and not os.path.lexists(place):
                    aside.rename(place)
                    break
    for stage in stages:
        if all(os.path.lexists(stage / name) for name in ("pyvenv.cfg", "bin", "lib")):
            number = next_number(workspace)
            label = Generation(number=number, activation=live(workspace).activation)
            write_durably(stage / META, json.dumps(label.to_dict()))
            workspace.generations.mkdir(exist_ok=True)
            stage.rename(folder_of(workspace, number))


def kept(workspace: Workspace) -> list[Generation]:
    """The generations available for a rollback, the most recently live one first."""
    found = [
        replace(_read(path / META) or Generation(), number=int(path.name))
        for path in _folders(workspace)  # its name counts: the label can be older
        if not is_half(path)
    ]
    return sorted(found, key=lambda g: (-g.activation, -g.number))


def _folders(workspace: Workspace) -> list[Path]:
    """The trees; a link is none."""
    with suppress(FileNotFoundError):
        found = [p for p in workspace.generations.iterdir() if p.name.isdecimal()]
        return [path for path in found if path.is_dir() and not path.is_symlink()]
    return []


def is_half(folder: Path) -> bool:
    """Whether a generation's folder is what an interrupted removal left of a tree."""
    labelled = any(os.path.lexists(folder / name) for name in (META, _NEXT))
    return not (labelled and os.path.lexists(folder / "pyvenv.cfg"))


def drop_half(workspace: Workspace) -> int:
    """Remove what interrupted removals left of generations; return how many.

    Call with the pass lock held.
    """
    found = [folder for folder in _folders(workspace) if is_half(folder)]
    for folder in found:
        workspace.discard(folder)
    return len(found)


def before_live(workspace: Workspace) -> Generation | None:
    """The generation that a plain rollback goes to: the one that the live one replaced.

    If that one is not kept, it is the most recently live one with a lower number.
    """
    known, current = kept(workspace), live(workspace)
    replaced = next((g for g in known if g.number == current.previous), None)
    return replaced or next((g for g in known if g.number < current.number), None)


def next_number(workspace: Workspace) -> int:
    """A number that no generation has or ever had."""
    numbers = [live(workspace).number, *(int(path.name) for path in _folders(workspace))]
    return max(numbers) + 1


def folder_of(workspace: Workspace, number: int) -> Path:
    """The folder of the generation with that number."""
    return workspace.generations / str(number)


def prune(workspace: Workspace, keep: int) -> list[int]:
    """Discard the generations beyond `keep`, the least recently live ones first.

    Never the one that a plain rollback goes to.

    Returns:
        Their numbers.
    """
    target = before_live(workspace)
    rest = [g for g in kept(workspace) if target is None or g.number != target.number]
    gone = [g.number for g in rest[keep - (target is not None) :]]
    for number in gone:
        workspace.discard(folder_of(workspace, number))
    return gone


def listed(workspace: Workspace, *, sizes: bool = False) -> tuple[GenerationStatus, ...]:
    """All generations, the live one first, for display.

    Args:
        workspace: The environment's.
        sizes: Also count the bytes that only that tree has: one `stat` for each file.
    """
    current = live(workspace)
    rows = [_generation(current, is_live=True, own=None)]
    for generation in kept(workspace):
        own = own_bytes(folder_of(workspace, generation.number)) if sizes else None
        rows.append(_generation(generation, is_live=False, own=own))
    return tuple(rows)


def _generation(meta: Generation, *, is_live: bool, own: int | None) -> GenerationStatus:
    return GenerationStatus(
        number=meta.number,
        created_at=meta.created_at or None,
        live=is_live,
        packages=meta.packages,
        bytes_own=own,
    )


def own_bytes(folder: Path) -> int:
    """Bytes that removing this tree would free: its folders, and files that it does not share."""
    return sum(s.st_blocks * 512 for s in _stats(folder) if s.st_nlink == 1 or S_ISDIR(s.st_mode))


def _stats(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for path in (parent, *(f"{parent}/{name}" for name in names)):
            with suppress(FileNotFoundError):
                yield os.lstat(path)


def differing_roots(one: Path, other: Path) -> list[str]:
    """The top-level names in which two trees differ (ignoring bytecode)."""
    names = {*_roots(one), *_roots(other)} - {META, _NEXT}
    return sorted(n for n in names if _inodes(one / n) != _inodes(other / n))


def _roots(folder: Path) -> set[str]:
    return set(clonable_roots(folder))


def _inodes(path: Path) -> dict[str, dict[str, int]] | int | str | None:
    if path.is_symlink():
        return os.readlink(path)  # noqa: PTH115
    if not path.exists():
        return None
    if not path.is_dir():
        return path.stat().st_ino
    census: dict[str, dict[str, int]] = {}
    for parent, folders, names in os.walk(path):
        folders[:] = [f for f in folders if f != "__pycache__"]
        census[os.path.relpath(parent, path)] = {n: _inode(f"{parent}/{n}") for n in names}
    return census


def _inode(path: str) -> int:
    # A clone recreates symbolic links, so they are identified by their target.
    if os.path.islink(path):  # noqa: PTH114
        return hash(os.readlink(path))  # noqa: PTH115
    return os.lstat(path).st_ino
