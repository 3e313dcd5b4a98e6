"""Equations, inverses and determinants of stacks of square matrices (..., N, N), and Cholesky's
factor.

The namespace ``minitensor.linalg`` stands before these ops and looks at shapes. Rules: Giles,
"Collected matrix derivative results for forward and reverse mode algorithmic differentiation",
2008. NumPy raises for a singular matrix; CuPy by itself does not look, since that would wait for
the GPU, and gives NaN or infinities (``cupyx.errstate(linalg="raise")`` makes it look).
"""

from __future__ import annotations

from minitensor.backend import np
from minitensor.engine.op import op
from minitensor.engine.tensor import Tensor

__all__ = ["on_either", "transposed"]


def transposed(x):
    """``x`` with its last two axes exchanged."""
    return x.swapaxes(-1, -2)


def on_either(made, xp, x):
    """The op ``made`` in the rule of another: recorded on a Tensor, its plain function
    on an array.
    """
    return made(x) if isinstance(x, Tensor) else made.function(xp, x)


def solved(xp, a, b):
    """``a^-1 b`` with leading axes broadcast, which CuPy does not do."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = xp.broadcast_to(a, (*leading, *a.shape[-2:])), xp.broadcast_to(b, (*leading, *b.shape[-2:]))
    return xp.linalg.solve(a, b)


@op(name="solve")
def _solve(xp, a, b):
    return solved(xp, a, b)


@op(name="inv")
def _inv(xp, x):
    return xp.linalg.inv(x)


_solve.vjp(
    lambda xp, g, a, out: -xp.matmul(solved(xp, transposed(a), g), transposed(out)),  # dL/da = -(a^-T g) out^T
    lambda xp, g, a: solved(xp, transposed(a), g),  # dL/db = a^-T g
)
_inv.vjp(lambda xp, g, out: -xp.matmul(xp.matmul(transposed(out), g), transposed(out)))


# --- determinants ---------------------------------------------------------------------------------


@op(name="det")
def _det(xp, x):
    return xp.linalg.det(x)


@op(name="cofactors")
def _cofactors(xp, x):
    """The matrix of cofactors, ``det(x) x^-T`` and its limit if x is singular.

    With x = U S V^T it is ``det(U) det(V) U C V^T``, C the diagonal matrix of the products of all
    singular values but one.
    """
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    before, after = _running(xp, s)
    return _sign(xp, u, vh) * xp.matmul(u * (before * after)[..., None, :], vh)


_det.vjp(lambda xp, g, x: g[..., None, None] * on_either(_cofactors, xp, x))


@_cofactors.vjp
def _(xp, g, x):
    # In the frame of U and V, with p_ij the product of all singular values but the i-th and the
    # j-th:
    #     d C_ii = sum over j of p_ij h_jj,    d C_ij = -p_ij h_ji.
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    inner = xp.matmul(xp.matmul(transposed(u), g), transposed(vh))
    pairs, identity = _but_two(xp, s), xp.eye(s.shape[-1], dtype=s.dtype)
    straight = xp.matmul(pairs, (inner * identity).sum(axis=-1)[..., None])  # (..., N, 1)
    return _sign(xp, u, vh) * xp.matmul(xp.matmul(u, straight * identity - transposed(inner) * pairs), vh)


def _sign(xp, u, vh):
    return xp.sign(xp.linalg.det(u) * xp.linalg.det(vh))[..., None, None]


def _running(xp, s):
    """Products of the elements before and of those after each one."""
    one = xp.ones((*s.shape[:-1], 1), dtype=s.dtype)
    before = xp.concatenate([one, s], axis=-1)[..., :-1].cumprod(axis=-1)
    after = xp.flip(xp.concatenate([one, xp.flip(s, axis=-1)], axis=-1)[..., :-1].cumprod(axis=-1), axis=-1)
    return before, after


def _but_two(xp, s):
    """(..., i, j): the product of all elements but the i-th and the j-th; 0 for i = j."""
    before, after = _running(xp, s)
    later = xp.triu(xp.ones((s.shape[-1],) * 2, dtype=s.dtype), 1)  # 1 where j > i
    between = xp.where(xp.equal(later, 1), s[..., None, :], 1.0).cumprod(axis=-1)  # from behind i up to j
    between = xp.concatenate([xp.ones((*s.shape, 1), dtype=s.dtype), between], axis=-1)[..., :-1]
    upper = xp.triu(before[..., :, None] * between * after[..., None, :], 1)
    return upper + transposed(upper)


@op(name="slogdet")
def _slogdet(xp, x):
    return xp.stack(xp.linalg.slogdet(x), axis=-1)  # (..., 2): the sign, which is constant, and the logarithm


_slogdet.vjp(lambda xp, g, x: g[..., 1, None, None] * transposed(xp.linalg.inv(x)))


# --- Cholesky's factor ----------------------------------------------------------------------------


@op(name="cholesky")
def _cholesky(xp, x):
    return xp.linalg.cholesky(0.5 * x + 0.5 * transposed(x))


@_cholesky.vjp
def _(xp, g, out):
    # dL/dx = out^-T P out^-1, symmetrised, with P the lower triangle of out^T g and its diagonal
    # halved.
    n = out.shape[-1]
    half = xp.tril(xp.ones((n, n), dtype=out.dtype)) - 0.5 * xp.eye(n, dtype=out.dtype)
    upper = transposed(out)
    left = xp.linalg.solve(upper, xp.matmul(upper, g) * half)
    both = xp.linalg.solve(upper, transposed(left))
    return 0.5 * (both + transposed(both))


# --- pseudoinverse --------------------------------------------------------------------------------


@op(name="pinv")
def _pinv(xp, x, *, rtol):
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    if not s.shape[-1]:
        return xp.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), dtype=s.dtype)
    kept = s > rtol * s.max(axis=-1, keepdims=True)
    inverse = xp.where(kept, 1.0, 0.0) / xp.where(kept, s, 1.0)
    return xp.matmul(transposed(vh) * inverse[..., None, :].astype(s.dtype), transposed(u))


@_pinv.vjp
def _(xp, g, x, out):
    # Golub and Pereyra, 1973, for changes that keep the rank; P = out:
    #     dL/dx = -P^T g P^T + (1 - x P) g^T P P^T + P^T P g^T (1 - P x).
    p, pt, gt = out, transposed(out), transposed(g)
    left = xp.matmul(gt, xp.matmul(p, pt))
    right = xp.matmul(xp.matmul(pt, p), gt)
    first = xp.matmul(xp.matmul(pt, g), pt)
    return left - xp.matmul(x, xp.matmul(p, left)) + right - xp.matmul(xp.matmul(right, p), x) - first
