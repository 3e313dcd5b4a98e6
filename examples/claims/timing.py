"""How steps are timed: in turn, and on several variants of what computes. Each of those has a
process of its own, since threads and kernels are settled when one starts.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import minitensor as mt
import minitensor.nn.functional as F
from claims.processes import Workers

__all__ = ["COMPILED", "CUDA", "PLAIN", "TWO", "VARIANTS", "Variant", "alternating", "step_of"]


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
                mt.backend.as_device(self.device)
            except ImportError:
                return "CuPy cannot be imported"
            except RuntimeError as error:  # which goes on with what to do
                return str(error).splitlines()[0].partition(";")[0]
        return ""

    def process(self) -> Workers:
        """A process that computes so."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        kernels = {"MINITENSOR_THREADS": str(self.threads), "MINITENSOR_FAST": str(int(self.compiled))}
        return Workers(1, threads | kernels)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PLAIN = Variant("NumPy (1 thread)")
COMPILED = Variant("kernels (1 thread)", compiled=True)
TWO = Variant("kernels (2 threads)", threads=2, compiled=True)
CUDA = Variant("CUDA", device="cuda")
VARIANTS = (PLAIN, COMPILED, TWO, CUDA)


def step_of(network: mt.nn.Module, ids: Any, targets: Any) -> Callable[[], None]:
    """A training step with Adam: ids and targets (B, T)."""
    optimizer = mt.optim.Adam(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(ids), targets).backward()
        optimizer.step()

    return step


def alternating(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step, until a GPU has done all of it; they take turns, after one round
    that does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            mt.backend.wait()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}
