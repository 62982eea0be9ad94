"""A torch that was built from source the old way has no RECORD; it is held all the same."""

from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from reconciler.holds.monitor import HoldMonitor
from tests.support.environments import site_packages, snapshot
from tests.support.passes import environment_for, locked, reconcile

PKG_INFO = "Metadata-Version: 2.1\nName: torch\nVersion: 2.3.1+rocm5.7\n\n"


def by_develop(site: Path, source: Path) -> None:
    info = source / "torch.egg-info"
    info.mkdir(parents=True)
    (info / "PKG-INFO").write_text(PKG_INFO)
    (site / "torch.egg-link").write_text(f"{source}\n.")


def by_install(site: Path, _source: Path) -> None:
    info = site / "torch-2.3.1+rocm5.7-py3.11.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text(PKG_INFO)


@pytest.mark.parametrize("installed", [by_develop, by_install])
def test_it_is_held_and_what_needs_it_is_resolved_around_it(
    project, universe, venv, tmp_path, installed
):
    site = site_packages(venv)
    installed(site, tmp_path / "pytorch")
    before = sorted(path.name for path in site.iterdir())
    project.write(["torch==2.3.1", "accelerate"])
    environment = environment_for(project)
    monitor = HoldMonitor(environment)

    outcome = reconcile(environment)

    assert (outcome.failed, outcome.snapshot.drift.in_sync) == ((), True)
    assert {"accelerate", "numpy"} <= set(snapshot(venv))
    assert {"triton", "torchvision"} & set(snapshot(venv)) == set()
    assert {*before} <= {path.name for path in site.iterdir()}
    torch = canonicalize_name("torch")
    with locked(environment) as lock:
        kept = monitor.keep(outcome.snapshot, lock, compare=True)
        monitor.accept(outcome.snapshot, torch, lock)
    for rows in (kept, monitor.holds(outcome.snapshot)):
        [row] = rows
        assert (row.name, row.version, row.intact) == ("torch", "2.3.1+rocm5.7", True)
        assert not row.vaulted
    assert monitor.vault(outcome.snapshot).current() == {}
