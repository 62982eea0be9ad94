"""A copy of an environment's metadata that uv looks at while it plans.

It is made of symbolic links in the folder of one pass. Nothing is ever installed into it.
"""

import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from reconciler.environment.snapshot import Snapshot


def shadow_of(snapshot: Snapshot, folder: Path, hidden: Collection[str] = ()) -> Path | None:
    """A prefix with only the metadata of what is installed; None outside a virtual environment.

    uv locks the environment that it looks at, even for a dry run (uv-facts 17). So one of two
    concurrent runs must look elsewhere.

    Args:
        snapshot: The environment.
        folder: Where to make it.
        hidden: Names of dist-info folders to leave out, as if they were not installed.
    """
    prefix = snapshot.interpreter.prefix
    if not snapshot.interpreter.is_venv:
        return None
    shadow = Path(tempfile.mkdtemp(prefix="shadow-", dir=folder))
    for directory in snapshot.interpreter.site_directories:
        (shadow / directory.relative_to(prefix)).mkdir(parents=True, exist_ok=True)
    for distribution in snapshot.installed.all():
        if distribution.unseen is None and distribution.info.name not in hidden:
            _mirror(distribution.info, shadow / distribution.info.relative_to(prefix))
    return shadow


def _mirror(info: Path, mirrored: Path) -> None:
    if not info.is_dir():  # an egg-info of one file, or an egg-link
        shutil.copyfile(info, mirrored)
        return
    mirrored.mkdir()  # uv does not look into a folder that is a symbolic link itself
    for name in os.listdir(info):  # noqa: PTH208 -- names only, for each package
        os.symlink(info / name, mirrored / name)  # noqa: PTH211
