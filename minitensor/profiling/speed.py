"""How fast this machine multiplies matrices: measured once in a process, for each device and
type.
"""

from __future__ import annotations

import functools
import time

from minitensor.backend import namespace

__all__ = ["SIZE", "speed"]

SIZE = 512  # rows and columns of the two matrices; more, if their product takes less than LEAST
LEAST = 1e-3  # seconds
LARGEST = 8192
REPEATS = 12
PAUSE = 4e-3  # seconds between them: what else a busy machine does may be over, and the best counts


@functools.cache
def speed(device, dtype):
    """Multiply-adds a second: those of one product of two square matrices, the best of some."""
    xp, size = namespace(device), SIZE
    while True:
        matrix = xp.ones((size, size), dtype=dtype)
        seconds = min(_seconds(xp, matrix) for _ in range(REPEATS))
        if seconds >= LEAST or size >= LARGEST:
            return size**3 / seconds
        size *= 2


def _seconds(xp, matrix):
    time.sleep(PAUSE)
    xp.matmul(matrix, matrix)  # wakes up the threads of the BLAS
    xp.synchronize()
    start = time.perf_counter()
    xp.matmul(matrix, matrix)
    xp.synchronize()
    return time.perf_counter() - start
