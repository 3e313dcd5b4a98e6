"""Keep freed memory in the process, so that the next array of that size does not have to be mapped
and zeroed again.

By default glibc returns large blocks to the system as soon as they are freed. A training step frees
and allocates the same hundreds of megabytes every time, and the kernel zeroes every page anew: with
a vocabulary of 10 000 that was 50 000 to 90 000 page faults a step and 0.65 to 0.8 seconds, against
none and 0.5 to 0.65 seconds with this setting, at the same peak of memory. It holds for the whole
process and wants Linux with glibc; elsewhere nothing happens. MINITENSOR_KEEP_MEMORY=0 in the
environment leaves malloc alone.
"""

from __future__ import annotations

import os
import sys

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3) in glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory():
    """Tell glibc's malloc to serve large blocks from its heap and never to shrink it; returns
    whether that took effect.
    """
    if os.environ.get("MINITENSOR_KEEP_MEMORY") == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):  # a Python without ctypes, another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(M_TOP_PAD, 64 << 20))
