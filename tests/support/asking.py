"""Asks uv about one environment and one index, as a pass would, and leaves no process behind."""

import os
from pathlib import Path

import tomli_w

from reconciler.processes import Cancellation
from reconciler.uv.program import Ask, Uv
from reconciler.uv.settings import environ_for_uv
from tests.support.processes import Mark


class Asker:
    """Asks uv about one environment and one index."""

    def __init__(self, venv: Path, folder: Path, url: str) -> None:
        self.venv = venv
        self.folder = folder
        self.url = url
        self.mark = Mark()
        self.cancel = Cancellation()
        self.lines: list[str] = []
        self.environ = {
            **environ_for_uv(os.environ),
            "UV_HTTP_RETRIES": "0",
            "UV_HTTP_TIMEOUT": "5",
        }

    def uv(self, executable: Path | None = None) -> Uv:
        return Uv(executable, {**self.environ, **self.mark.environment()})

    def ask(self, *requirements: str, arguments=(), timeout=None, settings=None) -> Ask:
        project, uv_toml = self.folder / "pyproject.toml", self.folder / "uv.toml"
        table = {"name": "asked", "version": "0", "dependencies": list(requirements)}
        project.write_text(tomli_w.dumps({"project": table}))
        index = {"index": [{"url": self.url, "default": True}]}
        uv_toml.write_text(tomli_w.dumps({**index, **(settings or {})}))
        python = self.venv / "bin" / "python"
        return Ask(python, project, uv_toml, self.folder, tuple(arguments), timeout)

    def plan(self, *requirements: str, **options):
        return self.uv().plan(self.ask(*requirements, **options), self.cancel, self.lines.append)

    def install(self, prefix: Path, *requirements: str, **options) -> None:
        ask = self.ask(*requirements, **options)
        self.uv().install(ask, prefix, self.cancel, self.lines.append)
