"""Rows of ``minitensor/linalg.py``: stacks, empty ones and 1 x 1, square, tall and wide."""

import math

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor as mt

L = mt.linalg
A, B, FLAT = np.eye(2)[:1], np.ones((3, 3)), np.ones(3)
SINGULAR = (np.zeros((2, 2)), np.ones((2, 3, 3)), np.diag([1.0, 2.0, 0.0]), np.zeros((1, 1)))
LEADING = [(), (2,), (2, 1), (0,)]


def normal(draw, *shape):
    """Random normal numbers from a drawn seed."""
    return np.random.default_rng(draw(st.integers(0, 10_000))).standard_normal(shape)


@st.composite
def square(draw, least=0, **named):
    """A stack of well-conditioned square matrices."""
    n = draw(st.integers(least, 3))
    return [normal(draw, *draw(st.sampled_from(LEADING)), n, n) + 3 * np.eye(n), *([named] if named else [])]


@st.composite
def definite(draw, least=0, **named):
    """A stack of symmetric positive definite matrices with eigenvalues apart."""
    (x,) = draw(square(least))
    q = np.linalg.qr(x)[0]
    return [(q * np.arange(1.0, 1 + x.shape[-1])) @ q.swapaxes(-1, -2), *([named] if named else [])]


@st.composite
def oblong(draw, least=0, singular=False, **choices):
    """A stack of matrices of any shape with singular values apart, and keywords; ``singular``: some
    of them square, with a singular value of 0.
    """
    leading = draw(st.sampled_from(LEADING))
    m, n = draw(st.sampled_from([(2, 3), (3, 2), (2, 2) if singular else (2, 3), None])) or (
        draw(st.integers(least, 3)),
        draw(st.integers(least, 3)),
    )
    u, v = (np.linalg.qr(normal(draw, *leading, k, k))[0] for k in (m, n))
    k = min(m, n)
    lowest = 0.0 if singular and (m, n) == (2, 2) else 1.0
    x = (u[..., :k] * np.arange(lowest, lowest + k)) @ v[..., :k, :]
    named = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    return [x, *([named] if named else [])]


@st.composite
def equations(draw):
    """Square matrices, and right sides of matrices that broadcast, or one vector."""
    (a,) = draw(square())
    n = a.shape[-1]
    shapes = [(n,), (n, 2), (n, 0), (*a.shape[:-2], n, 1), (2, *[1] * (a.ndim - 2), n, 2)]
    return [a, normal(draw, *draw(st.sampled_from(shapes)))]


@st.composite
def powers(draw):
    """Square matrices and an exponent."""
    (x,) = draw(square())
    return [x, {"n": draw(st.integers(-2, 4))}]


@st.composite
def vectors(draw):
    """Arrays without zeros or ties, orders and axes."""
    shape = draw(st.sampled_from([(3,), (2, 3), (1, 2, 2)]))
    axes = st.sampled_from([None, -1, tuple(range(len(shape)))[:2]])
    x = normal(draw, *shape) + np.linspace(2, 4, math.prod(shape)).reshape(shape)
    ord = draw(st.sampled_from([2, 1, 3, 0.5, -1, math.inf, -math.inf, 0]))
    return [x, {"axis": draw(axes), "ord": ord, "keepdims": draw(st.booleans())}]


@st.composite
def normed(draw):
    """``norm`` with and without orders and axes."""
    forms = [((2, 3), {}), ((3,), {"ord": 3}), ((2, 3), {"ord": "nuc"}), ((2, 3), {"ord": 1, "axis": 0}), ((2, 2, 3), {"axis":
        (2, 0)}),
             ((2, 2, 3), {"ord": -1, "axis": (0, -1), "keepdims": True}), ((2, 3), {"axis": 1, "keepdims": True})]  # fmt: skip
    shape, named = draw(st.sampled_from(forms))
    return [normal(draw, *shape) + np.linspace(0, 4, math.prod(shape)).reshape(shape), named]


@st.composite
def crossed(draw):
    """Vectors of three along an axis, broadcast."""
    shapes, axis = draw(
        st.sampled_from([([(3,), (3,)], -1), ([(2, 3), (3,)], -1), ([(3, 2), (3, 1)], 0), ([(0, 3), (3,)], -1)])
    )
    return [*(normal(draw, *shape) for shape in shapes), {"axis": axis}]


@st.composite
def pairs_of_vectors(draw):
    """Two vectors."""
    return [normal(draw, draw(st.integers(0, 3))), normal(draw, draw(st.integers(0, 3)))]


def numpy_vector_norm(x, ord, axis, keepdims):
    """The plain formula."""
    if ord == 0:
        return (x != 0).sum(axis=axis, keepdims=keepdims).astype(x.dtype)
    if abs(ord) == math.inf:
        return (np.max if ord > 0 else np.min)(abs(x), axis=axis, keepdims=keepdims)
    return (abs(x) ** ord).sum(axis=axis, keepdims=keepdims) ** (1 / ord)


def pairs(left, right):
    """The products of each column of ``left`` (..., M, K) with that of ``right`` (..., N, K), (...,
    M, N, K).

    A solver is free to turn a vector round, and cuSOLVER turns others round than LAPACK; these
    products stay.
    """
    return left[..., :, None, :] * right[..., None, :, :]


def row(name, cases, reference=None, analytic=False, function=None, **more):
    """A row whose NumPy function has the same name."""
    more.setdefault("examples", 16)
    function = function or getattr(L, name)
    return Row(name, function, cases, reference or getattr(np.linalg, name), analytic=analytic, where="linalg", **more)


def refused(name, x=A):
    """What every function of square matrices says to others."""
    return ([x], {}, ValueError, rf"^{name}: needs square matrices \(\.\.\., N, N\), got shape \(1, 2\)")


ROWS = [
    row(
        "solve", equations(), analytic=True, ops=("solve",),
        errors=(
            ([A, A], {}, ValueError, "^solve: needs square matrices"),
            ([B, A], {}, ValueError, r"^solve: a \(3, 3\) needs b of 3 rows"),
            ([B, FLAT], {}, ValueError, r"^solve\(a: \(3, 3\) float64.*Singular"),
        ),
    ),
    row(
        "inv", square(), analytic=True, ops=("inv",),
        errors=(refused("inv"), ([B], {}, ValueError, r"^inv\(x: \(3, 3\).*Singular")),
    ),
    row(
        "det", square(), analytic=True, ops=("det", "cofactors"), errors=(refused("det"),),
        # Of rank n - 1: of a lower one all cofactors are 0, see test_linalg.py.
        also=([np.zeros((2, 2))], [np.arange(18.0).reshape(2, 3, 3)], [np.diag([1.0, 2.0, 0.0])], [np.zeros((1, 1))]),
    ),
    row("slogdet", square(), lambda x: tuple(np.linalg.slogdet(x)), ops=("slogdet",), errors=(refused("slogdet"),)),
    row(
        "cholesky", definite(), ops=("cholesky",), also=([np.eye(2), {"upper": True}],),
        errors=(
            refused("cholesky"), ([-np.eye(2)], {}, ValueError, r"^cholesky\(x: \(2, 2\).*not positive definite"),
            ([np.tril(B)], {}, ValueError, "^cholesky: the matrices must be symmetric, and differ from their transposes by up to"),
        ),
    ),
    row(
        "pinv", oblong(), ops=("pinv",),
        errors=(([FLAT], {}, ValueError, r"^pinv: needs matrices \(\.\.\., M, N\), got shape \(3,\)"),),
    ),
    row("matrix_rank", oblong(least=1), order=0, also=tuple([x] for x in SINGULAR)),
    row(
        "matrix_power", powers(), analytic=True,
        errors=(
            ([A, 2], {}, ValueError, "^matrix_power: needs square matrices"),
            ([B, 1.5], {}, TypeError, "^matrix_power: n must be an integer, got 1.5"),
        ),
    ),
    row(
        "qr", oblong(), lambda x: tuple(np.linalg.qr(x)), ops=("qr",),
        errors=(([FLAT], {}, ValueError, "^qr: needs matrices"), ([B, "full"], {}, ValueError, "^qr: mode must be")),
    ),
    row(
        "svd", oblong(singular=True, full_matrices=[False]), lambda x, full_matrices: tuple(np.linalg.svd(x, full_matrices)),
        ops=("svd",),
        # Of the vectors of a value of 0 the sign is free, and so is that of its gradient.
        unique=lambda u, s, vh: (s * (s > 1e-3), pairs(u, vh.mT) * (s > 1e-3)[..., None, None, :]),
        errors=(([FLAT], {}, ValueError, "^svd: needs matrices"),),
    ),
    row("svdvals", oblong()),
    row(
        "eigh", definite(), lambda x: tuple(np.linalg.eigh(x)), ops=("eigh",), unique=lambda w, v: (w, pairs(v, v)),
        errors=(refused("eigh"), ([np.tril(B)], {}, ValueError, "^eigh: the matrices must be symmetric")),
    ),
    row("eigvalsh", definite()),
    row(
        "vector_norm", vectors(), numpy_vector_norm, examples=30,
        errors=(([FLAT], {"ord": "fro"}, ValueError, "^vector_norm: ord must be a number, got 'fro'"),),
    ),
    row(
        "matrix_norm", oblong(least=1, ord=["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf], keepdims=[True, False]), examples=30,
        errors=(([B], {"ord": 3}, ValueError, "^matrix_norm: ord must be"),
            ([FLAT], {}, ValueError, "^matrix_norm: needs matrices")),
    ),
    row(
        "norm", normed(),
        errors=(
            ([np.ones((2, 2, 2))], {"ord": 2}, ValueError, "^norm: with ord=2 and no axis x must have 1 or 2 axes"),
            ([np.ones((2, 2, 2))], {"axis": (0, 1, 2)}, ValueError, "^norm: axis must be one axis, or two"),
        ),
    ),
    row("cond", square(least=1, p=1)),
    row("matrix_transpose", oblong(), analytic=True, errors=(([FLAT], {}, ValueError, "^matrix_transpose: needs matrices"),)),
    row("trace", oblong(offset=[-1, 0, 1]), analytic=True),
    row("diagonal", oblong(offset=[-1, 0, 1]), analytic=True),
    row("outer", pairs_of_vectors(), analytic=True, errors=(([A, A], {}, ValueError, "^outer: needs two vectors, got shapes"),)),
    row("cross", crossed(), analytic=True, errors=(([A, A], {}, ValueError, "^cross: vectors must have 3 elements, got 2 and 2"),)),
]  # fmt: skip
