"""Lesson 4: the second derivative. Replace each `raise NotImplementedError` by your own lines."""

import minitensor as mt


def reciprocal_rule(g, out):
    """Return the gradient of x, given ``g``, the gradient of ``out``, and ``out = 1 / x`` itself.

    Write it with ``out`` alone: the derivative of 1 / x is -1 / x², and that is -out². The text
    must run on arrays and on Tensors, so use operators and methods, and no ``np``.
    """
    raise NotImplementedError("exercise 4.1")


def hessian_times(function, point, vector):
    """Return the Hessian of ``function`` at ``point``, times ``vector``, as a NumPy array.

    function: from a Tensor (N,) to a Tensor with one number. point, vector: arrays (N,). Use
    ``mt.grad`` twice; do not build the Hessian.
    """
    raise NotImplementedError("exercise 4.2")


def newton(function, start, steps):
    """Return the number that ``steps`` steps of Newton's method reach from the number ``start``.

    function: from a Tensor with one number to another, which is to be smallest. A step is
    ``x - f'(x) / f''(x)``. Compute in float64.
    """
    raise NotImplementedError("exercise 4.3")
