"""Whether an environment is as it was promised after a power cut."""

import contextlib
import functools
import io
import os
import signal
import traceback
from pathlib import Path

from reconciler.passes.outcome import Result
from reconciler.passes.recovery import recover
from reconciler.passes.sweeping import sweep
from tests.powercut.cuts import Cut
from tests.powercut.disk import plugged_in
from tests.powercut.recording import (
    Recording,
    Truth,
    command,
    mounted,
    names_of_ours,
    project_on,
    truth,
)
from tests.support.environments import damage, run_python, strays
from tests.support.index import PackageIndex
from tests.support.passes import environment_for, locked, reconcile
from tests.support.projects import Project

_LIMIT = 120
"""Seconds for one cut."""


def judge(recording: Recording, cut: Cut, index: PackageIndex, *, on: bool) -> str:
    """Start again after this cut, and say what is wrong; an empty text if nothing is.

    Args:
        recording: What was done.
        cut: When, and what was lost.
        index: The index of the recording.
        on: Run a pass as well, which must reach the wanted state.
    """
    place = recording.image.parent
    writes = cut.kept(recording.epochs)
    with (
        plugged_in(recording.image, place / "disk", writes=writes) as device,
        mounted(recording.kind, device, place / "mnt") as folder,
    ):
        return _in_a_child(functools.partial(_judged, recording, cut, index, folder, on))


def _in_a_child(act: functools.partial[str]) -> str:
    """Run this in a process of its own, so that nothing keeps the disk busy or remembers it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LIMIT)
        try:
            said = act()
        except BaseException:  # noqa: BLE001  # whatever it is, it is what went wrong
            said = traceback.format_exc()
        os.write(writing, said.encode()[-60_000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return said if os.WIFEXITED(status) else f"it was ended by signal {os.WTERMSIG(status)}"


def _judged(recording: Recording, cut: Cut, index: PackageIndex, folder: Path, on: bool) -> str:
    project = project_on(folder, index)
    environment = environment_for(project)
    with locked(environment):
        recover(environment)
        again = recover(environment)
    sweep(environment)
    wrong = [] if again is None else [f"a second start had more to do: {again}"]
    found = truth(project.venv)
    answered = (cut.epoch, cut.writes) >= recording.answered
    wrong += _differences(recording, found, answered=answered)
    wrong += damage(project.venv) + [f"{path} is in no RECORD" for path in strays(project.venv)]
    extra = sorted(names_of_ours(project.venv) - recording.ours)
    wrong += [f".reconciler/{name} is left" for name in extra]
    run_python(project.venv, "import alder")
    rolled_back = recording.scenario == "rollback" and found == recording.new
    if rolled_back or (recording.scenario == "pause" and answered):
        wrong += _not_left_alone(project)
    elif on:
        with contextlib.redirect_stdout(io.StringIO()):  # events
            reconcile(environment_for(project))
            after = reconcile(environment_for(project))
        if after.result is not Result.UNCHANGED:
            wrong.append(f"the next pass did not reach the wanted state: {after.message}")
    return "\n".join(wrong)


def _differences(recording: Recording, found: Truth, *, answered: bool) -> list[str]:
    if found == recording.new or (found == recording.old and not answered):
        return []
    if found == recording.old:
        return ["the command had ended, and the old environment is back"]
    held = found.held == recording.new.held
    return [f"neither the old environment nor the new one: {found.versions}; held same: {held}"]


def _not_left_alone(project: Project) -> list[str]:
    """What was answered still counts: the environment is left alone."""
    said = command(project, "apply")
    return [] if "left alone" in said else [f"it was forgotten: {said}"]
