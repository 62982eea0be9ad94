"""Removes copies that someone does not want any more; the records of them go first.

The caller decides which. A copy goes as a whole, and no environment's record is left of it.
"""

from collections.abc import Iterable
from contextlib import suppress

from reconciler.processes import Cancellation
from reconciler.vault.adding import begin
from reconciler.vault.clearing import clear, discard
from reconciler.vault.inventory import Entry, Limits, disposable, inventory
from reconciler.vault.store import Store


def prune(store: Store, limits: Limits, cancel: Cancellation) -> list[Entry]:
    """Remove the copies that are beyond a limit.

    Returns:
        What was removed.

    Raises:
        OSError: Something cannot be read or removed.
        NotOurs: A record in the vault is not one that we wrote.
        Busy: Another process used the vault for too long.
        Cancelled: `cancel` asked it to end.
    """
    if not store.root.is_dir():
        return []
    store.create()
    with store.alone(cancel):
        gone = disposable(inventory(store), limits)
        for entry in gone:
            begin(store, entry.copy.name)
            for use in entry.uses:
                use.file.unlink(missing_ok=True)
            discard(store.copy_folder(entry.copy.name, entry.copy.id))
        for name in dict.fromkeys(entry.copy.name for entry in gone):
            clear(store, name)
        _remove_empty(gone)
    return gone


def _remove_empty(gone: Iterable[Entry]) -> None:
    """Forget environments of which nothing is recorded any more."""
    for folder in {use.file.parent for entry in gone for use in entry.uses}:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
