"""Output without a bound: a build, a program or a file that prints megabytes costs little."""

import resource
import sys
from pathlib import Path

import msgspec
import pytest

from reconciler.excerpts import LINE, MESSAGE, OUTPUT, Excerpt, shortened
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import PAGE_BYTES, Journal, iso
from reconciler.log.journald import journal_fields
from reconciler.log.levels import LogFormat
from reconciler.log.logger import configure, get_logger
from reconciler.log.redact import redact
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner, Recorded
from reconciler.processes import Cancellation, Program, run
from reconciler.status import Change, Failure, PassDetail, Problem, Reason, Result
from tests.support.attacks import Attacks
from tests.support.passes import Follower, environment_for
from tests.support.projects import Project
from tests.support.thorough import only
from tests.support.wheels import make_sdist, unpack

ENVIRONMENT = "/srv/studio/.venv"


class Listening(Follower):
    """Counts what everyone who follows the pass is sent."""

    characters = 0

    def line(self, text: str) -> None:
        self.characters += len(text)


class Written:
    """Counts the bytes of all records as the journal stores them."""

    def __init__(self) -> None:
        self.size = 0
        self.longest = 0

    def __call__(self, record) -> None:
        size = sum(len(name) + len(value) for name, value in journal_fields(record))
        self.size += size
        self.longest = max(self.longest, size)


@pytest.fixture
def written():
    counter = Written()
    configure(LogFormat.JSON, sink=counter)
    yield counter
    configure()


def noisy(folder: Path, name: str, printing: str) -> str:
    """A requirement whose build prints much and then fails."""
    source = unpack(make_sdist(folder / "sdists", name, "1.0", fails=True))
    backend = source / "backend.py"
    start = "def build_wheel("
    before, _, after = backend.read_text().partition(start)
    arguments, _, body = after.partition("\n")
    backend.write_text(f"import sys\n{before}{start}{arguments}\n    {printing}\n{body}")
    return f"{name} @ {source.as_uri()}"


def one_pass(project: Project, folder: Path, follower: Follower) -> tuple[Recorded, Path]:
    environment = environment_for(project)
    path = folder / "journal.sqlite3"
    journal = Journal(path)
    try:
        runner = PassRunner(environment, journal, HoldMonitor(environment))
        recorded = runner.run(
            lambda running: reconcile(running, audit=True), trigger="manual", pass_id=None,
            cancel=Cancellation(), listener=follower,
        )  # fmt: skip
    finally:
        journal.close()
    return recorded, path


@pytest.mark.parametrize("megabytes", [12, pytest.param(60, marks=only)])
def test_a_build_that_prints_many_megabytes(
    megabytes: int,
    project: Project,
    venv: Path,
    tmp_path: Path,
    written: Written,
    attacks: Attacks,
) -> None:
    lines = megabytes * 1_000_000 // 60
    project.write(
        [
            noisy(tmp_path, "lines", f"sys.stderr.write(('x' * 59 + chr(10)) * {lines})"),
            noisy(tmp_path, "endless", "sys.stdout.write('y' * 3_000_000)"),
        ]
    )
    follower = Listening()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    recorded, path = one_pass(project, tmp_path, follower)

    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    stored = sum(file.stat().st_size for file in tmp_path.glob(f"{path.name}*"))
    detail = recorded.detail
    failed = {failure.name: failure for failure in detail.failed}
    attacks.tried("memory", refused=grown < 60, found=f"{grown} MiB")
    attacks.tried("the log", refused=written.size < 100_000, found=written.size)
    attacks.tried("the history", refused=stored < 1_000_000, found=stored)
    attacks.tried("the pass", refused=len(msgspec.json.encode(detail)) < 150_000)
    attacks.tried("the followers", refused=follower.characters < 20 * OUTPUT)
    for name in ("lines", "endless"):
        said = failed[name].message if name in failed else str(detail.message)
        attacks.tried(f"the message of {name}", refused=len(said) <= MESSAGE, found=len(said))
        attacks.tried(
            f"the blame of {name}",
            refused=f"Failed to build `{name} @" in said and "RuntimeError" in said,
            found=said[:300],
        )
    assert "Failed to build" in detail.log
    assert "left out" in detail.log


def test_a_program_that_never_ends_a_line(attacks: Attacks) -> None:
    for name, code in {
        "one line": "sys.stderr.write('x' * 8_000_000)",
        "many lines": "sys.stderr.write('x\\n' * 4_000_000)",
        "empty lines": "sys.stderr.write('\\n' * 8_000_000)",
        "both": "sys.stderr.write('x' * 9_000_000 + '\\n' + 'y' * 9_000_000)",
    }.items():
        lines: list[str] = []
        ended = run(
            Program([sys.executable, "-c", f"import sys; {code}"]), limit=60, on_line=lines.append
        )
        attacks.tried(f"{name}: a line", refused=max(map(len, lines)) <= MESSAGE)
        attacks.tried(f"{name}: lines", refused=len(lines) <= 3 * OUTPUT, found=len(lines))
        kept = max(len(ended.out), len(ended.err))
        attacks.tried(f"{name}: output", refused=kept < OUTPUT + 100, found=kept)


def test_a_secret_is_not_cut_in_half(attacks: Attacks) -> None:
    """What is left of an address would not be recognised as one."""
    address = "https://alice:correct-horse-battery@example.org/simple"
    for before in range(len(address)):
        for name, start in (("head", 1000 - before), ("tail", 10_000 - 3000 - before)):
            text = (" word" * 2000)[: start - 1] + " " + address
            text += (" word" * 2000)[: 10_000 - len(text)]
            kept = Excerpt(4000)
            kept.add(text)
            for shown in (kept.text, shortened(text, 4000)):
                found = redact(shown)
                attacks.tried(f"{before} in the {name}", refused="horse" not in found, found=found)


def test_messages_and_quoted_lines(written: Written, attacks: Attacks) -> None:
    much = "x " * 20_000
    problem = Problem(file="f", reason=much, fix=much, text=much)
    failure = Failure(name="a", requirement=much, reason=Reason.BUILD_FAILED, message=much)
    many = tuple(
        Failure(name=f"p{n}", requirement="p", reason=Reason.BUILD_FAILED, message=much[:4000])
        for n in range(4000)
    )
    detail = PassDetail(
        id=1, trigger="manual", result=Result.FAILED, started_at=iso(0.0), failed=many, message=much
    )
    get_logger("x").error("pass.failed", message=much, output=much, exception=much, packages=[much])
    get_logger("x").error("pass.failed", names=["name"] * 20_000, more={"a": [much] * 9})
    sizes = {
        "a reason": (len(problem.reason), MESSAGE),
        "a fix": (len(problem.fix), MESSAGE),
        "a quoted line": (len(problem.text or ""), LINE),
        "a failure": (len(msgspec.json.encode(failure)), 2 * MESSAGE + 200),
        "4,000 failures": (len(msgspec.json.encode(detail)), 1_500_000),
        "a message": (len(detail.message or ""), MESSAGE),
        "a record": (written.longest, 120_000),
    }
    for name, (size, most) in sizes.items():
        attacks.tried(name, refused=size <= most, found=size)


def test_a_page_of_the_history(tmp_path: Path, attacks: Attacks) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    changes = tuple(Change(name=f"package-{n}", action="install", to="1.0") for n in range(4000))
    for _ in range(30):
        number = journal.begin(ENVIRONMENT, "manual", 0.0)
        journal.finish(
            ENVIRONMENT,
            PassDetail(id=number, trigger="manual", result=Result.CHANGED,
                       started_at="2999-01-01T00:00:00Z", changes=changes, plan=changes),
        )  # fmt: skip
    seen: list[int] = []
    before = None
    while page := journal.history(ENVIRONMENT, 500, before):
        size = len(msgspec.json.encode(page))
        attacks.tried(f"before {before}", refused=size < 2 * PAGE_BYTES, found=size)
        seen += [row.id for row in page]
        before = seen[-1]
    journal.close()
    assert seen == list(range(30, 0, -1))
