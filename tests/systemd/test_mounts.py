"""New starts for an environment that was made anew: at once, but not one after the other."""

import os
import time

from reconciler.systemd.mounts import Mounts, note_restart, seconds_until_restart


def test_the_first_new_start_is_at_once_and_the_next_a_while_later(tmp_path):
    assert seconds_until_restart(tmp_path) == 0

    note_restart(tmp_path)
    assert 70 < seconds_until_restart(tmp_path) <= 75, "five starts within five minutes are the end"

    long_ago = time.time() - 80
    os.utime(next(tmp_path.iterdir()), (long_ago, long_ago))
    assert seconds_until_restart(tmp_path) == 0


def test_outside_systemd_nothing_is_noted(tmp_path):
    note_restart(None)
    note_restart(tmp_path / "gone")

    assert seconds_until_restart(None) == seconds_until_restart(tmp_path / "gone") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_is_put_back_does_not_delay_it_for_long(tmp_path):
    note_restart(tmp_path)
    ahead = time.time() + 9999
    os.utime(next(tmp_path.iterdir()), (ahead, ahead))

    assert seconds_until_restart(tmp_path) <= 75


def test_a_folder_that_is_made_anew_but_can_be_written_needs_no_start(tmp_path):
    root = tmp_path / "venv"
    root.mkdir()
    mounts = Mounts()
    mounts.note([root])
    root.rename(tmp_path / "old")
    root.mkdir()

    assert not mounts.replaced(root)
