"""OpenBLAS' products as C functions, which the kernels' own threads call.

NumPy's wheels bring OpenBLAS with them. Two pools of threads would destroy the speed of both: an
idle thread of OpenBLAS spins for tens of milliseconds after a product, on the core that a kernel
needs. So OpenBLAS is held to one thread, and the pool's threads call it, each for its part. Where
NumPy has another BLAS, products stay with it.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["described", "hold", "library", "product_functions", "release"]


@cache
def library():
    """``(library, suffix)`` of NumPy's OpenBLAS as it is loaded in this process, or None."""
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".libs", package / ".dylibs")
    for path in (path for folder in folders for path in sorted(folder.glob("*openblas*"))):
        try:
            found = ctypes.CDLL(str(path))
        except OSError:
            continue
        if hasattr(found, "scipy_cblas_sgemm64_"):
            return found
    return None


@cache
def product_functions():
    """``{dtype: address of its gemm}``; empty if NumPy's BLAS is another one.

    The functions take integers of 64 bits.
    """
    found = library()
    if found is None or sys.maxsize < 2**32:
        return {}
    names = {np.dtype(np.float32): "scipy_cblas_sgemm64_", np.dtype(np.float64): "scipy_cblas_dgemm64_"}
    return {dtype: ctypes.cast(getattr(found, name), ctypes.c_void_p).value for dtype, name in names.items()}


def described():
    """Name, version and kernel of NumPy's OpenBLAS; None if it has another BLAS."""
    found = library()
    if found is None:
        return None
    found.scipy_openblas_get_config64_.restype = ctypes.c_char_p
    found.scipy_openblas_get_corename64_.restype = ctypes.c_char_p
    name, version = found.scipy_openblas_get_config64_().decode().split()[:2]
    return f"{name} {version} ({found.scipy_openblas_get_corename64_().decode()})"


_before = 0  # threads of OpenBLAS before it was held to one


def hold():
    """Hold OpenBLAS to one thread."""
    global _before
    if library() is not None and not _before:
        _before = library().scipy_openblas_get_num_threads64_()
        library().scipy_openblas_set_num_threads64_(1)


def release():
    """Give OpenBLAS the threads that it had."""
    global _before
    if _before:
        library().scipy_openblas_set_num_threads64_(_before)
        _before = 0
