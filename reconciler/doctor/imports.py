"""What a pass would import before a new tree goes live."""

from reconciler.config import EnvironmentConfig, Proof
from reconciler.doctor.finding import Finding, fine
from reconciler.environment.snapshot import Snapshot
from reconciler.proof.dependents import needs_of
from reconciler.proof.importable import modules_of

_SHOWN = 3


def check_imports(config: EnvironmentConfig, snapshot: Snapshot) -> Finding:
    """Say what would be imported; nothing is."""
    if config.proof_in_effect is Proof.OFF:
        why = 'build = "never"' if config.proof is None else 'proof = "off"'
        return fine("imports", f"nothing is imported before a new tree goes live ({why})")
    installed, layout = snapshot.installed, snapshot.interpreter.layout
    names = {
        name for name, one in installed.distributions.items() if modules_of(one, layout)
    }  # fmt: skip
    if config.proof_in_effect is Proof.FULL:
        return fine("imports", f"every change imports all of {len(names)} packages")
    declared = snapshot.desired.requirements if snapshot.desired else ()
    needs = needs_of(installed, (one.requirement for one in declared), snapshot.markers)
    weights = [(name, len(needs.all_dependents([name]) & names)) for name in names]
    most = sorted(weights, key=lambda one: (-one[1], one[0]))[:_SHOWN]
    costly = ", ".join(f"{name} ({count})" for name, count in most if count)
    words = f"{len(names)} packages can be imported; a change imports what changes"
    return fine(
        "imports", f"{words}, and what requires it: at most for {costly}" if costly else words
    )
