"""What pytest does about missing programs: it installs them, or skips the tests that need them.

With CI=true nothing is skipped for that: the run ends before its first test.
"""

import os
from collections.abc import Generator, Iterable

import pytest
from xdist.workermanage import WorkerController

from tests.support.programs import Program, how_to_install, install, may_install, missing_for

_INSTALLED = pytest.StashKey[bool]()


def pytest_xdist_node_collection_finished(node: WorkerController, ids: list[str]) -> None:
    """Get the programs once a worker has collected; no worker has started a test yet."""
    _get_programs(node.config, ids)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get the programs where there are no workers."""
    is_worker = hasattr(session.config, "workerinput")
    if not (is_worker or session.config.option.collectonly):
        _get_programs(session.config, [item.nodeid for item in session.items])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing."""
    if missing := missing_for([item.nodeid]):
        pytest.skip(f"not installed: {_names(missing)}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """Close with what is missing and how to get it."""
    yield
    skipped = [report.nodeid for report in terminalreporter.stats.get("skipped", [])]
    if missing := missing_for(skipped):
        count = sum(bool(missing_for([test])) for test in skipped)
        terminalreporter.write_line(f"{count} tests skipped. {_advice(missing)}", yellow=True)


def _get_programs(config: pytest.Config, tests: list[str]) -> None:
    missing = missing_for(tests)
    if missing and may_install() and not config.stash.get(_INSTALLED, False):
        config.stash[_INSTALLED] = True
        reporter = config.pluginmanager.getplugin("terminalreporter")
        reporter.ensure_newline()
        install(missing, reporter.write_line)
        missing = missing_for(tests)
    if missing and os.environ.get("CI") == "true":
        raise pytest.UsageError(f"With CI=true no test is skipped for this. {_advice(missing)}")


def _advice(missing: Iterable[Program]) -> str:
    return f"Not installed: {_names(missing)}. Install: `{how_to_install(missing)}`"


def _names(programs: Iterable[Program]) -> str:
    return ", ".join(program.name for program in programs)
