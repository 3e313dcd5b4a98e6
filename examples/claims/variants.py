"""Ways to compute that claim 3 times side by side: each has a process of its own, since threads and
kernels are settled when one starts.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from claims.training import fresh_pool
from minitensor import backend

__all__ = ["COMPILED", "CUDA", "PLAIN", "TWO", "VARIANTS", "Variant"]


@dataclass(frozen=True)
class Variant:
    """So many threads, of plain NumPy or of the compiled kernels; or a device."""

    name: str
    threads: int = 1
    compiled: bool = False
    device: str = "cpu"

    def missing(self) -> str:
        """Why this machine cannot compute so; "" if it can."""
        if self.compiled and importlib.util.find_spec("numba") is None:
            return "numba is not installed"
        if self.threads > cores():
            return f"this process may use {cores()} core{'s' * (cores() > 1)}"
        if self.device != "cpu":
            try:
                backend.as_device(self.device)
            except (ImportError, RuntimeError) as error:
                return str(error).splitlines()[0]
        return ""

    def process(self) -> AbstractContextManager[Any]:
        """A pool of one process that computes so."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        kernels = {"MINITENSOR_THREADS": str(self.threads), "MINITENSOR_FAST": str(int(self.compiled))}
        return fresh_pool(1, threads | kernels)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PLAIN = Variant("NumPy, 1 thread")
COMPILED = Variant("compiled kernels, 1 thread", compiled=True)
TWO = Variant("compiled kernels, 2 threads", threads=2, compiled=True)
CUDA = Variant("CUDA", device="cuda")
VARIANTS = (PLAIN, COMPILED, TWO, CUDA)
