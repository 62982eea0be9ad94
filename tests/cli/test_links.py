"""Environments with links in them: every command works, or says why it does not."""

import io
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from reconciler.cli.app import status_of
from tests.support.environments import install, run_python, site_packages
from tests.support.torch import gpu_stack
from tests.support.wheels import make_wheel

LOOKS = (["check"], ["doctor"], ["hold", "list"])
CHANGES = (["plan"], ["apply"], ["hold", "restore", "torch"], ["hold", "accept", "torch"],
           ["rollback"])  # fmt: skip


def moved(find: Callable[[Path], Path]) -> Callable[[Path, Path], None]:
    """Move a part of the environment to another place, and leave a link to it."""

    def move(venv: Path, outside: Path) -> None:
        part = find(venv)
        shutil.move(part, outside) if part.exists() else outside.mkdir()
        part.symlink_to(outside)

    return move


def other_lib64(venv: Path, outside: Path) -> None:
    (venv / "lib64").unlink(missing_ok=True)
    outside.mkdir()
    (venv / "lib64").symlink_to(outside)


def lib_beside(venv: Path, _outside: Path) -> None:
    (venv / "lib").rename(venv / "real-lib")
    (venv / "lib").symlink_to("real-lib")


def packages_inside(venv: Path, _outside: Path) -> None:
    site = site_packages(venv)
    site.rename(venv / "packages")
    site.symlink_to("../../packages")


def nowhere(find: Callable[[Path], Path]) -> Callable[[Path, Path], None]:
    def link(venv: Path, outside: Path) -> None:
        part = find(venv)
        shutil.rmtree(part)
        part.symlink_to(outside)

    return link


def in_a_circle(venv: Path, _outside: Path) -> None:
    site = site_packages(venv)
    shutil.rmtree(site)
    site.symlink_to(site.name)


WORKS = {
    "the environment": moved(lambda venv: venv),
    "bin": moved(lambda venv: venv / "bin"),
    "include": moved(lambda venv: venv / "include"),
    "pyvenv.cfg": moved(lambda venv: venv / "pyvenv.cfg"),
    "lib64": other_lib64,
    "lib, beside it": lib_beside,
}
REFUSED = {
    "lib": moved(lambda venv: venv / "lib"),
    "lib/python3.x": moved(lambda venv: site_packages(venv).parent),
    "site-packages": moved(site_packages),
    "site-packages, in the environment": packages_inside,
    "lib, nowhere": nowhere(lambda venv: venv / "lib"),
    "site-packages, nowhere": nowhere(site_packages),
    "site-packages, in a circle": in_a_circle,
}


def ran(words: Sequence[str]) -> tuple[int, str]:
    """A command's exit status, and what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        status = status_of(words)
    return status, " ".join(printed.getvalue().split())


@pytest.fixture(autouse=True)
def environ(studio, monkeypatch):
    for name, value in studio.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stacked(studio, index, tmp_path):
    """Makes the environment again for each case: `thing` may be upgraded, torch is held."""
    index.add(*(make_wheel(tmp_path, "thing", version) for version in ("1.0", "2.0")))
    install(studio.venv, *gpu_stack(tmp_path / "gpu", files=3))
    studio.project.write(["thing==1.0"])
    assert ran(["apply"])[0] == 0
    saved = tmp_path / "saved"
    studio.venv.rename(saved)
    studio.project.write(["thing==2.0"])

    def make() -> Path:
        if studio.venv.is_symlink():
            studio.venv.unlink()
        shutil.rmtree(studio.venv, ignore_errors=True)
        shutil.copytree(saved, studio.venv, symlinks=True)
        return studio.venv

    return make


def test_links_that_may_be_there(stacked, tmp_path):
    offenders = []
    for kind, link in WORKS.items():
        venv = stacked()
        link(venv, tmp_path / kind.replace("/", "-"))
        for words in (["apply", "--force"], ["rollback"]):
            status, said = ran(words)
            if status != 0:
                offenders.append((kind, words, status, said))
            if words[0] == "apply":
                import_it = "import importlib.metadata as m, torch; print(m.version('thing'))"
                if run_python(venv, import_it).strip() != "2.0":
                    offenders.append((kind, words, "it did nothing"))
    assert offenders == []


def test_links_that_lead_out_are_named_by_every_command(stacked, tmp_path):
    offenders = []
    for kind, link in REFUSED.items():
        venv = stacked()
        outside = tmp_path / kind.replace("/", "-")
        link(venv, outside)
        before = {p: p.stat().st_mtime_ns for p in outside.rglob("*")} if outside.exists() else {}
        for words in (*LOOKS, *CHANGES):
            status, said = ran(words)
            named = re.search(r"lib\S* is a symbolic link, and nothing is read or written", said)
            if not named or status == 0 or "Traceback" in said or "bug in" in said:
                offenders.append((kind, words, status, said))
        after = {p: p.stat().st_mtime_ns for p in outside.rglob("*")} if outside.exists() else {}
        if after != before:
            offenders.append((kind, "it has changed"))
    assert offenders == []
