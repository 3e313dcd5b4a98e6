"""Initial values of parameters, drawn from ``mt.random``, or from a generator given.

One seed gives the same weights on every device.

Every function overwrites its tensor and returns it. For a weight of shape ``(out, in, *kernel)``::

    fan_in = in * prod(kernel)        fan_out = out * prod(kernel)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar, overload

from minitensor import random
from minitensor.backend import np
from minitensor.engine.mode import current_mode, switch
from minitensor.engine.settings import number
from minitensor.engine.tensor import Tensor

__all__ = [
    "calculate_gain", "constant_", "eye_", "is_skipped", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "orthogonal_",
    "shapes_only", "skipped", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

if TYPE_CHECKING:
    from minitensor.engine.mode import Code, switched

    T = TypeVar("T", bound=Tensor)


@overload
def skipped(function: None = None) -> switched: ...
@overload
def skipped(function: Code) -> Code: ...
def skipped(function=None):
    """Context manager and decorator, as ``mt.no_grad``: what draws leaves its tensor as it is.

    For a module whose values will all be loaded.

    >>> from minitensor import nn
    >>> with nn.init.skipped():
    ...     layer = nn.Linear(1000, 1000)
    >>> float(layer.weight.data.max())
    0.0
    """
    return switch(function, draws=False)


@overload
def shapes_only(function: None = None) -> switched: ...
@overload
def shapes_only(function: Code) -> Code: ...
def shapes_only(function=None):
    """Context manager and decorator: parameters have a shape but no memory.

    A module of any size is then made at once.

    To find out what it consists of; it can neither compute nor be loaded.

    >>> from minitensor import nn
    >>> with nn.init.shapes_only():
    ...     layer = nn.Linear(10**9, 10**9)
    >>> layer.weight.shape
    (1000000000, 1000000000)
    """
    return switch(function, draws=False, memory=False)


def is_skipped() -> bool:
    """Whether initial values need not be computed: inside `skipped` and `shapes_only`."""
    return not current_mode.get().draws


def uniform_(tensor: T, low: float = 0.0, high: float = 1.0, generator: random.Generator | None = None) -> T:
    """Uniform on ``[low, high)``."""
    _check("uniform_", tensor)
    draw = random.generator_of("uniform_", generator)
    if current_mode.get().draws:
        tensor.assign(draw.uniform(tensor.shape, low, high, dtype=tensor.dtype, device=tensor.device))
    return tensor


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: random.Generator | None = None) -> T:
    """Normal with the given mean and standard deviation."""
    _check("normal_", tensor)
    draw = random.generator_of("normal_", generator)
    if current_mode.get().draws:
        tensor.assign(draw.normal(tensor.shape, mean, std, dtype=tensor.dtype, device=tensor.device))
    return tensor


def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    generator: random.Generator | None = None,
) -> T:
    """Normal, drawn again if the value falls outside ``[low, high]``, as in PyTorch."""
    _check("trunc_normal_", tensor)
    draw = random.generator_of("trunc_normal_", generator)
    mean, std = number("trunc_normal_", "mean", mean), number("trunc_normal_", "std", std, above=0)
    low = number("trunc_normal_", "low", low, infinite=True)
    high = number("trunc_normal_", "high", high, infinite=True)
    if not low < high or (high - mean) / std < -4 or (low - mean) / std > 4:
        raise ValueError(f"trunc_normal_: hardly any of N({mean}, {std}**2) lies in [{low}, {high}]")
    if not current_mode.get().draws:
        return tensor
    values = draw.normal((tensor.size,), mean, std, dtype=np.float64)._array
    while True:
        outside = np.flatnonzero((values < low) | (values > high))
        if not outside.size:
            break
        values[outside] = draw.normal((outside.size,), mean, std, dtype=np.float64)._array
    tensor.assign(values.reshape(tensor.shape))
    return tensor


def constant_(tensor: T, value: float) -> T:
    """``value`` everywhere."""
    _check("constant_", tensor)
    value = number("constant_", "value", value, infinite=True)
    if current_mode.get().memory:
        tensor.assign(value)
    return tensor


def zeros_(tensor: T) -> T:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Ones."""
    return constant_(tensor, 1.0)


def eye_(tensor: T) -> T:
    """Ones on the diagonal of a matrix, zeros elsewhere."""
    _check("eye_", tensor)
    if tensor.ndim != 2:
        raise ValueError(f"eye_ needs a matrix, got shape {tensor.shape}")
    if current_mode.get().memory:
        rows, columns = tensor.shape
        tensor.assign(np.eye(rows, columns))
    return tensor


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: random.Generator | None = None) -> T:
    """Uniform with variance ``gain**2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    bound = number("xavier_uniform_", "gain", gain, least=0) * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: random.Generator | None = None) -> T:
    """Normal with variance ``gain**2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    gain = number("xavier_normal_", "gain", gain, least=0)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator)


def kaiming_uniform_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> T:
    """Uniform with variance ``gain**2 / fan`` (He et al. 2015); a: slope of leaky_relu below 0."""
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> T:
    """Normal with variance ``gain**2 / fan`` (He et al. 2015); a: slope of leaky_relu below 0."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def orthogonal_(tensor: T, gain: float = 1.0, generator: random.Generator | None = None) -> T:
    """A random (semi-)orthogonal matrix times ``gain`` (Saxe et al. 2014).

    Axes after the first count as one.
    """
    _check("orthogonal_", tensor)
    gain = number("orthogonal_", "gain", gain)
    draw = random.generator_of("orthogonal_", generator)
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_ needs at least two axes, got shape {tensor.shape}")
    if not current_mode.get().draws:
        return tensor
    rows, columns = tensor.shape[0], tensor.size // tensor.shape[0]
    square = draw.normal((max(rows, columns), min(rows, columns)), dtype=np.float64)._array
    q, r = np.linalg.qr(square)
    q = q * np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    tensor.assign(gain * (q if rows >= columns else q.T).reshape(tensor.shape))
    return tensor


def calculate_gain(nonlinearity: str, a: float = 0.0) -> float:
    """The factor that keeps the variance of activations through ``nonlinearity``."""
    a = number("calculate_gain", "a", a)
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + a * a)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain knows {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _check(owner, tensor):
    """Raise TypeError for what ``owner`` cannot overwrite."""
    if not isinstance(tensor, Tensor):
        hint = "; write layer.weight, say" if hasattr(tensor, "parameters") else ""
        raise TypeError(f"{owner} overwrites a tensor, such as an nn.Parameter, got {type(tensor).__name__}{hint}")


def _fans(tensor):
    _check("initial values", tensor)
    if tensor.ndim < 2:
        raise ValueError(f"fan_in and fan_out need a weight (out, in, ...), got shape {tensor.shape}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _fan(tensor, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode must be "fan_in" or "fan_out", got {mode!r}')
    return _fans(tensor)[mode == "fan_out"]
