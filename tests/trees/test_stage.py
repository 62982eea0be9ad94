"""The clone is the environment by hard links, and every later change of it is noticed."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.processes import Cancellation, Cancelled
from reconciler.trees.census import Changes, changes_since
from reconciler.trees.stage import StagingImpossible, clonable_roots, clone
from tests.support.environments import (
    install,
    make_venv,
    pythons,
    run_python,
    site_packages,
    tree_fingerprint,
)
from tests.support.privileges import give_away, run_without_powers
from tests.support.wheels import make_wheel
from tests.trees.conftest import site_of

ROOT = Path(__file__).parents[2]


def listing(folder: Path) -> dict[str, tuple]:
    """Every path below, with what it is; files by inode, links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = str(path.relative_to(folder))
        if relative.partition("/")[0] in (".reconciler", ".lock", ".gitignore"):
            continue
        if path.is_symlink():
            found[relative] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[relative] = ("folder", stat.S_IMODE(path.stat().st_mode))
        else:
            found[relative] = ("file", path.stat().st_ino)
    return found


# Cloning


def test_a_clone_has_the_very_files_links_and_folders(tree, cloned):
    stage, _ = cloned(tree)
    assert listing(stage) == listing(tree)


def test_a_clone_costs_no_data(tree, cloned):
    (site_of(tree) / "big.bin").write_bytes(b"x" * 1_000_000)
    stage, _ = cloned(tree)
    assert (site_of(stage) / "big.bin").stat().st_nlink == 2


def test_what_is_ours_or_uvs_is_not_cloned(tree, cloned):
    stage, _ = cloned(tree)
    assert sorted(p.name for p in stage.iterdir()) == ["bin", "lib", "lib64", "pyvenv.cfg"]
    assert list(clonable_roots(tree)) == ["bin", "lib", "lib64", "pyvenv.cfg"]


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o750, 0o777])
def test_folders_keep_their_mode(tree, mode, cloned):
    site_of(tree).chmod(mode)
    stage, _ = cloned(tree)
    assert stat.S_IMODE(site_of(stage).stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o000])
def test_folders_keep_their_mode_whatever_the_umask_is(tree, umask):
    # A hardened unit has UMask=0077; the environment must stay readable for its users.
    site_of(tree).chmod(0o775)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from reconciler.trees.stage import clone; from reconciler.processes import Cancellation\n"
        f"os.umask({umask}); tree = Path(sys.argv[1]); stage = tree / '.reconciler' / 'stage'\n"
        "stage.mkdir(); clone(tree, stage, Cancellation())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tree)], check=True, cwd=ROOT)
    stage = tree / ".reconciler" / "stage"
    assert listing(stage) == listing(tree)


def test_a_folder_shared_by_a_group_stays_so(tree, cloned):
    site_of(tree).chmod(0o2775)
    (tree / ".reconciler").chmod(0o2700)
    stage, _ = cloned(tree)
    assert site_of(stage).stat().st_mode & 0o7777 == 0o2775


def test_pipes_and_sockets_are_left_out(tree, cloned, packages):
    os.mkfifo(site_of(tree) / "fifo")
    stage, census = cloned(tree)
    assert not (site_of(stage) / "fifo").exists()
    assert changes_since(tree, census, packages) == Changes()


@pytest.mark.parametrize("short", ["3.8", "3.9", "3.11", "3.12", "3.13"])
def test_a_cloned_environment_is_a_venv_of_its_own(short, tmp_path, packages):
    if short not in pythons():
        pytest.skip(f"no Python {short} here")
    venv = make_venv(tmp_path / "venv", short)
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    stage = tmp_path / "stage"
    stage.mkdir()
    clone(venv, stage, Cancellation())
    (site_packages(stage) / "thing" / "__init__.py").unlink()
    (site_packages(stage) / "thing" / "__init__.py").write_text("__version__ = 'staged'\n")
    assert run_python(stage, "import thing; print(thing.__version__)") == "staged"
    assert run_python(venv, "import thing; print(thing.__version__)") == "1.0"
    assert run_python(stage, "import sys; print(sys.prefix)") == str(stage)


def test_cloning_ends_when_it_is_told_to(tree):
    cancel = Cancellation()
    cancel.cancel()
    (tree / ".reconciler" / "stage").mkdir()
    with pytest.raises(Cancelled):
        clone(tree, tree / ".reconciler" / "stage", cancel)


class Meanwhile(Cancellation):
    """Does something to the tree when the clone comes to its n-th folder."""

    def __init__(self, number: int, action) -> None:
        super().__init__()
        self.left = number
        self.action = action

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("victim", ["pkg", "pkg/deep", "pkg/__init__.py", "link.py"])
def test_what_vanishes_while_it_is_cloned_is_a_change_and_no_reason_to_give_up(
    tree, number, victim, packages
):
    path = site_of(tree) / victim

    def vanish() -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    stage = tree / ".reconciler" / "stage"
    stage.mkdir()
    before = listing(tree)
    meanwhile = Meanwhile(number, vanish)
    census = clone(tree, stage, meanwhile)
    assert meanwhile.left <= 0, "the tree has fewer folders than the test thinks"
    assert listing(tree) != before
    if listing(stage) != listing(tree):
        assert changes_since(tree, census, packages).installed


def test_a_folder_that_is_replaced_while_it_is_cloned_is_a_change(tree, packages):
    package = site_of(tree) / "pkg"
    names = ["bin", "lib", "python3.9", "site-packages"]

    def replace() -> None:
        package.rename(tree / "away")
        package.mkdir()
        (package / "other.py").write_text("other\n")

    for number in range(1, len(names) + 3):
        stage = tree / ".reconciler" / f"stage-{number}"
        stage.mkdir()
        census = clone(tree, stage, Meanwhile(number, replace))
        if listing(stage / "lib") != listing(tree / "lib"):
            assert changes_since(tree, census, packages).installed
        shutil.rmtree(package)
        (tree / "away").rename(package)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_files_of_another_owner_cannot_be_staged_and_it_says_why(tree):
    if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() != "1":
        pytest.skip("this kernel lets everybody link everything")
    give_away(tree / "lib")
    (tree / ".reconciler" / "stage").mkdir()
    answer = run_without_powers(
        "from pathlib import Path\n"
        "from reconciler.trees.stage import clone, StagingImpossible\n"
        "from reconciler.processes import Cancellation\n"
        "tree = Path(sys.argv[1])\n"
        "try: clone(tree, tree / '.reconciler' / 'stage', Cancellation())\n"
        "except StagingImpossible as error: print(error)\n",
        tree,
    )
    if answer.returncode == 77:
        pytest.skip("the powers of root cannot be laid down here")
    assert "belongs to another user" in answer.stdout, answer.stderr
    assert "fs.protected_hardlinks" in answer.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_mount_point_inside_cannot_be_staged_and_it_says_why(tree, cloned):
    folder = site_of(tree) / "empty"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False,
                             capture_output=True)  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("no mount here")
    try:
        (folder / "file").touch()
        with pytest.raises(StagingImpossible, match="mount point"):
            cloned(tree)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM])
def test_a_failing_disk_or_machine_is_no_reason_to_work_in_place(tree, number):
    def failing(_: object):
        def link(source: str, target: str, *, is_link: bool) -> None:
            raise OSError(number, os.strerror(number), source, None, target)

        return link

    stage = tree / ".reconciler" / "stage"
    stage.mkdir()
    with pytest.raises(OSError) as caught:
        clone(tree, stage, Cancellation(), failing)
    assert caught.value.errno == number


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_is_no_reason_to_work_in_place(tree, tmp_path, cloned):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=30", "none", str(small)],
                             check=False, capture_output=True)  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("no mount here")
    try:
        copied = small / "env"
        shutil.copytree(tree, copied, symlinks=True)
        with pytest.raises(OSError) as caught:
            cloned(copied)
        assert caught.value.errno == errno.ENOSPC
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_tests_of_held_files_would_see_another_inode(tree, venv, tmp_path, packages):
    # The ground under every "same inode" assertion.
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    before = tree_fingerprint(venv, "thing")
    file = site_packages(venv) / "thing" / "__init__.py"
    shutil.copy2(file, tmp_path / "copy")
    (tmp_path / "copy").replace(file)
    assert tree_fingerprint(venv, "thing") != before
