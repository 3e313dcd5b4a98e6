"""The linear layer of ``mt.autocast`` on a GPU: operands stay in 16 bits, and go to the tensor
cores as they are; sums and results are float32. Attention's and the recurrent layers' kernels for
it stand beside those for float32.

Such a kernel has the contract of ``Fused.kernel``, but is given floats of 16 bits, and rounds the
gradient of its result by itself. Its result may be float32: the engine rounds it.
"""

from __future__ import annotations

from minitensor.engine.autocast import in_16_bits
from minitensor.nn.functional.affine import check_linear, linear
from minitensor.nn.functional.blocks import as_rows


@linear.kernel(device="cuda, 16 bits")
def _(xp, x, weight, bias=None, *, needs):
    check_linear(x, weight)
    rows, product = as_rows(x), xp.kernels.product  # (N, in)
    out = product(rows, weight.T)  # (N, out)
    if bias is not None:
        out += bias.astype(out.dtype)

    def backward(g):  # no homes: between a product's weight and the parameter stands a cast
        g = as_rows(g)
        narrow = in_16_bits(g, x.dtype)
        gx = product(narrow, weight).reshape(x.shape) if needs[0] else None
        gw = product(narrow.T, rows) if needs[1] else None
        return gx, gw, xp.sum(narrow.astype(g.dtype), axis=0) if needs[2] else None

    return out.reshape(*x.shape[:-1], weight.shape[0]), backward
