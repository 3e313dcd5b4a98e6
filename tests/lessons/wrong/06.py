import numpy as np

import minitensor as mt
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("6.1", "the factor x is missing")
def silu_definition(x):
    return 1.0 / (1.0 + mt.exp(-x))


@wrong("6.1", "the sign is wrong")
def silu_definition(x):
    return x / (1.0 + mt.exp(x))


@wrong("6.1", "the record is lost")
def silu_definition(x):
    with mt.no_grad():
        return x / (1.0 + mt.exp(-x))


@wrong("6.1", "compute all of it with mt.exp")
def silu_definition(x):
    return x * mt.tensor(1.0 / (1.0 + np.exp(-x.numpy())))


@wrong("6.2", "the factor x was forgotten")
def silu_kernel(xp, x):
    s = 1.0 / (1.0 + xp.exp(-x))
    return x * s, lambda g: (g * s * (1 - s),)


@wrong("6.2", "g is missing")
def silu_kernel(xp, x):
    s = 1.0 / (1.0 + xp.exp(-x))
    return x * s, lambda g: (s * (1 + x * (1 - s)),)


@wrong("6.2", "`return (dx,)`")
def silu_kernel(xp, x):
    s = 1.0 / (1.0 + xp.exp(-x))
    return x * s, lambda g: g * s * (1 + x * (1 - s))


@wrong("6.2", "do not write into what you are given")
def silu_kernel(xp, x):
    s = 1.0 / (1.0 + xp.exp(-x))

    def backward(g):
        g *= s * (1 + x * (1 - s))
        return (g,)

    return x * s, backward


@wrong("6.2", "called a second time")
def silu_kernel(xp, x):
    s = 1.0 / (1.0 + xp.exp(-x))
    value = x * s

    def backward(g):
        slope = s * (1 + x * (1 - s))
        slope *= g
        s.fill(0.0)
        return (slope,)

    return value, backward


@wrong("6.3", "each row has its own")
def softmax_backward(g, y):
    return y * (g - (g * y).sum())


@wrong("6.3", "along the last axis")
def softmax_backward(g, y):
    return y * (g - (g * y).sum(axis=0))


@wrong("6.3", "only the diagonal")
def softmax_backward(g, y):
    return g * y * (1 - y)


@wrong("6.3", "without y")
def softmax_backward(g, y):
    return y * (g - g.sum(axis=1, keepdims=True))


@wrong("6.3", "do not write into what you are given")
def softmax_backward(g, y):
    g -= (g * y).sum(axis=1, keepdims=True)
    g *= y
    return g
