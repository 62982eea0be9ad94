"""What the hardened unit leaves possible: all of the job, and little else.

The units are the product's; only the program in them is one that tries things.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from reconciler.systemd.units import Service, machine_units
from tests.systemd.machine import Machine

Report: TypeAlias = dict[str, str | int]
VENV = Path("/srv/odd lab 100%/.venv")

TRY = """
import ctypes, ctypes.util, json, os, socket, subprocess, sys, threading
venv, report = sys.argv[1], {}
SOURCE = b"int twice(int x) { return 2 * x; }"

def attempt(name):
    def run(act):
        try:
            report[name] = act() or "ok"
        except (OSError, ImportError) as error:
            why = os.strerror(getattr(error, "errno", 0) or 0)
            report[name] = type(error).__name__ + ": " + why
        return act
    return run

def write(path):
    with open(path, "w") as stream:
        stream.write("x")

@attempt("hard link")
def _():
    os.makedirs(venv + "/.reconciler/stage/lib", exist_ok=True)
    os.link(venv + "/lib/module.py", venv + "/.reconciler/stage/lib/module.py")

@attempt("exchange")
def _():
    libc = ctypes.CDLL(None, use_errno=True)
    one, two = (venv + "/lib").encode(), (venv + "/.reconciler/stage/lib").encode()
    if libc.renameat2(-100, one, -100, two, 2):
        raise OSError(ctypes.get_errno(), "")

@attempt("setgid folder")
def _():
    return oct(os.stat(venv + "/shared").st_mode)

@attempt("chgrp")
def _():
    os.chown(venv + "/lib/module.py", -1, os.getgid())

@attempt("run what the environment brings")
def _():
    return subprocess.run([venv + "/bin/tool"], capture_output=True, text=True, check=True).stdout

@attempt("compiled code at run time")
def _():
    import mmap
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()

@attempt("build from source")
def _():
    import io, multiprocessing, shutil, tarfile
    folder = "/tmp/build"
    os.makedirs(folder)
    with tarfile.open(folder + "/x.tar.gz", "w:gz") as made:
        info = tarfile.TarInfo("x.c")
        info.size, info.mode = len(SOURCE), 0o755
        made.addfile(info, io.BytesIO(SOURCE))
    subprocess.run(["tar", "-xzf", "x.tar.gz"], cwd=folder, check=True)
    with multiprocessing.get_context("fork").Pool(2) as pool:  # semaphores, threads and pipes
        assert pool.map(len, ["a", "bb"]) == [1, 2]
    if shutil.which("cc"):
        words = ["cc", "-O2", "-pipe", "-pthread", "-shared", "-fPIC", "-o", "x.so", "x.c"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            return done.stderr[-500:]
        assert ctypes.CDLL(folder + "/x.so").twice(21) == 42

@attempt("affinity")
def _():
    os.sched_setaffinity(0, os.sched_getaffinity(0))

@attempt("internet socket")
def _():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()

@attempt("resolver")
def _():
    socket.getaddrinfo("localhost", 80)

@attempt("whose connection")
def _():
    open("/proc/net/tcp").close()

@attempt("state")
def _():
    write(os.environ["STATE_DIRECTORY"] + "/x")

@attempt("cache")
def _():
    write(os.environ["UV_CACHE_DIR"] if os.path.isdir(os.environ["UV_CACHE_DIR"]) else
          os.environ["CACHE_DIRECTORY"] + "/x")

@attempt("runtime")
def _():
    write(os.environ["RUNTIME_DIRECTORY"] + "/x")

@attempt("temporary")
def _():
    write("/tmp/x")

@attempt("gpu kfd")
def _():
    open("/dev/kfd", "rb", buffering=0).close()

@attempt("gpu loaded later")
def _():
    open("/dev/nvidia-uvm", "rb", buffering=0).close()

@attempt("disk")
def _():
    open("/dev/sda", "rb", buffering=0).close()

@attempt("project")
def _():
    write(os.path.dirname(venv) + "/pyproject.toml")

@attempt("configuration")
def _():
    write(os.environ["CONFIGURATION_DIRECTORY"] + "/config.toml")

@attempt("owner of configuration")
def _():
    return "uid %d" % os.stat(os.environ["CONFIGURATION_DIRECTORY"]).st_uid

@attempt("home")
def _():
    write("/home/studio/x")

@attempt("another namespace")
def _():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "")

@attempt("raw socket")
def _():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)

# process_vm_writev, userfaultfd, add_key
numbers = {"x86_64": (311, 323, 248), "aarch64": (271, 282, 217)}[os.uname().machine]
for name, number in zip(("write memory", "page faults", "keys"), numbers):
    @attempt(name)
    def _(number=number):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(number, 0, 0, 0, 0, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "")

@attempt("io_uring")
def _():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")

@attempt("landlock")
def _():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(444, None, 0, 1) < 0:
        raise OSError(ctypes.get_errno(), "")

@attempt("others' processes")
def _():
    return "seen" if os.path.exists("/proc/1") else "hidden"

report["uid"] = os.getuid()
write_to = os.environ["STATE_DIRECTORY"] + "/report.json"
with open(write_to, "w") as stream:
    json.dump(report, stream)
"""


@pytest.fixture(scope="module")
def report(machine: Machine) -> Iterator[Report]:
    """What the program in the sandbox could do."""
    machine.add_user("studio")
    venv = machine.path(VENV)
    (venv / "lib").mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "shared").mkdir()
    (venv / "lib/module.py").write_text("")
    (venv / "bin/tool").write_text("#!/bin/sh\necho ran")
    (venv / "bin/tool").chmod(0o755)
    machine.run("chown", "-R", "studio:studio", VENV.parent)
    machine.run("chmod", "2775", VENV / "shared")
    # A graphics card, as far as device numbers go: any that is there, and one without a driver.
    machine.run("mknod", "-m", "0666", "/dev/kfd", "c", "1", "3")
    machine.run("mknod", "-m", "0666", "/dev/nvidia-uvm", "c", "195", "255")
    machine.run("mknod", "-m", "0666", "/dev/sda", "b", "7", "0")
    machine.write("/opt/try.py", textwrap.dedent(TRY))
    service = Service((machine.python, "/opt/try.py", str(VENV)), (), (VENV,))
    for unit in machine_units(service, "studio"):
        machine.write(
            unit.path.with_name("sandbox.service"), unit.text.replace("=notify", "=oneshot")
        )
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "sandbox")
    result: Report = json.loads(machine.path("/var/lib/reconciler/report.json").read_text())
    yield result
    machine.systemctl("clean", "--what=state", "--what=cache", "--what=runtime", "sandbox")
    machine.run("rm", "-r", "/etc/systemd/system/sandbox.service", VENV.parent)
    machine.run("rm", "/dev/kfd", "/dev/nvidia-uvm", "/dev/sda")
    machine.run("userdel", "--remove", "studio")
    machine.systemctl("daemon-reload")


@pytest.mark.parametrize(
    "what",
    [
        "hard link",
        "exchange",
        "chgrp",
        "compiled code at run time",
        "build from source",
        "affinity",
        "internet socket",
        "resolver",
        "whose connection",
        "state",
        "cache",
        "runtime",
        "temporary",
        "gpu kfd",
    ],
)
def test_the_job_can_be_done(report: Report, what: str) -> None:
    assert report[what] == "ok"


def test_it_runs_as_the_owner_and_runs_what_the_environment_brings(report: Report) -> None:
    assert report["uid"] != 0
    assert report["run what the environment brings"] == "ran\n"


def test_it_may_keep_its_builds_from_changing_the_environment(report: Report) -> None:
    """Another error is the kernel's, which may not have it; EPERM would be the unit's refusal."""
    assert report["landlock"] != "PermissionError: Operation not permitted"


def test_a_driver_that_is_loaded_later_is_not_shut_out(report: Report) -> None:
    """ENXIO: nobody answers for the number yet; EPERM would be the unit's refusal."""
    assert report["gpu loaded later"] == "OSError: No such device or address"


@pytest.mark.parametrize(
    ("what", "refusal"),
    [
        ("disk", "PermissionError: Operation not permitted"),
        ("project", "OSError: Read-only file system"),
        ("configuration", "OSError: Read-only file system"),
        ("home", "OSError: Read-only file system"),
        ("write memory", "PermissionError: Operation not permitted"),
        ("page faults", "PermissionError: Operation not permitted"),
        ("keys", "PermissionError: Operation not permitted"),
        ("io_uring", "PermissionError: Operation not permitted"),
        ("another namespace", "PermissionError: Operation not permitted"),
        ("raw socket", "OSError: Address family not supported by protocol"),
        ("others' processes", "hidden"),
    ],
)
def test_what_is_no_part_of_the_job_is_refused(report: Report, what: str, refusal: str) -> None:
    assert report[what] == refusal
