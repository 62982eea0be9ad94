"""An index that a test fills by a few words."""

from pathlib import Path

from tests.support.wheels import make_sdist, make_wheel


class World:
    """An index that a test fills by a few words."""

    def __init__(self, index, folder: Path) -> None:
        self.index = index
        self.folder = folder

    def wheel(self, name: str, version: str = "1.0", *requires: str, **options) -> Path:
        path = make_wheel(self.folder, name, version, requires=requires, **options)
        self.index.add(path)
        return path

    def sdist(self, name: str, version: str = "1.0", *requires: str, **options) -> Path:
        path = make_sdist(self.folder, name, version, requires=requires, **options)
        self.index.add(path)
        return path
