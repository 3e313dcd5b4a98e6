"""A scalar reverse-mode engine, as plain as one can write it: the oracle that the array engine is
compared with.

Every number is a ``Value`` with its parents and the derivative with respect to each of them, known
at once. ``gradients`` visits values from the youngest to the oldest and multiplies. Nothing is
shared with minitensor.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

clock = itertools.count()


class Value:
    """A number, and how it depends on the numbers that it was made of."""

    def __init__(self, number, parents=(), slopes=()):
        self.number = float(number)
        self.parents = parents
        self.slopes = slopes
        self.order = next(clock)

    def __add__(self, other):
        return Value(self.number + other.number, (self, other), (1.0, 1.0))

    def __sub__(self, other):
        return Value(self.number - other.number, (self, other), (1.0, -1.0))

    def __mul__(self, other):
        return Value(self.number * other.number, (self, other), (other.number, self.number))

    def __truediv__(self, other):
        quotient = self.number / other.number
        return Value(quotient, (self, other), (1.0 / other.number, -quotient / other.number))


def tanh(x):
    """Hyperbolic tangent."""
    y = math.tanh(x.number)
    return Value(y, (x,), (1.0 - y * y,))


def exp(x):
    """Exponential."""
    y = math.exp(x.number)
    return Value(y, (x,), (y,))


def sin(x):
    """Sine."""
    return Value(math.sin(x.number), (x,), (math.cos(x.number),))


def maximum(x, y):
    """The greater; a tie shares the gradient."""
    share = 0.5 if x.number == y.number else float(x.number > y.number)
    return Value(max(x.number, y.number), (x, y), (share, 1.0 - share))


def total(values):
    """The sum of any number of values."""
    values = tuple(values)
    return Value(math.fsum(v.number for v in values), values, (1.0,) * len(values))


def gradients(outputs, seeds):
    """d (sum of seed * output) / d v for every value v that was used, as a dictionary."""
    found, stack = set(outputs), list(outputs)
    while stack:
        for parent in stack.pop().parents:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    slopes = dict.fromkeys(found, 0.0)
    for output, seed in zip(outputs, seeds):
        slopes[output] += seed
    for value in sorted(found, key=lambda v: v.order, reverse=True):
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] += slopes[value] * slope
    return slopes


# --- arrays of values -----------------------------------------------------------------------------


def array(numbers):
    """A NumPy array of fresh values."""
    out = np.empty(np.shape(numbers), dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = Value(numbers[index])
    return out


def numbers(values):
    """The numbers of an array of values."""
    return np.array([v.number for v in np.ravel(values)]).reshape(np.shape(values))


def each(function, *arrays):
    """``function`` of the values of arrays that broadcast."""
    arrays = np.broadcast_arrays(*arrays)
    out = np.empty(arrays[0].shape, dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = function(*(a[index] for a in arrays))
    return out


def summed(values, axis, keepdims):
    """Sums along one axis, or of all."""
    if axis is None:
        out = np.empty((), dtype=object)
        out[()] = total(np.ravel(values))
        return out.reshape((1,) * values.ndim) if keepdims else out
    moved = np.moveaxis(values, axis, -1)
    out = np.empty(moved.shape[:-1], dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = total(moved[index])
    return np.expand_dims(out, axis) if keepdims else out


def matmul(x, y):
    """Product of two matrices."""
    out = np.empty((x.shape[0], y.shape[1]), dtype=object)
    for i, j in np.ndindex(out.shape):
        out[i, j] = total(a * b for a, b in zip(x[i], y[:, j]))
    return out
