"""Takes the superuser's powers away in a child, so that other users' files are out of reach.

The child keeps its user, and with that the interpreter and the checkout that it needs.
"""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]

_WITHOUT_POWERS = """\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in range(64):
    if libc.prctl(23, capability, 0, 0, 0) == 1:  # PR_CAPBSET_READ
        if libc.prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            sys.exit(77)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
if libc.capset(ctypes.byref(header), (ctypes.c_uint32 * 6)()) != 0:
    sys.exit(77)
os.geteuid = lambda: 65533  # an ordinary user; root would refuse what belongs to others
"""


def run_without_powers(code: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run code as a user who owns only what root owns; its exit status is 77 if it cannot be."""
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_POWERS + code, *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=_ROOT, timeout=120,
    )  # fmt: skip


def give_away(folder: Path, *, files: bool = True, folders: bool = False) -> None:
    """Make nobody the owner of what is below a folder; links are left alone."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() and (folders if path.is_dir() else files):
            os.chown(path, 65534, 65534)
