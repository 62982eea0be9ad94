"""Stops one thread of a process for real, by ptrace(2), until that process ends.

A program of its own, since whoever traces a process must also wait for its end:
`python freeze.py TID` prints `frozen` once the thread stands still.
"""

import ctypes
import os
import sys

_SEIZE, _INTERRUPT, _WALL = 0x4206, 0x4207, 0x40000000


def main(thread: int) -> None:
    """Freeze the thread; return when its process has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (_SEIZE, _INTERRUPT):
        if libc.ptrace(request, thread, None, None) == -1:
            raise OSError(ctypes.get_errno(), f"ptrace of {thread}")
    os.waitpid(thread, _WALL)
    print("frozen", flush=True)
    while True:
        _, status = os.waitpid(thread, _WALL)  # whatever it is stopped by, it is not told to go on
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
