"""A file with copies may come from anywhere: it is refused as a whole, or it is right."""

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.processes import Cancellation
from reconciler.vault.archive import ArchiveRefused, export, import_from
from reconciler.vault.store import Store
from tests.support.attacks import Attacks
from tests.support.environments import install
from tests.support.passes import locked
from tests.support.projects import Project
from tests.support.vaults import contents_in
from tests.support.wheels import make_wheel

MAGIC = b"reconciler-vault 1\n"


def packed(listed: object, contents: bytes) -> bytes:
    """An archive with its checksums right, whatever it says."""
    text = listed if isinstance(listed, bytes) else json.dumps(listed).encode()
    digest = hashlib.sha256(text).digest()
    return MAGIC + struct.pack(">Q", len(text)) + text + digest + contents


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def exported(project: Project, venv: Path, tmp_path: Path) -> Path:
    files = {"torch/__init__.py": "one = 1\n", "torch/lib/big.so": os.urandom(100_000)}
    install(venv, make_wheel(tmp_path / "w", "torch", "2.3.1", files=files))
    project.write([])
    config = EnvironmentConfig(name="s", pyproject=project.path, python=venv / "bin" / "python")
    environment = Environment(config, dict(os.environ))
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(audit_files=True), lock, compare=True)
    store = Store(environment.store)
    export(store, store.copies("torch"), tmp_path / "good", Cancellation())
    return tmp_path / "good"


def test_it_is_refused_as_a_whole_or_it_is_right(
    exported: Path, tmp_path: Path, attacks: Attacks
) -> None:
    good = exported.read_bytes()
    start = len(MAGIC) + 8
    length = struct.unpack(">Q", good[len(MAGIC) : start])[0]
    listed, contents = json.loads(good[start : start + length]), good[start + length + 32 :]
    (copy,) = listed["copies"]
    first, *others = copy["files"]

    def with_files(files: list[list[object]], **fields: object) -> bytes:
        return packed({"copies": [{**copy, "files": files, **fields}]}, contents)

    forgeries: dict[str, bytes] = {
        "nothing": b"", "another file": b"PK\x03\x04" + good, "only the head": good[:start],
        "no contents": good[: start + length + 32], "cut off": good[:-1], "more": good + b"x",
        "a huge list": MAGIC + struct.pack(">Q", 2**63) + good[start:],
        "a list longer than the file": MAGIC + struct.pack(">Q", 2**27) + good[start:],
        "no list": packed(b"[]", b""), "a deep list": packed(b"[" * 100_000, b""),
        "a list of numbers": packed({"copies": [1]}, b""),
        "a bomb": with_files([[first[0], first[1], 2**50, *first[3:]], *others]),
        "a negative size": with_files([[first[0], first[1], -5, *first[3:]], *others]),
        "a file twice": with_files([first, first, *others]),
        "another name": packed({"copies": [{**copy, "name": "../../torch"}]}, contents),
        "an absolute name": packed({"copies": [{**copy, "name": "/torch"}]}, contents),
        "another id": packed({"copies": [{**copy, "id": "0" * 32}]}, contents),
        "an id that is a path": packed({"copies": [{**copy, "id": "../../x"}]}, contents),
        "another version": packed({"copies": [{**copy, "version": "9"}]}, contents),
        "no time": packed({"copies": [{**copy, "made": -1.0}]}, contents),
        "a file that was swapped": with_files([first, *others[::-1]]),
    }  # fmt: skip
    for at in (
        3,
        len(MAGIC) + 7,
        start + 5,
        start + length + 3,
        start + length + 40,
        len(good) - 1,
    ):
        changed = bytearray(good)
        changed[at] ^= 0x41
        forgeries[f"byte {at}"] = bytes(changed)
    for path in ("../../out/file", "/etc/x", "a/../../x", "pyvenv.cfg", "bin/python", "", "x\0"):
        forgeries[f"a file at {path!r}"] = with_files([[path, *first[1:]], *others])
    for to in ("../../../../etc/passwd", "/etc/passwd", ""):
        forgeries[f"a link to {to!r}"] = packed(
            {"copies": [{**copy, "links": {"a": to}}]}, contents
        )
    for mode in (0o4755, 0o2755, -1, 2**40):
        forgeries[f"mode {mode:o}"] = with_files([[*first[:5], mode], *others])

    store = Store(tmp_path / "another")
    for name, data in forgeries.items():
        file = tmp_path / "forged"
        file.write_bytes(data)
        before = everything(tmp_path)
        with pytest.raises(ArchiveRefused, match="Nothing was imported"):
            import_from(store, file, Cancellation())
        left = everything(tmp_path) - before - {store.root / "lock"}
        attacks.tried(name, refused=not left and store.names() == [], found=sorted(left)[:3])
    for kind in (os.mkfifo, os.mkdir):
        place = tmp_path / kind.__name__
        kind(place)
        with pytest.raises(OSError, match=r"pipe|directory"):
            import_from(store, place, Cancellation())

    (brought,) = import_from(store, exported, Cancellation())
    assert brought.imported
    assert len(contents_in(store.root)) == len(copy["files"])
    (brought,) = import_from(store, exported, Cancellation())  # again changes nothing
    assert [found.id for found in store.copies("torch")] == [brought.id]


def test_a_damaged_content_is_not_exported(exported: Path, project: Project) -> None:
    store = Store(project.directory / ".reconciler-vault")
    content = next(path for path in contents_in(store.root) if path.stat().st_size == 100_000)
    content.unlink()
    content.write_bytes(b"x" * 100_000)
    target = exported.with_name("other")
    with pytest.raises(Exception, match=r"big\.so has changed"):
        export(store, store.copies("torch"), target, Cancellation())
    assert sorted(p.name for p in exported.parent.glob("other*")) == []
