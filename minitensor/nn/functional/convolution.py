"""Convolution of images by one matrix product over all patches.

Letters: B images, C channels in, O channels out, H x W pixels, U x V pixels of a kernel, s stride,
p padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.engine.settings import sizes
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.affine import linear
from minitensor.ops.repeating import pad
from minitensor.ops.shape import stack

__all__ = ["conv2d"]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minitensor.engine.attached import TensorLike


def conv2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """Cross-correlation of images with kernels, one matrix product over all patches.

        y[b, o, i, j] = sum over c, u, v of x[b, c, i s + u, j s + v] w[o, c, u, v] + b[o]

    x: (B, C, H, W); weight: (O, C, U, V); bias: (O,) or None; stride and padding: an int, or one
    for each of the two axes. Returns (B, O, (H + 2 p - U) // s + 1, (W + 2 p - V) // s + 1).
    """
    x, weight = asarray(x), asarray(weight)
    row_step, column_step = sizes("conv2d", "stride", stride, least=1, count=2)
    row_pad, column_pad = sizes("conv2d", "padding", padding, least=0, count=2)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"conv2d: x {x.shape} must be (B, C, H, W) and weight {weight.shape} (O, C, U, V) with the same C"
        )
    if row_pad or column_pad:
        x = pad(x, pad_width=((0, 0), (0, 0), (row_pad, row_pad), (column_pad, column_pad)))
    outputs, channels, u, v = weight.shape
    rows, columns = (x.shape[2] - u) // row_step + 1, (x.shape[3] - v) // column_step + 1
    if rows < 1 or columns < 1:
        raise ValueError(f"conv2d: the kernel {(u, v)} does not fit the padded image {x.shape[2:]}")
    windows = [
        x[:, :, i : i + rows * row_step : row_step, j : j + columns * column_step : column_step]
        for i in range(u)
        for j in range(v)
    ]  # each (B, C, rows, columns)
    patches = stack(windows, axis=2)  # (B, C, U V, rows, columns)
    patches = patches.transpose((0, 3, 4, 1, 2)).reshape((-1, channels * u * v))  # (B rows columns, C U V)
    y = linear(patches, weight.reshape((outputs, channels * u * v)), bias)
    return y.reshape((x.shape[0], rows, columns, outputs)).transpose((0, 3, 1, 2))
