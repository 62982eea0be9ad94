"""Symbolic links that lead out of the environment, or out of our folder: nothing follows them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.endings import trouble_of
from reconciler.passes.reconcile import create
from reconciler.passes.reconcile import reconcile as reconciling
from reconciler.passes.recovery import recover
from reconciler.passes.restore import restore
from reconciler.passes.rollback import roll_back
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Reason, Result
from reconciler.vault.store import Store
from tests.support.attacks import Attacks
from tests.support.environments import (
    install,
    make_venv,
    run_python,
    site_packages,
    snapshot,
    tree_fingerprint,
)
from tests.support.passes import Follower, environment_for, locked, reconcile
from tests.support.projects import Project
from tests.support.wheels import make_wheel

WAYS = {"staged": None, "in place": "the test says so"}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file below a folder: its inode and its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.read_bytes()) for p in files}


def moved_out(path: Path, outside: Path) -> Path:
    """Copy a folder to a checkout outside, edited, and leave a link to it."""
    shutil.copytree(path, outside)
    (outside / "__init__.py").write_text("# the work of a week\n")
    shutil.rmtree(path)
    path.symlink_to(outside)
    return outside


def ended(work: Callable[[], object]) -> str:
    """The reason with which a pass ended, or its result."""
    try:
        return str(getattr(work(), "result", "done"))
    except Exception as error:  # noqa: BLE001 -- as the runner does
        return trouble_of(error).reason


def run(environment: Environment, work: Callable[[Pass], object]) -> str:
    """One pass as the runner does it, with what a start recovers."""

    def attempt() -> object:
        environment.workspace.create()
        with environment.workspace.pass_lock(Cancellation(), 5.0) as lock:
            recover(environment)
            return work(Pass(environment, Cancellation(), Follower(), lock=lock))

    return ended(attempt)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str | None:
    return WAYS[request.param]


def watched(project: Project, way: str | None, **settings: object) -> Environment:
    environment = environment_for(project, **settings)
    environment.in_place = way
    return environment


def test_a_restore_replaces_the_link_and_leaves_the_checkout(
    attacks: Attacks, project, venv, gpu_wheels, tmp_path, way
):
    install(venv, *gpu_wheels)
    project.write([])
    environment = watched(project, way)
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(audit_files=True), lock, compare=True)
    before = tree_fingerprint(venv, "torch")
    site = site_packages(venv)
    for place in ("torch", "torch/include/ATen", "torch-2.3.1+rocm5.7.dist-info"):
        outside = moved_out(site / place, tmp_path / "checkout" / place.replace("/", "-"))
        kept = contents(outside)
        found = run(environment, lambda running: restore(running, "torch"))
        attacks.tried(f"restore through a link at {place}", found=found,
                      refused=found == Result.CHANGED and contents(outside) == kept)  # fmt: skip
        attacks.tried(f"the restored {place} is the link", refused=not (site / place).is_symlink())
        attacks.tried(f"another torch after {place}",
                      refused=tree_fingerprint(venv, "torch") == before)  # fmt: skip


def test_the_vault_shares_no_file_with_a_checkout(
    attacks: Attacks, project, venv, gpu_wheels, tmp_path, way
):
    install(venv, *gpu_wheels)
    project.write([])
    torch = site_packages(venv) / "torch"
    outside = tmp_path / "checkout"
    shutil.copytree(torch, outside)
    shutil.rmtree(torch)
    torch.symlink_to(outside)
    environment = watched(project, way)
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(audit_files=True), lock, compare=True)
    kept = contents(outside)
    found = run(environment, lambda running: restore(running, "torch"))
    shared = [path for path in outside.rglob("*.py") if path.stat().st_nlink > 1]
    refused = found == Result.CHANGED and not shared and contents(outside) == kept
    attacks.tried("hard links into a checkout", refused=refused, found=[found, *shared[:1]])
    assert not torch.is_symlink()


def test_a_new_environment_is_not_written_through_a_link(attacks: Attacks, project, tmp_path):
    project.write([])
    environment = environment_for(project)
    outside = tmp_path / "file"
    for name in (".gitignore", "CACHEDIR.TAG", ".lock", ".reconciler", "lib", "pyvenv.cfg"):
        outside.write_text("mine")
        project.venv.mkdir()
        (project.venv / name).symlink_to(outside)
        found = ended(lambda: create(Pass(environment, Cancellation(), Follower())))
        refused = found == Reason.INTERPRETER_UNUSABLE and outside.read_text() == "mine"
        attacks.tried(f"a link at {name}", refused=refused, found=found)
        shutil.rmtree(project.venv)


def test_no_wheel_writes_through_a_link(
    attacks: Attacks, project, venv, gpu_wheels, index, tmp_path, way
):
    deep = make_wheel(tmp_path, "deep", "1.0", files={"deep/inside/__init__.py": ""})
    install(venv, *gpu_wheels, deep, make_wheel(tmp_path, "thing", "1.0"))
    site = site_packages(venv)
    (venv / "share").mkdir()
    links = {
        "plugin": (site / "torch", "torch/plugin.py", {}),
        "inner": (site / "deep/inside", "deep/inside/inner.h", {}),
        "guest": (site / "thing", "thing/guest.py", {}),
        "mine": (site / "checkout_of_mine", "checkout_of_mine/more.py", {}),
        "alias": (site / "alias_of_torch", "alias_of_torch/version.py", {}),
        "shared": (venv / "share/doc", "", {"share/doc/x": "1"}),
        "top": (venv / "etc", "", {"etc/x": "1"}),
        "device": (site / "device", "device", {}),
    }
    for name, (_, file, data) in links.items():
        files = {f"{name}_x.py": "", **({file: "evil\n"} if file else {})}
        index.add(make_wheel(tmp_path / "wheels", name, "1.0", files=files, data=data))
    index.add(make_wheel(tmp_path / "wheels", "fine", "1.0"))
    outside = {}
    for name, (place, _, _) in reversed(links.items()):
        folder = tmp_path / "out" / name
        if place.is_dir():
            outside[name] = moved_out(place, folder)
        else:
            folder.mkdir(parents=True)
            (folder / "x").write_text("mine\n")
            outside[name] = folder
            place.symlink_to(folder)
    (site / "alias_of_torch").unlink()
    (site / "alias_of_torch").symlink_to("torch")
    kept = {name: contents(folder) for name, folder in outside.items()}
    project.write([*links, "fine"])
    outcome = reconcile(watched(project, way))
    reasons = {failure.name: failure for failure in outcome.failed}
    for name, (place, _, _) in links.items():
        failure = reasons.get(name)
        untouched = contents(outside[name]) == kept[name] and place.is_symlink()
        attacks.tried(f"a wheel through {place.name}", found=failure, refused=untouched)
        told = failure is not None and failure.reason == Reason.LEADS_OUT
        attacks.tried(f"{name}, without a reason", found=failure,
                      refused=told and place.name in failure.message)  # fmt: skip
    assert snapshot(venv)["fine"] == "1.0"


def test_what_leaves_or_is_replaced_stays_outside(
    attacks: Attacks, project, venv, index, tmp_path, way
):
    for version in ("1.0", "2.0"):
        index.add(make_wheel(tmp_path / version, "thing", version),
                  make_wheel(tmp_path / version, "other", version),
                  make_wheel(tmp_path / version, "third", version))  # fmt: skip
    project.write(["thing==1.0", "other==1.0", "third==1.0"])
    environment = watched(project, way, prune=True)
    reconcile(environment)
    site = site_packages(venv)
    run_python(venv, f"import compileall; compileall.compile_dir({str(site)!r})")
    outside = {
        "a package's folder": moved_out(site / "thing", tmp_path / "out" / "thing"),
        "its bytecode": moved_out(site / "other/__pycache__", tmp_path / "out" / "compiled"),
        "its metadata": moved_out(site / "third-1.0.dist-info", tmp_path / "out" / "info"),
    }
    kept = {what: contents(folder) for what, folder in outside.items()}
    project.write(["thing==2.0", "other==2.0", "third==2.0"])
    found = run(environment, lambda running: reconciling(running, audit=True))
    for what, folder in outside.items():
        attacks.tried(f"an upgrade through {what}", found=found,
                      refused=contents(folder) == kept[what])  # fmt: skip
    assert found == Result.CHANGED
    assert snapshot(venv) == {"thing": "2.0", "other": "2.0", "third": "2.0"}
    assert not (site / "thing").is_symlink()
    moved_out(site / "thing", tmp_path / "again")
    kept_again = contents(tmp_path / "again")
    project.write(["other==2.0", "third==2.0"])
    found = run(environment, lambda running: reconciling(running, audit=True))
    attacks.tried("an uninstallation through a folder", found=found,
                  refused=contents(tmp_path / "again") == kept_again)  # fmt: skip
    assert "thing" not in snapshot(venv)


def test_an_undone_change_in_place_follows_no_link(
    attacks: Attacks, project, venv, index, tmp_path
):
    for version in ("1.0", "2.0"):
        index.add(make_wheel(tmp_path / version, "thing", version))
    project.write(["thing==1.0"])
    reconcile(environment_for(project))
    site = site_packages(venv)
    outside = moved_out(site / "thing", tmp_path / "out")
    kept = contents(outside)
    project.write(["thing==2.0"])
    environment = watched(project, "the test says so", verify=(("python", "-c", "1/0"),))
    found = run(environment, lambda running: reconciling(running, audit=True))
    attacks.tried("undone after a failed `verify`", found=found,
                  refused=contents(outside) == kept and (site / "thing").is_symlink())  # fmt: skip
    assert found == Reason.VERIFY_FAILED
    # A crash left old files aside; their folder is a link by now.
    (site / "thing").unlink()
    workspace = environment.workspace
    old = workspace.root / "aside" / site.relative_to(venv) / "thing"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text("old\n")
    workspace.in_place.write_text(
        '{"aside": "aside", "new": ["%s/thing/x"], "copied": ["%s/thing/__init__.py"], '
        '"folders": []}' % ((site.relative_to(venv),) * 2)
    )
    (outside / "x").write_text("mine")
    (site / "thing").symlink_to(outside)
    kept = contents(outside)
    found = run(environment, lambda _: None)
    attacks.tried("recovered through a link", found=found, refused=contents(outside) == kept)
    assert (site / "thing" / "__init__.py").read_text() == "old\n"


def test_our_own_folder_is_no_way_out(attacks: Attacks, project, venv, index, tmp_path, gpu_wheels):
    install(venv, *gpu_wheels)
    index.add(make_wheel(tmp_path, "thing", "1.0"), make_wheel(tmp_path, "thing", "2.0"))
    project.write(["thing==1.0"])
    environment = environment_for(project)
    reconcile(environment)
    workspace = environment.workspace
    (tmp_path / "out" / "1").mkdir(parents=True)
    (tmp_path / "out" / "file").write_text("mine")
    (tmp_path / "out" / "1" / "keep").write_text("mine")
    kept = contents(tmp_path / "out")
    vault, known = "../../.reconciler-vault", workspace.prefix
    store = Store(known.parent / ".reconciler-vault")
    record = store.environment(known).relative_to(store.root)
    for name in ("stage-x", "work-x", "aside", "generations", "vault", vault, f"{vault}/packages",
                 f"{vault}/packages/torch", f"{vault}/packages/torch/files", f"{vault}/lock",
                 f"{vault}/packages/torch/copies", f"{vault}/packages/torch/unfinished",
                 f"{vault}/environments", f"{vault}/{record}", f"{vault}/{record}/torch",
                 "generations/1", "live.json", "live.json.new", "intent.json.new",
                 "in-place.json.new", "pass.lock", "../.lock", ".", "generations/2"):  # fmt: skip
        path = workspace.root / name
        if name == ".":
            path = workspace.root
        before = path.with_name("before")
        if os.path.lexists(path):
            path.rename(before)
        path.parent.mkdir(exist_ok=True)
        is_file = path.suffix in (".json", ".new", ".lock") or path.name == ".lock"
        path.symlink_to(tmp_path / "out" / ("file" if is_file else ""))
        numbers = ("1.0", "2.0") if snapshot(venv).get("thing") == "1.0" else ("2.0", "1.0")
        project.write([f"thing=={numbers[1]}"])

        def work(running: Pass) -> object:
            outcome = reconciling(running, audit=True)
            HoldMonitor(environment).keep(
                environment.look(audit_files=True), running.lock, compare=True
            )
            return outcome

        found = [run(environment, work), run(environment, lambda running: roll_back(running, 1))]
        attacks.tried(f"a link at {name}", found=found,
                      refused=contents(tmp_path / "out") == kept)  # fmt: skip
        attacks.tried(f"a defect by a link at {name}", found=found,
                      refused=Reason.UNEXPECTED not in found)  # fmt: skip
        path.unlink(missing_ok=True) if path.is_symlink() else None
        if os.path.lexists(before) and not os.path.lexists(path):
            before.rename(path)
        elif before.is_dir():
            shutil.rmtree(before)
        else:
            before.unlink(missing_ok=True)


@pytest.mark.parametrize("below", ["lib", "lib/python3", "site-packages"])
def test_packages_in_another_place_are_named_and_not_changed(
    attacks: Attacks, project, index, tmp_path, below
):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    project.write(["thing"])
    for way_name, way in WAYS.items():
        venv = make_venv(project.venv)
        site = site_packages(venv)
        link = {"lib": venv / "lib", "lib/python3": site.parent, "site-packages": site}[below]
        outside = tmp_path / "out"
        link.rename(outside)
        link.symlink_to(outside)
        kept = contents(outside)
        environment = watched(project, way)
        found = [run(environment, lambda running: reconciling(running, audit=True)),
                 run(environment, lambda running: roll_back(running, 1))]  # fmt: skip
        attacks.tried(f"{below}, {way_name}", found=found,
                      refused=contents(outside) == kept and found[0] == Reason.LEADS_OUT
                      and Reason.UNEXPECTED not in found)  # fmt: skip
        shutil.rmtree(venv)
        shutil.rmtree(outside)


def test_links_that_every_environment_has_are_followed(project, index, tmp_path, way):
    venv = make_venv(project.venv)
    assert (venv / "lib64").is_symlink()
    assert (venv / "bin/python").is_symlink()
    index.add(make_wheel(tmp_path, "thing", "1.0", data={"lib64/thing.so": "1"}))
    project.write(["thing"])
    outcome = reconcile(watched(project, way))
    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert (venv / "lib/thing.so").read_text() == "1"
    assert (venv / "lib64").is_symlink()


def test_rewriting_a_script_writes_no_file_of_the_cache(attacks: Attacks, project, index, tmp_path):
    make_venv(project.venv, None, "--relocatable")
    index.add(make_wheel(tmp_path, "thing", "1.0", scripts={"say": "thing:main"},
                         raw_scripts={"say.rewritten": "mine\n"}))  # fmt: skip
    project.write(["thing"])
    reconcile(environment_for(project))
    cached = [p for p in Path(os.environ["UV_CACHE_DIR"]).rglob("say.rewritten") if p.is_file()]
    assert cached
    for path in cached:
        attacks.tried("a file of uv's cache", refused=path.read_text() == "mine\n")
    attacks.tried("the package's own file",
                  refused=(project.venv / "bin/say.rewritten").read_text() == "mine\n")  # fmt: skip
