"""The basic layers: linear, embedding, normalisation, convolution, dropout.

Weights are ``(out_features, in_features)`` and start as PyTorch's do, so that both libraries can
exchange them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minitensor.engine.settings import flag, integer, number, probability, sizes
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn import functional as F
from minitensor.nn import init
from minitensor.nn.module import Module, Parameter
from minitensor.ops.creation import arange, ones, zeros
from minitensor.ops.elementwise import where

__all__ = ["Conv2d", "Dropout", "Embedding", "LayerNorm", "Linear", "RMSNorm"]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minitensor.engine.attached import TensorLike


class Linear(Module):
    """The affine map ``y = x W^T + b``.

    x: (..., in_features); returns (..., out_features). weight: (out_features, in_features) and
    bias: (out_features,) start uniform on +-1/sqrt(in_features).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = integer("Linear", "in_features", in_features, least=1)
        self.out_features = integer("Linear", "out_features", out_features, least=1)
        self.weight = Parameter(zeros((self.out_features, self.in_features)))
        # ``| Any`` here and below, not ``| None``: nobody need ask for a bias that is there.
        self.bias: Parameter | Any = Parameter(zeros(self.out_features)) if flag("Linear", "bias", bias) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        x = checked_features(self, x, self.in_features)
        return F.linear(x, self.weight, self.bias)


class Embedding(Module):
    """A table of vectors: ``y[...] = weight[ids[...]]``.

    ids: integers (...) from 0 to num_embeddings - 1, IndexError otherwise; returns
    (..., embedding_dim). weight starts as N(0, 1). The row ``padding_idx`` starts at zero and gets
    no gradient.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        rows = self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, least=1)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, least=1)
        if padding_idx is not None:
            padding_idx = integer("Embedding", "padding_idx", padding_idx)
            if not -rows <= padding_idx < rows:
                raise ValueError(f"Embedding: padding_idx {padding_idx} is outside a table of {rows} rows")
            padding_idx %= rows
        self.padding_idx = padding_idx
        self.weight = Parameter(zeros((rows, self.embedding_dim)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None and not init.is_skipped():
            rows = arange(self.num_embeddings, device=self.weight.device)[:, None]
            self.weight.assign(where(rows == self.padding_idx, 0.0, self.weight.detach()))

    def forward(self, ids: TensorLike) -> Tensor:
        """(...) to (..., embedding_dim)."""
        return F.embedding(ids, self.weight, self.padding_idx)


class LayerNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` (Ba et al. 2016).

    normalized_shape: lengths of the trailing axes over which mean and variance are taken.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, bias: bool = True) -> None:
        self.normalized_shape = sizes("LayerNorm", "normalized_shape", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps, least=0)
        self.weight = Parameter(ones(self.normalized_shape))
        self.bias: Parameter | Any = (
            Parameter(zeros(self.normalized_shape)) if flag("LayerNorm", "bias", bias) else None
        )

    def forward(self, x: TensorLike) -> Tensor:
        x = checked_features(self, x, *self.normalized_shape)
        return F.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """``x / sqrt(mean(x**2) + eps) * weight`` (Zhang and Sennrich 2019).

    normalized_shape: lengths of the trailing axes over which the mean is taken.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-6) -> None:
        self.normalized_shape = sizes("RMSNorm", "normalized_shape", normalized_shape)
        self.eps = number("RMSNorm", "eps", eps, least=0)
        self.weight = Parameter(ones(self.normalized_shape))

    def forward(self, x: TensorLike) -> Tensor:
        x = checked_features(self, x, *self.normalized_shape)
        return F.rms_norm(x, self.weight, self.eps)


class Dropout(Module):
    """In training, zero elements with probability ``p`` and scale the others by 1 / (1 - p).

    In evaluation, the identity.

    With p = 1 all are zero.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("Dropout", "p", p)

    def forward(self, x: TensorLike) -> Tensor:
        return F.dropout(x, self.p, self.training) if self.p and self.training else asarray(x)


class Conv2d(Module):
    """Cross-correlation: (B, in_channels, H, W) to (B, out_channels, H', W').

    kernel_size, stride and padding are a number or a pair (height, width);
    ``H' = (H + 2 padding - kernel_size) // stride + 1``. weight: (out_channels, in_channels,
    *kernel_size).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        bias: bool = True,
    ) -> None:
        self.in_channels = integer("Conv2d", "in_channels", in_channels, least=1)
        self.out_channels = integer("Conv2d", "out_channels", out_channels, least=1)
        self.kernel_size = sizes("Conv2d", "kernel_size", kernel_size, count=2)
        self.stride = sizes("Conv2d", "stride", stride, count=2)
        self.padding = sizes("Conv2d", "padding", padding, least=0, count=2)
        self.weight = Parameter(zeros((self.out_channels, self.in_channels, *self.kernel_size)))
        self.bias: Parameter | Any = Parameter(zeros(self.out_channels)) if flag("Conv2d", "bias", bias) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W')."""
        x = asarray(x)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self!r}: the input has shape {x.shape}, it must be (batch, {self.in_channels}, height, width)"
            )
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


def _uniform_by_fan_in(weight, bias):
    """PyTorch's start of linear and convolution layers: all uniform on +-1/sqrt(fan_in)."""
    bound = math.sqrt(weight.shape[0] / weight.size)
    for parameter in (weight, bias):
        if parameter is not None:
            init.uniform_(parameter, -bound, bound)


def checked_features(module: Module, x: TensorLike, *features: int) -> Tensor:
    """``x`` as a tensor; ValueError if its trailing axes are not the module's ``features``."""
    x = asarray(x)
    if x.shape[-len(features) :] != features:
        axes = "last axis" if len(features) == 1 else "trailing axes"
        raise ValueError(
            f"{module!r}: the input has shape {x.shape}, its {axes} must be {', '.join(map(str, features))}"
        )
    return x
