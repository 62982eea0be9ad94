"""Imported first by what runs for long: loads structlog without rich, which costs 7 MB.

structlog takes rich and Pygments in wherever they are installed, for tracebacks that are
never shown here (see `reconciler.log.logger`). The commands that draw tables load rich themselves.
"""

import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python spells "not to be had"
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
