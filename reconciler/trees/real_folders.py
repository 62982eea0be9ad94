"""Nothing is written through a symbolic link: the folders of a tree that are really its own.

Every function that writes, moves or removes a file of an environment asks here for its folder.
"""

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISLNK

from reconciler.trees.reserved import is_reserved


class RealFolders:
    """The real folders of a tree, remembered once found: for one step that replaces none of them.

    The only links that count as folders are those at the top to a folder beside them, such as
    `lib64` to `lib`: every environment has one.
    """

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._known: set[str] = {""}

    def has(self, folder: str) -> bool:
        """Whether this path, relative to the tree, is a folder and no link leads there."""
        if folder in self._known:
            return True
        if not self.has(folder.rpartition("/")[0]) or not is_real_folder(self._tree, folder):
            return False
        self._known.add(folder)
        return True


def is_real_folder(tree: Path, folder: str) -> bool:
    """The same for a folder, if the one that it is in is known to be real."""
    try:
        mode = os.lstat(f"{tree}/{folder}").st_mode
    except OSError:
        return False
    return S_ISDIR(mode) or (S_ISLNK(mode) and "/" not in folder and _leads_beside(tree, folder))


def _leads_beside(tree: Path, name: str) -> bool:
    there = Path(os.path.realpath(tree / name))
    beside = str(there.parent) == os.path.realpath(tree)
    return beside and there.is_dir() and not is_reserved(f"{there.name}/x")


def copy_over(source: str, target: str, suffix: str) -> None:
    """Replace a file, or a link, by a copy; nothing is written through a link."""
    import shutil  # noqa: PLC0415 -- slow to import, and `check` copies nothing

    beside = target + suffix
    with suppress(FileNotFoundError):
        os.unlink(beside)  # noqa: PTH108 -- half a copy, or a link that someone left there
    shutil.copy2(source, beside, follow_symlinks=False)
    os.rename(beside, target)  # noqa: PTH104
