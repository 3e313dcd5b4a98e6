"""Matrix products on the GPU.

CuPy's own ``matmul`` is good for two matrices. Stacks of them it copies to contiguous memory first;
here they go to cuBLAS as they lie (``gemm.py`` finds the arguments), with float32 accumulation for
16-bit floats, whose result keeps its type.
"""

from __future__ import annotations

import math

import cupy
import numpy as np
from cupy_backends.cuda.api import runtime
from cupy_backends.cuda.libs import cublas

from minitensor.backend import gemm

__all__ = ["matmul", "multiplier"]

MOST_CALLS = 8  # a launch costs about as much as copying a few megabytes: beyond this many, strided operands are copied
DATA_TYPES = {
    "float16": runtime.CUDA_R_16F, "bfloat16": runtime.CUDA_R_16BF, "float32": runtime.CUDA_R_32F, "float64": runtime.CUDA_R_64F,
}  # fmt: skip
_CONSTANTS = {kind: (np.ones((), kind), np.zeros((), kind)) for kind in (np.float32, np.float64)}


def matmul(a, b, out=None):
    """The product of the last two axes; leading axes broadcast, and a 1-d operand is a row or a
    column.

    Operands and ``out`` may be strided. Raises ValueError if shapes do not match.
    """
    if a.ndim == 1 or b.ndim == 1 or a.ndim == b.ndim == 2:
        return cupy.matmul(a, b, out=out)
    dtype = cupy.result_type(a, b)
    if dtype.name not in DATA_TYPES or out is not None and out.dtype != dtype:
        return cupy.matmul(a, b, out=out)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not match in the core dimension")
    if b.ndim == 2 and out is None:  # one large product instead of a stack of small ones
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1]).astype(dtype, copy=False)
        return cupy.matmul(rows, b.astype(dtype, copy=False)).reshape(*a.shape[:-1], b.shape[-1])
    lead = cupy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*lead, a.shape[-2], b.shape[-1])
    if out is None:
        out = cupy.empty(shape, dtype=dtype)
    elif out.shape != shape:
        raise ValueError(f"matmul: out has shape {out.shape}, the product {shape}")
    if a.shape[-1] == 0:
        out.fill(0)
    elif out.size:
        _stacked(a.astype(dtype, copy=False), b.astype(dtype, copy=False), out, lead)
    return out


def _stacked(a, b, out, lead):
    """Write ``a @ b`` to ``out``, copying only what cuBLAS cannot step through."""
    a, b = _plain(a), _plain(b)
    found = gemm.calls(_operand(a, lead), _operand(b, lead), _operand(out, lead))
    if found is not None and len(found) <= MOST_CALLS:
        return _run(found, a, b, out)
    target = out if _even(out) else cupy.empty_like(out, order="C")
    a, b = (x if _even(x) else cupy.ascontiguousarray(x) for x in (a, b))
    _run(gemm.calls(_operand(a, lead), _operand(b, lead), _operand(target, lead)), a, b, target)
    if target is not out:
        out[...] = target


def _even(x):
    """Whether one step leads from each matrix of ``x`` to the next, and cuBLAS can read them."""
    operand = _operand(x, x.shape[:-2])
    return gemm.layout(operand) is not None and len(gemm.stacks(operand)) <= 1


def _operand(x, lead):
    """Shape and strides of ``x``, broadcast to the leading axes ``lead``."""
    shape = (*lead, *x.shape[-2:])
    repeated = (1,) * (len(shape) - x.ndim) + x.shape
    strides = (0,) * (len(shape) - x.ndim) + x.strides
    return gemm.Operand(shape, tuple(0 if n == 1 else stride // x.itemsize for n, stride in zip(repeated, strides)))


def _plain(x):
    """``x``, copied if neither its rows nor its columns are contiguous."""
    return x if gemm.layout(_operand(x, x.shape[:-2])) else cupy.ascontiguousarray(x)


def _run(found, a, b, out):
    kind = DATA_TYPES[out.dtype.name]
    compute, one, zero = _precision(out.dtype)
    handle = cupy.cuda.device.get_cublas_handle()
    item, (a_start, b_start, out_start) = out.itemsize, (x.data.ptr for x in (a, b, out))
    for call in found:
        cublas.gemmStridedBatchedEx(
            handle, int(call.transpose_first), int(call.transpose_second), call.m, call.n, call.k, one,
            b_start + item * call.first_offset, kind, call.first_leading, call.first_step,
            a_start + item * call.second_offset, kind, call.second_leading, call.second_step, zero,
            out_start + item * call.out_offset, kind, call.out_leading, call.out_step,
            call.count, compute, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip


def _precision(dtype):
    """``(compute type, address of 1, address of 0)``. float32 uses TF32 if CuPy is told to
    (environment: CUPY_TF32=1).
    """
    if dtype == np.float64:
        one, zero = _CONSTANTS[np.float64]
        return cublas.CUBLAS_COMPUTE_64F, one.ctypes.data, zero.ctypes.data
    one, zero = _CONSTANTS[np.float32]
    fast = dtype == np.float32 and cupy._core.get_compute_type(dtype) == cupy._core._routines_linalg.COMPUTE_TYPE_TF32
    return cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if fast else cublas.CUBLAS_COMPUTE_32F, one.ctypes.data, zero.ctypes.data


def multiplier(a, b, out):
    """A function of i that writes ``a[i] @ b`` to ``out``; all but one address is found here, once
    for many i.

    a: (N, M, K) and out: (M, L), contiguous; b: (K, L), its rows or its columns contiguous.
    """
    operands = (gemm.Operand(x.shape, tuple(step // x.itemsize for step in x.strides)) for x in (a[0], b, out))
    (call,) = gemm.calls(*operands)
    kind, (compute, one, zero) = DATA_TYPES[out.dtype.name], _precision(out.dtype)
    shape = int(call.transpose_first), int(call.transpose_second), call.m, call.n, call.k
    first = cupy.cuda.device.get_cublas_handle(), *shape, one, b.data.ptr, kind, call.first_leading, 0
    last = out.data.ptr, kind, call.out_leading, 0, 1, compute, cublas.CUBLAS_GEMM_DEFAULT
    start, step, leading = a.data.ptr, a[0].nbytes, call.second_leading

    def multiply(i, _alive=(a, b, out)):  # whose addresses these are
        cublas.gemmStridedBatchedEx(*first, start + i * step, kind, leading, 0, zero, *last)

    return multiply
