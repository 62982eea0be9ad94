"""What a distribution brings: compiled code, Python modules, libraries for others. By its RECORD.

Opens no other file. RECORD is read again only when it has changed.
"""

import os
from functools import lru_cache
from pathlib import Path
from posixpath import relpath

import msgspec

from reconciler.patterns import regex
from reconciler.state.distribution import Distribution, read_recorded_paths

_SHARED = regex(r"[^/]+\.so(\.\d+)*")
_EXTENSION_MODULE = regex(r"[^/]+\.(cpython-|pypy|abi3\b)[^/]*\.so")
_GPU_CODE = (".bc", ".co", ".cubin", ".fatbin", ".hsaco", ".kpack", ".ptx")
"""`.kpack` is AMD's archive of kernels, in the packages that each serve one kind of GPU."""
_OTHER_CODE = (".a", *_GPU_CODE)
_MODULE = (".py", ".pyi", ".pyc")
_PRIVATE = ".libs"
"""The end of the folder in which auditwheel puts copies of libraries, for one wheel only."""
_MOST_SHARED = 5_000
_MOST_KNOWN = 1_024


class Payload(msgspec.Struct, frozen=True):
    """The files of a distribution by kind; paths are relative to its site-packages."""

    shared: tuple[str, ...] = ()
    """Shared libraries and extension modules."""
    public: frozenset[str] = frozenset()
    """Those that a library of another package can load: no extension module, no private copy."""
    native: bool = False
    """Whether there is compiled code, for whatever processor."""
    modules: bool = False
    """Whether there is Python code."""
    for_devices: bool = False
    """Whether there is code that only a GPU runs, and none for the processor."""

    @property
    def for_others(self) -> bool:
        """Whether it has compiled code that is not only for its own Python modules."""
        return bool(self.public) or (self.native and not self.shared)


_UNKNOWN = Payload(native=True, modules=True)
"""There is no list of its files: it counts as native, so what a hold pins is held."""


def payload_of(distribution: Distribution) -> Payload:
    """What a distribution brings; costs one `stat` while its RECORD is unchanged."""
    info = str(distribution.info)
    try:
        found = os.stat(f"{info}/RECORD")  # noqa: PTH116 -- for each member, at every comparison
    except OSError:
        return _UNKNOWN
    return _read((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns), info)


@lru_cache(_MOST_KNOWN)
def _read(_stamp: tuple[int, ...], info: str) -> Payload:
    try:
        recorded = read_recorded_paths(Path(info))
    except (OSError, ValueError):
        return _UNKNOWN
    paths = [path for path in recorded if not path.startswith(f"{info}/")]
    names = [path.rpartition("/")[2] for path in paths]
    site = info.rpartition("/")[0]
    shared = [
        _within(site, path) for path, name in zip(paths, names, strict=True) if ".so" in name
        and _SHARED.fullmatch(name)
    ]  # fmt: skip
    shared = shared[:_MOST_SHARED]
    modules = any(name.endswith(_MODULE) for name in names)
    for_gpu = any(name.endswith(_GPU_CODE) for name in names)
    return Payload(
        shared=tuple(shared),
        public=frozenset(filter(_is_public, shared)),
        native=bool(shared) or for_gpu or any(name.endswith(_OTHER_CODE) for name in names),
        modules=modules,
        for_devices=for_gpu and not shared,
    )


def _within(site: str, path: str) -> str:
    """A recorded path relative to site-packages; Intel's libraries are outside."""
    start = f"{site}/"
    return path.removeprefix(start) if path.startswith(start) else relpath(path, site)


def _is_public(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return not folder.endswith(_PRIVATE) and not _EXTENSION_MODULE.fullmatch(name)
