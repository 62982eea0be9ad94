"""What is said of a pass that ended without its result: the reason, and only what is known."""

import errno
from pathlib import Path

import pytest

from reconciler.passes.endings import trouble_of
from reconciler.passes.outcome import Postponed
from reconciler.passes.prove import VerifyFailed
from reconciler.processes import Cancelled
from reconciler.state.desired import BadFile
from reconciler.status import Problem, Reason
from reconciler.trees.workspace import Busy
from reconciler.uv.answers import DiskFull

FILE = "/srv/studio/.venv/lib/numpy.py"


def refused(number: int) -> OSError:
    return OSError(number, "refused", FILE)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK_FULL),
        (errno.EDQUOT, Reason.DISK_FULL),
        (errno.EROFS, Reason.NOT_WRITABLE),
        (errno.EACCES, Reason.NOT_WRITABLE),
        (errno.EPERM, Reason.NOT_WRITABLE),
        (errno.EIO, Reason.FILE_SYSTEM),
    ],
)
def test_what_the_system_refuses_names_the_file_and_what_to_do(number, reason):
    trouble = trouble_of(refused(number))

    assert trouble.reason is reason
    assert FILE in trouble.message
    assert trouble.message.endswith(".")


@pytest.mark.parametrize(
    "error",
    [
        *map(refused, (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO)),
        Cancelled(),
        DiskFull("No space left on device."),
        ValueError("a defect"),
    ],
    ids=repr,
)
def test_nothing_is_promised_of_the_environment_by_who_cannot_know(error):
    assert "environment is" not in trouble_of(error).message


def test_an_end_that_is_foreseen_says_itself_why_and_when_it_is_tried_again():
    trouble = trouble_of(Postponed(Reason.IN_USE, "a job runs. Wait for it.", 30.0))

    assert (trouble.reason, trouble.retry_after) == (Reason.IN_USE, 30.0)
    assert trouble.message == "a job runs. Wait for it."


def test_a_bad_file_is_handed_on_with_its_place():
    problem = Problem(file="/p/pyproject.toml", line=3, reason="it is wrong", fix="Correct it.")

    assert trouble_of(BadFile(problem)).problem == problem


def test_what_a_verify_command_printed_is_not_part_of_the_sentence():
    trouble = trouble_of(VerifyFailed(Reason.VERIFY_FAILED, "it failed.", output="line 1"))

    assert trouble.message == "it failed."


def test_a_lock_that_was_waited_for_in_vain_says_what_to_do(tmp_path: Path):
    busy = Busy(tmp_path, "process 12", "Wait for it, or end it.")

    assert trouble_of(busy).message == f"{tmp_path} is held by process 12. Wait for it, or end it."


def test_what_nobody_foresaw_is_a_defect_and_no_secret_is_in_it():
    trouble = trouble_of(ValueError("https://bob:hunter22@example.org/simple"))

    assert trouble.reason is Reason.UNEXPECTED
    assert trouble.message.startswith("ValueError: ")
    assert "hunter22" not in trouble.message


@pytest.mark.parametrize("error", [refused(errno.ENOSPC), Cancelled(), ValueError("what")])
def test_it_says_that_the_environment_is_as_it_was_only_where_that_is_known(error):
    assert "The environment is unchanged." in trouble_of(error, untouched=True).message
    assert "is unchanged" not in trouble_of(error, untouched=False).message
