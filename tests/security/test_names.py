"""Names of the environment and of ours: no package has them, and no forged file leads to others."""

import json
import os
from pathlib import Path

import pytest

from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.reconcile import reconcile as reconciling
from reconciler.passes.restore import restore
from reconciler.passes.rollback import roll_back
from reconciler.status import Reason, Result
from reconciler.trees import generations
from reconciler.trees.reserved import is_plain, is_reserved
from tests.security.test_links import WAYS, contents, run, watched
from tests.support.attacks import Attacks
from tests.support.environments import (
    install,
    run_python,
    site_packages,
    snapshot,
)
from tests.support.passes import environment_for, locked, reconcile
from tests.support.vaults import description_of, record_of
from tests.support.wheels import make_wheel

DATA = (
    ".reconciler/intent.json", ".reconciler/in-place.json", ".reconciler/live.json",
    ".reconciler/generations/1/lib/x", ".RECONCILER/x", ".reconciler", ".reconciler-vault/x",
    "pyvenv.cfg", "PyVenv.cfg", ".lock", ".gitignore", "CACHEDIR.TAG", "generation.json", "lib64",
    "bin/python3.11", "bin/activate", "lib/python3.11/os.py",
)  # fmt: skip
"""What a wheel's data folder brings, relative to the environment."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str | None:
    return WAYS[request.param]


def own_files(venv: Path) -> dict[str, object]:
    """What the environment itself has, and we: but not what we write in each pass."""
    names = ("bin/python", "bin/python3", "bin/activate", "pyvenv.cfg", "lib64", ".gitignore")
    return {
        name: path.readlink() if (path := venv / name).is_symlink() else path.read_bytes()
        for name in names
    }


def test_no_wheel_brings_a_file_of_ours_or_of_the_environment(
    attacks: Attacks, project, venv, index, tmp_path, way
):
    data = DATA if way is None else DATA[:3]  # all are refused before the ways part
    wheels = {f"evil-{number}": {"data": {path: "{}"}} for number, path in enumerate(data)}
    wheels["evil-dots"] = {"data": {"share/../.reconciler/intent.json": "{}"}}
    wheels["evil-script"] = {"scripts": {"python3.11": "evil:main"}}
    for name, parts in wheels.items():
        index.add(make_wheel(tmp_path / "wheels", name, "1.0", **parts))
    index.add(make_wheel(tmp_path / "wheels", "fine", "1.0", data={"share/x": "", "etc/y": ""},
                         scripts={"python-tool": "fine:main"}))  # fmt: skip
    environment = watched(project, way)
    environment.workspace.create()
    before = own_files(venv)
    project.write([*wheels, "fine"])
    outcome = reconcile(environment)
    reasons = {failure.name: failure.reason for failure in outcome.failed}
    for name, parts in wheels.items():
        attacks.tried(f"a wheel with {parts}", refused=reasons.get(name) == Reason.UNUSABLE,
                      found=reasons.get(name))  # fmt: skip
    ours = {path.name for path in environment.workspace.root.iterdir()}
    attacks.tried("our files", refused=not ours & {"intent.json", "in-place.json"}, found=ours)
    attacks.tried("the environment's files", refused=own_files(venv) == before)
    assert snapshot(venv) == {"fine": "1.0"}
    assert (venv / "bin/python-tool").exists()
    assert run(environment, lambda running: reconciling(running, audit=True)) in (
        Result.UNCHANGED, Result.PARTIAL,
    )  # fmt: skip


def test_no_wheel_takes_the_place_of_anothers_folder_or_file(
    attacks: Attacks, project, venv, index, tmp_path, way
):
    index.add(
        make_wheel(tmp_path, "numpy", "1.0", files={"numpy/__init__.py": "", "numlib": "1"}),
        make_wheel(tmp_path, "file-for-folder", "1.0", files={"numpy": "not a package"}),
        make_wheel(tmp_path, "folder-for-file", "1.0", files={"numlib/x.py": ""}),
        make_wheel(tmp_path, "fine", "1.0"),
    )
    project.write(["numpy"])
    environment = watched(project, way)
    reconcile(environment)
    project.write(["numpy", "file-for-folder", "folder-for-file", "fine"])
    outcome = reconcile(environment)
    for failure in ("file-for-folder", "folder-for-file"):
        reasons = {f.name: f.reason for f in outcome.failed}
        attacks.tried(failure, refused=reasons.get(failure) == Reason.UNUSABLE, found=reasons)
    assert run_python(venv, "import numpy; print(numpy.__file__ is not None)") == "True"
    assert snapshot(venv) == {"numpy": "1.0", "fine": "1.0"}


def claim(venv: Path, name: str, *paths: str) -> None:
    """Let a RECORD claim further files, as a hostile installer writes it."""
    with (site_packages(venv) / f"{name}-1.0.dist-info" / "RECORD").open("a") as record:
        record.writelines(f"{path},,\n" for path in paths)


def test_what_a_record_claims_does_not_leave_with_it(
    attacks: Attacks, project, venv, index, tmp_path, way
):
    for version in ("1.0", "2.0"):
        index.add(make_wheel(tmp_path / version, "greedy", version))
    index.add(make_wheel(tmp_path, "victim", "1.0"))
    project.write(["greedy==1.0", "victim"])
    environment = watched(project, way, prune=True)
    reconcile(environment)
    outside = project.directory / "outside.txt"
    outside.write_text("mine")
    label = environment.workspace.live
    label.write_text(label.read_text() if label.exists() else '{"number": 0}')
    site = site_packages(venv)
    (site / "victim-1.0.dist-info" / "LICENSE").write_text("of no RECORD")
    threatened = {
        "../../../bin/python": venv / "bin/python",
        "../../../bin/python3": venv / "bin/python3",
        "../../../bin/activate": venv / "bin/activate",
        "../../../pyvenv.cfg": venv / "pyvenv.cfg",
        "../../../lib64": venv / "lib64",
        "../../../share/../.reconciler/live.json": label,
        "../../../.reconciler/pass.lock": environment.workspace.root / "pass.lock",
        "../../../../outside.txt": outside,
        str(outside): outside,
        str(venv / "bin/../bin/python"): venv / "bin/python",
        "victim/__init__.py": site / "victim/__init__.py",
        "victim-1.0.dist-info/METADATA": site / "victim-1.0.dist-info/METADATA",
        "victim-1.0.dist-info/RECORD": site / "victim-1.0.dist-info/RECORD",
        "victim-1.0.dist-info/LICENSE": site / "victim-1.0.dist-info/LICENSE",
    }

    def check(what: str, found: str) -> None:
        for claimed, path in threatened.items():
            attacks.tried(f"{claimed} at {what}", refused=os.path.lexists(path), found=found)

    def passing(*dependencies: str) -> str:
        project.write(dependencies)
        return run(environment, lambda running: reconciling(running, audit=True))

    claim(venv, "greedy", *threatened)
    (site / "greedy" / "__init__.py").unlink()
    check("a repair", passing("greedy==1.0", "victim"))
    assert (site / "greedy" / "__init__.py").exists()
    claim(venv, "greedy", *threatened)
    check("an upgrade", passing("greedy==2.0", "victim"))
    assert snapshot(venv)["greedy"] == "2.0"
    (site / "greedy-2.0.dist-info").rename(site / "greedy-1.0.dist-info")
    metadata = site / "greedy-1.0.dist-info" / "METADATA"
    text = metadata.read_text().replace("2.0", "1.0")
    metadata.unlink()
    metadata.write_text(text)
    claim(venv, "greedy", *threatened)
    check("a removal", passing("victim"))
    assert snapshot(venv) == {"victim": "1.0"}
    assert run_python(venv, "import victim; print(victim.__version__)") == "1.0"


LABEL = {"number": 1, "created_at": "", "packages": 1, "revision": None, "previous": 0,
         "activation": 1}  # fmt: skip
INTENT = {"stage": "stage-x", "roots": [["lib", 1, 2]], "live": LABEL, "old": LABEL, "archive": "9"}
RECORD = {"aside": "aside", "new": [], "copied": [], "folders": []}
DAMAGED = ("", "[]", "{", "null", '{"a":1}', "[" * 100_000, "\0", '"\\ud800"', b"\xff\xfe")

FORGED = {
    "intent.json": [
        *DAMAGED,
        *({**INTENT, "stage": s} for s in ("../../out", "/OUT", "stage-x/../../../out", "", ".",
                                           "vault", "generations", "generations/../../../out")),
        *({**INTENT, "archive": a} for a in ("../../out", "", "x", "1/../../../out", 3)),
        {**INTENT, "archive": "0"},
        *({**INTENT, "roots": [[r, 0, 0]]} for r in ("../out", ".reconciler", "", ".", "..", "/OUT",
                                                     "lib/x", 7)),
        {**INTENT, "roots": [["lib"]]}, {**INTENT, "roots": [["lib", "x", None]]},
        {**INTENT, "stage": "stage-gone"}, {**INTENT, "stage": "stage-gone", "archive": "0"},
        {**INTENT, "stage": "stage-gone", "roots": [["lib", 1, 0]]},
    ],
    "in-place.json": [
        *DAMAGED,
        *({**RECORD, "aside": a} for a in ("../../out", "/OUT", "", ".", "..", "generations", 1)),
        *({**RECORD, part: [path]} for part in ("new", "copied", "folders")
          for path in ("../out/file", "/OUT/file", "share/../../out/file", "pyvenv.cfg",
                       "bin/python", ".reconciler/generations/0/lib", "x\0", "", ".")),
    ],
    "live.json": [
        *DAMAGED, {"number": "x"}, {"number": -1}, {"number": 1e400}, {"number": None},
        {**LABEL, "number": 0}, {**LABEL, "activation": "x"}, {**LABEL, "previous": "../out"},
        {**LABEL, "created_at": 5}, {**LABEL, "number": 2**70},
    ],
    "generations/0/generation.json": [*DAMAGED, {"number": "x"}, {"activation": "x"}],
}  # fmt: skip


def as_bytes(forged: object) -> bytes:
    """What is written: as it is, or as JSON."""
    text = forged if isinstance(forged, (str, bytes)) else json.dumps(forged)
    return text if isinstance(text, bytes) else text.encode()


def test_a_forged_file_of_ours_leads_nowhere_and_costs_nothing(
    attacks: Attacks, project, venv, index, tmp_path
):
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    project.write(["thing"])
    index.add(make_wheel(tmp_path, "thing", "2.0"))
    project.write(["thing>=2"])
    environment = environment_for(project)
    reconcile(environment)
    workspace = environment.workspace
    outside = project.directory / "out"
    outside.mkdir()
    (outside / "file").write_text("mine")
    kept = contents(outside)
    good = {name: (workspace.root / name).read_bytes() for name in FORGED
            if (workspace.root / name).exists()}  # fmt: skip
    tree = contents(workspace.generations / "0" / "lib")
    own = own_files(venv)
    for name, forgeries in FORGED.items():
        for forged in forgeries:
            (workspace.root / "stage-x" / "lib").mkdir(parents=True)
            raw = as_bytes(forged).replace(b"/OUT", bytes(outside))
            text = repr(raw)
            path = workspace.root / name
            path.unlink(missing_ok=True)
            path.write_bytes(raw)
            found = run(environment, lambda _: generations.listed(workspace))
            safe = contents(outside) == kept and own_files(venv) == own
            attacks.tried(f"{name} {text[:80]}", refused=safe and found == "done", found=found)
            whole = contents(workspace.generations / "0" / "lib") == tree
            attacks.tried(f"a generation by {name} {text[:80]}", refused=whole)
            for known, content in good.items():
                (workspace.root / known).unlink(missing_ok=True)
                (workspace.root / known).write_bytes(content)
    # With no label at all, nothing that is kept gets lost.
    index.add(make_wheel(tmp_path, "thing", "3.0"))
    for label in ("{", json.dumps({**LABEL, "number": 0})):
        workspace.live.write_text(label)
        count = len(generations.kept(workspace))
        project.write(["thing>=3" if label == "{" else "thing<3"])
        found = run(environment, lambda running: reconciling(running, audit=True))
        attacks.tried(f"a generation by the label {label}", found=found,
                      refused=found == Result.CHANGED
                      and len(generations.kept(workspace)) == count + 1
                      and contents(workspace.generations / "0" / "lib") == tree)  # fmt: skip
    assert run(environment, lambda running: roll_back(running, 0)) == Result.CHANGED
    assert snapshot(venv)["thing"] == "1.0"


def test_a_forged_copy_in_the_vault_leads_nowhere(
    attacks: Attacks, project, venv, gpu_wheels, tmp_path
):
    install(venv, *gpu_wheels)
    project.write([])
    environment = environment_for(project)

    def keep() -> None:
        with locked(environment) as lock:
            HoldMonitor(environment).keep(environment.look(audit_files=True), lock, compare=True)

    keep()
    store = project.directory / ".reconciler-vault"
    manifest, copy = record_of(store, "torch"), description_of(store, "torch")
    good, described = (json.loads(file.read_bytes()) for file in (manifest, copy))
    outside = tmp_path / "out"
    outside.mkdir()
    (outside / "file").write_text("mine")
    kept = contents(outside)
    first = described["files"][0]
    paths = ("../../out/file", str(outside / "file"), "a/../../../out", "pyvenv.cfg", "bin/python",
             ".reconciler/live.json", "", "x\0")  # fmt: skip
    forgeries = [
        *((manifest, good, forged) for forged in (
            *DAMAGED,
            *({**good, "links": {path: "x"}} for path in paths),
            *({**good, "links": {"lib/x": to}} for to in ("../../out/file", "../..", "", "/etc")),
            {**good, "version": "not a version"}, {**good, "version": 5},
            {**good, "name": "../numpy"}, {**good, "number": 7}, {**good, "number": -1},
            *({**good, "copy": id_} for id_ in ("../../../../out", "0" * 32, "", "x" * 32)),
            {**good, "seen": [[1, 2]]}, {**good, "seen": 5},
        )),
        *((copy, described, forged) for forged in (
            *DAMAGED,
            *({**described, "files": [[path, *first[1:]]]} for path in paths),
            *({**described, "files": [[first[0], sha, *first[2:]]]} for sha in ("", "../../x")),
            {**described, "name": "../numpy"}, {**described, "id": "0" * 32},
            {**described, "version": "not a version"}, {**described, "files": [[1, 2]]},
            {**described, "links": {"lib/x": "/etc"}},
        )),
    ]  # fmt: skip
    module = site_packages(venv) / "torch" / "version.py"
    text = module.read_text()
    for file, before, forged in forgeries:
        file.unlink()
        file.write_bytes(as_bytes(forged))
        module.unlink()
        module.write_text(text + "# edited\n")
        found = run(environment, lambda running: restore(running, "torch"))
        expected = (Reason.NO_COPY, Reason.VAULT_DAMAGED, Result.CHANGED)
        refused = contents(outside) == kept and found in expected
        attacks.tried(f"{file.name} {str(forged)[:120]}", refused=refused, found=found)
        file.write_text(json.dumps(before))
    assert run(environment, lambda running: restore(running, "torch")) == Result.CHANGED
    assert module.read_text() == text


def test_nothing_goes_live_whose_interpreter_does_not_start(
    attacks: Attacks, project, venv, index, tmp_path, way
):
    stop = {"stop.pth": "import os; os._exit(7)\n", "late.py": ""}
    index.add(make_wheel(tmp_path, "late", "1.0", files=stop), make_wheel(tmp_path, "fine", "1.0"))
    environment = watched(project, way)
    project.write(["fine"])
    reconcile(environment)
    project.write(["fine", "late"])
    found = run(environment, lambda running: reconciling(running, audit=True))
    refused = found == Reason.VERIFY_FAILED and snapshot(venv) == {"fine": "1.0"}
    attacks.tried("an interpreter that ends at once", refused=refused, found=found)
    assert run_python(venv, "print('started')") == "started"


def test_names_that_packages_have_are_not_reserved():
    for path in ("bin/python-argcomplete-check", "bin/pythonista", "bin/pypyr", "bin/activated",
                 "lib/python3.11/site-packages/x", "lib/python3/dist-packages/x", "lib/x.so",
                 "lib/pythonic/x", "share/bin", "include/x.h", ".reconcilers/x",
                 "lib/python3.11/site-packages/pyvenv.cfg"):  # fmt: skip
        assert not is_reserved(path), path
    for path in ("", ".", "..", "../x", "/x", "a//b", "a/./b", "a/../b", "a/", "./a", "x\0"):
        assert not is_plain(path), path
    for path in ("a", "a/b", "..a", "a/..b", "a b/ü"):
        assert is_plain(path), path
