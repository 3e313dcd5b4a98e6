"""Linear algebra under NumPy's names, with gradients of every order: ``mt.linalg``.

Matrices are the last two axes, and leading axes are stacks. Real numbers only; those of 16 bits are
computed in float32. NumPy's own error (LinAlgError is a ValueError) comes as ValueError with the
name of the function. What returns several tensors returns a named tuple, as NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, overload

from minitensor.backend import cast, is_narrow, namespace, np, on, widen
from minitensor.engine.autograd import raw
from minitensor.engine.axes import axis_of
from minitensor.engine.mode import current_mode, reads_values
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops import decompositions as d
from minitensor.ops import inverses as i
from minitensor.ops.linalg import matmul, tensordot, vecdot
from minitensor.ops.linalg import outer as _outer
from minitensor.ops.linalg import trace as _trace
from minitensor.ops.norms import matrix_norm, norm, vector_norm
from minitensor.ops.shape import broadcast_to, moveaxis, stack
from minitensor.ops.shape import diagonal as _diagonal
from minitensor.ops.standard import matrix_transpose

__all__ = [
    "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]  # fmt: skip

if TYPE_CHECKING:
    from typing import Literal, SupportsFloat, SupportsIndex

    from numpy.typing import DTypeLike

    from minitensor.engine.attached import TensorLike


class EighResult(NamedTuple):
    """Eigenvalues (..., N), ascending, and eigenvectors (..., N, N), the columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """Orthonormal columns Q and an upper triangle R."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """Left vectors (columns), singular values, descending, and right vectors (rows)."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _matrices(name, x, square=False) -> Tensor:
    """``x`` as a Tensor of matrices; ValueError if it is not, or not square if that is needed."""
    x = asarray(x)
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        wish = "square matrices (..., N, N)" if square else "matrices (..., M, N)"
        raise ValueError(f"{name}: needs {wish}, got shape {x.shape}")
    return x


def _recorded(x):
    """Whether a gradient of what is made of ``x`` may be asked for."""
    return x.requires_grad and current_mode.get().grad


@reads_values("x")
def _symmetric(name, x, uplo="L"):
    """Square matrices that are symmetric; on a GPU, where looking means waiting, they are taken to
    be.
    """
    if uplo not in ("L", "U"):
        raise ValueError(f'{name}: UPLO must be "L" or "U", got {uplo!r}')
    x = _matrices(name, x, square=True)
    if x.size and x.device == "cpu":
        array = _wide(x)
        gap = abs(array - array.swapaxes(-1, -2)).max(axis=(-2, -1))
        if (gap > 0.1 * abs(array).max(axis=(-2, -1))).any():
            raise ValueError(
                f"{name}: the matrices must be symmetric, and differ from their transposes by up to {float(gap.max()):.3g}; "
                "from a lower triangle alone make one by tril(x) + tril(x, -1).mT"
            )
    return x


# --- equations and determinants -------------------------------------------------------------------


def solve(a: TensorLike, b: TensorLike) -> Tensor:
    """The x with ``a x = b``: a (..., N, N); b (..., N, K), or one vector (N,) for all matrices.
    Leading axes broadcast.
    """
    a, b = _matrices("solve", a, square=True), asarray(b)
    vector = b.ndim == 1
    b = b[:, None] if vector else b
    if b.ndim == 0 or b.shape[-2] != a.shape[-1]:
        raise ValueError(f"solve: a {a.shape} needs b of {a.shape[-1]} rows, got {b.shape[:1] if vector else b.shape}")
    x = i._solve(a, b)
    return x[..., 0] if vector else x


def inv(x: TensorLike) -> Tensor:
    """The inverse of square matrices; ``solve`` is better if it is only multiplied with."""
    return i._inv(_matrices("inv", x, square=True))


def det(x: TensorLike) -> Tensor:
    """The determinant (...) of square matrices (..., N, N). Its gradient, the cofactors, is right
    for singular ones too.
    """
    return i._det(_matrices("det", x, square=True))


def slogdet(x: TensorLike) -> SlogdetResult:
    """``(sign, log |det x|)``, which neither overflows nor underflows; sign is a constant. A
    singular matrix has no gradient.
    """
    packed = i._slogdet(_matrices("slogdet", x, square=True))
    return SlogdetResult(packed[..., 0].detach(), packed[..., 1])


def pinv(x: TensorLike, rcond: SupportsFloat | None = None, *, rtol: SupportsFloat | None = None) -> Tensor:
    """Moore and Penrose's pseudoinverse (..., N, M); singular values up to ``rtol`` times the
    greatest count as 0.

    rtol (or rcond): ``max(M, N)`` times the type's eps by default. The gradient is for changes that
    keep the rank.
    """
    x = _matrices("pinv", x)
    return i._pinv(x, rtol=_tolerance("pinv", x, rcond, rtol))


def _tolerance(name, x, first, second):
    if first is not None and second is not None:
        raise TypeError(f"{name}: the tolerance is given twice")
    given = second if first is None else first
    if given is None:
        wide = x.dtype if x.dtype.kind == "f" and x.dtype.itemsize > 2 else np.dtype(np.float32)
        return max(x.shape[-2:]) * float(np.finfo(wide).eps)
    return float(given)


@reads_values("x", "tol", "rtol")
def matrix_rank(x: TensorLike, tol: TensorLike | None = None, *, rtol: SupportsFloat | None = None) -> Tensor:
    """How many singular values (...) are above ``tol``, or above ``rtol`` times the greatest;
    int64, without a gradient.
    """
    x = asarray(x)
    if x.ndim < 2:
        return (x != 0).any().detach().astype(np.int64)
    if tol is not None and rtol is not None:
        raise TypeError("matrix_rank: the tolerance is given twice")
    s = raw(svdvals(x.detach()))
    if not s.shape[-1]:
        return Tensor(namespace(x.device).zeros(s.shape[:-1], dtype=np.int64))
    with on(s):
        if tol is None:
            tol = _tolerance("matrix_rank", x, None, rtol) * s.max(axis=-1, keepdims=True)
        return Tensor(namespace(x.device).asarray((s > raw(tol)).sum(axis=-1)))


def matrix_power(x: TensorLike, n: int) -> Tensor:
    """``x @ x @ ... @ x``, n times; the identity for 0, powers of the inverse below."""
    x = _matrices("matrix_power", x, square=True)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"matrix_power: n must be an integer, got {n!r}")
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        identity = Tensor(namespace(x.device).eye(x.shape[-1], dtype=x.dtype))
        return broadcast_to(identity, shape=x.shape)
    power: Any = None
    while n:
        if n & 1:
            power = x if power is None else matmul(power, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return power


# --- decompositions -------------------------------------------------------------------------------


def cholesky(x: TensorLike, *, upper: bool = False) -> Tensor:
    """The lower triangle L with ``x = L L^T`` (its transpose if ``upper``) of symmetric positive
    definite matrices.

    The gradient is the symmetric one: that of the function of ``(x + x^T) / 2``. ValueError if x is
    not positive definite.
    """
    lower = i._cholesky(_symmetric("cholesky", x))
    return matrix_transpose(lower) if upper else lower


@overload
def qr(x: TensorLike, mode: Literal["reduced", "complete"] = "reduced") -> QRResult: ...
@overload
def qr(x: TensorLike, mode: Literal["r"]) -> Tensor: ...
def qr(x, mode="reduced"):
    """``x = Q R`` with orthonormal columns: Q (..., M, K), R (..., K, N), K = min(M, N); the first
    K columns must be independent.

    mode "complete" makes Q (..., M, M): only without a gradient if M > N, since the further columns
    are not unique; "r" gives R.
    """
    x = _matrices("qr", x)
    rows, columns = x.shape[-2:]
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f'qr: mode must be "reduced", "complete" or "r", got {mode!r}')
    if mode == "complete" and rows > columns:
        if _recorded(x):
            raise ValueError(
                f'qr: mode "complete" has no gradient for more rows than columns, {x.shape}: write "reduced"'
            )
        return _of_values(x, "qr", QRResult, mode="complete")
    packed = d._qr(x)
    r = matrix_transpose(packed[..., rows:, :])
    return r if mode == "r" else QRResult(packed[..., :rows, :], r)


@reads_values("x")
def _of_values(x, name, kind, **settings):
    """A decomposition that is no op, as its further vectors have no gradient."""
    return kind(*map(Tensor, getattr(namespace(x.device).linalg, name)(_wide(x), **settings)))


def _wide(x):
    """The raw array in a type that LAPACK knows."""
    array = raw(x)
    return array if x.dtype.kind == "f" and x.dtype.itemsize > 2 else cast(array, np.float32)


@overload
def svd(x: TensorLike, full_matrices: bool = True, compute_uv: Literal[True] = True) -> SVDResult: ...
@overload
def svd(x: TensorLike, full_matrices: bool = True, *, compute_uv: Literal[False]) -> Tensor: ...
@overload
def svd(x: TensorLike, full_matrices: bool, compute_uv: Literal[False]) -> Tensor: ...
def svd(x, full_matrices=True, compute_uv=True):
    """``x = U diag(S) Vh``: U (..., M, K), S (..., K) descending, Vh (..., K, N), K = min(M, N).

    full_matrices: U (..., M, M) and Vh (..., N, N): for matrices that are not square only without a
    gradient, since the further vectors are not unique. compute_uv: False gives S alone. The signs
    of the vectors are not determined: u_i and v_i may be turned round together, and a GPU turns
    others round than the CPU, so that only a loss that does not depend on them has a meaning. Equal
    singular values have no derivative of their vectors (ValueError).
    """
    x = _matrices("svd", x)
    rows, columns = x.shape[-2:]
    if compute_uv and full_matrices and rows != columns:
        if _recorded(x):
            raise ValueError(
                f"svd: with full_matrices=True vectors of matrices that are not square, {x.shape}, have no gradient: "
                "write full_matrices=False"
            )
        return _of_values(x, "svd", SVDResult)
    if not compute_uv:
        return d.singular_values(x)
    packed = d._svd(x)
    return SVDResult(packed[..., :rows, :], packed[..., rows, :], matrix_transpose(packed[..., rows + 1 :, :]))


def svdvals(x: TensorLike) -> Tensor:
    """The singular values (..., K) of matrices, descending."""
    return d.singular_values(_matrices("svdvals", x))


def eigh(x: TensorLike, UPLO: Literal["L", "U"] = "L") -> EighResult:  # noqa: N803  NumPy's name
    """Eigenvalues (..., N), ascending, and orthonormal eigenvectors (..., N, N), columns, of
    symmetric matrices.

    The gradient is the symmetric one. The signs of the vectors are not determined: each may be
    turned round, and a GPU turns others round than the CPU, so that only a loss that does not
    depend on them has a meaning. Equal eigenvalues have no derivative of their vectors
    (ValueError). UPLO is NumPy's and makes no difference, as matrices must be symmetric.
    """
    packed = d._eigh(_symmetric("eigh", x, UPLO))
    return EighResult(packed[..., 0, :], packed[..., 1:, :])


def eigvalsh(x: TensorLike, UPLO: Literal["L", "U"] = "L") -> Tensor:  # noqa: N803
    """The eigenvalues (..., N), ascending, of symmetric matrices."""
    return eigh(x, UPLO).eigenvalues


def cond(x: TensorLike, p: float | str | None = None) -> Tensor:
    """How much solving with ``x`` can magnify an error: ``|x| |x^-1|`` in the norm ``p`` (default:
    2).
    """
    given = asarray(x)
    x = widen(given)  # the inverse of a matrix of float16 is often none
    if p in (None, 2, -2):
        s = svdvals(x)
        made = s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    else:
        made = matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)
    return made.astype(given.dtype) if is_narrow(given.dtype) else made


# --- products and diagonals -----------------------------------------------------------------------


def trace(x: TensorLike, *, offset: SupportsIndex = 0, dtype: DTypeLike | None = None) -> Tensor:
    """The sum of the diagonal of the last two axes."""
    made = _trace(_matrices("trace", x), offset, -2, -1)
    return made if dtype is None else made.astype(dtype)


def diagonal(x: TensorLike, *, offset: SupportsIndex = 0) -> Tensor:
    """The diagonal of the last two axes, as a last axis."""
    return _diagonal(_matrices("diagonal", x), offset, -2, -1)


def outer(x1: TensorLike, x2: TensorLike) -> Tensor:
    """All products ``x1[i] * x2[j]`` of two vectors."""
    x1, x2 = asarray(x1), asarray(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer: needs two vectors, got shapes {x1.shape} and {x2.shape}; mt.outer flattens")
    return _outer(x1, x2)


def cross(x1: TensorLike, x2: TensorLike, *, axis: SupportsIndex = -1) -> Tensor:
    """The cross product of vectors of 3 along ``axis``; the other axes broadcast."""
    x1, x2 = asarray(x1), asarray(x2)
    x1, x2 = (moveaxis(x, axis_of("cross", axis, x.ndim), -1) for x in (x1, x2))
    if x1.shape[-1] != 3 or x2.shape[-1] != 3:
        raise ValueError(f"cross: vectors must have 3 elements, got {x1.shape[-1]} and {x2.shape[-1]}")
    parts = [x1[..., a] * x2[..., b] - x1[..., b] * x2[..., a] for a, b in ((1, 2), (2, 0), (0, 1))]
    return moveaxis(stack(parts, axis=-1), -1, axis)
