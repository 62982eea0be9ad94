"""The claim on an environment: real locks, on real files."""

import os
from pathlib import Path

import pytest

from reconciler.daemon.claim import Claim
from reconciler.trees.workspace import Busy
from tests.support.passes import environment_for


@pytest.fixture
def environment(project, venv):
    (venv / ".reconciler").mkdir()
    return environment_for(project)


@pytest.fixture
def kept_by_a_child(venv):
    """Keep the lock as a child does that is just being forked: by the same open file."""
    copies = []

    def keep():
        lock = venv / ".reconciler/service.lock"
        entries = [it for it in Path("/proc/self/fd").iterdir() if it.exists()]
        (ours,) = [int(it.name) for it in entries if it.samefile(lock)]
        copies.append(os.dup(ours))

    yield keep
    for copy in copies:
        os.close(copy)


def test_a_claim_keeps_others_out_until_it_is_released(environment):
    first, second = Claim(environment), Claim(environment)
    first.take_if_there()

    with pytest.raises(Busy, match=f"process {os.getpid()}"):
        second.take_if_there()

    first.release()
    second.take_if_there()
    second.release()


def test_what_was_never_looked_after_is_claimed_at_the_first_pass(project, venv):
    environment = environment_for(project)
    early, late = Claim(environment), Claim(environment)

    early.take_if_there()
    assert not (venv / ".reconciler").exists()

    late.take()
    late.release()


def test_a_claim_is_handed_over_without_a_moment_in_which_it_is_nobody_s(
    environment, kept_by_a_child
):
    claim = Claim(environment)
    claim.take_if_there()
    kept_by_a_child()

    successor = claim.handed_over(environment)
    successor.take()
    claim.release()

    with pytest.raises(Busy):
        Claim(environment).take_if_there()
    successor.release()
