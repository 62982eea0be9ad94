"""Removes what passes have discarded: work folders and old trees.

After the pass has been reported, since to remove a thousand packages takes as long as to replace
one. What a crash leaves behind here is removed after the next pass.
"""

from reconciler.environment.environment import Environment
from reconciler.log.logger import get_logger
from reconciler.trees.workspace import remove_tree

log = get_logger(__name__)


def sweep(environment: Environment) -> None:
    """Remove what passes of this environment have discarded; needs no lock.

    As root, nothing is removed where others may write.
    """
    try:
        found = environment.place.discarded()
        if found and environment.insecure is None:
            for folder in found:
                remove_tree(folder)
    except OSError as error:  # no package is concerned
        log.warning("folder.kept", reason=str(error))
