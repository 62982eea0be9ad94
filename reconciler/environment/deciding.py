"""The files and folders of an environment that decide what is installed and run in it."""

from pathlib import Path


def environment_paths(pyproject: Path, root: Path, python: Path) -> tuple[Path, ...]:
    """The files and folders of an environment that decide what runs in it.

    Not every file: whatever is in a trusted folder was put there by the folder's owner.

    Args:
        pyproject: the project file.
        root: the environment's folder.
        python: its interpreter, which may be a symbolic link to somewhere else.
    """
    libraries = sorted(root.glob("lib/python*"))
    packages = [folder / "site-packages" for folder in libraries]
    inside = [root / "pyvenv.cfg", root / "bin", python, root / "lib", *libraries, *packages]
    return (pyproject, root, *inside, root / ".reconciler")
