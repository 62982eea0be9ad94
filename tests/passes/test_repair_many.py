"""A broken package becomes whole again as the same version and build, or stays as it is."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.config import OnError, Update
from reconciler.status import ExpectedEnd, Result
from tests.support.environments import (
    assert_whole,
    dist_infos,
    install,
    run_uv,
    site_packages,
    snapshot,
    tree_fingerprint,
)
from tests.support.passes import environment_for, reconcile
from tests.support.wheels import make_wheel


def lose_a_file(site: Path, name: str) -> None:
    (site / name / "__init__.py").unlink()


def lose(file: str):
    def lost(site: Path, name: str) -> None:
        [info] = site.glob(f"{name}-*.dist-info")
        (info / file).unlink()

    return lost


def double(site: Path, name: str) -> None:
    [info] = site.glob(f"{name}-*.dist-info")
    other = site / f"{name}-0.5.dist-info"
    other.mkdir()
    text = (info / "METADATA").read_text().replace("Version: 1.0", "Version: 0.5")
    (other / "METADATA").write_text(text)


def zero(site: Path, name: str) -> None:
    [info] = site.glob(f"{name}-*.dist-info")
    (info / "METADATA").unlink()  # uv's cache has the same file
    (info / "METADATA").write_bytes(bytes(300))


def by_another_tool(site: Path, name: str) -> None:
    [info] = site.glob(f"{name}-*.dist-info")
    (info / "RECORD").unlink()
    (info / "INSTALLER").write_text("conda\n")


NOWHERE = {
    "audio": ("2.3.1+rocm5.7", lose_a_file),
    "plain": ("1.0", lose_a_file),
    "twice": ("1.0", double),
    "mute": ("1.0", lose("METADATA")),
    "zeroed": ("1.0", zero),
}
"""Installed from wheels that no index has; the index has others of that name."""

AGAIN = {
    "beta": ("1.0", lose_a_file),
    "scatter": ("2.1.2+pt23", lose_a_file),
    "unlisted": ("1.0", lose("RECORD")),
    "gutted": ("1.0", lose("METADATA")),
    "doubled": ("1.0", double),
    "kid": ("1.0", lose_a_file),
    "placed": ("1.0", lose_a_file),
}
"""What becomes the same again; the index has 2.0 of each as well."""

TAKEN_ALONG = {"bound": ("1.0", lose_a_file), "needed": ("1.0", lose_a_file)}
"""Broken, but the declaration asks for 2.0 anyway."""


def zero_by_another_tool(site: Path, name: str) -> None:
    by_another_tool(site, name)
    zero(site, name)


FOREIGN = {
    "conda-made": ("1.0", by_another_tool), "conda-old": ("1.0", by_another_tool),
    "conda-zero": ("1.0", zero_by_another_tool),
}  # fmt: skip

DECLARED = ["audio", "plain", "twice", "mute", "zeroed", "conda-zero", "beta", "scatter",
            "unlisted", "gutted", "doubled", "parent", "placed", "lost-place", "bound>=2",
            "newcomer", "conda-made", "conda-old>=2", "of-audio", "of-twice"]  # fmt: skip


def build_world(index, folder: Path) -> Path:
    """Fill the index, and return the folder with the wheels that only an installer had."""
    old = folder / "old"
    requires: Mapping[str, list[str]] = {"beta": ["dep"], "scatter": ["dep"]}
    for name, (version, _) in {**AGAIN, **TAKEN_ALONG, **FOREIGN}.items():
        wheel = make_wheel(old, name, version, requires=requires.get(name, []))
        newer = [] if name == "scatter" else [make_wheel(folder, name, "2.0", requires=["dep>=2"])]
        index.add(*([] if name == "placed" else [wheel]), *newer)
    index.add(make_wheel(folder, "scatter", "2.1.2"), make_wheel(folder, "audio", "2.4"))
    index.add(make_wheel(folder, "plain", "1.0+cpu"), make_wheel(folder, "twice", "2.0"))
    index.add(make_wheel(folder, "zeroed", "2.0"))
    index.add(make_wheel(folder, "mute", "2.0"), make_wheel(folder, "lost-place", "2.0"))
    index.add(make_wheel(folder, "dep", "1.0"), make_wheel(folder, "dep", "2.0"))
    index.add(make_wheel(folder, "newcomer", "1.0", requires=["needed>=2"]))
    index.add(make_wheel(folder, "of-audio", "1.0", requires=["audio"]))
    index.add(
        make_wheel(folder, "of-twice", "1.0", requires=["twice", "mute", "zeroed", "conda-zero"])
    )
    for name, (version, _) in NOWHERE.items():
        make_wheel(old, name, version)
    make_wheel(old, "parent", "1.0", requires=["kid"])
    make_wheel(old, "lost-place", "1.0")
    shutil.copy(folder / "dep-1.0-py3-none-any.whl", old)
    return old


def install_world(venv: Path, old: Path) -> None:
    placed = [next(old.glob(f"{name}-*.whl")) for name in ("placed", "lost_place")]
    names = [*NOWHERE, *AGAIN, *TAKEN_ALONG, *FOREIGN, "parent", "dep"]
    install(venv, "--find-links", old, *placed, *(n for n in names if n != "placed"))
    placed[1].unlink()
    site = site_packages(venv)
    everything = {**NOWHERE, **AGAIN, **TAKEN_ALONG, **FOREIGN, "lost-place": ("1.0", lose_a_file)}
    for name, (_, damage) in everything.items():
        damage(site, name.replace("-", "_"))


def test_what_is_broken_becomes_the_same_again_or_stays(
    project, index, venv, tmp_path, monkeypatch
):
    install_world(venv, build_world(index, tmp_path))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another-cache"))
    project.write(DECLARED)
    stay = [*NOWHERE, "lost-place", *FOREIGN]
    before = tree_fingerprint(venv)
    environment = environment_for(project)

    outcome = reconcile(environment)
    first = {f.name: (f.reason, f.message) for f in outcome.failed}
    again = reconcile(environment)

    expected = {name: version for name, (version, _) in {**NOWHERE, **AGAIN, **FOREIGN}.items()}
    expected |= dict.fromkeys(TAKEN_ALONG, "2.0")
    expected |= {"dep": "2.0", "parent": "1.0", "newcomer": "1.0", "lost-place": "1.0"}
    expected |= {"of-audio": "1.0", "of-twice": "1.0"}
    found = snapshot(venv) | {"twice": "1.0"}  # it has two
    assert found == expected, {n: found.get(n) for n in expected if found.get(n) != expected[n]}
    wrong = [n for n in AGAIN if not _is_whole(venv, n)]
    assert not wrong
    assert {n: why for n, (why, _) in first.items()} == {
        **dict.fromkeys([*NOWHERE, "lost-place"], "CannotRepair"), "conda-old": "CannotReplace",
        "conda-zero": "CannotReplace",
    }  # fmt: skip
    after = tree_fingerprint(venv)
    own = tuple(f"/{n.replace('-', '_')}" for n in stay)
    moved = [p for p in before if any(o in p for o in own) and before[p] != after.get(p)]
    assert not moved
    assert "audio 2.3.1+rocm5.7 is broken" in first["audio"][1]
    assert "conda" in first["conda-old"][1]
    assert (again.result, again.changes) == (Result.PARTIAL, ())
    assert {f.name: (f.reason, f.message) for f in again.failed} == first


def _is_whole(venv: Path, name: str) -> bool:
    site = site_packages(venv)
    infos = dist_infos(venv, name)
    return len(infos) == 1 and (infos[0] / "RECORD").exists() and (site / name).is_dir()


def test_latest_repairs_with_the_newest_but_never_exchanges_a_build(
    project, index, venv, tmp_path, monkeypatch
):
    old = build_world(index, tmp_path)
    install(venv, "--find-links", old, "beta", "dep", "audio")
    for name in ("beta", "audio"):
        lose_a_file(site_packages(venv), name)
    project.write(["beta", "audio"])
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another-cache"))
    outcome = reconcile(environment_for(project, update=Update.LATEST))
    assert snapshot(venv) == {"audio": "2.3.1+rocm5.7", "beta": "2.0", "dep": "2.0"}
    assert [(f.name, f.reason) for f in outcome.failed] == [("audio", "CannotRepair")]


def test_a_repair_needs_no_network_when_uv_has_the_wheel(project, index, venv, tmp_path):
    index.add(make_wheel(tmp_path, "beta", "1.0"))
    project.write(["beta==1.0"])
    environment = environment_for(project)
    reconcile(environment)
    index.add(make_wheel(tmp_path, "beta", "2.0"))
    project.write(["beta"])
    lose_a_file(site_packages(venv), "beta")
    index.down()
    outcome = reconcile(environment)
    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert snapshot(venv) == {"beta": "1.0"}
    assert_whole(venv)


def test_damage_that_uvs_cache_shares_is_repaired_from_the_index(project, index, venv, tmp_path):
    index.add(make_wheel(tmp_path, "beta", "1.0"), make_wheel(tmp_path, "gamma", "1.0"))
    project.write(["beta", "gamma"])
    environment = environment_for(project)
    reconcile(environment)
    for damaged in ("beta/__init__.py", "gamma-1.0.dist-info/METADATA"):
        with (site_packages(venv) / damaged).open("r+b") as file:  # a hard link of the cache's
            file.truncate(0)
    outcome = reconcile(environment)
    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert_whole(venv)


def test_aborting_on_error_names_what_cannot_be_repaired(
    project, index, venv, tmp_path, monkeypatch
):
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another-cache"))
    old = build_world(index, tmp_path)
    install(venv, "--find-links", old, "audio")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "third-cache"))
    lose_a_file(site_packages(venv), "audio")
    project.write(["audio", "dep"])
    with pytest.raises(ExpectedEnd, match="audio") as failure:
        reconcile(environment_for(project, on_error=OnError.ABORT))
    assert failure.value.reason == "CannotRepair"
    assert snapshot(venv) == {"audio": "2.3.1+rocm5.7"}
    run_uv("pip", "check", "--python", str(venv))
