"""Fixtures that write site-packages folders."""

from pathlib import Path

import pytest

from reconciler.state.installed import (
    InstalledReader,
)
from tests.state.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site-packages").mkdir()
    return Site(tmp_path / "site-packages")


@pytest.fixture
def reader(site: Site) -> InstalledReader:
    return InstalledReader([site.folder])
