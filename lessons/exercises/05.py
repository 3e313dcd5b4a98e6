"""Lesson 5: checking gradients. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np


def numerical_gradient(function, x, h=1e-5):
    """Return the gradient of ``function`` at ``x`` by differences to both sides, an array like x.

    function: from an array to a number. x: an array of any shape; leave it as it was. Each entry is
    ``(f(x + h there) - f(x - h there)) / 2h``.
    """
    raise NotImplementedError("exercise 5.1")


def telling_cotangent():
    """Return an array (3,): weights for the outputs of a softmax, under which a wrong rule shows.

    The wrong rule returns ``g * out``; the right one is ``out * (g - (g * out).sum())``. Choose g
    so that the two differ by 0.1 or more at ``out = [0.2, 0.3, 0.5]``, and so that the right
    gradient is not zero either. Entries between -2 and 2.
    """
    raise NotImplementedError("exercise 5.2")


def directional_error(function, gradient, x, direction, h=1e-5):
    """Return how far ``gradient`` is off along ``direction``: a number, 0 or more.

    Compare the slope by differences, ``(f(x + h d) - f(x - h d)) / 2h``, with what the gradient
    says, the sum of ``gradient * d``. Return the distance, divided by 1 or by the size of the
    slope, whichever is larger. function: from an array to a number; the others are
    arrays of one shape.
    """
    raise NotImplementedError("exercise 5.3")
