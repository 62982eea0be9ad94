"""The service as a process of its own, asked over HTTP and judged by its log.

Knows nothing of the product's code: only its command line, configuration and answers.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from tests.support import warm
from tests.support.processes import DEADLINE, POLL, Mark, free_port
from tests.support.projects import Project

Value: TypeAlias = str | int | float | bool | list[str] | list[list[str]]
Table: TypeAlias = Mapping[str, Value]
Json: TypeAlias = dict[str, Any]


class ServiceProcess:
    """One `reconciler run`, from its start to its end.

    Args:
        directory: Where its configuration and its logs go.
        environments: `[environments.NAME]` by name.
        service: Keys of `[service]`; `state_dir` is set.
        http: Keys of `[http]`; `listen` is set to a free port.
        env: Variables on top of the tests' own.
        cwd: The folder that it runs in.
    """

    def __init__(
        self,
        directory: Path,
        environments: Mapping[str, Table],
        *,
        service: Table | None = None,
        http: Table | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.environments = dict(environments)
        self.config = directory / "config.toml"
        self.log = directory / "stderr.jsonl"
        self._service = {"state_dir": str(directory / "state"), **(service or {})}
        self._http = {"listen": f"127.0.0.1:{free_port()}", **(http or {})}
        self._mark = Mark()
        self._env = {**os.environ, **(env or {}), **self._mark.environment()}
        self._cwd = cwd or directory
        self._process: warm.Started | None = None
        self.client = _client(str(self._http["listen"]))
        self.write_config()

    @property
    def url(self) -> str:
        """The service's address."""
        return str(self.client.base_url).rstrip("/")

    @property
    def pid(self) -> int:
        """The service's process id."""
        return self._running().pid

    @property
    def vault(self) -> Path:
        """Where its copies are: in its data folder, as that is on the same file system."""
        return Path(str(self._service["state_dir"])) / "vault"

    def write_config(self, text: str | None = None) -> None:
        """Write the configuration from what was given, or this text."""
        tables: dict[str, Table] = {"service": self._service, "http": self._http}
        tables |= {
            f"environments.{json.dumps(name)}": table for name, table in self.environments.items()
        }
        self.config.write_text(toml(tables) if text is None else text)

    def start(self, *, until: str | None = "/readyz", timeout: float = DEADLINE) -> None:
        """Start it, and wait until it answers 200 there.

        Args:
            until: `/readyz`, `/livez` (it answers, passes may be under way), or None.
            timeout: Seconds to wait.
        """
        assert self._process is None or self._process.poll() is not None, "it is running"
        with self.log.open("ab") as log, (self.directory / "stdout").open("ab") as out:
            self._process = warm.start(
                ["run", "--config", str(self.config)],
                cwd=self._cwd,
                env=self._env,
                stdout=out.fileno(),
                stderr=log.fileno(),
                new_session=True,
            )
        if until is not None:
            self._wait_answering(until, timeout)

    def status(self) -> Json:
        """Return `GET /status`."""
        answer = self.client.get("/status")
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document

    def environment(self, name: str | None = None) -> Json:
        """Return one environment's part of the status; the only one, if none is named."""
        rows: list[Json] = self.status()["environments"]
        if name is None:
            assert len(rows) == 1, "which environment?"
            return rows[0]
        return next(row for row in rows if row["name"] == name)

    def packages(self, name: str | None = None) -> dict[str, Json]:
        """Return the rows of the package table by package."""
        return {row["name"]: row for row in self.environment(name)["packages"]}

    def wait_for(self, predicate: Callable[[Json], object], timeout: float = DEADLINE) -> Json:
        """Poll `/status` until the predicate holds of the document; return that document."""
        deadline = time.monotonic() + timeout
        while True:
            document = self.status()
            if predicate(document):
                return document
            assert time.monotonic() < deadline, self._why(f"not within {timeout} s", document)
            time.sleep(POLL)

    def wait_for_environment(
        self,
        predicate: Callable[[Json], object],
        *,
        name: str | None = None,
        timeout: float = DEADLINE,
    ) -> Json:
        """As `wait_for`, with one environment's part of the status."""

        def rows(document: Json) -> list[Json]:
            return [r for r in document["environments"] if name in (None, r["name"])]

        def holds(document: Json) -> bool:
            return any(predicate(row) for row in rows(document))

        (row,) = rows(self.wait_for(holds, timeout))  # what the predicate saw, not a later one
        return row

    def wait_for_phase(
        self, *phases: str, name: str | None = None, timeout: float = DEADLINE
    ) -> Json:
        """Wait until the environment is in one of these phases and return its status."""
        return self.wait_for_environment(
            lambda row: row["phase"] in phases, name=name, timeout=timeout
        )

    def events(self, event: str | None = None) -> list[Json]:
        """Return the log's records, all or those of one name."""
        records = [json.loads(line) for line in self._lines() if line.startswith("{")]
        return [record for record in records if event in (None, record["event"])]

    def noise(self) -> list[str]:
        """Return the lines of the log that are not JSON records; there should be none."""
        return [line for line in self._lines() if not line.startswith("{")]

    def wait_for_event(
        self,
        event: str,
        *,
        where: Callable[[Json], object] = lambda _: True,
        timeout: float = DEADLINE,
    ) -> Json:
        """Wait until the log has such a record, and return the first."""
        deadline = time.monotonic() + timeout
        while True:
            found = [record for record in self.events(event) if where(record)]
            if found:
                return found[0]
            assert time.monotonic() < deadline, self._why(f"no {event} within {timeout} s")
            time.sleep(POLL)

    def stop(self, timeout: float = 10) -> int:
        """Send SIGTERM and return the exit code; fail if it takes longer than the timeout."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the service alone."""
        self._running().send_signal(number)

    def wait(self, timeout: float = DEADLINE) -> int:
        """Wait until it has ended, and return the exit code."""
        try:
            return self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._why(f"still running after {timeout} s")) from None

    def kill(self) -> None:
        """Send SIGKILL to the service and to every process that it started, at once."""
        self._mark.kill()
        if self._process is not None:
            self._process.wait()

    def processes(self) -> list[int]:
        """Return the ids of the service and of all its descendants that still run."""
        return self._mark.processes()

    def close(self) -> None:
        """End whatever is left, by id."""
        self.kill()
        self.client.close()

    def _running(self) -> warm.Started:
        assert self._process is not None, "it was not started"
        return self._process

    def _wait_answering(self, path: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._answers(path):
            code = self._running().poll()
            assert code is None, self._why(f"ended with {code} before it was ready")
            assert time.monotonic() < deadline, self._why(f"no 200 from {path} in {timeout} s")
            time.sleep(POLL)

    def _answers(self, path: str) -> bool:
        try:
            return self.client.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def _lines(self) -> list[str]:
        text = self.log.read_text()
        # The last line may be half written.
        return text[: text.rfind("\n") + 1].splitlines()

    def _why(self, sentence: str, document: Json | None = None) -> str:
        tail = "\n".join(self.log.read_text().splitlines()[-40:])
        shown = "" if document is None else json.dumps(document, indent=1)
        return f"{sentence}\n{shown}\nlog:\n{tail}"


def toml(tables: Mapping[str, Table]) -> str:
    """Return TOML text; JSON's strings, numbers and lists are TOML's too."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _client(listen: str) -> httpx.Client:
    # Without `verify=False` each client reads all certificates there are, for 40 ms.
    if listen.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=listen.removeprefix("unix:"), verify=False)
        return httpx.Client(
            transport=transport, base_url="http://localhost", timeout=30, verify=False
        )
    return httpx.Client(base_url=f"http://{listen}", trust_env=False, timeout=30, verify=False)


class ServiceFactory:
    """Starts services on one project and ends them all.

    Args:
        project: What they look after.
        directory: Where their configurations and logs go.
    """

    def __init__(self, project: Project, directory: Path) -> None:
        self.project = project
        self._directory = directory
        self._started: list[ServiceProcess] = []

    def __call__(
        self,
        *,
        until: str | None = "/readyz",
        service: Table | None = None,
        http: Table | None = None,
        env: Mapping[str, str] | None = None,
        **keys: Value,
    ) -> ServiceProcess:
        """Start one service with one environment, `studio`, and these keys for it.

        Args:
            until: What to wait for, as in `ServiceProcess.start`.
            service: Keys of `[service]`.
            http: Keys of `[http]`.
            env: Variables on top of the tests' own.
            keys: Keys of `[environments.studio]`.
        """
        process = self.prepare(service=service, http=http, env=env, **keys)
        process.start(until=until)
        return process

    def prepare(
        self,
        *,
        service: Table | None = None,
        http: Table | None = None,
        env: Mapping[str, str] | None = None,
        **keys: Value,
    ) -> ServiceProcess:
        """As calling it, but leave the start to the test."""
        environment: dict[str, Value] = {
            "pyproject": str(self.project.path),
            "python": str(self.project.venv),
            "debounce": "50ms",
            **keys,
        }
        process = ServiceProcess(
            self._directory / str(len(self._started)),
            {"studio": environment},
            service=service,
            http=http,
            env=env,
            cwd=self.project.directory,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End them all."""
        for process in self._started:
            process.close()
