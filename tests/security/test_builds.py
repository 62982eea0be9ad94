"""A build backend is others' code that runs as the service's user: it cannot change what is live."""

import ctypes
import json
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.config import Build
from reconciler.confinement import Confinement, is_possible
from reconciler.processes import Program, run
from tests.holds import conftest as holds
from tests.holds.stand import BESIDE, Stand, failed_names
from tests.holds.test_vault import keep
from tests.support.attacks import Attacks
from tests.support.environments import install, site_packages
from tests.support.index import PackageIndex
from tests.support.privileges import run_without_powers
from tests.support.wheels import make_sdist, make_wheel, unpack

stand, universe, stack, leftover = holds.stand, holds.universe, holds.stack, holds.leftover

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


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_way_leads_around_it(
    user: str, tmp_path: Path, attacks: Attacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the owner of the files; elsewhere it may write as before."""
    kept, out = tmp_path / "kept", tmp_path / "out"
    owner = pwd.getpwnam(user)
    for folder in (kept, out):
        folder.mkdir()
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    file = kept / "file"
    file.write_text("as it was")
    os.chown(file, owner.pw_uid, owner.pw_gid)
    before = file.stat()
    monkeypatch.chdir(kept)
    places = {"F": file, "KEPT": kept, "OUT": out, "SERVICE": os.getpid()}
    environ = {"PATH": os.environ["PATH"], **{name: str(p) for name, p in places.items()}}
    program = Program(
        ["/bin/sh", "-c", ""], environ=environ, folder=out, user=None if user == "root" else owner,
        confined=_OfAnotherUser((kept,)),
    )  # fmt: skip
    for way, command in WAYS.items():
        script = f"touch $OUT/reached || exit 1; {command}"
        run(replace(program, words=["/bin/sh", "-c", script]), limit=60)

        assert (out / "reached").exists(), f"{way}: it could not write elsewhere"
        (out / "reached").unlink()
        now = file.stat() if file.exists() else None
        same = now is not None and (now.st_ino, now.st_mtime_ns, now.st_mode, now.st_ctime_ns) == (
            before.st_ino, before.st_mtime_ns, before.st_mode, before.st_ctime_ns
        )  # fmt: skip
        untouched = same and file.read_text() == "as it was" and os.listdir(kept) == ["file"]
        attacks.tried(way, refused=untouched, found=now)
