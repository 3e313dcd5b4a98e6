"""Random numbers as a pure function of (seed, stream, counter), equal bit for bit on every device.

A ``Generator`` holds a 128-bit key (the seed and the number of a stream) and a counter of blocks drawn; its whole state is three
integers. Words come from Philox4x64-10 (Salmon et al., SC 2011). Whatever needs a logarithm or a sine is computed on the host and
copied, because those differ in the last bit between devices.
"""

from __future__ import annotations

import math

from minitensor.axes import ints
from minitensor.backend import as_device, as_dtype, compute_dtype, is_floating, move, namespace, np, precision
from minitensor.tensor import Tensor

__all__ = ["Generator", "bernoulli", "default", "integers", "normal", "permutation", "seed", "uniform"]


class Generator:
    """A stream of random words. Equal ``(seed, stream, counter)`` give equal numbers everywhere."""

    def __init__(self, seed=0, stream=0, counter=0):
        for name, value in (("seed", seed), ("stream", stream), ("counter", counter)):
            if not isinstance(value, (int, np.integer)) or not 0 <= value < 1 << 64:
                raise ValueError(f"{name} must be an integer from 0 to 2**64 - 1, got {value!r}")
        self.seed, self.stream, self.counter = int(seed), int(stream), int(counter)

    @property
    def state(self):
        """``(seed, stream, counter)``: all that there is to save."""
        return self.seed, self.stream, self.counter

    @state.setter
    def state(self, state):
        self.__init__(*state)

    def words(self, count, device=None):
        """The next ``count`` random words, a raw uint64 array; the counter moves on by whole blocks of four."""
        drawn = namespace(device).random_bits((self.seed, self.stream), self.counter, count)
        self.counter += -(-count // 4)
        return drawn

    def halves(self, shape, device=None):
        """Raw uint16 array of ``shape``, uniform over all 65 536 values: four to a word, plenty for a dropout mask."""
        count = math.prod(shape)
        return self.words(-(-count // 4), device).view(np.uint16)[:count].reshape(shape)

    def uniform(self, shape=(), low=0.0, high=1.0, dtype=np.float32, device=None):
        """Uniform on ``[low, high)``: as many random bits a number as its mantissa holds, 24 in float32 and 53 in float64."""
        shape, dtype = ints(shape), _floating("uniform", dtype)
        bits, compute = precision(dtype), compute_dtype(dtype)
        words = self.words(math.prod(shape), device)
        unit = (words >> np.uint64(64 - bits)).astype(compute) * compute.type(2.0**-bits)
        return Tensor((unit * compute.type(high - low) + compute.type(low)).astype(dtype).reshape(shape))

    def normal(self, shape=(), mean=0.0, std=1.0, dtype=np.float32, device=None):
        """Normal with the given mean and standard deviation, by Box and Muller's transform (1958) on the host."""
        shape, dtype = ints(shape), _floating("normal", dtype)
        count = math.prod(shape)
        words = self.words(2 * -(-count // 2))
        unit = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1)
        radius, angle = np.sqrt(-2.0 * np.log(unit[0::2])), 2.0 * math.pi * unit[1::2]
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
        return Tensor(move((values * std + mean).astype(dtype).reshape(shape), as_device(device)))

    def integers(self, low, high=None, shape=(), dtype=np.int64, device=None):
        """Integers from ``low`` up to, not including, ``high`` (from 0 up to ``low`` where only one bound is given)."""
        shape, (low, high) = ints(shape), ints((0, low) if high is None else (low, high))
        if high <= low:
            raise ValueError(f"integers: the range from {low} up to {high} is empty")
        if low < np.iinfo(dtype).min or high - 1 > np.iinfo(dtype).max:
            raise ValueError(f"integers: the range from {low} up to {high} does not fit {np.dtype(dtype)}")
        words = self.words(math.prod(shape), device)
        return Tensor(((words % np.uint64(high - low)).astype(dtype) + np.dtype(dtype).type(low)).reshape(shape))

    def permutation(self, n, device=None):
        """The numbers 0 to n - 1 in random order."""
        return Tensor(move(np.argsort(self.words(n), kind="stable"), as_device(device)))

    def bernoulli(self, p, shape=(), device=None):
        """Truth values, each true with probability ``p`` (to 1 part in 65 536)."""
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"bernoulli: p must be from 0 to 1, got {p}")
        shape = ints(shape)
        xp, count = namespace(device), math.prod(shape)
        chosen = self.halves((count,), device) < round(p * 65536) if p < 1 else xp.ones(count, dtype=bool)
        return Tensor(chosen.reshape(shape))


def _floating(draw, dtype):
    found = as_dtype(dtype)
    if not is_floating(found):
        raise TypeError(f"{draw} draws floating numbers, not {found}; mt.random.integers draws integers")
    return found


default = Generator()


def seed(value):
    """Start the default generator anew: everything random in the library follows from this number."""
    default.state = (value, 0, 0)


def uniform(shape=(), low=0.0, high=1.0, dtype=np.float32, device=None):
    """Uniform on ``[low, high)`` from the default generator."""
    return default.uniform(shape, low, high, dtype, device)


def normal(shape=(), mean=0.0, std=1.0, dtype=np.float32, device=None):
    """Normal numbers from the default generator."""
    return default.normal(shape, mean, std, dtype, device)


def integers(low, high=None, shape=(), dtype=np.int64, device=None):
    """Integers from ``low`` up to, not including, ``high`` from the default generator."""
    return default.integers(low, high, shape, dtype, device)


def permutation(n, device=None):
    """The numbers 0 to n - 1 in random order, from the default generator."""
    return default.permutation(n, device)


def bernoulli(p, shape=(), device=None):
    """Truth values, true with probability ``p``, from the default generator."""
    return default.bernoulli(p, shape, device)
