"""Builds small wheels and sdists in the test's own process, byte for byte the same each time.

Never starts a program and never asks a network, so that a test can afford dozens of them.
"""

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

BUILD_FAILURE = "this package refuses to be built here"

Files: TypeAlias = Mapping[str, str | bytes]
Extras: TypeAlias = Mapping[str, Sequence[str]]

_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    extras: Extras | None = None,
    requires_python: str | None = None,
    files: Files | None = None,
    scripts: Mapping[str, str] | None = None,
    data: Files | None = None,
    raw_scripts: Files | None = None,
    tag: str = "py3-none-any",
    metadata_extra: Sequence[str] = (),
    record_extra: Sequence[str] = (),
) -> Path:
    """Write a wheel to the directory and return its path.

    Args:
        directory: Where the wheel goes; made if it is not there.
        name: The distribution's name, in any spelling.
        version: A PEP 440 version, used as it stands.
        requires: PEP 508 strings for Requires-Dist.
        extras: The requirements of each extra.
        requires_python: Requires-Python, if any.
        files: Path inside site-packages to content; by default a module named after
            the package that has a `__version__`.
        scripts: Console scripts, command to `module:function`.
        data: Path below the environment's prefix to content (the data scheme).
        raw_scripts: Files that go to the environment's bin as they are.
        tag: The compatibility tag, `PYTHON-ABI-PLATFORM`; several are joined by dots.
        metadata_extra: Further lines of METADATA.
        record_extra: Paths that RECORD claims as well, without any file.
    """
    base = f"{module_name(name)}-{version}"
    members = _encoded(default_files(name, version) if files is None else files)
    members |= _below(f"{base}.data/data", data or {})
    members |= _below(f"{base}.data/scripts", raw_scripts or {})
    if scripts:
        lines = [f"{command} = {target}" for command, target in scripts.items()]
        entry_points = "\n".join(["[console_scripts]", *lines, ""])
        members |= {f"{base}.dist-info/entry_points.txt": entry_points.encode()}
    metadata = metadata_text(
        name,
        version,
        requires=requires,
        extras=extras,
        requires_python=requires_python,
        lines=metadata_extra,
    )
    path = directory / f"{base}-{tag}.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_wheel_bytes(base, members, metadata, tag, record_extra))
    return path


def make_sdist(
    directory: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    build_requires: Sequence[str] = (),
    fails: bool = False,
    static_metadata: bool = True,
    files: Files | None = None,
) -> Path:
    """Write an sdist whose build backend lies in its own tree, so that it builds offline.

    Args:
        directory: Where the sdist goes; made if it is not there.
        name: The distribution's name.
        version: Its version.
        requires: PEP 508 strings for Requires-Dist.
        build_requires: `build-system.requires`; with none, nothing is fetched for the build.
        fails: `build_wheel` raises with `BUILD_FAILURE`; metadata can still be had.
        static_metadata: PKG-INFO promises its dependencies (PEP 643); otherwise an
            installer must run the backend to learn them.
        files: The modules, as with a wheel.
    """
    base = f"{module_name(name)}-{version}"
    metadata = metadata_text(name, version, requires=requires)
    modules = _encoded(default_files(name, version) if files is None else files)
    wheel = _wheel_bytes(base, modules, metadata, "py3-none-any")
    members = {
        "pyproject.toml": _backend_table(build_requires),
        "backend.py": _backend_source(base, wheel, metadata, fails=fails),
        "PKG-INFO": metadata if static_metadata else _dynamic(metadata),
    }
    path = directory / f"{base}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(_tar_bytes(base, members), compresslevel=1, mtime=0))
    return path


def unpack(sdist: Path) -> Path:
    """Unpack an sdist beside itself and return its folder."""
    with tarfile.open(sdist) as archive:
        # Debian 12's Python 3.11.2 has neither the filter nor the argument for it.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(sdist.parent)
    return sdist.with_name(sdist.name.removesuffix(".tar.gz"))


def module_name(name: str) -> str:
    """Return the name as it stands in file names and imports: `huggingface_hub`."""
    return canonicalize_name(name).replace("-", "_")


def default_files(name: str, version: str) -> dict[str, str]:
    """Return the one module that a package has when a test does not care; it has a `main`."""
    text = f'__version__ = "{version}"\n\n\ndef main():\n    print(__version__)\n'
    library = {f"{module_name(name)}/lib{module_name(name)}.so": version} if compiled(name) else {}
    return {f"{module_name(name)}/__init__.py": text, **library}


def compiled(name: str) -> bool:
    """Whether the real package of that name has compiled code for an accelerator."""
    return canonicalize_name(name).startswith(("triton", "pytorch-triton", "nvidia-"))


def bulk_files(package: str, count: int, *, mark: str = "", size: int = 0) -> dict[str, str]:
    """Return many small modules, for a package whose installation takes a while.

    Args:
        package: The folder they go to.
        count: How many.
        mark: Goes into each, so that two versions differ in every file.
        size: Bytes of padding in each.
    """
    padding = "#" * size
    return {
        f"{package}/part_{number // 100:03}/module_{number:05}.py": f'MARK = "{mark}"\n{padding}\n'
        for number in range(count)
    }


def metadata_text(
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    extras: Extras | None = None,
    requires_python: str | None = None,
    lines: Sequence[str] = (),
) -> str:
    """Return METADATA (or PKG-INFO) with static dependencies, PEP 643."""
    Version(version)
    head = ["Metadata-Version: 2.3", f"Name: {name}", f"Version: {version}"]
    if requires_python is not None:
        head.append(f"Requires-Python: {requires_python}")
    head += [f"Requires-Dist: {Requirement(text)}" for text in requires]
    for extra, wanted in (extras or {}).items():
        head.append(f"Provides-Extra: {extra}")
        head += [f"Requires-Dist: {_within_extra(text, extra)}" for text in wanted]
    return "\n".join([*head, *lines, "", f"{name} as the tests need it.", ""])


def _within_extra(text: str, extra: str) -> str:
    requirement = Requirement(text)
    marker = f'extra == "{extra}"'
    if requirement.marker is None:
        return f"{requirement} ; {marker}"
    head, _, _ = str(requirement).partition(";")
    return f"{head.strip()} ; ({requirement.marker}) and {marker}"


def _dynamic(metadata: str) -> str:
    head, _, description = metadata.partition("\n\n")
    kept = [line for line in head.splitlines() if not line.startswith("Requires-Dist:")]
    return "\n".join([*kept, "Dynamic: Requires-Dist", "", description])


def _wheel_text(tag: str) -> str:
    pythons, abis, platforms = tag.split("-")
    tags = [
        f"Tag: {python}-{abi}-{platform}"
        for python in pythons.split(".")
        for abi in abis.split(".")
        for platform in platforms.split(".")
    ]
    pure = "true" if platforms == "any" else "false"
    head = ["Wheel-Version: 1.0", "Generator: reconciler-tests", f"Root-Is-Purelib: {pure}"]
    return "\n".join([*head, *tags, ""])


def _record_text(members: Mapping[str, bytes], dist_info: str, extra: Sequence[str]) -> str:
    lines = [f"{path},{record_hash(body)},{len(body)}" for path, body in members.items()]
    lines += [f"{path},," for path in extra]
    return "\n".join([*lines, f"{dist_info}/RECORD,,", ""])


def record_hash(body: bytes) -> str:
    """Return the hash of a file as RECORD writes it (PEP 376, PEP 427)."""
    digest = hashlib.sha256(body).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _encoded(files: Files) -> dict[str, bytes]:
    return {path: body.encode() if isinstance(body, str) else body for path, body in files.items()}


def _below(folder: str, files: Files) -> dict[str, bytes]:
    return {f"{folder}/{path}": body for path, body in _encoded(files).items()}


def _wheel_bytes(
    base: str,
    members: Mapping[str, bytes],
    metadata: str,
    tag: str,
    record_extra: Sequence[str] = (),
) -> bytes:
    dist_info = f"{base}.dist-info"
    whole = {
        **members,
        f"{dist_info}/METADATA": metadata.encode(),
        f"{dist_info}/WHEEL": _wheel_text(tag).encode(),
    }
    whole[f"{dist_info}/RECORD"] = _record_text(whole, dist_info, record_extra).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, body in whole.items():
            info = zipfile.ZipInfo(member, _EPOCH)
            mode = 0o755 if ".data/scripts/" in member else 0o644
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, body)
    return buffer.getvalue()


def _tar_bytes(base: str, members: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, text in members.items():
            body = text.encode()
            info = tarfile.TarInfo(f"{base}/{member}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def _backend_table(build_requires: Sequence[str]) -> str:
    quoted = ", ".join(f'"{text}"' for text in build_requires)
    return (
        f'[build-system]\nrequires = [{quoted}]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )


def _backend_source(base: str, wheel: bytes, metadata: str, *, fails: bool) -> str:
    """Return a PEP 517 backend that carries the wheel it is to build."""
    dist_info = f"{base}.dist-info"
    filename = f"{base}-py3-none-any.whl"
    return f"""\
import base64, os

FAILS = {fails!r}
WHEEL = {base64.b64encode(wheel).decode()!r}
METADATA = {metadata!r}


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = os.path.join(metadata_directory, {dist_info!r})
    os.makedirs(folder)
    with open(os.path.join(folder, "METADATA"), "w") as stream:
        stream.write(METADATA)
    with open(os.path.join(folder, "WHEEL"), "w") as stream:
        stream.write({_wheel_text("py3-none-any")!r})
    return {dist_info!r}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    if FAILS:
        raise RuntimeError({BUILD_FAILURE!r})
    with open(os.path.join(wheel_directory, {filename!r}), "wb") as stream:
        stream.write(base64.b64decode(WHEEL))
    return {filename!r}
"""
