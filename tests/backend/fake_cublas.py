"""``cublas.gemmStridedBatchedEx`` and ``gemmEx`` in NumPy: matrices by columns, read from the very
addresses that the host logic computes.
"""

from __future__ import annotations

import ctypes
from types import ModuleType

import ml_dtypes
import numpy as np

CUDA_R = {"CUDA_R_16F": 2, "CUDA_R_16BF": 14, "CUDA_R_32F": 0, "CUDA_R_64F": 1}
DTYPES = {2: np.float16, 14: ml_dtypes.bfloat16, 0: np.float32, 1: np.float64}
CUBLAS = {
    "CUBLAS_COMPUTE_32F": 68,
    "CUBLAS_COMPUTE_64F": 70,
    "CUBLAS_COMPUTE_32F_FAST_TF32": 77,
    "CUBLAS_GEMM_DEFAULT": -1,
}

CALLS = []  # (transa, transb, m, n, k, batch) of each call
TYPES = []  # (type of a and b, type of c, alpha, beta) of each call


def _stack(address, dtype, rows, columns, leading, step, count):
    """(count, rows, columns) view of column-major matrices at ``address``."""
    assert leading >= max(1, rows), "leading dimension below the number of rows"
    span = abs(step) * (count - 1) + leading * (columns - 1) + rows
    memory = (ctypes.c_char * (span * np.dtype(dtype).itemsize)).from_address(address)
    item = np.dtype(dtype).itemsize
    flat = np.frombuffer(memory, dtype=dtype)
    return np.lib.stride_tricks.as_strided(flat, (count, rows, columns), (step * item, item, leading * item))


def gemmStridedBatchedEx(  # noqa: N802  cuBLAS's name
    handle, transa, transb, m, n, k, alpha, a, a_type, lda, stride_a, b, b_type, ldb, stride_b,
    beta, c, c_type, ldc, stride_c, count, compute, algorithm,
):  # fmt: skip
    """``c = op(a) op(b)`` for ``count`` matrices, accumulated in the compute type."""
    assert min(m, n, k, count) > 0 and a_type == b_type and algorithm == -1 and handle
    assert c_type == a_type or c_type == CUDA_R["CUDA_R_32F"] and a_type in (2, 14)
    dtype, given = DTYPES[c_type], DTYPES[a_type]
    wide = np.float64 if compute == CUBLAS["CUBLAS_COMPUTE_64F"] else np.float32
    assert compute != CUBLAS["CUBLAS_COMPUTE_32F_FAST_TF32"] or given is np.float32, "TF32 is of factors in float32"
    assert (wide is np.float64) == (dtype is np.float64), "float64 accumulates in float64, all others in float32"
    size = np.dtype(wide).itemsize
    one, zero = (np.frombuffer((ctypes.c_char * size).from_address(place), dtype=wide)[0] for place in (alpha, beta))
    assert zero in (0, 1) and (one == 1 or zero == 1), f"a product is scaled only if it is added, got {one}, {zero}"
    left = _stack(a, given, *((k, m) if transa else (m, k)), lda, stride_a, count).astype(wide)
    right = _stack(b, given, *((n, k) if transb else (k, n)), ldb, stride_b, count).astype(wide)
    assert count == 1 or stride_c, "results of a stack must not overwrite each other"
    left = left.swapaxes(1, 2) if transa else left
    right = right.swapaxes(1, 2) if transb else right
    place = _stack(c, dtype, m, n, ldc, stride_c, count)
    place[...] = one * (left @ right) + place if zero else left @ right
    CALLS.append((transa, transb, m, n, k, count))
    TYPES.append((np.dtype(given).name, np.dtype(dtype).name, float(one), float(zero)))


def gemmEx(  # noqa: N802  cuBLAS's name
    handle, transa, transb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algorithm
):  # fmt: skip
    """``c = op(a) op(b)`` for one matrix."""
    gemmStridedBatchedEx(
        handle, transa, transb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0,
        1, compute, algorithm,
    )  # fmt: skip


def modules():
    """What ``minitensor.backend.cublas`` imports from CuPy."""
    names = ["cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.api", "cupy_backends.cuda.libs"]
    made = {name: ModuleType(name) for name in names}
    runtime, cublas = ModuleType("runtime"), ModuleType("cublas")
    runtime.__dict__.update(CUDA_R)
    cublas.__dict__.update(CUBLAS, gemmStridedBatchedEx=gemmStridedBatchedEx, gemmEx=gemmEx)
    made["cupy_backends.cuda.api"].runtime = runtime
    made["cupy_backends.cuda.libs"].cublas = cublas
    return {**made, "cupy_backends.cuda.api.runtime": runtime, "cupy_backends.cuda.libs.cublas": cublas}
