"""Lesson 2: arrays and broadcasting. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np


def broadcast_shape(a, b):
    """Return the shape, a tuple, that arrays of the shapes ``a`` and ``b`` have together.

    Shapes are aligned at their last axes. On each axis the lengths are equal, or one of them is 1
    or missing; if not, raise ValueError. Write it yourself: no ``np.broadcast_shapes``.
    """
    raise NotImplementedError("exercise 2.1")


def unbroadcast(g, shape):
    """Return the gradient of an array of ``shape`` that was broadcast to the shape of ``g``.

    g is an array. Add it up over the axes that ``shape`` lacks (they stand in front), and over
    those where ``shape`` has 1, which stay as axes of length 1.
    """
    raise NotImplementedError("exercise 2.2")


def matmul_rules(g, x, y):
    """Return the gradients of ``x`` and of ``y``, given ``g``, the gradient of ``x @ y``.

    x is (N, K), y is (K, M), g is (N, M). The shapes leave little choice: the gradient of x has the
    shape of x.
    """
    raise NotImplementedError("exercise 2.3")
