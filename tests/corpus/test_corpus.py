"""Projects in the shapes that people have, each run end to end with bare uv beside it.

For each: what it declares, what is wrong before the pass, what `plan` says, how the pass ends,
that uv sees something to do before it and nothing after it, and that the environment is the one
that uv makes, file by file. A project is a folder below `projects`; `case.py` says what is in it.
"""

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.passes import reconcile as passes
from reconciler.passes.outcome import Outcome
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.state.declared import Declared
from reconciler.status import ExpectedEnd
from tests.corpus.bare import Uv
from tests.corpus.case import EXPECTED, PROJECTS, Case, names_on, set_up, shelves
from tests.corpus.stock import Stock, open_stock
from tests.support.environments import site_packages, snapshot
from tests.support.passes import Follower, reconcile
from tests.support.thorough import only

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    with open_stock(tmp_path_factory.mktemp("stock")) as opened:
        yield opened


def test_every_row_of_the_table_of_projects_names_its_tests() -> None:
    page = (ROOT / "docs" / "projects.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "| Test |" not in line]
    assert len(rows) > 15
    wrong = []
    for row in rows:
        form, _, tests = (cell.strip() for cell in row.strip("|").rsplit("|", 2))
        named = re.findall(r"`([^`]+)`", tests)
        wrong += [f"{form}: {test}" for test in named or ["none"] if not exists(test)]
    assert wrong == []


def exists(test: str) -> bool:
    """Whether there is this test, or this project of the corpus."""
    file, _, function = test.partition("::")
    if not function:
        return (PROJECTS / file / EXPECTED).is_file()
    path = ROOT / file
    return path.is_file() and f"def {function}(" in path.read_text()


def test_there_are_at_least_ninety_projects() -> None:
    assert sum(len(names_on(shelf)) for shelf in shelves()) >= 90


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=only)])
@pytest.mark.parametrize("shelf", shelves())
def test_real_projects_reconcile_as_uv_understands_them(
    shelf: str, first: int, stock: Stock, tmp_path: Path
) -> None:
    """Every other project, beginning with this one."""
    wrong = [
        f"{name}: {line}"
        for name in names_on(shelf)[first::2]
        for line in offences(set_up(name, tmp_path, stock))
    ]

    assert wrong == [], "\n" + "\n".join(wrong)


def offences(case: Case) -> list[str]:
    """What is not as expected, one line each."""
    beside, found = Beside(case), []
    try:
        for look in (beside.before, beside.ours, beside.after):
            found.extend(look())
    except ExpectedEnd as error:
        found.append(f"the pass ended with {type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - the other projects are looked at as well
        found.append(f"{type(error).__name__}: {error}")
    return [" ".join(line.split()) for line in found]


class Beside:
    """We and uv, on one project."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.expected = case.expected
        self.uv = Uv(case)
        self.environment = case.environment()
        self.uvs_tree: dict[str, str] = {}

    def before(self) -> Iterator[str]:
        """uv looks and installs; then the environment is again as it was."""
        answer = self.uv.look()
        something_left = not self.expected.bare.sees_nothing and self.expected.result != "unchanged"
        if answer.finds_nothing is something_left:
            yield f"before the pass uv finds {answer.changes or 'nothing'} {answer.said}"
        aside = self.case.venv.with_name(".venv-before")
        shutil.copytree(self.case.venv, aside, symlinks=True)
        answer = self.uv.install()
        if answer.code != 0:
            yield f"uv cannot install it: {answer.said}"
        self.uvs_tree = tree(self.case.venv)
        shutil.rmtree(self.case.venv)
        aside.rename(self.case.venv)

    def ours(self) -> Iterator[str]:
        """We look, plan and reconcile."""
        look = self.environment.look(audit_files=True)
        if look.problem is not None:
            yield f"problem: {look.problem}"
        desired = look.desired.requirements if look.desired else ()
        yield from different(
            "desired", sorted(map(self._shown, desired)), sorted(self.expected.desired)
        )
        verdict = {row.name: row.status.value for row in look.drift.rows if not row.ok}
        yield from different("verdict", verdict, self.expected.verdict)
        planned = passes.plan(Pass(self.environment, Cancellation(), Follower()))
        outcome = reconcile(self.environment)
        yield from self._of_outcome(planned, outcome)

    def _of_outcome(self, planned: Outcome, outcome: Outcome) -> Iterator[str]:
        expected = self.expected
        yield from different("result", outcome.result.value, expected.result)
        yield from different("installed", snapshot(self.case.venv), expected.installed)
        failed = {failure.name: failure.reason.value for failure in outcome.failed}
        details = [failure.message for failure in outcome.failed if failed != expected.failed]
        yield from different("failed", failed, expected.failed, *details)
        foreseen = {f.name: f.reason.value for f in planned.failed}
        unforeseen = set(expected.unforeseen)
        yield from different(
            "failures that plan shows", foreseen,
            {n: why for n, why in expected.failed.items() if n not in unforeseen},
        )  # fmt: skip
        if not unforeseen:
            yield from different("what plan shows", planned.plan, outcome.changes)

    def after(self) -> Iterator[str]:
        """Both agree that nothing is left, and the tree is uv's."""
        look = self.environment.look(audit_files=True)
        left = [row.name for row in look.drift.drifted if row.name not in self.expected.failed]
        yield from different("drift after the pass", left, [])
        answer = self.uv.look()
        if not answer.finds_nothing:
            yield f"after the pass uv finds {answer.changes or answer.said}"
        mine = tree(self.case.venv)
        paths = sorted(mine.keys() | self.uvs_tree)
        unlike = [path for path in paths if mine.get(path) != self.uvs_tree.get(path)]
        yield from different("files that are not uv's", unlike[:8], [])

    def _shown(self, declared: Declared) -> str:
        source = declared.source
        if source is None or declared.requirement.url:
            return self._relative(declared.text)
        place = self._relative(source.url or f"index {source.table.get('index')}")
        revision = f"@{source.revision}" if source.revision else ""
        folder = f"#{source.subdirectory}" if source.subdirectory else ""
        editable = " (editable)" if source.is_editable else ""
        return f"{declared.text} <- {place}{revision}{folder}{editable}"

    def _relative(self, text: str) -> str:
        """A place without variables and detours, from the project's folder."""
        variables = {**self.case.environ, "PROJECT_ROOT": str(self.case.file.parent)}
        text = re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], text)
        text = re.sub(
            r"file://(?:localhost)?(/\S*)", lambda found: os.path.normpath(found[1]), text
        )
        return text.replace(str(self.case.root), ".")


def different(what: str, found: object, wanted: object, *details: str) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: {found!r}, expected {wanted!r} {' '.join(details)}".rstrip()


def tree(venv: Path) -> dict[str, str]:
    """Each file of site-packages and bin to its content, bytecode and uv's timestamps apart."""
    site = site_packages(venv)
    files = [*site.rglob("*"), *(venv / "bin").iterdir(), *(venv / "share").rglob("*")]
    return {
        str(path.relative_to(venv)): content(path)
        for path in files
        if path.is_file() and path.suffix != ".pyc"
    }


def content(path: Path) -> str:
    if path.name == "RECORD":
        with path.open(newline="") as stream:
            rows = {
                (name, "" if name.endswith("uv_cache.json") else digest)
                for name, digest, _ in csv.reader(stream)
                if not name.endswith(".pyc")
            }
        return repr(sorted(rows))
    if path.name == "uv_cache.json":
        return repr(sorted(json.loads(path.read_bytes())))
    return hashlib.sha256(path.read_bytes()).hexdigest()
