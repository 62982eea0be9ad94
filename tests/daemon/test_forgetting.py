"""What a service that runs for months must forget: builds, projects and clients that are gone."""

import asyncio
import gc

from reconciler.daemon.awaited import Passes
from reconciler.daemon.watch import Watcher
from reconciler.environment.local_sources import LocalSources
from reconciler.state.build_stamp import ProjectFile
from reconciler.state.distribution import Distribution
from reconciler.state.installed import InstalledReader
from tests.support.environments import install, site_packages, uninstall
from tests.support.local_project import write_local_project
from tests.support.passes import environment_for
from tests.support.torch import fake_torch


def alive(kind: type, wanted=lambda _: True) -> int:
    gc.collect()
    return sum(type(found) is kind and wanted(found) for found in gc.get_objects())


def test_a_build_that_is_no_longer_held_is_forgotten_by_the_watcher(project, venv, tmp_path):
    project.write(["torch"])
    environment = environment_for(project)
    watcher = Watcher(environment.config, lambda *_: None, environment.look)
    for version in ("2.3.1+rocm5.7", "2.4.0+rocm6.1", "2.5.0+rocm6.2"):
        install(venv, fake_torch(tmp_path, version))
        asyncio.run(watcher._targets())

    assert alive(Distribution, lambda it: it.name == "torch" and venv in it.info.parents) == 1


def test_a_local_project_that_is_no_longer_installed_is_forgotten(venv, tmp_path):
    sources, reader = LocalSources({}), InstalledReader([site_packages(venv)])
    before = alive(ProjectFile)
    for name in ("first", "second", "third"):
        install(venv, write_local_project(tmp_path / name, name))
        assert list(sources.read(reader.read())) == [name]
        uninstall(venv, name)

    sources.read(reader.read())
    assert alive(ProjectFile) == before


def test_a_client_that_no_longer_waits_for_a_pass_is_forgotten() -> None:
    async def main() -> list[int]:
        passes, remembered = Passes(), []
        for _ in range(4):
            waiting = asyncio.create_task(passes.wait(1))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            remembered.append(alive(asyncio.Future))
        return remembered

    remembered = asyncio.run(main())
    assert remembered[-1] == remembered[0]
