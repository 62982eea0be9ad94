"""A server in front of the real supervisor, with a real environment, index and uv."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.config import Config, EnvironmentConfig, HttpConfig, ServiceConfig
from reconciler.daemon.supervisor import Supervisor
from tests.support.environments import install, make_venv
from tests.support.index import PackageIndex
from tests.support.passes import FAST
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.wheels import make_wheel
from tests.web.hosting import DEADLINE, Host

HELD = ("torch==2.3.1+rocm5.7", "torchvision==0.18.1+rocm5.7")


@dataclass
class Real:
    """The real supervisor behind its server, and what it manages."""

    host: Host
    client: httpx.Client
    project: Project
    index: PackageIndex

    @property
    def project_dependencies(self) -> list[str]:
        """What it declares at first."""
        return [*HELD, "alpha"]

    def environment(self, name: str = "studio") -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/status/{name}").json()
        return found

    def finished(self, number: int) -> dict[str, Any]:
        """The pass of this id, once it is over."""
        entry: dict[str, Any] = {}

        def over() -> bool:
            entry.update(self.client.get(f"/history/{number}").json())
            return entry.get("result") is not None

        wait_until(over, timeout=DEADLINE, what=f"the end of pass {number}")
        return entry

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask for something, and return the pass once it is over."""
        answer = self.client.post(f"/environments/studio/{path}", json=body)
        assert answer.status_code == 202, answer.text
        return self.finished(answer.json()["pass"])

    def in_sync(self) -> None:
        wait_until(
            lambda: self.environment()["phase"] == "InSync", timeout=DEADLINE, what="in sync"
        )


MakeReal = Callable[..., "contextlib.AbstractContextManager[Real]"]


@pytest.fixture(scope="module")
def make_real(
    tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path, gpu_wheels: list[Path]
) -> MakeReal:
    """Start the real supervisor on an environment with the GPU stack, which declares alpha."""

    @contextlib.contextmanager
    def make(**keys: Any) -> Iterator[Real]:
        folder = tmp_path_factory.mktemp("real")
        with contextlib.closing(PackageIndex()) as index:
            index.add(
                *(
                    make_wheel(wheelhouse / "real", name, "1.0")
                    for name in ("alpha", "beta", "gamma")
                )
            )
            project = Project(folder / "project", index.url)
            project.write([*HELD, "alpha"])
            install(make_venv(project.venv), *gpu_wheels)
            config = _config(folder, project, keys)
            with Host(service=lambda: _supervised(config)) as host, _client(host) as client:
                yield Real(host, client, project, index)

    return make


def _config(folder: Path, project: Project, keys: dict[str, Any]) -> Config:
    python = project.venv / "bin" / "python"
    settings = {"hold": ("torch", "torchvision"), "debounce": 0.05, "interval": 3600.0, **keys}
    studio = EnvironmentConfig(name="studio", pyproject=project.path, python=python, **settings)
    service = ServiceConfig(state_dir=folder / "state")
    return Config(path=None, service=service, http=HttpConfig(), environments={"studio": studio})


@contextlib.asynccontextmanager
async def _supervised(config: Config) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(config, {**os.environ, **FAST})
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


def _client(host: Host) -> httpx.Client:
    address = f"http://127.0.0.1:{host.port}"
    return httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE, verify=False)
