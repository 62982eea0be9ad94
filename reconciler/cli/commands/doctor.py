"""`reconciler doctor`: finds anything that could get in the way, and says how to fix it."""

import os
from collections.abc import Iterator

import click
import msgspec

from reconciler.cli.client import Client, Foreign, NotRunning, RefusedByService
from reconciler.cli.command import Command
from reconciler.cli.logs import configure_log
from reconciler.cli.options import Options
from reconciler.cli.targets import NothingHere, configuration, several
from reconciler.cli.terminal.output import BAD, DOUBT, GOOD, QUIET, Output
from reconciler.config import Config, ConfigRejected, for_nothing
from reconciler.doctor import Finding, Verdict, WhoAnswers, examine, problem
from reconciler.files.trust import Insecure

_MARKS = {Verdict.OK: GOOD, Verdict.WARNING: DOUBT, Verdict.PROBLEM: BAD}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor` prints."""

    ok: bool
    """Whether there is no problem: exit status 0."""
    findings: tuple[Finding, ...]


@click.command(
    cls=Command,
    examples=(
        ("reconciler doctor", "all environments, the machine and the service"),
        ("reconciler doctor --json | jq '.findings[] | select(.verdict != \"ok\")'", "for scripts"),
    ),
    exit_codes="0 no problems (there may be warnings), 1 at least one problem.",
)
@click.pass_obj
def doctor(options: Options) -> int:
    """Find anything that could get in the way, and say how to fix it.

    Checks uv, the clock, limits, units, the status server's address and the journal. For each
    environment it checks the interpreter, permissions, file system, free space, other
    installers, the project's file, broken packages, holds, files that two packages own, and the
    index. Changes nothing.
    """
    configure_log(options)
    output = Output(options)
    findings = []
    for finding in _findings(options):
        findings.append(finding)
        _show(finding, output)
    problems = [f for f in findings if f.verdict is Verdict.PROBLEM]
    warnings = [f for f in findings if f.verdict is Verdict.WARNING]
    output.json(Report(ok=not problems, findings=tuple(findings)))
    words = f"{len(findings)} checks, {len(problems)} problems, {len(warnings)} warnings."
    output.say(words, BAD if problems else DOUBT if warnings else GOOD, bold=True)
    return 1 if problems else 0


def _findings(options: Options) -> Iterator[Finding]:
    """All findings. A bad configuration is one; the machine is checked anyway."""
    try:
        config = configuration(options)
    except ConfigRejected as rejected:
        for it in rejected.problems:
            yield problem("configuration", f"{it.place}: {it.reason}", it.fix)
        config = for_nothing(os.environ)
    except Insecure as insecure:
        yield problem("permissions", insecure.problem.reason, insecure.problem.fix)
        config = for_nothing(os.environ)
    except NothingHere as nothing:
        reason, _, fix = nothing.message.partition(". ")
        yield problem("configuration", reason, fix)
        config = for_nothing(os.environ)
    yield from examine(config, several(config, options), os.environ, _answer(config))


def _answer(config: Config) -> WhoAnswers:
    try:
        return WhoAnswers(Client(config).status())
    except NotRunning:
        return WhoAnswers()
    except (Foreign, RefusedByService) as error:
        return WhoAnswers(foreign=str(error))


def _show(finding: Finding, output: Output) -> None:
    name = f"{finding.environment}: {finding.check}" if finding.environment else finding.check
    label = {Verdict.OK: "ok", Verdict.WARNING: "warn", Verdict.PROBLEM: "FAIL"}[finding.verdict]
    output.say(f"{label:<5}{name}: {finding.message}", _MARKS[finding.verdict])
    if finding.fix:
        output.say(f"     -> {finding.fix}", QUIET)
