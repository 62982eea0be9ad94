"""Loads structlog without rich, which costs 7 MB, and half the time that a command takes to start.

structlog imports rich and Pygments if they are installed, for tracebacks that are never shown
here (see `reconciler.log.logger`). The commands that draw tables import rich themselves.
"""

import sys

__all__ = ["structlog"]

_without = "rich" not in sys.modules
if _without:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail
try:
    import structlog
finally:
    if _without:
        del sys.modules["rich"]
