"""Whether an environment's packages are really in its own folder.

If site-packages, or a folder above it, is a symbolic link, its files cannot be cloned, exchanged or
removed without following the link, and paths in RECORDs lead elsewhere. Nothing can be done there.
"""

from pathlib import Path

from reconciler.environment.interpreter import Interpreter
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.real_folders import RealFolders


class LeadsOut(ExpectedEnd):
    """The environment's packages are not in its own folder, but behind a symbolic link."""

    reason = Reason.LEADS_OUT

    def __init__(self, prefix: Path, site: Path, link: Path | None) -> None:
        what = f"{link} is a symbolic link" if link else "they are not in its folder"
        super().__init__(
            f"the packages of {prefix} are in {site}: {what}, and nothing is read or written "
            "through a link. Move the whole environment there, or recreate it."
        )


def refuse_packages_elsewhere(interpreter: Interpreter) -> None:
    """Check that the folders with packages are really in the environment.

    Raises:
        LeadsOut: One is not.
    """
    prefix = interpreter.prefix
    # Where uv puts the packages of every virtual environment, and CPython looks for them.
    version = ".".join(interpreter.version.split(".")[:2])
    link = _link_on_the_way(prefix, f"lib/python{version}/site-packages")
    for site in interpreter.site_directories:
        if link is not None or not site.is_relative_to(prefix):
            raise LeadsOut(prefix, site, link)


def _link_on_the_way(prefix: Path, folder: str) -> Path | None:
    """The first link on the way to a folder, without those beside it at the top (`lib64`)."""
    real, parts = RealFolders(prefix), folder.split("/")
    for count in range(1, len(parts) + 1):
        part = "/".join(parts[:count])
        if (prefix / part).is_symlink() and not real.has(part):
            return prefix / part
    return None
