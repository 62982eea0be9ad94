"""Gives memory back to the machine: a service that waits should not hold what a pass needed.

Reading the files of a held torch takes some 10 MB for a moment, and glibc keeps what is
freed unless it is told to let go.
"""

import ctypes

_libc = ctypes.CDLL(None)


def let_go() -> None:
    """Return freed memory to the system (malloc_trim(3)); takes a millisecond or two."""
    trim = getattr(_libc, "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
