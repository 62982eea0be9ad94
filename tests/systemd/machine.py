"""A machine of its own, with a real systemd as PID 1, made of namespaces on this one.

It has its own processes, mounts, network, host name and users; its files are an overlay
that is forgotten at the end. It knows nothing of the product but how to install it.
"""

import ctypes
import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

_HERE = Path(__file__).parent
_CLONE_NEWNET = 0x40000000
DEADLINE = 120.0
POLL = 0.1

T = TypeVar("T")


class Machine:
    """Off at first; `boot` it, and `close` it at the end.

    Args:
        folder: an empty folder for its file systems.
        shared: folders of this machine, and where they are to be seen, unchangeable, on it.
    """

    def __init__(self, folder: Path, shared: Mapping[Path, str]) -> None:
        self._folder = folder
        self.python = ""
        """The interpreter that everybody on it can run."""
        self._boot: subprocess.Popen[bytes] | None = None
        self._after: list[str] = []
        binds = [f"{source}={target}" for source, target in shared.items()]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", _HERE / "hold.sh", folder, *binds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n", "the file systems cannot be made"

    # --- power ---

    def boot(self) -> None:
        """Switch it on and wait until systemd has started what it starts."""
        assert self._boot is None, "it is on"
        # Should this process die, so do unshare and, by --kill-child, the machine.
        words = ["setpriv", "--pdeathsig=KILL", "nsenter", f"--target={self._holder.pid}"]
        words += ["--mount", "sh", "-c", 'echo $$ > "$0" && exec "$@"']
        words += [f"{self._folder}/cgroup/cgroup.procs", "unshare", "--fork", "--kill-child=KILL"]
        words += ["--mount", "--cgroup", "--uts", "--ipc", "--net", "--pid"]
        words += [str(_HERE / "boot.sh"), str(self._folder)]
        self._boot = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.wait_until(self._is_up, "systemd is up")

    def cut_power(self) -> None:
        """Kill everything that runs on it, at once."""
        if self._boot is None:
            return
        first = self._first_process()
        if first is not None:
            os.kill(first, signal.SIGKILL)
        try:
            self._boot.wait(10)
        except subprocess.TimeoutExpired:
            self._boot.kill()
            self._boot.wait()
        self._boot = None

    def close(self) -> None:
        """Switch it off for good, and leave nothing behind."""
        self.cut_power()
        self._holder.communicate(timeout=10)

    @property
    def pid(self) -> int:
        """Its PID 1, as this machine numbers it."""
        found = self._first_process()
        assert found is not None, "it is off"
        return found

    def _first_process(self) -> int | None:
        assert self._boot is not None, "it is off"
        path = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children")
        try:
            children = path.read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def _is_up(self) -> bool:
        assert self._boot is not None
        assert self._boot.poll() is None, "it did not come up"
        if self._first_process() is None:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    # --- what runs on it ---

    def run(
        self,
        *command: str | Path,
        user: str | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        timeout: float = DEADLINE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it.

        Args:
            command: its words.
            user: as whom, with a login's variables; root by default.
            check: fail if the command does.
            env: further variables.
            cwd: the folder on the machine.
            timeout: seconds.
        """
        variables = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        words = ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd"]
        words += ["env", "-i", *(f"{key}={value}" for key, value in variables.items())]
        words += [*self._as(user), "env", f"--chdir={cwd}", *map(str, command)]
        answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout)
        said = f"{' '.join(map(str, command))}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
        assert not check or answer.returncode == 0, f"{said}\n{self._tail()}"
        return answer

    def _as(self, user: str | None) -> list[str]:
        if user is None:
            return []
        uid, gid, home = self.user(user)
        become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups"]
        return [*become, "env", f"HOME={home}", f"USER={user}", f"XDG_RUNTIME_DIR=/run/user/{uid}"]

    def systemctl(self, *arguments: str, user: str | None = None, check: bool = True) -> str:
        """Run systemctl, or `systemctl --user` of a user, and return what it printed."""
        scope = ["--user"] if user else []
        return self.run("systemctl", *scope, *arguments, user=user, check=check).stdout.strip()

    def show(self, unit: str, *properties: str, user: str | None = None) -> dict[str, str]:
        """Return properties of a unit."""
        lines = self.systemctl("show", f"--property={','.join(properties)}", unit, user=user)
        return dict(line.split("=", 1) for line in lines.splitlines())

    def journal(self, *matches: str, user: str | None = None) -> list[dict[str, Any]]:
        """Return the journal's entries since `begin_journal` that match journalctl's arguments."""
        self.run("journalctl", "--sync", check=False)  # what was logged is there to be read
        words = ["journalctl", "--no-pager", "--output=json", "--all", *self._after, *matches]
        lines = self.run(*words, user=user, check=False).stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def begin_journal(self) -> None:
        """Forget what the journal has so far."""
        self._after = [f"--since=@{time.time():.6f}"]

    def curl(
        self,
        path: str,
        *arguments: str,
        user: str | None = None,
        base: str = "http://127.0.0.1:8765",
    ) -> tuple[int, str]:
        """Ask the service over HTTP; return status (0: no answer) and body."""
        words = ["curl", "--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]
        answer = self.run(*words, *arguments, f"{base}{path}", user=user, check=False)
        body, _, status = answer.stdout.rpartition("\n")
        return int(status), body

    def get(self, path: str, *, port: int = 8765) -> tuple[int, str]:
        """As `curl`, without starting three programs, for those who ask again and again."""

        def ask() -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except (OSError, http.client.HTTPException):
                return 0, ""
            finally:
                connection.close()

        return self.within_network(ask)

    def wait_until(
        self, condition: Callable[[], T | None], what: str, timeout: float = DEADLINE
    ) -> T:
        """Wait until the condition is true and return what it returned."""
        deadline = time.monotonic() + timeout
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}\n{self._tail()}"
            time.sleep(POLL)

    def _tail(self) -> str:
        if self._boot is None or self._first_process() is None:
            return "it is off"
        journal = self.run(
            "journalctl", "--no-pager", "-n", "60", "-o", "short-precise", check=False
        )
        return journal.stdout

    # --- what lies on it ---

    def path(self, path: str | Path) -> Path:
        """Where a file of the machine is seen from here, while it is on."""
        return Path(f"/proc/{self.pid}/root/{str(path).lstrip('/')}")

    def write(self, path: str | Path, text: str, *, owner: str | None = None) -> None:
        """Write a file on it, for a user."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        if owner is not None:
            uid, gid, _ = self.user(owner)
            os.chown(target, uid, gid)

    def user(self, name: str) -> tuple[int, int, str]:
        """Return uid, gid and home of a user of the machine."""
        for line in self.path("/etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2]), int(fields[3]), fields[5]
        raise AssertionError(f"there is no user {name}")

    def here(self, pid: int) -> int:
        """Return what this machine calls one of its processes."""
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = status.read_text().splitlines()
            except OSError:  # it has ended
                continue
            numbers = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
            if numbers[-1] == str(pid) and self._is_mine(status.parent):
                return int(numbers[0])
        raise AssertionError(f"there is no process {pid}")

    def _is_mine(self, process: Path) -> bool:
        namespace = Path("ns/pid")
        return (process / namespace).readlink() == Path(f"/proc/{self.pid}", namespace).readlink()

    def add_user(self, name: str) -> None:
        """Add a user with a home."""
        self.run("useradd", "--create-home", "--shell", "/bin/sh", name)

    def within_network(self, act: Callable[[], T]) -> T:
        """Do something, such as opening a socket, within its network."""
        results: list[T] = []

        def enter_and_act() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/proc/{self.pid}/ns/net").open() as network:
                entered = libc.setns(network.fileno(), _CLONE_NEWNET)
            assert entered == 0, os.strerror(ctypes.get_errno())
            results.append(act())

        thread = threading.Thread(target=enter_and_act)
        thread.start()
        thread.join()
        return results[0]
