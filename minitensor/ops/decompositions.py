"""Decompositions of stacks of matrices (..., M, N): QR, singular values, eigenvalues of symmetric
matrices.

An op has one output, so each of these packs its factors into one array whose rows are theirs, and
``minitensor.linalg`` cuts it.

Rules: Walter and Lehmann, "Algorithmic differentiation of linear algebra functions with application
in optimum experimental design", 2010 (QR); Townsend, "Differentiating the singular value
decomposition", 2016; Giles, 2008 (eigenvalues).

Vectors that belong to equal singular values or eigenvalues are any basis of their space, and have
no derivative: if a gradient of them is asked for, ValueError is raised, and on a GPU, where looking
would mean waiting, the gradient is NaN.
"""

from __future__ import annotations

import math

from minitensor.backend import device_of, np
from minitensor.engine.autograd import raw
from minitensor.engine.op import op
from minitensor.ops.inverses import solved, transposed

__all__ = ["singular_values"]


@op(name="qr")
def _qr(xp, x):
    q, r = xp.linalg.qr(x, mode="reduced")
    return xp.concatenate([q, transposed(r)], axis=-2)  # (..., M + N, K)


@_qr.vjp
def _(xp, g, x, out):
    rows, columns = x.shape[-2:]
    q, r = out[..., :rows, :], transposed(out[..., rows:, :])
    gq, gr = g[..., :rows, :], transposed(g[..., rows:, :])
    if columns <= rows:
        return _square_part(xp, q, r, gq, gr)
    # x = [X, Y] = q [U, V] with X square: V = q^T Y, and the rest is the square case.
    gv = gr[..., rows:]
    gq = gq + xp.matmul(x[..., rows:], transposed(gv))
    return xp.concatenate([_square_part(xp, q, r[..., :rows], gq, gr[..., :rows]), xp.matmul(q, gv)], axis=-1)


def _square_part(xp, q, r, gq, gr):
    """``(gq + q S) r^-T``, S the symmetric matrix with the lower triangle of ``r gr^T -
    gq^T q``.
    """
    lower = xp.matmul(r, transposed(gr)) - xp.matmul(transposed(gq), q)
    symmetric = xp.tril(lower) + transposed(xp.tril(lower, -1))
    return transposed(solved(xp, r, transposed(gq + xp.matmul(q, symmetric))))


@op(name="svd")
def _svd(xp, x):
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    return xp.concatenate([u, s[..., None, :], transposed(vh)], axis=-2)  # (..., M + 1 + N, K)


@_svd.vjp
def _(xp, g, x, out):
    # With A = u^T gu - (u^T gu)^T and B = v^T gv - (v^T gv)^T, dL/dx = u C v^T plus what leads out
    # of the spaces of u and v:
    #     C_ij = (A_ij s_j + s_i B_ij) / (s_j^2 - s_i^2)
    #          = ((A + B) / (s_j - s_i) + (A - B) / (s_j + s_i)) / 2,    C_ii = gs_i.
    (rows, columns), k = x.shape[-2:], out.shape[-1]
    u, s, v = out[..., :rows, :], out[..., rows, :], out[..., rows + 1 :, :]
    gu, gs, gv = g[..., :rows, :], g[..., rows, :], g[..., rows + 1 :, :]
    if not k:
        return x * 0.0
    uu, vv = xp.matmul(transposed(u), gu), xp.matmul(transposed(v), gv)
    a, b = uu - transposed(uu), vv - transposed(vv)
    identity = xp.eye(k, dtype=s.dtype)
    first, second = s[..., :, None], s[..., None, :]
    vectors = _Vectors(xp, "singular ", s, gu, gv)
    apart = vectors.over(a + b, second - first, 1.0 - identity) + vectors.over(a - b, second + first, 1.0 - identity)
    gradient = xp.matmul(xp.matmul(u, 0.5 * apart + identity * gs[..., None, :]), transposed(v))
    if rows > k:
        gradient = gradient + xp.matmul(vectors.over(gu - xp.matmul(u, uu), second), transposed(v))
    if columns > k:
        gradient = gradient + xp.matmul(u, transposed(vectors.over(gv - xp.matmul(v, vv), second)))
    return gradient


def singular_values(x):
    """The singular values (..., K) of matrices, descending."""
    return _svd(x)[..., x.shape[-2], :]


@op(name="eigh")
def _eigh(xp, x):
    w, v = xp.linalg.eigh(0.5 * x + 0.5 * transposed(x))
    return xp.concatenate([w[..., None, :], v], axis=-2)  # (..., 1 + N, N)


@_eigh.vjp
def _(xp, g, out):
    # dL/dx = v C v^T with C_ij = (A_ij - A_ji) / 2 / (w_j - w_i), A = v^T gv, and C_ii = gw_i: a
    # symmetric matrix.
    w, v, gw, gv = out[..., 0, :], out[..., 1:, :], g[..., 0, :], g[..., 1:, :]
    if not w.shape[-1]:
        return g[..., 1:, :] * 0.0
    inner = xp.matmul(transposed(v), gv)
    identity = xp.eye(w.shape[-1], dtype=w.dtype)
    vectors = _Vectors(xp, "eigen", w, gv)
    apart = vectors.over(inner - transposed(inner), w[..., None, :] - w[..., :, None], 1.0 - identity)
    return xp.matmul(xp.matmul(v, 0.5 * apart + identity * gw[..., None, :]), transposed(v))


class _Vectors:
    """Quotients in the gradients of vectors that belong to ``values``; if a divisor is 0 to
    rounding, there is none.
    """

    def __init__(self, xp, kind, values, *gradients):
        self.xp, self.kind = xp, kind
        self.smallest = 10 * float(np.finfo(values.dtype).eps) * xp.abs(values).max(axis=-1, keepdims=True)[..., None]
        asked = sum(xp.abs(g).sum(axis=(-2, -1), keepdims=True) for g in gradients)
        self.asked = xp.not_equal(asked, 0)  # (..., 1, 1): whether these vectors have a gradient at all

    def over(self, top, bottom, places=None):
        """``top / bottom``, 0 if no gradient of vectors is asked for or ``places``, if
        given, is 0.
        """
        xp = self.xp
        flat = xp.less_equal(xp.abs(bottom), self.smallest)
        lost = xp.logical_and(flat, self.asked)
        lost = lost if places is None else xp.logical_and(lost, xp.equal(places, 1.0))
        if device_of(raw(top)) == "cpu" and raw(lost).any():
            raise ValueError(
                f"two {self.kind}values are equal to rounding (or one is 0, of a matrix that is not square): their vectors are "
                "any basis of one space and have no derivative; use the values alone, or break the tie"
            )
        return xp.where(flat, xp.where(lost, math.nan, 0.0), top / xp.where(flat, 1.0, bottom)).astype(top.dtype)
