import numpy as np

import minitensor as mt
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("4.1", "g is missing")
def reciprocal_rule(g, out):
    return -out * out


@wrong("4.1", "the sign")
def reciprocal_rule(g, out):
    return g * out * out


@wrong("4.1", "out is 1 / x already")
def reciprocal_rule(g, out):
    return -g / (out * out)


@wrong("4.1", "the record is lost")
def reciprocal_rule(g, out):
    g, out = (v.numpy() if isinstance(v, mt.Tensor) else v for v in (g, out))
    return mt.tensor(-g * out * out)


@wrong("4.1", "on Tensors it fails")
def reciprocal_rule(g, out):
    return np.negative(np.asarray(g)) * np.square(np.asarray(out))


@wrong("4.1", "read-only")
def reciprocal_rule(g, out):
    g *= -1.0
    return g * out * out


@wrong("4.2", "the vector is missing")
def hessian_times(function, point, vector):
    p = mt.tensor(point, dtype="float64", requires_grad=True)
    gradient = mt.grad(function(p), p, create_graph=True)
    return mt.grad(gradient.sum(), p).numpy()


@wrong("4.2", "the first derivative")
def hessian_times(function, point, vector):
    p = mt.tensor(point, dtype="float64", requires_grad=True)
    return mt.grad(function(p), p).numpy() * vector


@wrong("4.2", "it raised")
def hessian_times(function, point, vector):
    p = mt.tensor(point, dtype="float64", requires_grad=True)
    gradient = mt.grad(function(p), p)
    return mt.grad((gradient * mt.tensor(vector)).sum(), p).numpy()


@wrong("4.2", "float64")
def hessian_times(function, point, vector):
    p = mt.tensor(point, dtype="float32", requires_grad=True)
    gradient = mt.grad(function(p), p, create_graph=True)
    return mt.grad((gradient * mt.tensor(vector, dtype="float32")).sum(), p).numpy()


@wrong("4.3", "a step against the gradient")
def newton(function, start, steps):
    for _ in range(steps):
        leaf = mt.tensor(start, dtype="float64", requires_grad=True)
        start -= mt.grad(function(leaf), leaf).item()
    return start


@wrong("4.3", "the wrong sign")
def newton(function, start, steps):
    for _ in range(steps):
        leaf = mt.tensor(start, dtype="float64", requires_grad=True)
        first = mt.grad(function(leaf), leaf, create_graph=True)
        start += first.item() / mt.grad(first, leaf).item()
    return start


@wrong("4.3", "where the function is 0")
def newton(function, start, steps):
    for _ in range(steps):
        leaf = mt.tensor(start, dtype="float64", requires_grad=True)
        value = function(leaf)
        start -= value.item() / mt.grad(value, leaf).item()
    return start


@wrong("4.3", "anew at each place")
def newton(function, start, steps):
    second = None
    for _ in range(steps):
        leaf = mt.tensor(start, dtype="float64", requires_grad=True)
        first = mt.grad(function(leaf), leaf, create_graph=True)
        second = second or mt.grad(first, leaf).item()
        start -= first.item() / second
    return start


@wrong("4.3", "one step only")
def newton(function, start, steps):
    for _ in range(steps):
        leaf = mt.tensor(start, dtype="float64", requires_grad=True)
        first = mt.grad(function(leaf), leaf, create_graph=True)
        return start - first.item() / mt.grad(first, leaf).item()
    return start
