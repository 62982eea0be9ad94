"""A wheel that is corrupt, and a uv that does nothing: said for what it is, the rest goes live."""

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.status import Reason, Result
from reconciler.uv.program import UvError
from tests.support.environments import assert_whole, snapshot, tree_fingerprint, uv_binary
from tests.support.passes import FAST, environment_for, reconcile
from tests.support.wheels import make_wheel
from tests.support.world import World


@pytest.fixture
def world(index, tmp_path) -> World:
    return World(index, tmp_path / "world")


def not_a_zip(wheel: Path) -> None:
    wheel.write_bytes(b"<html>not found</html>")


def truncated(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-200])


def empty(wheel: Path) -> None:
    wheel.write_bytes(b"")


def bad_crc(wheel: Path) -> None:
    """One byte of the stored module is another one; the zip's own list is as it was."""
    rewritten(wheel, lambda name, content: content, stored=True)
    body = bytearray(wheel.read_bytes())
    at = body.index(b"__version__")
    body[at] ^= 0xFF
    wheel.write_bytes(body)


def without_record(wheel: Path) -> None:
    rewritten(wheel, lambda name, content: None if name.endswith("RECORD") else content)


def without_metadata(wheel: Path) -> None:
    rewritten(wheel, lambda name, content: None if name.endswith("METADATA") else content)


def rewritten(wheel: Path, change, *, stored: bool = False) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    how = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(wheel, "w", how) as archive:
        for name, data in content.items():
            after = change(name, data)
            if after is not None:
                archive.writestr(name, after)


HARM = (not_a_zip, truncated, empty, bad_crc, without_record, without_metadata)
"""uv corrects a RECORD that lists a file which is not there, and checks no hash in it."""


def test_each_corrupt_wheel_is_unusable_and_the_others_go_live(project, venv, world):
    names = []
    for harm in HARM:
        names.append(harm.__name__.replace("_", "-"))
        wheel = make_wheel(world.folder, names[-1], "1.0")
        world.index.add(wheel)
        harm(wheel)
        served = world.index._files[wheel.name]  # as the index itself got it: the hash is right
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        world.index._files[wheel.name] = dataclasses.replace(served, sha256=digest)
    world.wheel("good")
    world.wheel("needs-one", "1.0", names[0])
    project.write(["good", "needs-one", *names])

    outcome = reconcile(environment_for(project))

    assert outcome.result is Result.PARTIAL
    assert snapshot(venv) == {"good": "1.0"}
    assert {f.name: f.reason for f in outcome.failed} == {
        "needs-one": Reason.DEPENDENCY_FAILED, **dict.fromkeys(names, Reason.UNUSABLE)
    }  # fmt: skip
    assert_whole(venv)


def test_a_uv_that_installs_nothing_and_says_that_all_is_well(project, venv, world, tmp_path):
    world.wheel("alpha")
    project.write(["alpha"])
    lazy = tmp_path / "uv"
    lazy.write_text(
        f'#!/bin/sh\ncase "$*" in *--no-deps*) exit 0;; esac\nexec {uv_binary()} "$@"\n'
    )
    lazy.chmod(0o755)
    python = project.venv / "bin" / "python"
    config = EnvironmentConfig(name="studio", pyproject=project.path, python=python)
    before = tree_fingerprint(venv)

    with pytest.raises(UvError, match="installed nothing") as caught:
        reconcile(Environment(config, {**os.environ, **FAST}, lazy))

    assert caught.value.reason is Reason.UV_FAILED
    assert "alpha" in caught.value.message
    assert tree_fingerprint(venv) == before
