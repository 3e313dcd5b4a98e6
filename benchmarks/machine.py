"""What a timing was made on: processor, cores, the library of matrix products and its kernel, a
GPU, and what else ran.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import numpy as np

__all__ = ["describe", "load"]


def describe(device="cpu"):
    """Lines that say which machine this is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        f"processor: {_processor()}, {cores} cores; {platform.system()} {platform.machine()}",
        f"products of NumPy {np.__version__}: {_blas()}" if device == "cpu" else f"GPU: {_gpu()}",
    ]


def load():
    """How many processes wanted a core over the last minute, as far as the system says."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "not known"


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "not known"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    widest = next((name for name in ("avx512f", "avx2", "avx") if name in facts.get("flags", "").split()), "no AVX")
    numbers = ", ".join(f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts)
    return f"{facts.get('model name', 'not known')} ({numbers}; {widest})"


def _blas():
    """Name, version and kernel by threadpoolctl if it is installed, and the setting that holds
    OpenBLAS to an older kernel.
    """
    pin = os.environ.get("OPENBLAS_CORETYPE")
    held = f", held to it by OPENBLAS_CORETYPE={pin}" if pin else ""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return f"{np.show_config(mode='dicts')['Build Dependencies']['blas']['name']}, kernel not known{held}"
    np.ones((2, 2)) @ np.ones((2, 2))
    blas = next((info for info in threadpool_info() if info["user_api"] == "blas"), {})
    words = [str(blas.get(key, "?")) for key in ("internal_api", "version")]
    return f"{' '.join(words)}, kernel {blas.get('architecture', '?')}{held}"


def _gpu():
    """Name and driver of the current GPU, and the CuPy and CUDA that compute on it."""
    import cupy

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", Path("/proc/driver/nvidia/version").read_text(encoding="utf-8"))
    except OSError:
        found = None
    driver, built = (f"{n // 1000}.{n % 1000 // 10}" for n in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    version = f"{found[0]} (CUDA {driver})" if found else f"for CUDA {driver}"
    return f"{name}, driver {version}; CuPy {cupy.__version__} for CUDA {built}, NumPy {np.__version__}"
