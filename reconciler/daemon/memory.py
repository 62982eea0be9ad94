"""Gives memory back to the machine: a service that waits should not hold what a pass needed.

Reading the files of a held torch takes some 10 MB for a moment, and glibc keeps what is
freed unless it is told to let go.
"""

import ctypes

_libc = ctypes.CDLL(None)
_M_ARENA_MAX = -8
"""mallopt(3), malloc.h."""


def share_one_heap() -> None:
    """Let all threads allocate from one heap (mallopt(3)).

    By default, threads get heaps of their own (glibc: up to eight for each core), and each keeps
    some pages for good. Python's threads take turns anyway.
    """
    mallopt = getattr(_libc, "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def let_go() -> None:
    """Return freed memory to the system (malloc_trim(3)); takes a millisecond or two."""
    trim = getattr(_libc, "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
