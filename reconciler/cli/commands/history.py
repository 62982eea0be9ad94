"""`reconciler history`: past passes and the kept generations, or one pass with its log."""

import click

from reconciler.cli.client import Client, Foreign, NotRunning, RefusedByService
from reconciler.cli.command import Command
from reconciler.cli.direct import open_journal
from reconciler.cli.json_output import HistoryDocument
from reconciler.cli.opening import opened
from reconciler.cli.options import Options
from reconciler.cli.reach import served
from reconciler.cli.sizes import size_of
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.changes import show_changes
from reconciler.cli.terminal.output import QUIET, Output, complain, harmless
from reconciler.cli.terminal.overview import ago, utc_now
from reconciler.cli.terminal.passes import MARKS, show_pass
from reconciler.config import Config, EnvironmentConfig
from reconciler.environment.interpreter import InterpreterError
from reconciler.files.trust import Insecure
from reconciler.journal.history import Journal
from reconciler.status import GenerationStatus, PassDetail, PassProof, PassStatus
from reconciler.trees import generations


@click.command(
    cls=Command,
    examples=(
        ("reconciler history", "the last passes, and the kept trees"),
        ("reconciler history 12", "pass 12 with its changes, its plan and uv's log"),
        ("reconciler history --json | jq '.passes[0]'", "for scripts"),
    ),
    exit_codes="0; 1 for an error, such as an id that does not exist.",
)
@click.argument("number", metavar="[ID]", type=click.IntRange(min=1), required=False)
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=20, show_default=True,
              help="The most passes to show.")  # fmt: skip
@click.pass_obj
def history(options: Options, *, number: int | None, limit: int) -> int:
    """Show past passes and kept generations, or one pass in full.

    A generation's size is the space that removing it would free: trees share equal files.
    """
    config = configuration(options)
    output = Output(options)
    if number is not None:
        detail = _entry(config, number)
        output.json(detail)
        _show_entry(detail, output)
        return 0
    target = chosen(config, options)
    found = HistoryDocument(
        environment=target.name,
        passes=_passes(config, target, limit),
        generations=_generations(config, target),
    )
    output.json(found)
    _show(found, output)
    return 0


def _passes(config: Config, target: EnvironmentConfig, limit: int) -> tuple[PassStatus, ...]:
    service = served(config, target)
    if service is not None:
        return service.client.history(service.name, limit)
    journal = _journal(config)
    if journal is None:
        return ()
    try:
        return tuple(journal.history(opened(config, target).key, limit))
    finally:
        journal.close()


def _entry(config: Config, number: int) -> PassDetail:
    try:
        return Client(config).entry(number)
    except (NotRunning, Foreign, RefusedByService):
        journal = _journal(config)
    found = None
    if journal is not None:
        try:
            found = journal.entry(number)
        finally:
            journal.close()
    if found is None:
        raise click.ClickException(f"There is no pass {number}. `reconciler history` lists them.")
    return found


def _journal(config: Config) -> Journal | None:
    """The journal; None if nothing has ever been recorded."""
    path = config.service.state_dir / "journal.sqlite3"
    return open_journal(config) if path.exists() else None


def _generations(config: Config, target: EnvironmentConfig) -> tuple[GenerationStatus, ...]:
    try:
        return generations.listed(opened(config, target).workspace, sizes=True)
    except Insecure as insecure:
        complain(f"The kept trees are not shown: {insecure.message}")
        return ()
    except (InterpreterError, PermissionError):
        return ()


def _show(found: HistoryDocument, output: Output) -> None:
    now = utc_now()
    reasons = any(it.reason_given for it in found.passes)
    if found.passes:
        output.table(
            _columns(reasons=reasons),
            [_row(it, ago(it.started_at, now), reasons=reasons) for it in found.passes],
            [MARKS.get(it.result, "") if it.result else "" for it in found.passes],
            ("Seconds", "Generation", "Failed", "Reason given"),
        )
    else:
        output.say(f"Nothing is recorded for {found.environment} yet.")
    if any(not it.live for it in found.generations):
        output.say()
        output.table(
            ("Generation", "Since", "Packages", "Own size"),
            [_generation(it, now_text=ago(it.created_at, now) if it.created_at else None)
             for it in found.generations],
        )  # fmt: skip
        output.say("`reconciler rollback GENERATION` makes one live again.", QUIET)


def _columns(*, reasons: bool) -> tuple[str, ...]:
    columns = ("ID", "When", "Trigger", "Result", "Changes", "Failed", "Generation", "Seconds")
    return (*columns, "Reason given") if reasons else columns


def _row(it: PassStatus, when: str, *, reasons: bool) -> tuple[str | None, ...]:
    changes = ", ".join(c.name for c in it.changes[:3]) + (" ..." if len(it.changes) > 3 else "")
    seconds = f"{it.duration_seconds:.1f}" if it.duration_seconds is not None else None
    failed = ", ".join(f.name for f in it.failed) or None
    generation = str(it.generation) if it.generation is not None else None
    row = (str(it.id), when, it.trigger, it.result, changes or None, failed, generation, seconds)
    return (*row, it.reason_given) if reasons else row


def _generation(it: GenerationStatus, *, now_text: str | None) -> tuple[str | None, ...]:
    number = f"{it.number} (live)" if it.live else str(it.number)
    packages = str(it.packages) if it.packages else None
    return number, now_text, packages, size_of(it.bytes_own) if it.bytes_own is not None else None


def _show_proof(proof: PassProof, output: Output) -> None:
    packages = len({one.package for one in proof.imported})
    modules = len(proof.imported)
    output.say(
        f"Imported before it went live: {modules} modules of {packages} packages, in "
        f"{proof.seconds:.2f} s.", QUIET
    )  # fmt: skip
    for one in proof.failed:
        why = f"{one.because} is left out" if one.because else "as before"
        output.say(f"  import {one.module} ({one.package}) fails, {why}: {harmless(one.error)}")
    if proof.not_tried:
        output.say(f"  Not tried, for lack of time (`proof_budget`): {', '.join(proof.not_tried)}.")


def _show_entry(detail: PassDetail, output: Output) -> None:
    output.say(f"Pass {detail.id}, {detail.trigger}, began {detail.started_at}", bold=True)
    if detail.reason_given:
        output.say(f"Reason given: {detail.reason_given}")
    if detail.result is None:
        output.say("It is still running.")
        return
    show_pass(detail, f"pass {detail.id}", output)
    if detail.plan and not detail.changes:
        output.say("What was planned:")
        show_changes(detail.plan, output)
    if detail.proof is not None:
        _show_proof(detail.proof, output)
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in detail.phases.items())
    output.say(f"Steps: {steps or 'none'}. Revision {detail.revision or 'unknown'}.", QUIET)
    if detail.log:
        output.say()
        output.say("uv's log:", bold=True)
        output.say(harmless(detail.log.rstrip()))
