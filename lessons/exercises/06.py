"""Lesson 6: a kernel beside its definition. Replace each `raise NotImplementedError` by your own
lines.
"""

import numpy as np

import minitensor as mt


def silu_definition(x):
    """Return ``x * sigmoid(x)`` of a Tensor, in Tensor code: ``sigmoid(x) = 1 / (1 + exp(-x))``.

    Use ``mt.exp`` and operators. Its gradients, first and second, must come of themselves.
    """
    raise NotImplementedError("exercise 6.1")


def silu_kernel(xp, x):
    """Return the value of ``x * sigmoid(x)``, an array, and a function ``backward(g)``.

    xp is the array module (NumPy), x an array. ``backward`` gets the gradient of the value and
    returns a tuple with the gradient of x. With ``s = sigmoid(x)`` the slope is
    ``s * (1 + x * (1 - s))``. Write in place if you like, but only to arrays that you made.
    """
    raise NotImplementedError("exercise 6.2")


def softmax_backward(g, y):
    """Return the gradient of x, given ``g``, the gradient of ``y``, and ``y = softmax(x)`` itself.

    Both are arrays (N, D), with the softmax along the last axis. The formula is
    ``y * (g - sum(g * y))``, one sum for each row. Make few arrays, if you can, and write to
    neither g nor y.
    """
    raise NotImplementedError("exercise 6.3")
