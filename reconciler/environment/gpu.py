"""The smoke test of a hold: asks torch in the target environment about the GPU.

Runs in its own process, with a time limit. A failure there is an answer, never an error. It
writes nothing to the environment, not even bytecode. What one attribute of an unusual torch
lacks, another may tell, and one that fails does not hide the others.
"""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from reconciler.files.parsing import json_as
from reconciler.journal.history import iso
from reconciler.log.redact import redact
from reconciler.processes import Cancellation, Ended, NotStarted, Program, TookTooLong, run
from reconciler.status import Gpu

_LONGEST_ERROR = 600
_LONGEST_NAME = 200
_KEPT = 100_000

# Works on Python 3.8 and newer. The answer goes to a descriptor that torch does not know, so
# that nothing an import prints gets into it. It skips the exit handlers, which never return
# with some drivers.
_PROBE = """
import os
answer = os.dup(1)
os.dup2(2, 1)

import json, sys, warnings

found = {"torch": None, "backend": None, "available": False, "name": None, "error": None}

def words(error):
    return "%s: %s" % (type(error).__name__, error)

def installed():
    from importlib.metadata import version
    try:
        return version("torch")
    except Exception:
        return None

failed = []

def read(parent, *names):
    # None if it is not there, or cannot be read: that must not hide what the others say.
    try:
        for name in names:
            parent = getattr(parent, name, None)
    except BaseException as error:
        failed.append(words(error))
        return None
    return parent

def answer_of(part, question, *arguments):
    function = read(part, question)
    try:
        return function(*arguments) if function is not None else None
    except BaseException as error:
        failed.append(words(error))
        return None

def backend(torch):
    label = str(found["torch"]).partition("+")[2]
    builds = (("rocm", "hip", "rocm"), ("cuda", "cuda", "cu1"), ("xpu", "xpu", "xpu"))
    for name, key, start in builds:
        if read(torch, "version", key) or label.startswith(start):
            return name
    for name, part in (("cuda", "cuda"), ("xpu", "xpu"), ("mps", "backends.mps")):
        if answer_of(read(torch, *part.split(".")), "is_available"):
            return name
    return "cpu"

def ask(torch):
    version = read(torch, "version", "__version__") or read(torch, "__version__")
    if version is None:
        return "it has no version"
    found["torch"] = str(version)
    found["backend"] = backend(torch)
    if found["backend"] in ("rocm", "cuda", "xpu"):
        name = "xpu" if found["backend"] == "xpu" else "cuda"
        part = read(torch, name)
        if part is None and not failed:
            return "torch.%s is missing" % name
        found["available"] = bool(answer_of(part, "is_available"))
        if found["available"]:
            device = answer_of(part, "get_device_name", 0)
            found["name"] = None if device is None else str(device)
    elif found["backend"] == "mps":
        found.update(available=True, name="Apple GPU (Metal)")

def probe():
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return "torch is not installed"
        return "torch fails to import (%s)" % words(error)
    except BaseException as error:
        return "torch fails to import (%s)" % words(error)
    trouble = ask(torch) or ", ".join(failed[:1])
    return "torch fails to report the GPU (%s)" % trouble if trouble else None

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found["error"] = probe()
if not found["torch"]:
    found["torch"] = installed()
if not found["error"] and not found["available"] and found["backend"] != "cpu":
    said = "".join(" (%s)" % w.message for w in caught[-1:])
    found["error"] = "torch is built for %s, but finds no GPU%s" % (found["backend"], said)
os.write(answer, json.dumps(found).encode())
os._exit(0)
"""

_FIXES = {
    "torch is not installed": "Install the build for your GPU by hand",
    "torch fails to import": "Run `python -c 'import torch'` there; if files are damaged, "
    "`reconciler hold restore torch` restores them",
    "torch is built for": "Check the driver, and that this user may open the GPU's device files "
    "(on Linux: the groups `render` and `video`)",
}


class _Answer(msgspec.Struct):
    torch: str | None
    backend: str | None
    available: bool
    name: str | None
    error: str | None


def probe(
    interpreter_executable: Path,
    environ: Mapping[str, str],
    timeout: float,
    cancel: Cancellation,
    *,
    clock: Callable[[], float] = time.time,
) -> Gpu:
    """Ask torch in the target environment which GPU it sees; raises nothing except `Cancelled`.

    Args:
        interpreter_executable: The environment's interpreter, Python 3.8 or newer.
        environ: The environment variables. Drivers need theirs (`HIP_VISIBLE_DEVICES`,
                `LD_LIBRARY_PATH`, ...); Python's own are ignored.
        timeout: Seconds to wait for the answer.
        cancel: Ends the probe.
        clock: Returns the time, in seconds since the epoch.

    Returns:
        `available` is true only if there is a GPU that torch can use. `backend` is what torch is
        built for, with or without a GPU. `error` says why there is no GPU; a CPU-only build of
        torch is not an error.

    Raises:
        Cancelled: Someone called `cancel.cancel()`.
    """
    try:
        answer = _ask(interpreter_executable, environ, timeout, cancel)
    except (NotStarted, OSError) as error:
        answer = _nothing(f"{interpreter_executable} cannot be asked ({error})")
    except TookTooLong as error:
        said = _last_words(error.ended)
        answer = _nothing(f"torch did not answer within {timeout:g} s{said}")
    return Gpu(
        available=answer.available,
        name=answer.name and answer.name[:_LONGEST_NAME],
        backend=answer.backend and answer.backend[:_LONGEST_NAME],
        torch=answer.torch and answer.torch[:_LONGEST_NAME],
        error=_explain(answer.error) if answer.error else None,
        checked_at=iso(clock()),
    )


def _ask(
    executable: Path, environ: Mapping[str, str], timeout: float, cancel: Cancellation
) -> _Answer:
    words = (executable, "-I", "-B", "-c", _PROBE)
    program = Program(words, environ=environ, folder=Path("/"))
    ended = run(program, limit=timeout, cancel=cancel, keep=_KEPT)
    try:
        return json_as(ended.out, _Answer)
    except msgspec.DecodeError:
        return _nothing(f"the GPU probe {_ending(ended.status)}{_last_words(ended)}")


def _nothing(error: str) -> _Answer:
    return _Answer(torch=None, backend=None, available=False, name=None, error=error)


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"exited with {code} and no answer"


def _last_words(ended: Ended) -> str:
    lines = ended.err.strip().splitlines()
    return f" (its last output: {lines[-1].strip()[:_LONGEST_ERROR]})" if lines else ""


def _explain(error: str) -> str:
    shown = redact(error[: 2 * _LONGEST_ERROR]).strip().rstrip(".")
    if len(shown) > _LONGEST_ERROR:
        shown = shown[:_LONGEST_ERROR] + " ..."
    fix = next((m for start, m in _FIXES.items() if error.startswith(start)), None)
    return (
        f"{shown}. {fix}." if fix else f"{shown}. Run `python -c 'import torch'` there to see why."
    )
