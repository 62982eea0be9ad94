"""`reconciler doctor`: what could stand in the way, each with its mend."""

import os

import click
import msgspec

from reconciler.cli.client import Client, Foreign, NotRunning, Refused
from reconciler.cli.command import Command
from reconciler.cli.logs import configure_log
from reconciler.cli.options import Options
from reconciler.cli.output import BAD, DOUBT, GOOD, QUIET, Output
from reconciler.cli.targets import configuration, several
from reconciler.config import Config
from reconciler.doctor import Answer, Finding, Verdict, examine

_MARKS = {Verdict.OK: GOOD, Verdict.WARNING: DOUBT, Verdict.PROBLEM: BAD}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `doctor`."""

    ok: bool
    """Whether there is no problem: exit status 0."""
    findings: tuple[Finding, ...]


@click.command(
    cls=Command,
    examples=(
        ("reconciler doctor", "all environments, the machine and the service"),
        ("reconciler doctor --json | jq '.findings[] | select(.verdict != \"ok\")'", "for scripts"),
    ),
    exit_codes="0 no problem (there may be warnings), 1 at least one problem.",
)
@click.pass_obj
def doctor(options: Options) -> int:
    """Find what could stand in the way, each with its mend.

    Looks at uv, the clock, limits, units, the status server's address, the journal; and for each
    environment at its interpreter, permissions, file system, space, other installers, the
    project's file, broken packages, holds, files that two packages own, and the index. Changes
    nothing.
    """
    configure_log(options)
    config = configuration(options)
    output = Output(options)
    findings = []
    for finding in examine(config, several(config, options), os.environ, _answer(config)):
        findings.append(finding)
        _show(finding, output)
    problems = [f for f in findings if f.verdict is Verdict.PROBLEM]
    warnings = [f for f in findings if f.verdict is Verdict.WARNING]
    output.json(Report(ok=not problems, findings=tuple(findings)))
    words = f"{len(findings)} checks, {len(problems)} problems, {len(warnings)} warnings."
    output.say(words, BAD if problems else DOUBT if warnings else GOOD, bold=True)
    return 1 if problems else 0


def _answer(config: Config) -> Answer:
    try:
        return Answer(Client(config).status())
    except NotRunning:
        return Answer()
    except (Foreign, Refused) as error:
        return Answer(foreign=str(error))


def _show(finding: Finding, output: Output) -> None:
    name = f"{finding.environment}: {finding.check}" if finding.environment else finding.check
    label = {Verdict.OK: "ok", Verdict.WARNING: "warn", Verdict.PROBLEM: "FAIL"}[finding.verdict]
    output.say(f"{label:<5}{name}: {finding.message}", _MARKS[finding.verdict])
    if finding.mend:
        output.say(f"     -> {finding.mend}", QUIET)
