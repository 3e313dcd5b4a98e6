"""Lesson 1: a scalar engine. Replace each `raise NotImplementedError` by your own lines."""

from lessons import load

Value = load(1).Value


def slopes_of_power(x, n):
    """Return the number ``x ** n`` and its slope with respect to ``x``: a tuple of two floats.

    x is a float, n a whole number, 1 or more.
    """
    raise NotImplementedError("exercise 1.1")


def sigmoid(x):
    """Return ``1 / (1 + exp(-x))`` of a Value as a new Value, with its parent and its slope.

    If y is the result, the slope is ``y * (1 - y)``. You need ``math.exp``, ``x.number`` and
    ``Value(number, parents, slopes)``.
    """
    raise NotImplementedError("exercise 1.2")


def backward(output):
    """Return a dictionary of d output / d v for every value v that ``output`` was made of, itself
    included.

    Write the loop of ``gradients`` for one output with seed 1: collect all values, go through them
    from the youngest (largest ``order``) to the oldest, and pass on what each has.
    """
    raise NotImplementedError("exercise 1.3")
