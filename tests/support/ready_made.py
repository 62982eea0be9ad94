"""Environments that uv made once, and made again without it.

uv takes some 25 ms for an empty environment and some 90 ms to install the GPU stack, and the
tests need a thousand of each. The second time that the same is asked for, what uv wrote is kept;
from the third time on it is put there file by file, as uv would: what uv links from its cache is
the same file, the rest is written anew. tests/support/test_environments.py compares the two.
"""

import base64
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_PLAIN = re.compile(r"[\w./-]{1,100}")
"""Where a path is written in one way only: quoted in no script, short enough behind `#!`."""

_asked: Counter[tuple[str, ...]] = Counter()
_kept: dict[tuple[str, ...], "_Kept"] = {}


class _Kept(NamedTuple):
    """What uv wrote: folders, links, and files by how many names they had."""

    at: Path
    made_at: Path
    """Where uv wrote it, as its scripts say."""
    folders: list[str]
    links: dict[str, str]
    files: dict[str, bool]
    """Whether a file is one of uv's cache."""


def make(path: Path, interpreter: str, by_uv: Callable[[Path], object]) -> None:
    """Make an empty environment of this interpreter."""
    key = _key("venv", interpreter)
    if key is None or path.exists() or not _PLAIN.fullmatch(str(path)) or _leads_on(path):
        by_uv(path)
        return
    kept = _kept.get(key) or _keep_made(key, by_uv)
    _put(kept, path)
    _move_scripts(kept, path)


def install(venv: Path, arguments: Sequence[str | Path], by_uv: Callable[[], object]) -> None:
    """Install wheels into an environment."""
    key = _key("install", os.path.realpath(venv / "bin" / "python"), *map(str, arguments))
    wheels = all(isinstance(one, Path) and one.suffix == ".whl" for one in arguments)
    if key is None or not wheels or not _PLAIN.fullmatch(str(venv)) or not _is_empty(venv):
        by_uv()
        return
    key = (*key, *(str(Path(one).stat().st_mtime_ns) for one in arguments))
    kept = _kept.get(key)
    if kept is not None and kept.at.stat().st_dev == venv.stat().st_dev:
        _put(kept, venv)
        _record(_move_scripts(kept, venv), venv)
        return
    before = _names(venv)
    by_uv()
    _asked[key] += 1
    if _asked[key] == 2:
        _keep_installed(key, venv, before)


def _key(*words: str) -> tuple[str, ...] | None:
    """What must be the same for uv to do the same; None if there is nowhere to keep it."""
    if "UV_CACHE_DIR" not in os.environ:
        return None
    umask = os.umask(0o22)
    os.umask(umask)
    variables = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("UV_"))
    return (*words, str(umask), str(os.geteuid()), *variables)


def _place() -> Path:
    cache = Path(os.environ["UV_CACHE_DIR"])
    place = cache.with_name(f"{cache.name}-ready-made") / f"{os.getpid()}-{len(_kept)}"
    place.parent.mkdir(exist_ok=True)
    return place


def _leads_on(path: Path) -> bool:
    return not path.is_absolute() or path.parent != Path(os.path.realpath(path.parent))


def _is_empty(venv: Path) -> bool:
    packages = list(venv.glob("lib/python3*/site-packages"))
    return len(packages) == 1 and not any(packages[0].iterdir()) and not venv.is_symlink()


def _keep_made(key: tuple[str, ...], by_uv: Callable[[Path], object]) -> _Kept:
    at = _place()
    by_uv(at)
    _kept[key] = _read(at, at, set())
    return _kept[key]


def _keep_installed(key: tuple[str, ...], venv: Path, before: set[str]) -> None:
    at = _place()
    read = _read(at, venv, before)
    for name in read.files:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
    _put(read._replace(at=venv), at)
    _kept[key] = read


def _names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def _read(at: Path, root: Path, before: set[str]) -> _Kept:
    kept = _Kept(at, root, [], {}, {})
    for name in sorted(_names(root) - before):
        path = root / name
        if path.is_symlink():
            kept.links[name] = str(path.readlink())
        elif path.is_dir():
            kept.folders.append(name)
        else:
            kept.files[name] = path.stat().st_nlink > 1
    return kept


def _put(kept: _Kept, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name in kept.folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, target in kept.links.items():
        (root / name).symlink_to(target)
    for name, is_cached in kept.files.items():
        if is_cached:
            os.link(kept.at / name, root / name)
        else:
            shutil.copyfile(kept.at / name, root / name)
            shutil.copymode(kept.at / name, root / name)


def _move_scripts(kept: _Kept, root: Path) -> dict[bytes, bytes]:
    """Have the scripts say where they are; what a RECORD says of them, before and now."""
    said = {}
    for name in kept.files:
        script = root / name
        if script.parent.name == "bin":
            before = script.read_bytes()
            now = before.replace(bytes(kept.made_at), bytes(root))
            script.write_bytes(now)
            said[_recorded(script, before)] = _recorded(script, now)
    return said


def _recorded(script: Path, body: bytes) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=")
    return b"bin/%s,sha256=%s,%d" % (script.name.encode(), digest, len(body))


def _record(said: dict[bytes, bytes], venv: Path) -> None:
    for record in venv.glob("lib/python3*/site-packages/*.dist-info/RECORD"):
        body = before = record.read_bytes()
        for old, new in said.items():
            body = body.replace(old, new)
        if body != before:
            record.write_bytes(body)
