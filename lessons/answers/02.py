"""Lesson 2, the answers."""


def broadcast_shape(a, b):
    """Fill the shorter with ones in front, then compare axis by axis."""
    length = max(len(a), len(b))
    a = (1,) * (length - len(a)) + tuple(a)
    b = (1,) * (length - len(b)) + tuple(b)
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b)):
        raise ValueError(f"shapes {a} and {b} do not broadcast")
    return tuple(n if m == 1 else m for m, n in zip(a, b))


def unbroadcast(g, shape):
    """The adjoint of a copy is a sum."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def matmul_rules(g, x, y):
    """Entry (n, m) of the product is the sum over k of x[n, k] y[k, m]."""
    return g @ y.T, x.T @ g
