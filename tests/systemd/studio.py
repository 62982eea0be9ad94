"""A project on the machine with its environment, its index and its place in a configuration."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.support.environments import damage, snapshot
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Table, toml
from tests.systemd.machine import DEADLINE, POLL, Machine

PROGRAM = "/opt/reconciler/bin/reconciler"
UNIT = "reconciler.service"


class Studio:
    """What one user has on the machine.

    Args:
        machine: Where.
        index: An index that can be reached there.
        owner: The user, who exists.
        folder: The project's folder; made here.
        config: The configuration file.
        port: Where the service is asked over HTTP.
    """

    def __init__(
        self,
        machine: Machine,
        index: PackageIndex,
        owner: str,
        folder: str,
        config: str = "/etc/reconciler/config.toml",
        port: int = 8765,
    ) -> None:
        self.machine = machine
        self.index = index
        self.owner = owner
        self.folder = Path(folder)
        self.venv = self.folder / ".venv"
        self.config = config
        self._port = port
        self._environments: dict[str, Table] = {}
        self._http: Table = {}
        machine.run("install", "-d", "-o", owner, "-g", owner, folder)
        self.make_venv()
        self.declare()
        self.configure()

    def make_venv(self) -> None:
        """Make the environment, as its owner."""
        command = ["/opt/uv/uv", "venv", "--clear", "--no-project", "--offline"]
        python = self.machine.python
        self.machine.run(*command, "--python", python, self.venv, user=self.owner, cwd=self.folder)

    def declare(self, *dependencies: str) -> None:
        """Save pyproject.toml with these dependencies, as an editor does."""
        text = Project(self.folder, self.index.url).text(dependencies)
        self.machine.write(self.folder / ".new", text, owner=self.owner)
        self.machine.run("mv", self.folder / ".new", self.folder / "pyproject.toml")

    def configure(self, http: Table | None = None, **environments: Table) -> None:
        """Write the configuration: this environment, `studio`, and others."""
        studio: Table = {
            "pyproject": str(self.folder),
            "python": str(self.venv),
            "debounce": "50ms",
        }
        self._http = http or self._http
        tables: dict[str, Table] = {
            # Named, since there may be others that the machine would fall back to.
            "service": {"uv": "/opt/reconciler/bin/uv"},
            "http": self._http,
            "environments.studio": studio,
        }
        tables |= {f"environments.{name}": table for name, table in environments.items()}
        self.machine.write(self.config, toml(tables))

    def install(self, *options: str, user: str | None = None) -> str:
        """`reconciler service install`, and what it said."""
        words = [PROGRAM, "service", "install", "--config", self.config, *options]
        return self.machine.run(*words, user=user).stdout

    def start_over(self, index: PackageIndex) -> None:
        """Bring the installed service back to an empty environment and its own configuration.

        Args:
            index: One that was never asked, so that uv has nothing of it in its cache.
        """
        before = (self.environment() or {}).get("revision")
        self.index = index
        self.declare()
        self.configure()
        self.machine.systemctl("reload", UNIT)
        self.wait_until(lambda: self._has_taken_up_another(before), "the file is seen")
        if installed := self.packages:
            uninstall = ["/opt/uv/uv", "pip", "uninstall", "--python", self.venv, *installed]
            self.machine.run(*uninstall, user=self.owner)
        self.machine.begin_journal()

    def _has_taken_up_another(self, revision: str | None) -> bool:
        row = self.environment() or {"revision": revision}
        return row["revision"] != revision and row["phase"] == "InSync"

    # --- how it is ---

    @property
    def packages(self) -> dict[str, str]:
        """What is installed."""
        return snapshot(self.machine.path(self.venv))

    @property
    def damage(self) -> list[str]:
        """What is wrong with the environment's files."""
        return damage(self.machine.path(self.venv))

    def status(self) -> dict[str, Any]:
        """The service's status document."""
        code, body = self.machine.get("/status", port=self._port)
        assert code == 200, (code, body)
        document: dict[str, Any] = json.loads(body)
        return document

    def environment(self, name: str = "studio") -> dict[str, Any] | None:
        """One environment of the status, if it is there and the service answers."""
        code, body = self.machine.get("/status", port=self._port)
        rows = json.loads(body)["environments"] if code == 200 else []
        return next((row for row in rows if row["name"] == name), None)

    def wait_for_packages(self, **packages: str) -> None:
        """Wait until the environment holds these, in these versions."""
        self.wait_until(lambda: packages.items() <= self.packages.items(), f"{packages}")

    def wait_for_phase(self, *phases: str, name: str = "studio") -> dict[str, Any]:
        """Wait until the service says that the environment is in one of these phases."""

        def there() -> dict[str, Any] | None:
            row = self.environment(name)
            return row if row is not None and row["phase"] in phases else None

        found: dict[str, Any] = self.wait_until(there, f"{name} is {phases}")
        return found

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float = DEADLINE) -> Any:
        """Wait for a condition on the machine."""
        return self.machine.wait_until(condition, what, timeout)

    # --- the service ---

    def unit(self, *properties: str) -> dict[str, str]:
        """Properties of the service's unit."""
        return self.machine.show(UNIT, *properties)

    @property
    def main_pid(self) -> int:
        """The service's process id on the machine; 0 if there is none."""
        return int(self.unit("MainPID")["MainPID"])

    def processes(self) -> list[str]:
        """The names of all processes of the service."""
        group = self.machine.path(f"/sys/fs/cgroup/system.slice/{UNIT}")
        names = []
        for listing in [group / "cgroup.procs", *group.glob("**/cgroup.procs")]:
            # Listed as the reader numbers them, which is not as the machine does.
            names += [_read(Path(f"/proc/{pid}/comm")).strip() for pid in _read(listing).split()]
        return names

    def begin_long_pass(self) -> None:
        """Have the service start a pass that waits for the index; see `index.heal`."""
        stall = self.index.stall_downloads(for_name="slow")
        self.declare("slow", "quick>=2")
        stall.wait_reached()
        self.wait_until(lambda: "uv" in self.processes(), "uv runs")

    def steady_for(self, seconds: float, condition: Callable[[], Any]) -> None:
        """Fail if the condition is false at any moment of so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert condition()
            time.sleep(POLL)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""


def messages(entries: Iterable[dict[str, Any]]) -> str:
    """The messages of journal entries, one below the other."""
    return "\n".join(str(entry.get("MESSAGE")) for entry in entries)
