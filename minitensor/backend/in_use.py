"""How much memory is in use, as the system and CuPy's pool tell it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from minitensor.backend.devices import as_device

__all__ = ["memory_in_use"]


def memory_in_use(device):
    """``(used, reserved, free, total, limit)`` of ``device`` in bytes, None for what is not known.

    Of a GPU: what CuPy's pool has given to arrays, and what it has taken; the whole device's free
    and total; the most that the pool may take. Of the CPU: what the process holds now and the most
    that it has held; free and total of the machine.
    """
    device = as_device(device)
    if device == "cpu":
        return _host_memory()
    from minitensor.backend import gpus

    return gpus.memory_in_use(int(device[5:]))


def _host_memory():
    page, words = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0, []
    try:
        words = Path("/proc/self/statm").read_text(encoding="ascii").split()
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None, _peak(), None, None, None
    kilobytes = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)}
    free, total = (kilobytes.get(key, 0) * 1024 or None for key in ("MemAvailable", "MemTotal"))
    used, peak = int(words[1]) * page, _peak()
    return used, max(used, peak or 0), free, total, None  # the peak is brought up to date now and then


def _peak():
    """The most bytes that the process has held; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
