"""Looks into a vault without the product's code."""

import hashlib
import json
from pathlib import Path


def contents_in(store: Path) -> list[Path]:
    """The contents of files that it has."""
    return sorted(store.glob("packages/*/files/*"))


def held_in(store: Path, venv: Path) -> dict[str, list[str]]:
    """Of each package that an environment holds or held, the numbers of its copies."""
    found: dict[str, list[str]] = {}
    for owner in store.glob("environments/*/environment.json"):
        if json.loads(owner.read_text())["path"] == str(venv.resolve()):
            for record in sorted(owner.parent.glob("*/*.json")):
                found.setdefault(record.parent.name, []).append(record.stem)
    return found


def record_of(store: Path, name: str, number: int = 1) -> Path:
    """The record of the one environment that holds a package."""
    (record,) = store.glob(f"environments/*/{name}/{number}.json")
    return record


def description_of(store: Path, name: str) -> Path:
    """The description of the one copy of a package."""
    (found,) = store.glob(f"packages/{name}/copies/*/copy.json")
    return found


def content_of(store: Path, name: str, ending: str) -> Path:
    """The content of a file in the one copy of a package."""
    listed = json.loads(description_of(store, name).read_text())["files"]
    (digest,) = {sha for path, sha, *_ in listed if path.endswith(ending)}
    return next(
        path for path in contents_in(store) if path.parents[1].name == name and _is(path, digest)
    )


def _is(path: Path, digest: str) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == digest
