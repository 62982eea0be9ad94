"""Imported first by long-running programs: loads structlog without rich, which costs 7 MB.

structlog imports rich and Pygments if they are installed, for tracebacks that are never shown
here (see `reconciler.log.logger`). The commands that draw tables import rich themselves.
"""

import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
