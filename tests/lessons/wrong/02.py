import numpy as np

from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("2.1", "the larger of two lengths will not do")
def broadcast_shape(a, b):
    length = max(len(a), len(b))
    a, b = (1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b)):
        raise ValueError
    return tuple(max(m, n) for m, n in zip(a, b))


@wrong("2.1", "aligned at their last axes")
def broadcast_shape(a, b):
    length = max(len(a), len(b))
    a, b = a + (1,) * (length - len(a)), b + (1,) * (length - len(b))
    return tuple(n if m == 1 else m for m, n in zip(a, b))


@wrong("2.1", "the axes that the shorter one lacks are missing")
def broadcast_shape(a, b):
    return tuple(n if m == 1 else m for m, n in zip(a[::-1], b[::-1]))[::-1]


@wrong("2.1", "do not fit, and it returns")
def broadcast_shape(a, b):
    length = max(len(a), len(b))
    a, b = (1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b
    return tuple(n if m == 1 else m for m, n in zip(a, b))


@wrong("2.2", "that is the mean")
def unbroadcast(g, shape):
    g = g.mean(axis=tuple(range(g.ndim - len(shape))))
    return g.mean(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


@wrong("2.2", "axes of length 1 were copied too")
def unbroadcast(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape))))


@wrong("2.2", "keepdims=True")
def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1))


@wrong("2.2", "that is one row")
def unbroadcast(g, shape):
    return g[0] if g.ndim > len(shape) else g


@wrong("2.2", "do not write into what you are given")
def unbroadcast(g, shape):
    g *= 1.0
    return g


@wrong("2.3", "y is not transposed")
def matmul_rules(g, x, y):
    return (g @ y if y.shape[0] == y.shape[1] else g @ y.T), x.T @ g


@wrong("2.3", "the two gradients have changed places")
def matmul_rules(g, x, y):
    return x.T @ g, g @ y.T


@wrong("2.3", "the shape is that of x.T")
def matmul_rules(g, x, y):
    return y @ g.T, x.T @ g


@wrong("2.3", "as if g were all ones")
def matmul_rules(g, x, y):
    return g @ y.T, np.repeat(x.sum(axis=0)[:, None], y.shape[1], axis=1)
