"""The places that uv reads its settings from."""

from pathlib import Path

import pytest
import tomli

from reconciler.state.holds import HoldSet
from reconciler.uv.settings import settings_for

HOLDS = HoldSet(("torch", "nvidia-*"), {})


class Layers:
    """The places that uv reads settings from, all below one folder."""

    def __init__(self, root: Path) -> None:
        self.project = root / "srv" / "studio"
        self.user = root / "config"
        self.system = root / "etc"
        self.project.mkdir(parents=True)
        self.environ = {
            "HOME": str(root / "home"),
            "XDG_CONFIG_HOME": str(self.user),
            "XDG_CONFIG_DIRS": f"{root / 'none'}:{self.system}",
        }

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def settings(self, text: str = "", *, holds: HoldSet = HOLDS) -> dict:
        """What comes of it all, with `text` as the project's [tool.uv]."""
        return settings_for(self.project / "pyproject.toml", tomli.loads(text), holds, self.environ)


@pytest.fixture
def layers(tmp_path) -> Layers:
    return Layers(tmp_path)
