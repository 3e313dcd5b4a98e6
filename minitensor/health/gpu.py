"""CuPy, the driver, and each GPU: a kernel, a product, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import minitensor as mt
from minitensor.backend import memory_in_use, namespace
from minitensor.backend.installing import CUPY, cuda_version
from minitensor.engine.units import in_units
from minitensor.health.check import BROKEN, NOTE, OK, Check
from minitensor.health.host import writable

__all__ = ["checks"]

WHEELS = "cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-5-0"
SIDE = 4096
LITTLE = 0.1  # of a GPU's memory: with less than this free, another process holds it


def checks() -> Iterator[Check]:
    """What is to be said of the GPUs."""
    found = [name for name in WHEELS if _version(name)]
    if len(found) > 1:
        yield Check(
            BROKEN,
            f"{len(found)} packages of CuPy are installed, which overwrite each other's files: {', '.join(found)}",
            f"pip uninstall {' '.join(found)}, then {CUPY}",
        )
    try:
        import cupy
    except ImportError as error:
        if found:
            yield Check(
                BROKEN,
                f"{found[0]} {_version(found[0])} cannot be imported: {error}",
                f"pip uninstall {found[0]}, then {CUPY}",
            )
        else:
            yield Check(NOTE, 'CuPy is not installed: there is no device "cuda"', f"if there is an NVIDIA GPU: {CUPY}")
        return
    try:
        namespace("cuda")
    except (RuntimeError, ImportError) as error:
        what, _, cure = str(error).partition("; ")
        yield Check(BROKEN, f"CuPy {cupy.__version__}: {what}", cure)
        return
    runtime = cupy.cuda.runtime
    driver, built = cuda_version(runtime.driverGetVersion()), cuda_version(runtime.runtimeGetVersion())
    yield Check(OK, f"CuPy {cupy.__version__} for CUDA {built}; the driver serves CUDA {driver}")
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        yield Check(NOTE, f'CUDA_VISIBLE_DEVICES is "{shown}": other GPUs, if there are any, are not seen')
    for index in range(runtime.getDeviceCount()):
        yield from _one(cupy, index)
    folder = os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache"
    if not writable(folder):
        cure = "set CUPY_CACHE_DIR to a folder that can be written"
        yield Check(NOTE, f"{folder} cannot be written: every process compiles its kernels anew", cure)


def _one(cupy, index):
    """What is to be said of one GPU."""
    device = f"cuda:{index}"
    facts = cupy.cuda.runtime.getDeviceProperties(index)
    name = facts["name"].decode() if isinstance(facts["name"], bytes) else facts["name"]
    _, reserved, free, total, _ = memory_in_use(device)
    capability = f"{facts['major']}.{facts['minor']}"
    yield Check(
        OK,
        f"{device}: {name}, compute capability {capability}, {in_units(free)} free of {in_units(total)}",
    )
    if free + reserved < LITTLE * total:
        yield Check(NOTE, f"{device}: nearly all memory is taken by other processes", "`nvidia-smi` names them")
    try:
        seconds, right = _computed(device)
    except Exception as error:  # of the driver, cuBLAS or the allocator, each of another class
        yield Check(
            BROKEN, f"{device}: computing on it fails: {type(error).__name__}: {error}", f"{CUPY}; or another GPU"
        )
        return
    if not right:
        yield Check(
            BROKEN, f"{device}: a product of matrices is wrong", "another GPU; this one's memory may be damaged"
        )
    else:
        yield Check(
            OK, f"{device}: a kernel and a product are right; {2 * SIDE**3 / seconds / 1e12:.1f} TFLOP/s in float32"
        )


def _computed(device):
    """``(seconds of a product, whether it and a kernel of ours are right)`` on a GPU."""
    x = mt.full((SIDE, SIDE), 1.0 / SIDE, device=device)
    seconds = []
    for _ in range(3):
        namespace(device).synchronize()
        start = time.perf_counter()
        y = x @ x
        namespace(device).synchronize()
        seconds.append(time.perf_counter() - start)
    rows = mt.nn.functional.softmax(y, axis=-1).sum(axis=-1)
    right = bool((mt.abs(y * SIDE - 1.0) < 1e-4).all()) and bool((mt.abs(rows - 1.0) < 1e-4).all())
    return min(seconds), right


def _version(package):
    """The version of an installed package, or ""."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
