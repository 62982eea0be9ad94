"""Exchanges a small tree and dies by SIGKILL just before its n-th change to the disk.

Run as a program; prints, as JSON, how each tree stood after the next start had put it in
order. A forked child does the dying, so that some hundred deaths take a second.
"""

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from reconciler.trees import exchange
from reconciler.trees.workspace import Workspace

OLD = {"lib/old.py": "old", "bin/tool": "old", "gone/old.txt": "old", "was.txt": "old"}
NEW = {"lib/new.py": "new", "bin/tool": "new", "fresh/new.txt": "new", "is.txt": "new"}
ROOTS = ["bin", "lib", "gone", "was.txt", "fresh", "is.txt", "nowhere"]


def build(prefix: Path) -> tuple[Workspace, Path]:
    """Make an environment and a stage of it."""
    workspace = Workspace(prefix)
    prefix.mkdir()
    workspace.create()
    stage = workspace.root / "stage-x"
    stage.mkdir()
    for folder, files in ((prefix, OLD), (stage, NEW)):
        for path, text in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
        (folder / "lib64").symlink_to("lib")
    workspace.live.write_text('{"number": 1}')
    return workspace, stage


def contents(folder: Path) -> dict[str, str]:
    """What stands below a folder, ours and links aside."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if ".reconciler" not in path.parts[len(folder.parts) :] and not path.is_symlink()
        and (path.is_file() or not any(path.iterdir()))
    }  # fmt: skip


def die_before(number: int, kind: str) -> None:
    """Arrange for the end; `kind` says how renameat2 answers."""
    left = number

    def dying(change: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return wrapped

    def rename_exchange(one: Path, other: Path) -> None:
        if kind != "native":
            raise OSError(getattr(errno, kind), kind, str(one))
        _rename_exchange(one, other)

    exchange.rename_exchange = dying(rename_exchange)
    for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
        setattr(os, name, dying(getattr(os, name)))
    os.fsync = dying(lambda _: None)


_rename_exchange = exchange.rename_exchange


def in_a_child(action: Callable[[], None]) -> bool:
    """Whether `action` came to its end, rather than dying."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFEXITED(os.waitpid(child, 0)[1])


def run_exchange(workspace: Workspace, stage: Path, number: int, kind: str) -> None:
    die_before(number, kind)
    live, old = {"number": 2}, {"number": 1}
    archive = workspace.generations / "1"
    exchange.exchange(workspace, stage, ROOTS, live=live, old=old, archive=archive)


def one_death(base: Path, first: int, second: int, kind: str) -> dict[str, object]:
    """Exchange until the `first` change, recover until the `second`, then put in order."""
    prefix = base / f"{first}-{second}"
    workspace, stage = build(prefix)
    ended = in_a_child(lambda: run_exchange(workspace, stage, first, kind))

    def recovering() -> None:
        die_before(second, kind)
        exchange.finish_interrupted(workspace)

    recovered = in_a_child(recovering) if second else True
    if kind != "native":
        exchange.rename_exchange = _unable(kind)
    said = exchange.finish_interrupted(workspace)
    again = exchange.finish_interrupted(workspace)
    workspace.clean_up()
    archive = workspace.generations / "1"
    report = {
        "ended": ended,
        "recovered": recovered,
        "said": said,
        "again": again,
        "live": contents(prefix),
        "archived": contents(archive) if archive.exists() else None,
        "number": json.loads(workspace.live.read_text())["number"],
        "left": sorted(p.name for p in workspace.root.iterdir()),
    }
    shutil.rmtree(prefix)
    return report


def _unable(kind: str) -> Callable[[Path, Path], None]:
    def rename_exchange(one: Path, other: Path) -> None:
        raise OSError(getattr(errno, kind), kind, str(one))

    return rename_exchange


def main(base: Path, kind: str, twice: bool) -> None:
    """Die at every step, and with `twice` at every step of the recovery as well."""
    reports = []
    first, ended = 0, False
    while not ended:
        first += 1
        second, recovered = 0, False
        while not recovered:
            second += 1 if twice else 0
            report = one_death(base, first, second, kind)
            reports.append(report)
            ended, recovered = bool(report["ended"]), bool(report["recovered"])
    print(json.dumps(reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "twice")
