"""Matrix products on the GPU.

Operands go to cuBLAS as they lie wherever it can read them so (``gemm.py`` finds the arguments),
with float32 accumulation for 16-bit floats, whose result keeps its type in ``matmul`` and is
float32 in ``product``. What was found for operands of some shapes and strides is kept: a step of a
training run asks for the same products again and again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cupy
import numpy as np
from cupy_backends.cuda.api import runtime
from cupy_backends.cuda.libs import cublas

from minitensor.backend import contraction, gemm
from minitensor.backend.capture import capturing, gemm_ex, gemm_strided_batched_ex

__all__ = ["Halves", "einsum", "einsum_product", "halves", "matmul", "multiplier", "product"]

DATA_TYPES = {
    "float16": runtime.CUDA_R_16F, "bfloat16": runtime.CUDA_R_16BF, "float32": runtime.CUDA_R_32F, "float64": runtime.CUDA_R_64F,
}  # fmt: skip
_CONSTANTS = {kind: (np.ones((), kind), np.zeros((), kind)) for kind in (np.float32, np.float64)}
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
FACTORS = {"float16": 2048.0, "bfloat16": 1.0}  # of the low part of a number, see ``halves``

MOST_PLANS = 4096
_plans: dict = {}  # shapes, strides and types of the operands -> Plan


def matmul(a, b, out=None):
    """The product of the last two axes; leading axes broadcast, and a 1-d operand is a row or a
    column.

    Operands and ``out`` may be strided. Raises ValueError if shapes do not match.
    """
    where = None if out is None else (out.shape, out.strides, out.dtype)
    key = a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype, where
    plan = _plans.get(key)
    if plan is not None:
        return _run(plan, a, b, out)
    if a.ndim == 1 or b.ndim == 1:
        whole = out is not None or a.dtype != b.dtype or a.dtype.name not in DATA_TYPES
        return cupy.matmul(a, b, out=out) if whole else _of_vectors(a, b)
    dtype = np.dtype(cupy.result_type(a, b))
    if dtype.name not in DATA_TYPES or out is not None and out.dtype != dtype:
        return cupy.matmul(a, b, out=out)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not match in the core dimension")
    if a.dtype != dtype or b.dtype != dtype:
        return matmul(a.astype(dtype, copy=False), b.astype(dtype, copy=False), out)
    if a.ndim > 2 == b.ndim and out is None:  # one large product instead of a stack of small ones
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        return matmul(rows, b).reshape(*a.shape[:-1], b.shape[-1])
    if len(_plans) >= MOST_PLANS:
        _plans.clear()
    plan = _plans[key] = _planned(a, b, out, dtype)
    return _run(plan, a, b, out)


def _of_vectors(a, b):
    """The product of operands one of which, or both, is a row or a column. As any other product, so
    that it is the same in a CUDA graph.
    """
    product = matmul(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b)
    product = product[..., 0] if b.ndim == 1 else product
    return product if a.ndim > 1 else product[..., 0] if b.ndim == 1 else product[..., 0, :]


def product(a, b, out=None):
    """``a @ b`` in float32: nothing is rounded on the way. a and b, stacks of matrices, are of one
    type of 16 bits, or a is a float32 array in ``halves`` of it. Otherwise as ``matmul``.
    """
    if a.ndim > 2 == b.ndim and out is None:  # one large product instead of a stack of small ones
        return product(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    if not isinstance(a, Halves):
        return _run(_wide_plan(a, b, out), a, b, out)
    plan, made = _wide_plan(a.high, b, out), out
    if out is None or plan.copied[2]:  # both go to an array in between, which is copied once
        plan, made = _wide_plan(a.high, b, None), None
    made = _run(plan, a.high, b, made)
    _run(_wide_plan(a.low, b, made), a.low, b, made, _LESS[b.dtype.name])
    if out is None or made is out:
        return made
    out[...] = made
    return out


def _wide_plan(a, b, out):
    """The Plan of ``a @ b``, of 16 bits, in float32."""
    where = None if out is None else (out.shape, out.strides, out.dtype)
    key = "float32", a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype, where
    plan = _plans.get(key)
    if plan is None:
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not match in the core dimension")
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        plan = _plans[key] = _planned(a, b, out, _FLOAT32)
    return plan


class Halves(NamedTuple):
    """A float32 array as two of 16 bits: ``high + low / factor``."""

    high: cupy.ndarray
    low: cupy.ndarray

    @property
    def ndim(self):
        """The number of axes."""
        return self.high.ndim

    @property
    def shape(self):
        """The length of each axis."""
        return self.high.shape

    def swapaxes(self, first, second):
        """The same with two axes exchanged."""
        return Halves(self.high.swapaxes(first, second), self.low.swapaxes(first, second))

    def reshape(self, *shape):
        """The same in another shape."""
        return Halves(self.high.reshape(*shape), self.low.reshape(*shape))


def halves(kernels, x, dtype):
    """``x``, a float32 array, in two of ``dtype``, so that it can be multiplied by numbers of 16
    bits as if it were not rounded.

    high is x rounded to 16 bits, low the rest, times a factor that keeps it away from the least
    float16. Together they have 22 significant bits in float16, 16 in bfloat16. What is too great
    for float16 is infinite. Ootomo and Yokota, "Recovering single precision accuracy from Tensor
    Cores while surpassing the FP32 theoretical peak performance", 2022, arXiv:2203.03341.
    """
    x, factor = cupy.ascontiguousarray(x), FACTORS[dtype.name]
    high, low = cupy.empty((2, *x.shape), dtype=np.uint16)
    kernels.each("halves", _FLOAT32, x.size, x, high, low, x.size, factor, dtype.name == "bfloat16")
    return Halves(high.view(dtype), low.view(dtype))


def einsum(subscripts, *operands, optimize=False):
    """NumPy's ``einsum``; a sum of products of two operands that a matrix product computes is one,
    CuPy's is what is left.
    """
    made = None
    if len(operands) == 2 and operands[0].dtype == operands[1].dtype and operands[0].dtype.name in DATA_TYPES:
        made = _contracted(subscripts, *operands, matmul)
    return cupy.einsum(subscripts, *operands, optimize=optimize) if made is None else made


def einsum_product(subscripts, *operands, optimize=False):
    """``einsum`` in float32 of operands of 16 bits, of which nothing is rounded on the way."""
    made = _contracted(subscripts, *operands, product) if len(operands) == 2 else None
    if made is not None:
        return made
    return einsum(subscripts, *[x.astype(_FLOAT32) for x in operands], optimize=optimize)


def _contracted(subscripts, a, b, multiply):
    """The einsum of two operands by one ``multiply``; None if it is no product of matrices."""
    plan = contraction.planned(subscripts, a.shape, b.shape)
    if plan is None:
        return None
    a = a.transpose(plan.first_axes).reshape(plan.first_shape)
    b = b.transpose(plan.second_axes).reshape(plan.second_shape)
    return multiply(a, b).reshape(plan.shape).transpose(plan.axes)


class Plan(NamedTuple):
    """How a product of operands of certain shapes and strides is computed.

    dtype: of the result; given, kind: cuBLAS's numbers for the types of the operands and of the
    result. copied: whether a, b and the result are copied, as cuBLAS cannot step through them well.
    swapped: whether a is the first matrix of the calls, not b. calls: the arguments of each call,
    offsets in bytes; none if there is nothing to add up.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    given: int
    kind: int
    copied: tuple[bool, bool, bool]
    swapped: bool
    calls: list[tuple[int, ...]]


def _planned(a, b, out, dtype):
    """The Plan of ``a @ b``."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*lead, a.shape[-2], b.shape[-1])
    if out is not None and out.shape != shape:
        raise ValueError(f"matmul: out has shape {out.shape}, the product {shape}")
    given, kind = DATA_TYPES[a.dtype.name], DATA_TYPES[dtype.name]
    if 0 in shape or a.shape[-1] == 0:
        return Plan(shape, dtype, given, kind, (False, False, False), False, [])
    small, item = a.itemsize, dtype.itemsize
    lies = [(a.shape, a.strides, small), (b.shape, b.strides, small)]
    lies.append((shape, _dense(shape, item) if out is None else out.strides, item))
    choices = [
        [*(gemm.operand(whole, [n // size for n in steps], lead) for steps in (strides, _dense(whole, size))), math.prod(whole)]
        for whole, strides, size in lies
    ]  # fmt: skip
    copied, found = gemm.cheapest(choices)
    return Plan(shape, dtype, given, kind, copied, found[0].swapped, [_arguments(call, small, item) for call in found])


def _dense(shape, item):
    """The strides, in bytes, of a contiguous array."""
    return [item * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _arguments(call, small, item):
    """A gemm.Call in the order in which ``_run`` wants it; the operands have elements of ``small``
    bytes, the result of ``item``.
    """
    return (
        int(call.transpose_first), int(call.transpose_second), call.m, call.n, call.k,
        small * call.first_offset, call.first_leading, call.first_step,
        small * call.second_offset, call.second_leading, call.second_step,
        item * call.out_offset, call.out_leading, call.out_step, call.count,
    )  # fmt: skip


def _run(plan, a, b, out, add=None):
    """Compute ``a @ b``; returns ``out``, a new array if it is None.

    add: the address of a factor with which the product is added to ``out``, which is not copied.
    """
    shape, dtype, given, kind, copied, swapped, calls = plan
    if out is None:
        out = cupy.ndarray(shape, dtype)
    if not calls:
        if add is None:
            out.fill(0)
        return out
    if copied[0]:
        a = cupy.ascontiguousarray(a)
    if copied[1]:
        b = cupy.ascontiguousarray(b)
    target = cupy.ndarray(shape, dtype) if copied[2] else out
    compute, one, zero = _precision(a.dtype)
    beta = zero
    if add is not None:
        one, beta = add, one
    handle = cupy.cuda.device.get_cublas_handle()
    first_of, second_of = (a, b) if swapped else (b, a)
    one_product, many = _EAGER if capturing() is None else (gemm_ex, gemm_strided_batched_ex)
    x, y, z = first_of.data.ptr, second_of.data.ptr, target.data.ptr
    for ta, tb, m, n, k, first, lda, step_a, second, ldb, step_b, third, ldc, step_c, count in calls:
        if count == 1:
            one_product(
                handle, ta, tb, m, n, k, one, x + first, given, lda, y + second, given, ldb, beta, z + third, kind, ldc,
                compute, cublas.CUBLAS_GEMM_DEFAULT,
            )  # fmt: skip
        else:
            many(
                handle, ta, tb, m, n, k, one, x + first, given, lda, step_a, y + second, given, ldb, step_b, beta,
                z + third, kind, ldc, step_c, count, compute, cublas.CUBLAS_GEMM_DEFAULT,
            )  # fmt: skip
    if target is not out:
        out[...] = target
    return out


def _precision(dtype):
    """``(compute type, address of 1, address of 0)`` for operands of ``dtype``. float32 uses TF32
    if CuPy is told to (environment: CUPY_TF32=1); 16 bits have nothing to round.
    """
    if dtype == _FLOAT64:
        return _EXACT64
    fast = dtype == _FLOAT32 and cupy._core.get_compute_type(dtype) == _TF32
    return _FAST if fast else _EXACT


def _addresses(kind):
    return tuple(constant.ctypes.data for constant in _CONSTANTS[kind])


_TF32 = cupy._core._routines_linalg.COMPUTE_TYPE_TF32
_EAGER = cublas.gemmEx, cublas.gemmStridedBatchedEx
_EXACT64 = cublas.CUBLAS_COMPUTE_64F, *_addresses(np.float64)
_EXACT = cublas.CUBLAS_COMPUTE_32F, *_addresses(np.float32)
_LESS_VALUES = {name: np.array(1 / factor, np.float32) for name, factor in FACTORS.items()}
_LESS = {name: value.ctypes.data for name, value in _LESS_VALUES.items()}
_FAST = cublas.CUBLAS_COMPUTE_32F_FAST_TF32, *_addresses(np.float32)


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

    product = _EAGER[1] if capturing() is None else gemm_strided_batched_ex

    def multiply(i, _alive=(a, b, out)):  # whose addresses these are
        product(*first, start + i * step, kind, leading, 0, zero, *last)

    return multiply
