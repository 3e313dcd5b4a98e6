"""Kernels of the products of ``mt.autocast`` on a GPU: their operands stay in 16 bits, and go to
the tensor cores as they are; sums and results are float32.

Such a kernel has the contract of ``Fused.kernel``, but is given floats of 16 bits, and rounds the
gradient of its result by itself. Its result may be float32: the engine rounds it.
"""

from __future__ import annotations

from minitensor.nn.functional.affine import check_linear, linear
from minitensor.nn.functional.blocks import as_rows


def _product(a, b, out=None):
    from minitensor.backend.cublas import product

    return product(a, b, out)


@linear.kernel(device="cuda, 16 bits")
def _(xp, x, weight, bias=None, *, needs):
    check_linear(x, weight)
    rows = as_rows(x)  # (N, in)
    out = _product(rows, weight.T)  # (N, out)
    if bias is not None:
        out += bias.astype(out.dtype)

    def backward(g):
        g = as_rows(g)
        narrow = g.astype(x.dtype)
        gx = _product(narrow, weight).reshape(x.shape) if needs[0] else None
        gw = _product(narrow.T, rows) if needs[1] else None
        return gx, gw, xp.sum(narrow.astype(g.dtype), axis=0) if needs[2] else None

    return out.reshape(*x.shape[:-1], weight.shape[0]), backward
