"""What installers change after the clone is noticed; what programs write is carried over."""

import os
import shutil

import pytest

from reconciler.trees.census import Changes, changes_since
from reconciler.trees.stage import carry_over
from tests.trees.conftest import site_of


def replace(path, text="x") -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


INSTALLED = {
    "a removed file": lambda site: (site / "pkg/__init__.py").unlink(),
    "a removed folder": lambda site: shutil.rmtree(site / "pkg/deep"),
    "a replaced file": lambda site: replace(site / "pkg/__init__.py"),
    "a folder in place of a file": lambda site: (
        (site / "pkg/__init__.py").unlink(), (site / "pkg/__init__.py").mkdir()
    ),
    "another link": lambda site: (
        (site / "l").symlink_to("pkg/deep"), (site / "l").replace(site / "link.py")
    ),
    "new metadata": lambda site: (site / "new-1.0.dist-info").mkdir(),
    "a new file of metadata": lambda site: (site / "pkg-1.0.dist-info/direct_url.json").touch(),
    "removed metadata": lambda site: shutil.rmtree(site / "pkg-1.0.dist-info"),
    "an egg": lambda site: (site / "old-1.0.egg").touch(),
    "a new .pth": lambda site: (site / "new.pth").touch(),
    "a removed .pth": lambda site: (site / "mine.pth").unlink(),
    "a replaced .pth": lambda site: replace(site / "mine.pth"),
    "a new script": lambda site: (site.parents[2] / "bin/new").touch(),
    "a removed script": lambda site: (site.parents[2] / "bin/tool").unlink(),
    "another python": lambda site: (site.parents[2] / "bin/python").unlink(),
    "another pyvenv.cfg": lambda site: replace(site.parents[2] / "pyvenv.cfg"),
    "no lib at all": lambda site: shutil.rmtree(site.parents[1]),
}  # fmt: skip


@pytest.mark.parametrize("change", INSTALLED)
def test_every_change_by_an_installer_is_noticed(tree, packages, cloned, change):
    (site_of(tree) / "mine.pth").touch()
    _, census = cloned(tree)
    INSTALLED[change](site_of(tree))
    assert changes_since(tree, census, packages).installed


IGNORED = {
    "nothing": lambda _: None,
    "bytecode": lambda site: (site / "pkg/__pycache__/n.pyc").touch(),
    "new bytecode folder": lambda site: (site / "pkg/deep/__pycache__").mkdir(),
    "removed bytecode": lambda site: shutil.rmtree(site / "pkg/__pycache__"),
    "uv's lock": lambda site: (site.parents[2] / ".lock").write_text("x"),
    "our own": lambda site: (site.parents[2] / ".reconciler/x").touch(),
    "something else beside": lambda site: (site.parents[2] / "notes.txt").touch(),
    "times": lambda site: os.utime(site / "pkg/__init__.py"),
    "a cache that is emptied": lambda site: (site / "empty").rmdir(),
}


@pytest.mark.parametrize("change", IGNORED)
def test_what_does_not_matter_is_no_change(tree, packages, cloned, change):
    _, census = cloned(tree)
    IGNORED[change](site_of(tree))
    assert changes_since(tree, census, packages) == Changes()


def test_a_change_names_its_folder(tree, packages, cloned):
    _, census = cloned(tree)
    replace(site_of(tree) / "pkg/deep/er/m.py")
    changes = changes_since(tree, census, packages)
    assert changes.installed == "lib/python3.9/site-packages/pkg/deep/er"


def test_a_change_of_the_clone_is_none_of_the_environment(tree, packages, cloned):
    stage, census = cloned(tree)
    shutil.rmtree(site_of(stage) / "pkg")
    (stage / "bin" / "new").touch()
    assert changes_since(tree, census, packages) == Changes()


def test_what_programs_write_is_carried_over_unless_a_new_package_brings_it(tree, packages, cloned):
    site = site_of(tree)
    (site / "pkg/tuned.json").write_text("old")
    (site / "pkg/theirs.json").write_text("old")
    stage, census = cloned(tree)
    replace(site / "pkg/tuned.json", "tuned")
    replace(site / "pkg/theirs.json", "tuned")
    (site / "pkg/deep/kernel.nbi").write_text("compiled")
    (site / ".nvidia/cache/deep").mkdir(parents=True)
    (site / ".nvidia/cache/deep/kernel").write_text("compiled")
    (site / "empty/deep").mkdir()
    (site / "latest").symlink_to(".nvidia")
    replace(site_of(stage) / "pkg/theirs.json", "of the new version")
    shutil.rmtree(site_of(stage) / "empty")

    changes = changes_since(tree, census, packages)
    carry_over(tree, stage, changes.loose)

    assert changes.installed is None
    new = site_of(stage)
    assert (new / "pkg/tuned.json").samefile(site / "pkg/tuned.json")
    assert (new / "pkg/theirs.json").read_text() == "of the new version"
    assert (new / "pkg/deep/kernel.nbi").samefile(site / "pkg/deep/kernel.nbi")
    assert (new / ".nvidia/cache/deep/kernel").samefile(site / ".nvidia/cache/deep/kernel")
    assert (new / "latest").readlink().name == ".nvidia"
    assert not (new / "empty").exists()  # its package has left
