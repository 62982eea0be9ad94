"""A copy counts once it is on the disk, and no longer once its removal has begun."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.holds.monitor import HoldMonitor
from reconciler.processes import Cancellation
from reconciler.trees import durability, workspace
from reconciler.vault import clearing
from reconciler.vault.writer import VaultWriter
from tests.holds.stand import BESIDE, Stand
from tests.support.passes import locked

EMPTY = [".gitignore", "environment.json", "home.json", "lock"]
"""The files of a vault without copies."""


class Disk:
    """Stands for the C library: `answer` is what syncfs(2) does."""

    def __init__(self, answer: Callable[[], int]) -> None:
        self.answer, self.calls = answer, 0

    def syncfs(self, _descriptor: int) -> int:
        self.calls += 1
        number = self.answer()
        ctypes.set_errno(number)
        return -1 if number else 0


def files_below(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_copy_counts_once_it_is_on_the_disk(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.project.write(BESIDE)
    environment = stand.environment()
    vault = environment.look().vault
    synced: list[Path] = []
    real_sync = workspace.sync_folder

    def keep(disk: Disk, cancel: Cancellation | None = None) -> set[str]:
        """What a service that has just started says is in the vault."""
        monkeypatch.setattr(durability, "_libc", disk)
        monitor = HoldMonitor(environment)
        with environment.workspace.pass_lock(cancel or Cancellation(), 10.0) as lock:
            rows = monitor.keep(environment.look(audit_files=True), lock, compare=True)
        return {row.name for row in rows if row.vaulted}

    def noting(folder: Path) -> None:
        synced.append(folder)
        real_sync(folder)

    monkeypatch.setattr(workspace, "sync_folder", noting)
    with locked(environment):
        environment.workspace.create()

    failing = Disk(lambda: errno.EIO)
    assert keep(failing) == set()
    assert (failing.calls, files_below(vault.store.root)) == (1, EMPTY)
    assert set(synced) == {vault.records}, "its name is there, but nothing that it holds"

    cancel = Cancellation()

    def cancelling() -> int:
        cancel.cancel()
        return 0

    assert keep(Disk(cancelling), cancel) == set()
    assert files_below(vault.store.root) == EMPTY

    counted: list[int] = []

    def looking() -> int:
        counted.append(len(environment.look().vault.current()))
        return 0

    working = Disk(looking)
    kept = keep(working)
    assert {"torch", "pytorch-triton-rocm"} <= kept
    assert counted == [0], "one sync for all copies, before any of them counts"
    records = {path for path in synced if "environments" in path.parts}
    assert {path.name for path in records} >= kept, "each record is on the disk as well"


def test_half_a_removed_copy_does_not_count(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.project.write(BESIDE)
    environment = stand.environment()
    vault = environment.look().vault
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(audit_files=True), lock, compare=True)
        assert "torch" in vault.current()

        def half(folder: Path) -> None:
            next(path for path in sorted(folder.rglob("*")) if path.is_file()).unlink()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(clearing, "remove_tree", half)
            with pytest.raises(OSError, match="Input/output error"):
                VaultWriter(vault, lock).forget("torch")
        assert "torch" not in vault.current()
        assert vault.copies("torch") == []
        VaultWriter(vault, lock).prune(3)
        assert not vault.store.package("torch").exists()
