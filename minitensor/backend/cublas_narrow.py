"""Matrix products of 16-bit floats with a float32 result: what mixed precision is made of.

The operands are read in 16 bits, which the tensor cores of a GPU multiply, and summed up and
written in float32: nothing is rounded on the way. ``gemm.py`` finds the arguments, as for the
products of ``cublas.py``.
"""

from __future__ import annotations

import cupy
import numpy as np
from cupy_backends.cuda.libs import cublas

from minitensor.backend import gemm
from minitensor.backend.cublas import DATA_TYPES, MOST_CALLS, _even, _operand, _plain

__all__ = ["product"]

_ONE, _ZERO = np.ones((), np.float32), np.zeros((), np.float32)


def product(a, b, out=None):
    """``a @ b`` in float32, for a (..., M, K) and b (..., K, N) of one type of 16 bits; leading
    axes broadcast.

    Operands and ``out`` may be strided. Raises ValueError if shapes do not match.
    """
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not match in the core dimension")
    lead = cupy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if out is None:
        out = cupy.empty((*lead, a.shape[-2], b.shape[-1]), dtype=np.float32)
    if a.shape[-1] == 0:
        out.fill(0)
    elif out.size:
        _stacked(a, b, out, lead)
    return out


def _stacked(a, b, out, lead):
    """Write the product to ``out``, copying only what cuBLAS cannot step through."""
    a, b = _plain(a), _plain(b)
    found = gemm.calls(_operand(a, lead), _operand(b, lead), _operand(out, lead))
    if found is not None and len(found) <= MOST_CALLS:
        _run(found, a, b, out)
        return
    target = out if _even(out) else cupy.empty_like(out, order="C")
    a, b = (x if _even(x) else cupy.ascontiguousarray(x) for x in (a, b))
    _run(gemm.calls(_operand(a, lead), _operand(b, lead), _operand(target, lead)), a, b, target)
    if target is not out:
        out[...] = target


def _run(found, a, b, out):
    kind, wide = DATA_TYPES[a.dtype.name], DATA_TYPES["float32"]
    handle = cupy.cuda.device.get_cublas_handle()
    a_start, b_start, out_start = (x.data.ptr for x in (a, b, out))
    for call in found:
        cublas.gemmStridedBatchedEx(
            handle, int(call.transpose_first), int(call.transpose_second), call.m, call.n, call.k, _ONE.ctypes.data,
            b_start + 2 * call.first_offset, kind, call.first_leading, call.first_step,
            a_start + 2 * call.second_offset, kind, call.second_leading, call.second_step, _ZERO.ctypes.data,
            out_start + 4 * call.out_offset, wide, call.out_leading, call.out_step,
            call.count, cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip
