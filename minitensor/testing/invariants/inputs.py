"""What a model is called with: arrays by number or name, drawn anew or in part where an invariant
changes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minitensor.engine.messages import a_kind

__all__ = ["Floats", "Ids", "Inputs", "cuts"]


@dataclass(frozen=True)
class Ids:
    """Ids of ``shape``, drawn from ``low`` to ``high - 1``: ``Ids(vocab_size, (3, 7))``."""

    high: int
    shape: tuple[int, ...]
    low: int = 0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """An array of them."""
        return rng.integers(self.low, self.high, self.shape)


@dataclass(frozen=True)
class Floats:
    """Normal numbers of ``shape``, with the standard deviation ``std``."""

    shape: tuple[int, ...]
    std: float = 1.0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """An array of them, in float64; a model gets them in its own dtype."""
        return rng.standard_normal(self.shape) * self.std


class Inputs:
    """The arguments of a call, by number if they are positional and by name if not.

    given: one array, a tuple of arguments, or a dict of names (or numbers) and arguments. An
    argument is an array, a tensor, a description (`Ids`, `Floats`), or anything else, which is
    passed as it is.
    """

    def __init__(self, given, subject, seed=0):
        if isinstance(given, dict):
            self.given = dict(given)
        else:
            self.given = dict(enumerate(given if isinstance(given, (tuple, list)) else (given,)))
        self.subject, self.rng = subject, np.random.default_rng((seed, 2026))
        self.values = {key: self._read(value) for key, value in self.given.items()}

    def _read(self, value):
        if isinstance(value, (Ids, Floats)):
            value = value.draw(self.rng)
        elif self.subject.is_tensor(value):
            value = self.subject.array(value)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return value.astype(self.subject.float_dtype)
        return value

    def replaced(self, values):
        """The same call with other values of the keys that ``values`` has."""
        other = object.__new__(Inputs)
        other.__dict__.update(self.__dict__, values={**self.values, **values})
        return other

    def without(self, keys):
        """The same call without some of its arguments."""
        other = object.__new__(Inputs)
        other.__dict__.update(self.__dict__, values={k: v for k, v in self.values.items() if k not in keys})
        return other

    def array(self, key, invariant):
        """The array that ``key`` names; ValueError if there is none."""
        value = self.values.get(key)
        if not isinstance(value, np.ndarray) or not value.ndim:
            names = ", ".join(repr(k) for k, v in self.values.items() if isinstance(v, np.ndarray) and v.ndim)
            kind = f", it is {a_kind(value)}" if key in self.values else ""
            raise ValueError(
                f"{invariant}: there is no array as input {key!r}{kind}; "
                + (f"the arrays are {names}" if names else "give an array, a tensor, Ids or Floats")
            )
        return value

    def other(self, key, array=None):
        """Values unlike those of ``key`` in every place: ids that occur there, or larger floats."""
        array = self.values[key] if array is None else array
        if array.dtype.kind == "f":
            new = self.rng.standard_normal(array.shape) * 3.0 * max(1.0, float(np.abs(self.values[key]).max(initial=0)))
            return new.astype(array.dtype)
        given = self.given.get(key)
        if array.dtype.kind == "b":
            return array.copy()
        pool = np.arange(given.low, given.high) if isinstance(given, Ids) else np.unique(self.values[key])
        if len(pool) < 2:
            raise ValueError(f"input {key!r} has one value alone, {pool[0]}, so that it cannot be changed: give others")
        place = np.searchsorted(pool, array)
        return pool[(place + self.rng.integers(1, len(pool), array.shape)) % len(pool)].astype(array.dtype)

    def again(self):
        """The same call with other values: drawn anew, or integers in another order."""
        values = {}
        for key, value in self.values.items():
            given = self.given.get(key)
            if isinstance(given, (Ids, Floats)):
                values[key] = given.draw(self.rng).astype(value.dtype)
            elif isinstance(value, np.ndarray) and value.dtype.kind in "iu":
                values[key] = self.rng.permutation(value.reshape(-1)).reshape(value.shape)
            elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
                values[key] = (value + self.rng.standard_normal(value.shape)).astype(value.dtype)
        return self.replaced(values)

    # --- rows -------------------------------------------------------------------------------------

    def rows(self, invariant, least=2, shared=()):
        """``(number of rows, keys of the arrays that have them)``: those as long as the first."""
        arrays = {k: v for k, v in self.values.items() if isinstance(v, np.ndarray) and v.ndim and k not in shared}
        if not arrays:
            lists = any(isinstance(value, list) for value in self.values.values())
            hint = " (a list or tuple gives the arguments: write np.array of a list)" if lists else ""
            raise ValueError(f"{invariant}: the inputs hold no array with rows{hint}")
        count = len(next(iter(arrays.values())))
        if count < least:
            raise ValueError(f"{invariant}: needs a batch of at least {least} rows, got {count}")
        return count, [key for key, value in arrays.items() if len(value) == count]

    def taken(self, keys, rows):
        """The same call with these rows, in this order, of the arrays of ``keys``."""
        return self.replaced({key: self.values[key][rows] for key in keys})

    def split(self, keys, count, parts):
        """The call in ``parts`` parts of different numbers of rows, as far as there are enough."""
        weights = np.cumsum(np.arange(1, parts + 1)) / (parts * (parts + 1) / 2)
        ends = np.maximum(np.rint(weights * count).astype(int), np.arange(1, parts + 1))
        ends[-1] = count
        return [self.taken(keys, np.arange(start, end)) for start, end in zip([0, *ends[:-1]], ends)]

    def called(self):
        """``(args, kwargs)`` of tensors."""
        numbers = sorted(key for key in self.values if isinstance(key, int))
        ready = {key: self.subject.tensor(v) if isinstance(v, np.ndarray) else v for key, v in self.values.items()}
        return [ready[key] for key in numbers], {key: v for key, v in ready.items() if not isinstance(key, int)}


def cuts(x, over):
    """Ways to end the inputs after ``length`` positions, functions of it: ``over`` alone; with it
    all others that have the axes (B, T); and with it every axis of T positions, and lengths.
    """
    array = x.values[over]
    rows, steps = array.shape[:2]
    arrays = {
        key: value for key, value in x.values.items() if isinstance(value, np.ndarray) and value.ndim and key != over
    }
    along = [key for key, value in arrays.items() if value.shape[:2] == (rows, steps)]
    axes = {
        key: [
            axis for axis, n in enumerate(value.shape) if n == steps and (axis or len(value) != rows or value.ndim == 1)
        ]
        for key, value in arrays.items()
    }
    lengths = [
        key for key, value in arrays.items()
        if value.shape == (rows,) and value.dtype.kind in "iu" and 1 <= value.min() and value.max() <= steps
    ]  # fmt: skip

    def with_these(length):
        return x.replaced({key: x.values[key][:, :length] for key in [over, *along]})

    def with_all(length):
        values: dict = {key: length for key, value in x.values.items() if type(value) is int and value == steps}
        values |= {key: np.minimum(x.values[key], length).astype(x.values[key].dtype) for key in lengths}
        for key, found in axes.items():
            if key not in lengths and found:
                value = x.values[key]
                places = tuple(slice(length) if axis in found else slice(None) for axis in range(value.ndim))
                values[key] = value[places]
        return x.replaced({over: array[:, :length], **values})

    yield lambda length: x.replaced({over: array[:, :length]})
    if along:
        yield with_these
    if lengths or any(found and key not in along for key, found in axes.items()):
        yield with_all
