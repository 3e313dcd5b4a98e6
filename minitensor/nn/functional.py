"""Layers as functions, under PyTorch's names."""

from __future__ import annotations

import math

from minitensor.axes import ints
from minitensor.backend import cast, namespace
from minitensor.fused_ops.activations import dropout, elu, gelu, leaky_relu, relu, sigmoid, silu, softplus
from minitensor.fused_ops.attention import attention_weights, packed_attention, scaled_dot_product_attention
from minitensor.fused_ops.blocks import as_floats
from minitensor.fused_ops.cross_entropy import cross_entropy, nll_loss
from minitensor.fused_ops.linear import embedding, linear
from minitensor.fused_ops.losses import (
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
)  # fmt: skip
from minitensor.fused_ops.norm import layer_norm_last, rms_norm_last
from minitensor.fused_ops.recurrent import gru, lstm, rnn
from minitensor.fused_ops.softmax import log_softmax, softmax
from minitensor.ids import wide_ids
from minitensor.ops.elementwise import tanh
from minitensor.ops.repeating import pad
from minitensor.ops.shape import stack
from minitensor.settings import sizes
from minitensor.tensor import Tensor, asarray

__all__ = [
    "attention_weights", "binary_cross_entropy_with_logits", "conv2d", "cross_entropy", "dropout", "elu", "embedding", "gelu",
    "gru", "huber_loss", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "lstm", "mse_loss", "nll_loss",
    "one_hot", "packed_attention", "relu", "rms_norm", "rnn", "scaled_dot_product_attention", "sigmoid", "silu", "softmax",
    "softplus", "tanh",
]  # fmt: skip


def layer_norm(x, weight=None, bias=None, eps=1e-5):
    """Normalise over as many trailing axes as ``weight`` has (one if None) to mean 0 and variance 1, then scale and shift.

        y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias

    Ba, Kiros and Hinton, "Layer Normalization", 2016, arXiv:1607.06450.
    """
    return _over_trailing("layer_norm", layer_norm_last, x, (weight, bias), eps)


def rms_norm(x, weight=None, eps=1e-6):
    """``x / sqrt(mean(x^2) + eps) * weight`` over as many trailing axes as ``weight`` has (one if None).

    Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467.
    """
    return _over_trailing("rms_norm", rms_norm_last, x, (weight,), eps)


def _over_trailing(name, norm, x, parameters, eps):
    """``norm``, which works on the last axis, over the trailing axes that the parameters have."""
    x = as_floats(asarray(x))
    parameters = [None if p is None else asarray(p) for p in parameters]
    shape = next((p.shape for p in parameters if p is not None), x.shape[-1:])
    if (
        any(p is not None and p.shape != shape for p in parameters)
        or x.shape[x.ndim - len(shape) :] != shape
        or x.ndim == 0
    ):
        given = ", ".join(str(p.shape) for p in parameters if p is not None)
        raise ValueError(f"{name}: the parameters {given} must have the trailing axes of x {x.shape}")
    if len(shape) == 1:
        return norm(x, *parameters, eps=eps)
    flat = x.reshape((*x.shape[: x.ndim - len(shape)], math.prod(shape)))
    return norm(flat, *[None if p is None else p.reshape((-1,)) for p in parameters], eps=eps).reshape(x.shape)


def one_hot(ids, num_classes=-1):
    """Vectors of length ``num_classes``, 1 at the id and 0 elsewhere: ids (...) to float32 (..., num_classes).

    Where ``num_classes`` is -1 it is the greatest id and one more, which must be looked up: say it where ids are on a GPU.
    """
    ids = asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"one_hot: ids must be integers, got {ids.dtype}")
    ids = Tensor(wide_ids(ids._array))
    (n,) = ints(num_classes, "one_hot")
    if n == -1:
        if not ids.size:
            raise ValueError("one_hot: no ids to count the classes by: say num_classes")
        n = ids.max().item() + 1
    if n < 0:
        raise ValueError(f"one_hot: num_classes must be a number of classes, or -1, got {num_classes!r}")
    xp = namespace(ids.device)
    xp.check_ids(f"one_hot: id {{id}} is not a class: there are {n}", ids._array, 0, n)
    return Tensor(cast(xp.equal(ids._array[..., None], xp.arange(n)), xp.float32))


def conv2d(x, weight, bias=None, stride=1, padding=0):
    """Cross-correlation of images with kernels, one matrix product over all patches.

        y[b, o, i, j] = sum over c, u, v of x[b, c, i s + u, j s + v] w[o, c, u, v] + b[o]

    x: (B, C, H, W); weight: (O, C, U, V); bias: (O,) or None; stride and padding: an int, or one for each of the two axes.
    Returns (B, O, (H + 2 p - U) // s + 1, (W + 2 p - V) // s + 1).
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
