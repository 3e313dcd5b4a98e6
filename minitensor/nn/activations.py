"""Activation functions as modules, under PyTorch's names."""

from __future__ import annotations

from minitensor.engine.settings import choice, integer, number
from minitensor.nn import functional as F
from minitensor.nn.module import Module

__all__ = [
    "ELU",
    "GELU",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class Identity(Module):
    """``x``."""

    def forward(self, x):
        """The shape stays."""
        return x


class ReLU(Module):
    """``max(x, 0)``."""

    def forward(self, x):
        """The shape stays."""
        return F.relu(x)


class GELU(Module):
    """``x * Phi(x)``, Phi the distribution function of N(0, 1); ``approximate="tanh"`` for GPT-2's formula."""

    def __init__(self, approximate="none"):
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x):
        """The shape stays."""
        return F.gelu(x, approximate=self.approximate)


class SiLU(Module):
    """``x * sigmoid(x)``."""

    def forward(self, x):
        """The shape stays."""
        return F.silu(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, x):
        """The shape stays."""
        return F.sigmoid(x)


class Tanh(Module):
    """``tanh(x)``."""

    def forward(self, x):
        """The shape stays."""
        return F.tanh(x)


class Softplus(Module):
    """``log(1 + exp(x))``."""

    def forward(self, x):
        """The shape stays."""
        return F.softplus(x)


class ELU(Module):
    """``x`` where x > 0, else ``alpha * (exp(x) - 1)``."""

    def __init__(self, alpha=1.0):
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, x):
        """The shape stays."""
        return F.elu(x, self.alpha)


class LeakyReLU(Module):
    """``x`` where x > 0, else ``negative_slope * x``."""

    def __init__(self, negative_slope=0.01):
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x):
        """The shape stays."""
        return F.leaky_relu(x, self.negative_slope)


class Softmax(Module):
    """``exp(x) / sum(exp(x))`` along ``axis``."""

    def __init__(self, axis=-1):
        self.axis = integer(type(self).__name__, "axis", axis)

    def forward(self, x):
        """The shape stays."""
        return F.softmax(x, axis=self.axis)


class LogSoftmax(Module):
    """``x - log(sum(exp(x)))`` along ``axis``."""

    def __init__(self, axis=-1):
        self.axis = integer(type(self).__name__, "axis", axis)

    def forward(self, x):
        """The shape stays."""
        return F.log_softmax(x, axis=self.axis)
