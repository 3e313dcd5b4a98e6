"""Activation functions as modules, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minitensor.engine.settings import choice, integer, number
from minitensor.engine.tensor import Tensor
from minitensor.nn import functional as F
from minitensor.nn.module import Module

__all__ = [
    "ELU", "GELU", "Identity", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh",
]  # fmt: skip

if TYPE_CHECKING:
    from typing import TypeVar

    from minitensor.engine.attached import TensorLike

    T = TypeVar("T")


class _Plain(Module):
    """A function without settings as a module."""

    function: Callable

    def forward(self, x: TensorLike) -> Tensor:
        return self.function(x)


class Identity(Module):
    """``x``."""

    def forward(self, x: T) -> T:
        return x


class ReLU(_Plain):
    """``max(x, 0)``."""

    function = staticmethod(F.relu)


class SiLU(_Plain):
    """``x * sigmoid(x)``."""

    function = staticmethod(F.silu)


class Sigmoid(_Plain):
    """``1 / (1 + exp(-x))``."""

    function = staticmethod(F.sigmoid)


class Tanh(_Plain):
    """``tanh(x)``."""

    function = staticmethod(F.tanh)


class Softplus(_Plain):
    """``log(1 + exp(x))``."""

    function = staticmethod(F.softplus)


class GELU(Module):
    """``x * Phi(x)``, Phi the distribution function of N(0, 1).

    ``approximate="tanh"`` is GPT-2's formula.
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x: TensorLike) -> Tensor:
        return F.gelu(x, approximate=self.approximate)


class ELU(Module):
    """``x`` if x > 0, else ``alpha * (exp(x) - 1)``."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, x: TensorLike) -> Tensor:
        return F.elu(x, self.alpha)


class LeakyReLU(Module):
    """``x`` if x > 0, else ``negative_slope * x``."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: TensorLike) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


class _AlongAxis(Module):
    """A function along ``axis`` as a module."""

    function: Callable

    def __init__(self, axis: int = -1) -> None:
        self.axis = integer(type(self).__name__, "axis", axis)

    def forward(self, x: TensorLike) -> Tensor:
        return self.function(x, axis=self.axis)


class Softmax(_AlongAxis):
    """``exp(x) / sum(exp(x))`` along ``axis``."""

    function = staticmethod(F.softmax)


class LogSoftmax(_AlongAxis):
    """``x - log(sum(exp(x)))`` along ``axis``."""

    function = staticmethod(F.log_softmax)
