"""Two commands and one vault: a copy that one is writing is never touched by the other."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner
from reconciler.processes import Cancellation
from reconciler.status import Result
from reconciler.trees.workspace import PassLock
from reconciler.vault.writer import VaultWriter
from tests.holds.stand import BESIDE, Stand
from tests.support.environments import tree_fingerprint, uninstall
from tests.support.passes import Follower, locked
from tests.support.processes import Mark, reconciler_command, wait_until
from tests.support.thorough import sample
from tests.support.vaults import held_in

PAUSING = Path(__file__).parents[1] / "support" / "pausing.py"
LATE = "pytorch-triton-rocm"
"""Torch pins it, so it is held as soon as a pass has installed it."""


@dataclass
class Command:
    """One that runs: its process, and the file that it says everything to."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """What it has said so far."""
        return self.output.read_text()

    def ended(self) -> int:
        """Wait for its end; its exit status."""
        return self.process.wait(timeout=60)


class Commands:
    """Commands in the project's folder, all with the same history."""

    def __init__(self, stand: Stand, home: Path) -> None:
        self.stand = stand
        self.home = home
        self.mark = Mark()
        self.count = 0
        stand.project.write(["torch", "torchvision", *BESIDE])

    @property
    def vault(self) -> Path:
        return self.home / "state" / "vault"

    def start(self, *words: str, waits: str = "1m") -> Command:
        """Start a command; it waits for others for as long as it says."""
        return self._start(reconciler_command(words), waits)

    def start_paused(self, *words: str, copying: str) -> Command:
        """Start one, and return once it has stopped in the middle of that package's copy."""
        running = self._start([sys.executable, str(PAUSING), f"/packages/{copying}/", *words], "1m")
        _, status = os.waitpid(running.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), running.said()
        return running

    def _start(self, words: list[str], waits: str) -> Command:
        config = self.home / f"{waits}.toml"
        config.write_text(
            f'[service]\nstate_dir = "{self.home}/state"\n[environments.studio]\n'
            f'pyproject = "{self.stand.project.path}"\npython = "{self.stand.venv}"\n'
            f'timeout = "{waits}"\n'
        )
        self.count += 1
        output = self.home / f"{self.count}.out"
        with output.open("w") as said:
            process = subprocess.Popen(
                [*words, "--verbose", "--config", str(config)],
                cwd=self.stand.project.directory,
                env={**os.environ, **self.mark.environment()},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        return Command(process, output)

    def unfinished(self) -> list[Path]:
        """The copies that somebody is writing."""
        return list(self.vault.glob("packages/*/unfinished"))

    def copies(self) -> dict[str, list[str]]:
        """Of each package, the numbers of its copies."""
        assert self.unfinished() == []
        return held_in(self.vault, self.stand.venv)


@pytest.fixture
def commands(stand: Stand, tmp_path: Path) -> Iterator[Commands]:
    found = Commands(stand, tmp_path)
    yield found
    found.mark.kill()


def accepting(commands: Commands) -> Command:
    """A `hold accept` that copies what else is held, too."""
    return commands.start_paused("hold", "accept", "torch", copying="torchvision")


def applying(commands: Commands, triton: Path) -> Command:
    """A pass that installs what a hold pins, which is held from then on."""
    uninstall(commands.stand.venv, LATE)
    commands.stand.index.add(triton)
    return commands.start_paused("apply", copying=LATE)


@pytest.fixture(params=sample(["accept", "apply"], every=2))
def paused(request: pytest.FixtureRequest, commands: Commands, stack: list[Path]) -> Command:
    """A command that has stopped in the middle of a copy, after the work of its pass."""
    if request.param == "accept":
        return accepting(commands)
    (triton,) = (wheel for wheel in stack if "triton" in wheel.name)
    return applying(commands, triton)


def assert_all_copies_are_whole(commands: Commands) -> None:
    """Each hold has one copy, and comes back from it as it was."""
    assert commands.copies() == {"torch": ["1"], "torchvision": ["1"], LATE: ["1"]}
    before = tree_fingerprint(commands.stand.venv)
    uninstall(commands.stand.venv, "torch", "torchvision", LATE)
    for name in ("torchvision", "torch"):
        restoring = commands.start("hold", "restore", name)
        assert restoring.ended() == 0, restoring.said()
    assert tree_fingerprint(commands.stand.venv) == before


def test_who_does_not_wait_for_a_copy_is_refused(commands: Commands, paused: Command) -> None:
    (copy,) = commands.unfinished()

    refused = commands.start("apply", waits="1s")

    assert refused.ended() == 1
    assert f"process {paused.process.pid}" in refused.said()
    assert commands.unfinished() == [copy]
    paused.process.send_signal(signal.SIGCONT)
    assert paused.ended() == 0, paused.said()
    assert "vault.failed" not in paused.said()
    assert_all_copies_are_whole(commands)


def test_who_waits_goes_on_when_the_copy_is_complete(commands: Commands, paused: Command) -> None:
    (copy,) = commands.unfinished()

    waiting = commands.start("apply")
    wait_until(lambda: "pass.started" in waiting.said(), what="the beginning of a second pass")

    assert commands.unfinished() == [copy]
    paused.process.send_signal(signal.SIGCONT)
    for command in (paused, waiting):
        assert command.ended() == 0, command.said()
        assert "vault.failed" not in command.said()
    assert_all_copies_are_whole(commands)


def test_without_the_lock_nothing_is_written(stand: Stand) -> None:
    environment = stand.environment()
    vault = environment.look().vault
    with locked(environment) as lock:
        writer = VaultWriter(vault, lock)

    with pytest.raises(RuntimeError, match=r"the pass lock of .* is not held"):
        writer.prune(0)
    for useless in (lock, PassLock(), PassLock(stand.project.directory)):
        with pytest.raises(RuntimeError, match="is not held"):
            VaultWriter(vault, useless)


def test_a_vault_that_cannot_be_pruned_hides_nothing_of_what_a_pass_did(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.project.write(BESIDE)
    environment = stand.environment()
    environment.workspace.create()
    (stand.store / "packages/torch/copies/.new-1-1").mkdir(parents=True)
    (stand.store / "packages/torch/unfinished").touch()

    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("reconciler.vault.clearing.remove_tree", fail)
    journal = Journal(tmp_path / "journal.sqlite")
    recorded = PassRunner(environment, journal, HoldMonitor(environment)).run(
        lambda running: reconcile(running, audit=True),
        trigger="manual", pass_id=None, cancel=Cancellation(), listener=Follower(),
    )  # fmt: skip
    journal.close()

    assert recorded.detail.result is Result.CHANGED
    assert {change.name for change in recorded.detail.changes} == {"numpy", "sympy", "mpmath"}
    assert recorded.trouble is not None
    assert "Input/output error" in str(recorded.detail.message)
