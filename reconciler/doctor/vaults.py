"""Whether an environment's vault can be used, and whether copies there are hard links."""

import os
import pwd
from pathlib import Path

from reconciler.doctor.finding import Finding, fine, problem, warning
from reconciler.vault.whereabouts import BESIDE, can_link


def check_vault(store: Path, prefix: Path, uid: int) -> Finding:
    """The vault is ours, can be written, and is on the environment's file system.

    Args:
        store: The vault's folder.
        prefix: The environment.
        uid: The user that the service runs as.
    """
    named = "Set `vault` in [service] to another folder."
    if store.is_symlink() or (store.exists() and not store.is_dir()):
        return problem("vault", f"{store} is not a folder, so no copies are made", named)
    if store.exists() and store.stat().st_uid != uid:
        owner = _user(store.stat().st_uid)
        return problem(
            "vault",
            f"{store} belongs to {owner}, so the service cannot keep copies in it",
            f"Give it to {_user(uid)} with `chown -R`, or remove it. {named}",
        )
    there = next(path for path in (store, *store.parents) if path.is_dir())
    if not os.access(there, os.W_OK | os.X_OK):
        return problem("vault", f"this user cannot write {there}, so no copies are made", named)
    if not can_link(prefix, store):
        return warning(
            "vault",
            f"no hard link leads from {prefix} to {store}, so copies of held packages take space",
            "Set `vault` in [service] to a folder on the environment's file system and mount, such "
            f"as {prefix.parent / BESIDE}. Under systemd, each path in ReadWritePaths= is a mount: "
            "name a folder that both are in (`systemctl edit reconciler`).",
        )
    return fine("vault", f"{store}, hard links")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
