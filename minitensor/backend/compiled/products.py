"""Matrix products on the pool's threads: each part of a product is a call of OpenBLAS on one
thread.

How a product is cut follows from its size alone. Letters: C (M, N) = A (M, K) B (K, N).
"""

from __future__ import annotations

import math

import numpy as np

from minitensor.backend.compiled.blas import product_functions
from minitensor.backend.compiled.lowlevel import array_at, call_gemm, entry, parallel, part
from minitensor.backend.compiled.pool import address

__all__ = ["matmul", "product"]

SMALL = 1 << 15  # multiply-adds up to which NumPy's own call is quicker
FEW = 1 << 19  # multiply-adds up to which a product is one part
TALL = 512  # rows, or columns, of a part of a large product: each part packs the other operand anew
MOST = 16  # parts, and so cores


def _cuts(m, n, work):
    """``(rows, columns)`` of a part: rows are cut if there are many or at least as many, else
    columns.
    """
    if work <= FEW:
        return m, n
    by_rows = m >= TALL or m >= n
    parts = 2
    while 2 * parts * TALL <= (m if by_rows else n) and parts < MOST:
        parts *= 2
    return (-(-m // parts), n) if by_rows else (m, -(-n // parts))


# --- one product ----------------------------------------------------------------------------------


@part
def _block(number, gemm, sides, sizes, alpha, beta, places, bias):
    """One block of C: ``alpha A B + beta C``, or ``A B + bias``."""
    (first, second), (m, n, k, rows, columns, width), (a, lda, b, ldb, c, ldc) = sides, sizes, places
    across = (n + columns - 1) // columns
    top, left = number // across * rows, number % across * columns
    height, breadth = min(rows, m - top), min(columns, n - left)
    a += top * (width if first else lda * width)
    b += left * (ldb * width if second else width)
    c += (top * ldc + left) * width
    if bias:
        row = array_at(bias + left * width, (breadth,), alpha)
        out = array_at(c, (height, ldc), alpha)
        for i in range(height):
            for j in range(breadth):
                out[i, j] = row[j]
        beta = alpha
    call_gemm(gemm, first, second, height, breadth, k, alpha, a, lda, b, ldb, beta, c, ldc)


@entry
def _product(pool, gemm, sides, sizes, alpha, beta, places, bias):
    m, n, _, rows, columns, _ = sizes
    parts = ((m + rows - 1) // rows) * ((n + columns - 1) // columns)
    parallel(pool, parts, _block, (gemm, sides, sizes, alpha, beta, places, bias))


def place(x):
    """The address of an array's memory."""
    return x.__array_interface__["data"][0]


def product(a, b, out, transpose_a=False, transpose_b=False, bias=None, add=False):
    """``out = op(a) op(b)``, ``+ bias`` for each row, or ``+ out`` if ``add``; all are matrices of
    one type, contiguous, with at least one element.
    """
    (m, n), k = out.shape, a.shape[0 if transpose_a else 1]
    one, width = out.dtype.type, out.itemsize
    _product(
        address(), product_functions()[out.dtype], (int(transpose_a), int(transpose_b)), (m, n, k, *_cuts(m, n, m * n * k), width),
        one(1), one(1 if add else 0),
        (place(a), a.shape[1], place(b), b.shape[1], place(out), n), 0 if bias is None else place(bias),
    )  # fmt: skip
    return out


# --- stacks ---------------------------------------------------------------------------------------


@part
def _some(number, gemm, sides, sizes, alpha, places, steps, each):
    """Some products of a stack of ``outer`` times ``inner``."""
    (first, second), (m, n, k, outer, inner) = sides, sizes
    (a, lda, b, ldb, c, ldc), zero = places, alpha - alpha
    for i in range(number * each, min(outer * inner, (number + 1) * each)):
        x, y = i // inner, i % inner
        call_gemm(
            gemm, first, second, m, n, k, alpha,
            a + x * steps[0] + y * steps[1], lda, b + x * steps[2] + y * steps[3], ldb,
            zero, c + x * steps[4] + y * steps[5], ldc,
        )  # fmt: skip


@entry
def _stack(pool, gemm, sides, sizes, alpha, places, steps, each):
    count = sizes[3] * sizes[4]
    parallel(pool, (count + each - 1) // each, _some, (gemm, sides, sizes, alpha, places, steps, each))


def _matrix(x):
    """``(whether x is transposed in memory, distance of its rows)``, or None if BLAS cannot read
    it.
    """
    rows, columns = x.strides[-2:]
    width = x.itemsize
    if columns == width and rows % width == 0 and rows >= x.shape[-1] * width:
        return 0, rows // width
    if rows == width and columns % width == 0 and columns >= x.shape[-2] * width:
        return 1, columns // width
    if x.shape[-2] == 1 and columns == width:
        return 0, x.shape[-1]
    if x.shape[-1] == 1 and rows == width:
        return 1, x.shape[-2]
    return None


def matmul(a, b, out=None):
    """``np.matmul(a, b, out=out)``."""
    kinds = {x.dtype for x in (a, b)} if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else {None}
    gemm = product_functions().get(a.dtype) if len(kinds) == 1 and a.ndim >= 2 and b.ndim >= 2 else None
    if gemm is None or a.size * b.shape[-1] <= SMALL or a.shape[-1] != b.shape[-2] or not b.size:
        return np.matmul(a, b, out=out)
    forms = _matrix(a), _matrix(b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, k), n = a.shape[-2:], b.shape[-1]
    if out is None:
        out = np.empty((*lead, m, n), dtype=a.dtype)
    elif np.may_share_memory(out, a) or np.may_share_memory(out, b):
        return np.matmul(a, b, out=out)
    form = _matrix(out)
    if None in forms or form is None or form[0] or len(lead) > 2 or out.shape != (*lead, m, n) or out.dtype != a.dtype:
        return np.matmul(a, b, out=out)
    (first, lda), (second, ldb) = forms
    places, one = (place(a), lda, place(b), ldb, place(out), form[1]), a.dtype.type
    if math.prod(lead) == 1:
        sizes = (m, n, k, *_cuts(m, n, m * n * k), a.itemsize)
        _product(address(), gemm, (first, second), sizes, one(1), one(0), places, 0)
        return out
    steps = [s for x in (a, b, out) for s in _steps(x, lead)]
    outer, inner = (1, *lead)[-2:]
    each = max(1, min(-(-outer * inner // 4), -(-FEW // (m * n * k))))
    _stack(address(), gemm, (first, second), (m, n, k, outer, inner), one(1), places, tuple(steps), each)
    return out


def _steps(x, lead):
    """Bytes from one matrix of a stack to the next, along the two axes of ``lead``; 0 where x is
    repeated.
    """
    steps = (0, 0, *(s if n > 1 else 0 for n, s in zip(x.shape[:-2], x.strides[:-2])))
    return steps[-2:]
