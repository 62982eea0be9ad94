"""`reconciler vault`: lists, exports, imports and prunes the copies of held packages."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from packaging.utils import canonicalize_name

from reconciler.cli.command import Command
from reconciler.cli.durations import seconds_of
from reconciler.cli.interruptible import cancellable
from reconciler.cli.json_output import (
    VaultCopy,
    VaultDocument,
    VaultFileDocument,
    VaultList,
    VaultUse,
)
from reconciler.cli.logs import configure_log
from reconciler.cli.nearest import nearest
from reconciler.cli.opening import opened
from reconciler.cli.options import Options
from reconciler.cli.sizes import bytes_of, size_of
from reconciler.cli.suggesting import SuggestingGroup
from reconciler.cli.targets import chosen, configuration, several
from reconciler.cli.terminal.output import GOOD, QUIET, Output
from reconciler.environment.environment import Environment
from reconciler.files.trust import refuse_insecure
from reconciler.journal.history import iso
from reconciler.processes import Cancellation
from reconciler.trees.own_files import NotOurs
from reconciler.vault.archive import export as write_archive
from reconciler.vault.archive import import_from
from reconciler.vault.inventory import Entry, Limits, disposable, inventory
from reconciler.vault.manifest import Copy
from reconciler.vault.retention import prune as remove
from reconciler.vault.store import Store

T = TypeVar("T")


@click.group(cls=SuggestingGroup)
def vault() -> None:
    """List, export, import and prune the copies of held packages.

    The vault is outside every environment, and shared by all of them: a copy survives when an
    environment is removed or recreated. Copies are hard links, which take no extra space while
    the originals exist.
    """


@vault.command(
    "list",
    cls=Command,
    examples=(("reconciler vault list", "each copy, its size, and who uses it"),),
    exit_codes="0; 1 for an error.",
)
@click.pass_obj
def list_(options: Options) -> int:
    """Show each copy, what it takes on the disk, and who uses it.

    A size includes what is shared with environments; what removing a copy would free does not.
    """
    configure_log(options)
    output = Output(options)
    found = [(store, _entries(store)) for store in _stores(options)]
    output.json(_document(found))
    for store, entries in found:
        if not entries:
            output.say(f"There are no copies in {store.root}.")
            continue
        output.say(str(store.root), bold=True)
        _show(entries, output)
    return 0


@vault.command(
    "export",
    cls=Command,
    examples=(
        ("reconciler vault export torch.vault torch", "torch, and what it pins"),
        ("reconciler vault export studio.vault", "all that this environment holds"),
    ),
    exit_codes="0; 1 for an error.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.pass_obj
def export_(options: Options, *, file: Path, name: str | None) -> int:
    """Write copies to FILE, to carry them to another machine.

    NAME is a held package; what it pins goes with it. Without NAME, everything that the
    environment holds does. Each file is checked. FILE must not exist.
    """
    configure_log(options)
    config = configuration(options)
    environment = opened(config, chosen(config, options))
    store = _trusted(Store(environment.store))
    copies = _wanted(environment, store, name)

    def write(cancel: Cancellation) -> int:
        with store.in_use(cancel):
            return write_archive(store, copies, file, cancel)

    size = cancellable(write)
    _say_file(options, "Exported", file, store, copies, size)
    return 0


@vault.command(
    "import",
    cls=Command,
    examples=(("reconciler vault import torch.vault", "then `reconciler hold restore torch`"),),
    exit_codes="0; 1 for an error, and nothing was imported.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def import_(options: Options, *, file: Path) -> int:
    """Bring the copies in FILE into the vault.

    FILE is refused as a whole if anything in it differs from what was exported. Its checksums
    protect against damage, not against whoever wrote it: import only what you trust.
    """
    configure_log(options)
    config = configuration(options)
    store = _trusted(Store(opened(config, chosen(config, options)).store))
    copies = cancellable(lambda cancel: import_from(store, file, cancel))
    _say_file(options, "Imported", file, store, copies, file.stat().st_size)
    return 0


@vault.command(
    cls=Command,
    examples=(
        ("reconciler vault prune --keep 2", "the newest two copies of each package stay"),
        ("reconciler vault prune --older-than 90d --dry-run", "what would go"),
        ("reconciler vault prune --max-size 20G", "the oldest go, until it fits"),
    ),
    exit_codes="0; 1 for an error.",
)
@click.option("--older-than", metavar="TIME", callback=seconds_of,
              help="Remove copies that were made longer ago, such as 90d.")  # fmt: skip
@click.option("--keep", metavar="N", type=click.IntRange(min=0),
              help="Remove all but the newest N copies of each package.")  # fmt: skip
@click.option("--max-size", metavar="SIZE", callback=bytes_of,
              help="Remove the oldest copies until no more is taken, such as 20G.")  # fmt: skip
@click.option("--held", is_flag=True, help="Also copies of what an environment holds now.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.pass_obj
def prune(
    options: Options, *, older_than: float | None, keep: int | None, max_size: int | None,
    held: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Remove copies by age, number or size.

    What an environment holds now stays, unless --held is given. So does what the environment of a
    removed folder held, as long as the folder around it exists: it may be recreated.
    """
    if older_than is None and keep is None and max_size is None:
        raise click.UsageError("Say what may go: --older-than, --keep or --max-size.")
    configure_log(options)
    before = time.time() - older_than if older_than is not None else None
    limits = Limits(before=before, keep=keep, size=max_size, held=held)
    output = Output(options)
    gone = [(store, _pruned(store, limits, dry_run=dry_run)) for store in _stores(options)]
    output.json(_document(gone))
    for store, entries in gone:
        if not entries:
            output.say(f"No copy in {store.root} is beyond these limits.")
            continue
        _show(entries, output)
        output.say(_words_of(entries, store, dry_run=dry_run))
    return 0


def _words_of(gone: list[Entry], store: Store, *, dry_run: bool) -> str:
    count = "1 copy" if len(gone) == 1 else f"{len(gone)} copies"
    freed = size_of(sum(entry.frees for entry in gone))
    if dry_run:
        return f"{count} would be removed from {store.root}; that would free {freed}."
    return f"{count} removed from {store.root}; that frees {freed}."


def _pruned(store: Store, limits: Limits, *, dry_run: bool) -> list[Entry]:
    if dry_run:
        return _readable(store, lambda: disposable(inventory(store), limits))
    return _readable(store, lambda: cancellable(lambda cancel: remove(store, limits, cancel)))


def _stores(options: Options) -> list[Store]:
    """The vaults of the environments that are meant."""
    config = configuration(options)
    roots = [opened(config, target).store for target in several(config, options)]
    return [_trusted(Store(root)) for root in dict.fromkeys(roots)]


def _trusted(store: Store) -> Store:
    """The same, if nobody else can change it.

    Raises:
        Insecure: As root: others may write it.
    """
    if os.geteuid() == 0:
        refuse_insecure(store.root)
    return store


def _entries(store: Store) -> list[Entry]:
    return _readable(store, lambda: inventory(store))


def _readable(store: Store, act: Callable[[], T]) -> T:
    try:
        return act()
    except NotOurs as error:
        raise click.ClickException(
            f"a record in {store.root} cannot be used ({error}). Remove it; the next pass of its "
            "environment makes it again."
        ) from error


def _wanted(environment: Environment, store: Store, name: str | None) -> list[Copy]:
    """The copies to export: what is held, otherwise the newest one in the vault."""
    held = environment.look().vault if environment.exists else None
    known = held.current() if held is not None else {}
    package = canonicalize_name(name) if name else None
    if package is None:
        manifests = list(known.values())
    elif held is not None and package in known:
        manifests = held.companions(package)
    else:
        manifests = []
    ids = {(it.name, it.copy) for it in manifests}
    found = [copy for it in dict(ids) for copy in store.copies(it) if (it, copy.id) in ids]
    if not found and package is not None:
        found = store.copies(package)[:1]
    if not found:
        words = f"The vault has no copy of {name}." if name else "Nothing is held here."
        raise click.ClickException(f"{words} {nearest(name or '', store.names())}")
    return found


def _say_file(
    options: Options, verb: str, file: Path, store: Store, copies: list[Copy], size: int
) -> None:
    output = Output(options)
    packages = tuple(f"{copy.name}=={copy.version}" for copy in copies)
    output.json(
        VaultFileDocument(
            file=str(file.absolute()), vault=str(store.root), packages=packages, size=size
        )
    )
    output.say(f"{verb} {', '.join(packages)} ({size_of(size)}).")


def _document(found: list[tuple[Store, list[Entry]]]) -> VaultList:
    return VaultList(
        vaults=tuple(
            VaultDocument(path=str(store.root), copies=tuple(map(_copy, entries)))
            for store, entries in found
        )
    )


def _copy(entry: Entry) -> VaultCopy:
    copy = entry.copy
    return VaultCopy(
        package=copy.name, version=copy.version, build=" ".join(copy.tags),
        target=copy.target.words, made_at=iso(copy.made), size=entry.size, frees=entry.frees,
        imported=copy.imported,
        uses=tuple(VaultUse(environment=str(use.environment), held=use.current)
                   for use in entry.uses),
    )  # fmt: skip


def _show(entries: list[Entry], output: Output) -> None:
    output.table(
        ("Package", "Version", "Build", "Size", "Frees", "Made", "Used by"),
        [_row(entry) for entry in entries],
        [GOOD if entry.held else QUIET for entry in entries],
        spare=("Build", "Frees"),
    )


def _row(entry: Entry) -> tuple[str | None, ...]:
    copy = entry.copy
    users = [f"{use.environment}{'' if use.current else ' (before)'}" for use in entry.uses]
    users += ["imported"] if copy.imported else []
    return (
        copy.name, copy.version, " ".join(copy.tags) or None, size_of(entry.size),
        size_of(entry.frees), iso(copy.made)[:10], ", ".join(users) or None,
    )  # fmt: skip
