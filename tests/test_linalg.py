"""Delicate cases of linear algebra: ties, singular matrices, other types, and PyTorch's
gradients.
"""

from itertools import permutations

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import check_op

L = mt.linalg
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 3))
SPREAD = X @ X.swapaxes(-1, -2) + np.eye(3)


def leibniz(x):
    """The determinant as a sum over permutations: a polynomial, whose derivatives know no singular
    matrices.
    """
    total, n = 0.0, len(x)
    for order in permutations(range(n)):
        sign = (-1) ** sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n))
        total = total + sign * mt.prod(mt.stack([x[i, j] for i, j in enumerate(order)]))
    return total


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_determinant_of_a_matrix_of_any_rank_has_its_derivatives(n, rank):
    u, v = RNG.standard_normal((n, min(rank, n))), RNG.standard_normal((min(rank, n), n))
    for matrix in (u @ v, 2.0 * np.eye(n)):  # the second has equal singular values
        x, direction = mt.tensor(matrix, requires_grad=True), mt.tensor(RNG.standard_normal((n, n)))
        found = []
        for function in (L.det, leibniz):
            first = mt.grad(function(x), x, create_graph=True)
            second = mt.grad((first * direction).sum(), x, allow_unused=True)
            found.append([first.data, np.zeros((n, n)) if second is None else second.data])
        np.testing.assert_allclose(*found, atol=1e-12)


def test_a_gradient_of_cofactors_far_below_one_does_not_vanish():
    x = mt.tensor(np.diag([1e-200, 1e-150]), requires_grad=True)
    assert np.allclose(mt.grad(L.det(x), x).data, np.diag([1e-150, 1e-200]), rtol=1e-12, atol=0)


def test_values_that_are_equal_have_a_gradient_and_their_vectors_none():
    x = mt.tensor(np.eye(3), requires_grad=True)
    assert mt.grad(L.eigvalsh(x).sum(), x).tolist() == mt.grad(L.svdvals(x).sum(), x).tolist() == np.eye(3).tolist()
    assert np.allclose(mt.grad(L.norm(x, "nuc"), x).data, np.eye(3))
    for vectors in (L.eigh(x).eigenvectors, L.svd(x).U, L.svd(x).Vh):
        with pytest.raises(
            ValueError, match="values are equal to rounding .* their vectors are any basis of one space"
        ):
            mt.grad((vectors * X[0]).sum(), x)
    low = mt.tensor(np.outer([1.0, 2.0, 3.0], [1.0, 0.0]), requires_grad=True)
    with pytest.raises(ValueError, match="one is 0, of a matrix that is not square"):
        mt.grad((L.svd(low, full_matrices=False).U * X[0, :, :2]).sum(), low)


def test_stacks_keep_to_themselves():
    x = mt.tensor(np.stack([np.eye(2), np.diag([1.0, 3.0])]), requires_grad=True)
    w, v = L.eigh(x)
    (v[1] * X[0, :2, :2]).sum().backward()  # the first matrix has a tie, but nobody asks for its vectors
    assert np.isfinite(x.grad.data).all() and not x.grad[0].data.any()


def test_functions_of_a_matrix_through_its_decompositions():
    check_op(lambda x: L.qr(x).Q @ L.qr(x).R, [X], reference=lambda x: x)
    check_op(
        lambda x: L.svd(x, full_matrices=False).U @ L.svd(x, full_matrices=False).Vh, [RNG.standard_normal((3, 2))]
    )
    check_op(lambda x: L.cholesky(x @ x.mT + mt.eye(3)), [X])
    check_op(lambda x, y: L.pinv(x @ y), [RNG.standard_normal((4, 2)), RNG.standard_normal((2, 3))])
    spread, b = mt.tensor(SPREAD), mt.tensor(X[0, 0])
    assert np.allclose(L.solve(spread, b).data, (L.inv(spread) @ b).data)


def test_what_is_not_unique_is_refused_only_where_a_gradient_is_wanted():
    tall = mt.tensor(RNG.standard_normal((3, 2)), requires_grad=True)
    for call in (lambda: L.svd(tall), lambda: L.qr(tall, "complete")):
        with pytest.raises(ValueError, match="svd: .* write full_matrices=False|qr: .* write .reduced."):
            call()
        with mt.no_grad():
            assert call()[0].shape == (3, 3)
    assert [part.shape for part in L.svd(tall.detach())] == [(3, 3), (2,), (2, 2)]
    assert L.svd(tall, compute_uv=False).requires_grad and L.qr(tall, "r").requires_grad


def test_a_singular_matrix_is_named_in_backward_too():
    x = mt.tensor(np.ones((2, 2)), requires_grad=True)
    sign, logarithm = L.slogdet(x)
    assert sign.item() == 0 and logarithm.item() == -np.inf and not sign.requires_grad
    with pytest.raises(ValueError, match="slogdet, in backward: Singular matrix"):
        logarithm.backward()
    with pytest.raises(ValueError, match="qr, in backward: Singular matrix"):
        L.qr(mt.tensor(np.zeros((2, 2)), requires_grad=True)).Q.sum().backward()


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "bool", "uint8"])
@pytest.mark.parametrize(
    "name", "inv det slogdet cholesky qr svd svdvals eigh eigvalsh pinv norm cond matrix_rank".split()
)
def test_other_types_are_computed_in_float32(name, dtype):
    x = np.array([[2, 1], [1, 3]]).astype(dtype) if dtype != "bool" else np.eye(2, dtype=bool)
    ours, theirs = getattr(L, name)(mt.tensor(x)), getattr(np.linalg, name)(x.astype("float64"))
    for mine, right in zip(*((o if isinstance(o, tuple) else (o,)) for o in (ours, theirs))):
        wanted = "int64" if name == "matrix_rank" else "float16" if dtype == "float16" else "float32"
        assert mine.dtype == wanted
        np.testing.assert_allclose(mine.data, right, rtol=2e-3 if dtype == "float16" else 1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("name", "inv det slogdet cholesky qr svd svdvals eigh eigvalsh pinv".split())
def test_empty_and_small_matrices(name, shape):
    x = mt.tensor(np.ones(shape), requires_grad=True)
    ours, theirs = getattr(L, name)(x), getattr(np.linalg, name)(x.data)
    for mine, right in zip(*((o if isinstance(o, tuple) else (o,)) for o in (ours, theirs))):
        np.testing.assert_allclose(mine.data, right)
    last = ours[-1] if isinstance(ours, tuple) else ours
    assert mt.grad(last.sum(), x).shape == shape


def test_norms_far_out_and_at_zero():
    for ord in (3, 0.5, 2, -2):
        for unit in (1e200, 1e-200):
            x = mt.tensor(np.array([3.0, 4.0]) * unit, requires_grad=True)
            y = L.vector_norm(x, ord=ord)
            right = (3.0**ord + 4.0**ord) ** (1 / ord)
            assert np.isclose(y.item() / unit, right)
            slope = np.array([3.0, 4.0]) ** (ord - 1) * right ** (1 - ord)
            np.testing.assert_allclose(mt.grad(y, x).data, slope, rtol=1e-12)
    zero = mt.zeros((3,), requires_grad=True)
    assert mt.grad(L.vector_norm(zero, ord=3), zero).tolist() == [0, 0, 0]


TORCH = {
    "solve": (X, SPREAD), "inv": (X,), "det": (X,), "slogdet": (X,), "cholesky": (SPREAD,), "qr": (X,), "svdvals": (X,),
    "eigh": (SPREAD,), "eigvalsh": (SPREAD,), "pinv": (X,), "matrix_norm": (X,), "vector_norm": (X,), "matrix_power": (X, 3),
    "cross": (X, X[::-1].copy()),
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("name", TORCH)
def test_first_and_second_derivatives_are_torchs(name):
    torch = pytest.importorskip("torch")

    def run(lib, function, tensor, grad):
        leaves = [tensor(a) for a in TORCH[name] if isinstance(a, np.ndarray)]
        out = function(*leaves, *(a for a in TORCH[name] if not isinstance(a, np.ndarray)))
        ends = list(out) if isinstance(out, tuple) else [out]
        if name == "slogdet":
            ends = ends[1:]
        if name == "eigh":  # a loss that knows no signs
            ends = [ends[0], ends[1] * ends[1]]
        ends = [e for e in ends if e.requires_grad]
        total = sum((e * tensor(np.random.default_rng(1).standard_normal(e.shape)).detach()).sum() for e in ends)
        first = grad(total, leaves, create_graph=True)
        second = grad(sum((g * g).sum() for g in first), leaves)
        return [np.asarray(v.detach()) for v in (*ends, *first, *second)]

    ours = run(mt, getattr(L, name), lambda a: mt.tensor(a, requires_grad=True), mt.grad)
    theirs = run(torch, getattr(torch.linalg, name), lambda a: torch.tensor(a, requires_grad=True), torch.autograd.grad)
    for mine, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-8, atol=1e-8)
