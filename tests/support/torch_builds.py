"""Real builds of torch, as facts: tests/data/torch_builds.json says where they come from."""

import json
from functools import cache
from pathlib import Path

import msgspec

from tests.state.site import Site
from tests.support.elf import shared_library

ROOTS = ("torch", "torchvision")
_DATA = Path(__file__).parents[1] / "data" / "torch_builds.json"


class Library(msgspec.Struct, frozen=True):
    """What a shared library loads, and where that is looked for."""

    needed: tuple[str, ...]
    search: tuple[str, ...]


class Wheel(msgspec.Struct, frozen=True):
    """A package as its wheel has it."""

    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    libraries: dict[str, Library] = {}


class Build(msgspec.Struct, frozen=True):
    """A build of torch with everything that is installed with it, and what has to be held."""

    build: str
    packages: tuple[str, ...]
    free: tuple[str, ...]
    compatible: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    device: tuple[str, ...] = ()

    @property
    def versions(self) -> dict[str, str]:
        """Each package with its version."""
        return dict(pin.split("==") for pin in self.packages)

    @property
    def because(self) -> dict[str, str]:
        """What has to be held beside the roots, each with the reason."""
        given = {
            name: kind
            for kind in ("compatible", "linked", "device")
            for name in getattr(self, kind)
        }
        members = [name for name in self.versions if name not in (*ROOTS, *self.free)]
        return {name: given.get(name, "pinned") for name in members}


class _Data(msgspec.Struct, frozen=True):
    packages: dict[str, Wheel]
    builds: tuple[Build, ...]


@cache
def data() -> _Data:
    """All of it."""
    return msgspec.convert(json.loads(_DATA.read_text(encoding="utf-8")), _Data)


def put(build: Build, site: Site) -> None:
    """Write a build into a site-packages folder."""
    for pin in build.packages:
        wheel = data().packages[pin]
        name, version = pin.split("==")
        files = dict.fromkeys(wheel.files, "")
        site.add(name, version, requires=wheel.requires, extras=wheel.extras, files=files)
        for path, library in wheel.libraries.items():
            content = shared_library(needed=library.needed, rpath=library.search)
            (site.folder / path).write_bytes(content)
