"""A build backend is others' code with the service's permissions: it cannot change what is live."""

import ctypes
import errno
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec.structs import replace

from reconciler.config import Build
from reconciler.confinement import Confinement, Means
from reconciler.planning import kept as kept_from_builds
from reconciler.planning.resolver import project_for
from reconciler.processes import Program, run
from tests.holds import conftest as holds
from tests.holds.stand import Stand
from tests.holds.test_vault import keep
from tests.support.attacks import Attacks
from tests.support.environments import install, site_packages, tree_fingerprint
from tests.support.local_project import write_local_project
from tests.support.wheels import make_sdist, make_wheel, unpack

stand, universe, stack, leftover = holds.stand, holds.universe, holds.stack, holds.leftover

REFUSED = {errno.EROFS, errno.EACCES}
WAYS = {
    "written": "echo x > $F",
    "appended": "echo x >> $F",
    "cut off": "truncate -s 0 $F",
    "in place": "printf x | dd of=$F conv=notrunc",
    "replaced": "cp $F $OUT/new && mv $OUT/new $F",
    "renamed": "mv $F $F.old",
    "removed": "rm -f $F",
    "linked elsewhere": "ln $F $OUT/linked && echo x > $OUT/linked",
    "its folder renamed": "mv $KEPT $KEPT.old && echo x > $KEPT.old/file",
    "its folder swapped": "mkdir $OUT/other && mv $KEPT $OUT/gone",
    "a new file": "echo x > $KEPT/new",
    "another time": "touch -d 2001-01-01 $F",
    "another mode": "chmod 777 $F",
    "mounted again": "mount -o remount,rw,bind $KEPT && echo x > $F",
    "unmounted": "umount $KEPT && echo x > $F",
    "mounted elsewhere": "mkdir $OUT/m && mount --bind $KEPT $OUT/m && echo x > $OUT/m/file",
    "in another namespace": "unshare -Urm sh -c 'mount -o remount,rw,bind $KEPT; echo x > $F'",
    "unmounted in another": "unshare -Urm sh -c 'umount -l $KEPT; echo x > $F'",
    "through the first process": "echo x > /proc/1/root$F",
    "through its parent": "echo x > /proc/$PPID/root$F",
    "through the service": "echo x > /proc/$SERVICE/root$F",
    "through its folder": "echo x > /proc/$SERVICE/cwd/file",
    "in the namespace of the service": "nsenter -m -t $SERVICE sh -c 'echo x > $F'",
}


class _OfAnotherUser(Confinement):
    """A process that has changed its user does not own its entries in /proc (PR_SET_DUMPABLE)."""

    def enter(self) -> None:
        ctypes.CDLL(None).prctl(4, 1)
        super().enter()


OF_ATTRIBUTES = {"another time", "another mode"}
"""Landlock has no say in them; they change no byte."""
MEANS = (Means.MOUNTS, Means.LANDLOCK)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everyone can reach; those of pytest are private."""
    with TemporaryDirectory(prefix="reconciler-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_way_leads_around_it(
    user: str, means: Means, public: Path, attacks: Attacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the owner of the files; elsewhere it may write as before."""
    kept, out = public / "kept", public / "out"
    owner = pwd.getpwnam(user)
    for folder in (kept, out):
        folder.mkdir()
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    file = kept / "file"
    file.write_text("as it was")
    os.chown(file, owner.pw_uid, owner.pw_gid)
    before = file.stat()
    monkeypatch.chdir(kept)
    places = {"F": file, "KEPT": kept, "OUT": out, "SERVICE": os.getpid()}
    environ = {"PATH": os.environ["PATH"], **{name: str(p) for name, p in places.items()}}
    program = Program(
        ["/bin/sh", "-c", ""], environ=environ, folder=out, user=None if user == "root" else owner,
        confined=_OfAnotherUser((kept,), means),
    )  # fmt: skip
    for way, command in WAYS.items():
        if means is Means.LANDLOCK and way in OF_ATTRIBUTES:
            continue
        script = f"touch $OUT/reached || exit 1; {command}"
        run(replace(program, words=["/bin/sh", "-c", script]), limit=60)

        assert (out / "reached").exists(), f"{way}: it could not write elsewhere"
        (out / "reached").unlink()
        now = file.stat() if file.exists() else None
        same = now is not None and (now.st_ino, now.st_mtime_ns, now.st_mode, now.st_ctime_ns) == (
            before.st_ino, before.st_mtime_ns, before.st_mode, before.st_ctime_ns
        )  # fmt: skip
        untouched = same and file.read_text() == "as it was" and [*kept.iterdir()] == [file]
        attacks.tried(way, refused=untouched, found=now)


BEFORE_EACH = """

import functools, glob, json, os, subprocess, sys, tempfile, time

def _before(name, hook):
    @functools.wraps(hook)
    def both(*arguments, **named):
        do(name)
        return hook(*arguments, **named)
    return both

for _name in ("prepare_metadata_for_build_wheel", "build_wheel", "build_editable"):
    if _name in globals():
        globals()[_name] = _before(_name, globals()[_name])
"""
EDITS = """
def do(hook):
    for name, pattern in TARGETS.items():
        until = time.monotonic() + 30  # the stage is made while uv plans
        while not glob.glob(pattern) and time.monotonic() < until:
            time.sleep(0.01)
        for path in glob.glob(pattern):
            before, said = os.stat(path), "edited"
            try:
                with open(path, "r+b") as file:
                    file.write(b"#")
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            except OSError as error:
                said = error.errno
            with open(REPORT, "a") as report:
                report.write(json.dumps([hook, name, said]) + "\\n")
"""
WORKS = """
def do(hook):
    os.makedirs("build/lib", exist_ok=True)
    os.makedirs("around.egg-info", exist_ok=True)
    for path in ("build/lib/done", "around.egg-info/PKG-INFO", "native.c", "~made"):
        with open(path, "w") as file:
            file.write("int answer(void) { return 42; }")
    os.replace("~made", "made")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "build/native.so", "native.c"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        os.link("made", os.path.join(folder, "linked"))
"""


def _append(project: Path, code: str) -> None:
    with (project / "backend.py").open("a") as backend:
        backend.write(BEFORE_EACH + code)


@pytest.mark.parametrize("means", MEANS)
def test_a_build_reads_held_files_and_cannot_edit_them(
    means: Means,
    stand: Stand,
    tmp_path: Path,
    attacks: Attacks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By any path to the same file; and builds that write where they may still work.

    Landlock cannot close the files of uv's cache, which is where uv has to write, nor let a build
    make files beside the environment.
    """
    monkeypatch.setattr(kept_from_builds, "best_means", lambda: means)
    everywhere = means is Means.MOUNTS
    stand.project.write(["numpy<2", "packaging"])
    stand.reconcile()  # from now on there is an older tree as well
    stand.settings["hold"] = ("torch", "torchvision", "numpy", "data-of-its-own")
    data = make_wheel(tmp_path, "data-of-its-own", "1.0", data={"opt/of/its/own": "held"})
    install(stand.venv, data)
    assert keep(stand)["torch"].intact
    site = site_packages(stand.venv)
    inside, ours = site.relative_to(stand.venv), stand.venv / ".reconciler"
    init = "torch/__init__.py"
    cached = [
        str(path)
        for path in Path(os.environ["UV_CACHE_DIR"]).glob(f"archive-v*/*/{init}")
        if path.samefile(site / init)
    ]
    assert cached, "uv copies here, so its cache shares no file with the environment"
    targets = {
        "live": str(site / init),
        "data": str(stand.venv / "opt/of/its/own"),
        "configuration": str(stand.venv / "pyvenv.cfg"),
        "stage": f"{ours}/work-*/stage/{inside}/{init}",
        "vault": f"{stand.store}/packages/torch/files/*",
        "vault's record": f"{stand.store}/environments/*/torch/1.json",
        "generation": f"{ours}/generations/*/{inside}/{init}",
        "record": f"{ours}/live.json",
    }
    if everywhere:
        targets["cache"] = cached[0]
    report = tmp_path / "report"
    report.touch()
    evil = unpack(make_sdist(tmp_path, "evil", "1.0", static_metadata=False))
    _append(evil, f"TARGETS = {targets!r}\nREPORT = {str(report)!r}\n{EDITS}")
    copier = unpack(make_sdist(tmp_path, "copier", "1.0", build_requires=["numpy"]))
    own = "import numpy\ndef do(hook):\n    open(numpy.__file__, 'w').write('other')\n"
    _append(copier, own)
    place = stand.project.directory.parent if everywhere else tmp_path / "beside"
    around = write_local_project(place, "around")
    assert stand.venv.is_relative_to(around) is everywhere
    _append(around, WORKS)
    sources = {
        "evil": f'{{path = "{evil}"}}',
        "copier": f'{{path = "{copier}"}}',
        "around": f'{{path = "{around}", editable = true}}',
    }
    if not everywhere:
        del sources["copier"]
    tables = "".join(f"{name} = {source}\n" for name, source in sources.items())
    stand.project.write([*sources, "numpy<2"], extra=f"[tool.uv.sources]\n{tables}")
    before = {**stand.fingerprint(), "numpy": tree_fingerprint(stand.venv, "numpy")}

    assert stand.reconcile().failed == ()

    assert sources.keys() <= stand.packages().keys()
    assert (around / "build/native.so").exists()
    assert (around / "around.egg-info/PKG-INFO").exists()
    tried = {tuple(json.loads(line)) for line in report.read_text().splitlines()}
    for hook in ("prepare_metadata_for_build_wheel", "build_wheel"):
        for name in targets:
            found = {said for by, what, said in tried if (by, what) == (hook, name)}
            attacks.tried(f"{name}, in {hook}", refused=found and found <= REFUSED, found=found)
    after = {**stand.fingerprint(), "numpy": tree_fingerprint(stand.venv, "numpy")}
    attacks.tried("through the file of a build requirement", refused=after == before)
    assert keep(stand)["torch"].intact


def test_it_is_confined_in_the_best_way_that_lets_it_be_built(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Landlock refuses new files beside the environment; ssh refuses to work for strange users."""
    stand.project.write()
    around = {"around": f'{{path = "{stand.project.directory}"}}'}
    beside = {"beside": f'{{path = "{tmp_path / "beside"}"}}'}
    by_ssh = {"remote": '{git = "ssh://git@git.example/remote"}'}
    mounts, landlock = MEANS
    cases: list[tuple[Means, int, dict[str, str], Means | None]] = [
        (mounts, 0, around, mounts),
        (mounts, 1000, around, mounts),
        (mounts, 0, by_ssh, mounts),
        (mounts, 1000, by_ssh, landlock),
        (mounts, 1000, {**by_ssh, **around}, None),
        (landlock, 0, beside, landlock),
        (landlock, 0, around, None),
        (Means.NONE, 0, beside, None),
    ]
    found = []
    for best, user, sources, _ in cases:
        tables = "".join(f"{name} = {source}\n" for name, source in sources.items())
        stand.project.write([*sources], extra=f"[tool.uv.sources]\n{tables}")
        environment = stand.environment()
        snapshot = environment.look()
        with monkeypatch.context() as patch:
            patch.setattr(kept_from_builds, "best_means", lambda best=best: best)
            patch.setattr(os, "geteuid", lambda user=user: user)
            confined = project_for(environment, snapshot, tmp_path).confined
        found.append(confined and confined.means)
    assert found == [expected for *_, expected in cases]
    for build in (Build.NEVER, Build.UNCONFINED):
        stand.settings["build"] = build
        environment = stand.environment()
        assert project_for(environment, environment.look(), tmp_path).confined is None
