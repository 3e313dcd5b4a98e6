"""Lesson 4, the answers."""

import minitensor as mt


def reciprocal_rule(g, out):
    """Neither g nor out is written to."""
    return -g * out * out


def hessian_times(function, point, vector):
    """The gradient of <gradient, vector>; the first one must be recorded."""
    p = mt.tensor(point, dtype="float64", requires_grad=True)
    gradient = mt.grad(function(p), p, create_graph=True)
    return mt.grad((gradient * mt.tensor(vector, dtype="float64")).sum(), p).numpy()


def newton(function, start, steps):
    """A fresh leaf for each step."""
    x = float(start)
    for _ in range(steps):
        leaf = mt.tensor(x, dtype="float64", requires_grad=True)
        first = mt.grad(function(leaf), leaf, create_graph=True)
        second = mt.grad(first, leaf)
        x -= first.item() / second.item()
    return x
