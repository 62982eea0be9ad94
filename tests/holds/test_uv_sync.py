"""`uv sync` and `uv run` bring the index's torch; we say so, and how to stop them."""

import os
import subprocess

from reconciler.doctor.finding import Verdict
from reconciler.doctor.packages import check_lock
from reconciler.holds.monitor import HoldMonitor
from reconciler.holds.standing import holds_found
from tests.holds.stand import HELD, Stand
from tests.support.environments import install, uv_binary
from tests.support.passes import locked
from tests.support.wheels import make_wheel

UNMANAGED = "[tool.uv]\nmanaged = false\n"


def uv(stand: Stand, *arguments: str, **variables: str) -> int:
    """Run uv in the project, as in another terminal."""
    environ = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    ended = subprocess.run(
        [str(uv_binary()), *arguments], cwd=stand.project.directory, env={**environ, **variables},
        check=False, timeout=120,
    )  # fmt: skip
    return ended.returncode


def said_of_torch(stand: Stand) -> str:
    """What is wrong with torch; empty if it is intact."""
    [row] = [h for h in holds_found(stand.environment().look()) if h.name == "torch"]
    return row.message or ""


def warned(stand: Stand) -> list[str]:
    """What doctor says of the lock."""
    found = list(check_lock(stand.environment().look()))
    assert all(f.verdict is Verdict.WARNING and f.fix for f in found)
    return [f"{f.message} {f.fix}" for f in found]


def test_what_uv_sync_did_is_named_and_can_be_stopped(stand, tmp_path):
    stand.project.write(["torch"])
    environment = stand.environment()
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(), lock, compare=True)
    assert warned(stand) == []  # there is no lock
    assert uv(stand, "lock") == 0
    [warning] = warned(stand)
    assert f"would replace torch=={HELD['torch']} by 2.8.0" in warning
    assert "would remove torchvision==" in warning
    assert "managed = false" in warning
    assert "UV_NO_SYNC=1" in warning

    assert uv(stand, "run", "python", "-c", "", UV_NO_SYNC="1") == 0
    stand.project.write(["torch"], extra=UNMANAGED)
    assert uv(stand, "run", "python", "-c", "") == 0
    assert uv(stand, "sync") != 0
    assert said_of_torch(stand) == ""
    assert warned(stand) == []

    stand.project.write(["torch"])
    assert uv(stand, "run", "python", "-c", "") == 0
    said = said_of_torch(stand)
    assert "replaced by 2.8.0" in said
    assert "probably `uv sync` or `uv run`" in said
    assert "managed = false" in said
    assert stand.has("torchvision")
    assert uv(stand, "sync") == 0
    assert not stand.has("torchvision")  # only `uv sync` removes what the lock does not have

    install(stand.venv, make_wheel(tmp_path, "torch", "2.9.0"))
    said = said_of_torch(stand)
    assert "replaced by 2.9.0" in said
    assert "uv sync" not in said  # the lock does not have it
