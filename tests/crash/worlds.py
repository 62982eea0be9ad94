"""A small world for one scenario: a project, its environment, state, cache and wheels.

All of it is below one folder, which is copied once it is prepared, and restored for each run: the
links between environment and vault stay links, and all paths stay the same.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.forking import Main, fork, main_of, status_after
from tests.support.environments import install, make_base, make_venv
from tests.support.service import toml
from tests.support.torch import fake_torch, gpu_stack
from tests.support.wheels import make_wheel

OTHER_TORCH = "2.4.1+cu121"
_FEW_FILES = 4
_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class World:
    """The folders of one scenario.

    Attributes:
        root: All of it; the only folder in which changes count.
        saved: The copy that it is restored from.
    """

    root: Path
    saved: Path
    """Its copies."""

    @classmethod
    def below(cls, folder: Path) -> "World":
        """One that is not prepared yet."""
        world = cls(folder / "world", folder / "saved")
        world.saved.mkdir(parents=True)
        return world

    @property
    def project(self) -> Path:
        return self.root / "project" / "pyproject.toml"

    @property
    def venv(self) -> Path:
        return self.root / "project" / ".venv"

    @property
    def workspace(self) -> Path:
        return self.venv / ".reconciler"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def log(self) -> Path:
        """What the commands print; outside the world."""
        return self.root.parent / "output.txt"

    def environ(self) -> dict[str, str]:
        """The variables of every command: nothing leaks in, everything stays in the world."""
        return {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "XDG_CONFIG_DIRS": str(self.root / "home"),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_PYTHON": sys.executable,
        }

    def declare(self, *requirements: str) -> None:
        """Write the project's file."""
        lines = [f'    "{requirement}",' for requirement in requirements]
        head = ["[project]", 'name = "studio"', 'version = "1"', "dependencies = [", *lines, "]"]
        index = ["[[tool.uv.index]]", f'url = "{(self.root / "wheels").as_uri()}"',
                 'format = "flat"', "default = true"]  # fmt: skip
        self.project.write_text("\n".join([*head, *index, ""]))

    def configure(self, python: Path | None = None, **keys: object) -> None:
        """Write the configuration."""
        environment = {
            "pyproject": str(self.project), "python": str(python or self.venv), "debounce": "10ms",
            "keep_generations": 1, "prune": True, **keys,
        }  # fmt: skip
        # A socket that nobody listens on: commands look for a service there.
        listen = f"unix:{self.root}/service.sock"
        self.config.write_text(
            toml(
                {
                    "service": {"state_dir": str(self.root / "state")},
                    "http": {"listen": listen},
                    "environments.studio": environment,
                }
            )
        )

    def wheel(self, name: str, version: str, requires: Sequence[str] = ()) -> None:
        """Put a small package on the index; every file differs between two versions."""
        module = f"__version__ = {version!r}\n\n\ndef main():\n    print(__version__)\n"
        make_wheel(
            self.root / "wheels", name, version, requires=requires,
            files={f"{name}/__init__.py": module, f"{name}/part/data.txt": f"{name} {version}\n"},
            scripts={name: f"{name}:main"},
        )  # fmt: skip

    @property
    def interpreter_name(self) -> str:
        return f"python{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def interpreter(self) -> Path:
        return self.venv / "bin" / self.interpreter_name

    def has_environment(self) -> bool:
        """Whether there are packages to look at."""
        return len(list(self.venv.glob("lib/python3*/site-packages"))) == 1

    def said(self) -> str:
        """What the commands printed since the world was restored."""
        return self.log.read_text() if self.log.exists() else ""

    def until(self, text: str | None) -> Callable[[], bool] | None:
        """Whether this has been printed from now on; None if nothing is waited for."""
        before = len(self.said())
        return None if text is None else lambda: text in self.said()[before:]

    def make_venv(self) -> None:
        """An empty virtual environment."""
        make_venv(self.venv, Path(sys.executable))

    def make_base(self) -> None:
        """A Python that is not a virtual environment."""
        make_base(self.venv)

    def install_torch(self) -> None:
        """The held packages, by hand, from wheels that no index has."""
        install(self.interpreter, *gpu_stack(self.root.parent / "gpu", files=_FEW_FILES))

    def replace_torch(self) -> None:
        """What someone's `pip install torch` does."""
        install(
            self.interpreter,
            fake_torch(self.root.parent / "gpu", OTHER_TORCH, files=_FEW_FILES, tag="py3-none-any"),
        )

    def main(self, *arguments: str) -> Main:
        """One of our commands, in this world."""
        return main_of([*arguments, "--config", str(self.config)], self.project.parent)

    def status_of(self, *arguments: str, until: str | None = None) -> int:
        """Run a command and return its exit status; stop it once it has printed this."""
        enough = self.until(until)
        pid = fork(self.main(*arguments), self.environ(), self.log)
        return status_after(pid, _LIMIT_SECONDS, enough)

    def run(self, *arguments: str) -> None:
        """Run a command that must succeed."""
        status = self.status_of(*arguments)
        assert status == 0, f"{arguments}: {status}\n{self.said()}"

    def empty(self) -> None:
        """Begin with nothing but folders."""
        subprocess.run(["rm", "-rf", self.root], check=True)
        for name in ("project", "home", "tmp", "wheels", "state"):
            (self.root / name).mkdir(parents=True)

    def once(self, prepare: Callable[["World"], None]) -> None:
        """Prepare something that several scenarios begin with."""
        name = prepare.__name__
        if (self.saved / name).exists():
            self.restore(name)
        else:
            prepare(self)
            self.save(name)

    def save(self, name: str) -> None:
        """Remember it as it is."""
        _copy(self.root, self.saved / name)

    def restore(self, name: str) -> None:
        """Make it as it was when it was saved."""
        subprocess.run(["rm", "-rf", self.root], check=True)
        _copy(self.saved / name, self.root)
        self.log.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)
