"""Ops and functions compared with PyTorch in float64: values and gradients to 1e-10, with random
cotangents.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional
pytestmark = pytest.mark.torch


@dataclass(frozen=True)
class Case:
    """One function in both libraries; order: of the derivatives that the two agree on at these
    inputs.
    """

    name: str
    ours: Callable
    theirs: Callable
    inputs: tuple
    order: int = 2

    def __str__(self):
        return self.name


def normal(*shape, seed=0):
    """A float64 array."""
    return np.random.default_rng(seed + 17 * len(shape) + sum(shape)).standard_normal(shape)


def positive(*shape):
    """Numbers from 0.3 on."""
    return np.abs(normal(*shape)) + 0.3


X, Y, P = normal(3, 4), normal(4, seed=1), positive(3, 4)
ODD = np.array([[-3.0, -1.0, -0.0, 0.0], [0.5, 1.0, 1.0, 3.0], [2.0, 2.0, -2.0, 0.25]])  # kinks and ties


def same(name, *inputs, **named):
    """A function of one name in both."""
    return Case(name, lambda *a: getattr(mt, name)(*a, **named), lambda *a: getattr(torch, name)(*a, **named), inputs)


UNARY = [
    same(n, X) for n in "abs sign exp expm1 square sin cos tan sinh cosh tanh floor ceil round erf negative".split()
]
UNARY += [same(n, P) for n in "log log1p log2 sqrt".split()] + [
    same(n, np.tanh(X)) for n in "arcsin arccos arctan".split()
]
KINKS = [
    Case(name, getattr(F, name), getattr(TF, name), (ODD,), order=1 if name == "elu" else 2)  # at 0 its slope has a kink
    for name in "relu silu elu leaky_relu softplus gelu".split()
] + [
    Case("sigmoid", F.sigmoid, torch.sigmoid, (ODD * 200,)),
    Case("softplus far out", F.softplus, lambda x: TF.softplus(x, threshold=1e9), (ODD * 100,)),
    Case("gelu tanh", lambda x: F.gelu(x, approximate="tanh"), lambda x: TF.gelu(x, approximate="tanh"), (X,)),
    Case("elu alpha", lambda x: F.elu(x, 0.7), lambda x: TF.elu(x, 0.7), (X,)),
    same("abs", ODD),
    Case("max over all, ties", mt.max, torch.amax, (np.array([1.0, 3.0, 3.0, 2.0]),)),
    Case("max with ties", lambda x: mt.max(x, axis=1), lambda x: torch.amax(x, dim=1), (ODD,)),
    Case("min with ties", lambda x: mt.min(x, axis=0), lambda x: torch.amin(x, dim=0), (ODD,)),
    same("maximum", ODD, ODD[::-1].copy()),
    same("minimum", ODD, ODD[::-1].copy()),
]  # fmt: skip
BINARY = [same(n, X, Y) for n in "add subtract multiply divide maximum minimum logaddexp".split()] + [
    Case("power", mt.power, torch.pow, (P, Y)),
    Case("power of 0", lambda x: x**0, lambda x: x**0, (ODD,)),
    Case("power of 3", lambda x: x**3, lambda x: x**3, (ODD,)),
    Case(
        "where",
        lambda x, y: mt.where(mt.asarray(X > 0), x, y),
        lambda x, y: torch.where(torch.tensor(X > 0), x, y),
        (X, Y),
    ),
]
REDUCTIONS = [
    Case("sum", lambda x: mt.sum(x, axis=(0, 2)), lambda x: x.sum((0, 2)), (normal(2, 3, 4),)),
    Case("mean", lambda x: mt.mean(x, axis=1, keepdims=True), lambda x: x.mean(1, keepdim=True), (X,)),
    Case("var", lambda x: mt.var(x, axis=1, ddof=1), lambda x: x.var(1), (X,)),
    Case("std", lambda x: mt.std(x, axis=0), lambda x: x.std(0, correction=0), (X,)),
    Case("prod with a zero", lambda x: mt.prod(x, axis=1), lambda x: x.prod(1), (ODD,)),
    Case("logsumexp", lambda x: mt.logsumexp(x, axis=0), lambda x: torch.logsumexp(x, 0), (X * 300,)),
    Case("cumsum", lambda x: mt.cumsum(x, axis=1), lambda x: torch.cumsum(x, 1), (X,)),
    Case("cumprod with a zero", lambda x: mt.cumprod(x, axis=1), lambda x: torch.cumprod(x, 1), (ODD,)),
    Case("norm", lambda x: mt.norm(x, axis=1), lambda x: torch.linalg.vector_norm(x, dim=1), (X,)),
    Case("norm 1", lambda x: mt.norm(x, ord=1), lambda x: torch.linalg.vector_norm(x, ord=1), (ODD,)),
    Case("norm of zeros", mt.norm, torch.linalg.vector_norm, (np.zeros(3),), order=1),
    Case("norm inf", lambda x: mt.norm(x, ord=math.inf), lambda x: torch.linalg.vector_norm(x, ord=math.inf), (X,)),
]
A3, B3 = normal(2, 3, 4), normal(2, 4, 5)
LINALG = [
    same("matmul", A3, B3), same("matmul", A3, B3[0]), same("matmul", A3, Y), same("matmul", normal(3), A3),
    Case("einsum", lambda x, y: mt.einsum("bij,bjk->ki", x, y), lambda x, y: torch.einsum("bij,bjk->ki", x, y), (A3, B3)),
    Case("einsum diagonal", lambda x: mt.einsum("ii->i", x), lambda x: torch.einsum("ii->i", x), (normal(4, 4),)),
    Case("tensordot", lambda x, y: mt.tensordot(x, y, ([2], [1])), lambda x, y: torch.tensordot(x, y, ([2], [1])), (A3, B3)),
    Case("outer", mt.outer, torch.outer, (normal(3), Y)),
    Case("trace", mt.trace, torch.trace, (normal(4, 4),)),
]  # fmt: skip
IDS = np.array([[0, 2, 2], [1, 0, 2]])
SHAPES = [
    Case("getitem", lambda x: x[IDS], lambda x: x[torch.tensor(IDS)], (X,)),
    Case("mask", lambda x: x[mt.asarray(X > 0)], lambda x: x[torch.tensor(X > 0)], (X,)),
    Case(
        "gather",
        lambda x: mt.take_along_axis(x, IDS, 1),
        lambda x: torch.take_along_dim(x, torch.tensor(IDS), 1),
        (X[:2],),
    ),
    Case("sort", lambda x: mt.sort(x, axis=0), lambda x: torch.sort(x, 0).values, (X,)),
    Case("topk", lambda x: mt.topk(x, 2)[0], lambda x: torch.topk(x, 2).values, (X,)),
    Case("concat", lambda x, y: mt.concat([x, y], axis=1), lambda x, y: torch.cat([x, y], 1), (X, P)),
    Case("stack", lambda x, y: mt.stack([x, y], axis=-1), lambda x, y: torch.stack([x, y], -1), (X, P)),
    Case("repeat", lambda x: mt.repeat(x, 2, axis=0), lambda x: torch.repeat_interleave(x, 2, 0), (X,)),
    Case("tile", lambda x: mt.tile(x, (2, 3)), lambda x: torch.tile(x, (2, 3)), (X,)),
    Case("roll", lambda x: mt.roll(x, (1, -2), axis=(0, 1)), lambda x: torch.roll(x, (1, -2), (0, 1)), (X,)),
    Case("tril", lambda x: mt.tril(x, k=-1), lambda x: torch.tril(x, -1), (X,)),
    Case("diagonal", lambda x: mt.diagonal(x, 1, 0, 2), lambda x: torch.diagonal(x, 1, 0, 2), (A3,)),
    Case("pad", lambda x: mt.pad(x, ((1, 2), (0, 3))), lambda x: TF.pad(x, (0, 3, 1, 2)), (X,)),
]
W, B = normal(5, 4), normal(5)
IMAGE, KERNEL = normal(2, 3, 6, 5), normal(4, 3, 3, 2)
LAYERS = [
    Case("linear", F.linear, TF.linear, (A3, W, B)),
    Case("softmax", lambda x: F.softmax(x, axis=1), lambda x: TF.softmax(x, 1), (A3 * 50,)),
    Case("log_softmax", F.log_softmax, lambda x: TF.log_softmax(x, -1), (A3 * 50,)),
    Case("layer_norm", F.layer_norm, lambda x, w, b: TF.layer_norm(x, (4,), w, b), (A3, Y, normal(4))),
    Case("layer_norm of two axes", F.layer_norm, lambda x, w, b: TF.layer_norm(x, (3, 4), w, b), (A3, X, P)),
    Case("rms_norm", F.rms_norm, lambda x, w: TF.rms_norm(x, (4,), w, 1e-6), (A3, Y)),
    Case("embedding", lambda w: F.embedding(IDS, w, 2), lambda w: TF.embedding(torch.tensor(IDS), w, 2), (X,)),
    Case("conv2d", F.conv2d, TF.conv2d, (IMAGE, KERNEL, normal(4))),
    Case(
        "conv2d stride padding", lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(1, 2)),
        lambda x, w: TF.conv2d(x, w, stride=(2, 1), padding=(1, 2)), (IMAGE, KERNEL),
    ),
]  # fmt: skip
T = np.array([[0, 3, -100], [2, -100, 1]])
LOGITS, SOFT, WEIGHT = normal(2, 3, 4) * 3, np.abs(normal(2, 3, 4)), positive(4)


def classes_second(function):
    """PyTorch wants the classes on the second axis."""
    return lambda x, *more, **named: function(x.movedim(-1, 1), *more, **named)


def classification(reduction, smoothing):
    """Cross-entropy in all its forms."""
    named = {"reduction": reduction, "label_smoothing": smoothing}
    yield Case(
        f"cross_entropy {reduction} {smoothing}", lambda x: F.cross_entropy(x, T, WEIGHT, **named),
        lambda x: classes_second(TF.cross_entropy)(x, torch.tensor(T), torch.tensor(WEIGHT), **named), (LOGITS,),
    )  # fmt: skip
    yield Case(
        f"soft cross_entropy {reduction} {smoothing}", lambda x: F.cross_entropy(x, SOFT, **named),
        lambda x: classes_second(TF.cross_entropy)(x, torch.tensor(SOFT).movedim(-1, 1), **named), (LOGITS,),
    )  # fmt: skip


def regression(reduction):
    """The others."""
    for name, x, y in (
        ("mse_loss", X, P), ("l1_loss", X, P), ("huber_loss", X, X * 2.5), ("huber_loss", ODD, ODD), ("l1_loss", ODD, ODD),
        ("binary_cross_entropy_with_logits", ODD * 30, (P > 0.9) * 1.0), ("kl_div", np.log(P / 5), P / 7),
    ):  # fmt: skip
        yield Case(
            f"{name} {reduction}", lambda x, y, name=name: getattr(F, name)(x, y, reduction=reduction),
            lambda x, y, name=name: getattr(TF, name)(x, y, reduction=reduction), (x, y),
        )  # fmt: skip
    yield Case(
        f"nll_loss {reduction}", lambda x: F.nll_loss(x, T, WEIGHT, reduction=reduction),
        lambda x: classes_second(TF.nll_loss)(x, torch.tensor(T), torch.tensor(WEIGHT), reduction=reduction), (LOGITS,),
    )  # fmt: skip


LOSSES = [case for r in ("mean", "sum", "none") for s in (0.0, 0.2) for case in classification(r, s)]
LOSSES += [case for r in ("mean", "sum", "none") for case in regression(r)]
Q, K, V = normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 2)
MASK = np.random.default_rng(3).random((2, 1, 4, 6)) < 0.6
MASK[..., 0] = True
ATTENTION = [
    Case("attention", F.scaled_dot_product_attention, TF.scaled_dot_product_attention, (Q, K, V)),
    Case(
        "attention with a mask", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask=MASK, scale=0.3),
        lambda q, k, v: TF.scaled_dot_product_attention(q, k, v, attn_mask=torch.tensor(MASK), scale=0.3), (Q, K, V),
    ),
    Case(
        "attention with a bias", lambda q, k, v, b: F.scaled_dot_product_attention(q, k, v, bias=b),
        lambda q, k, v, b: TF.scaled_dot_product_attention(q, k, v, attn_mask=b), (Q, K, V, normal(3, 4, 6)),
    ),
    Case(
        "causal attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: TF.scaled_dot_product_attention(q, k, v, is_causal=True), (K, K, V),
    ),
]  # fmt: skip
CASES = [*UNARY, *KINKS, *BINARY, *REDUCTIONS, *LINALG, *SHAPES, *LAYERS, *LOSSES, *ATTENTION]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # kl_div's, which ours does as well
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_equal_those_of_pytorch(case):
    ours = [mt.tensor(x, requires_grad=True) for x in case.inputs]
    theirs = [torch.tensor(x, requires_grad=True) for x in case.inputs]
    y, z = case.ours(*ours), case.theirs(*theirs)
    assert y.shape == tuple(z.shape)
    close(y.data, z.detach().numpy())
    g = np.random.default_rng(1).standard_normal(y.shape)
    mine = mt.grad(y, ours, mt.asarray(g), create_graph=True)
    other = torch.autograd.grad(z, theirs, torch.tensor(g), create_graph=True)
    for a, b in zip(mine, other):
        close(a.data, b.detach().numpy())
    if case.order == 2:
        seconds(case, ours, theirs, mine, other)


def seconds(case, ours, theirs, mine, other):
    """Second derivatives: along random directions."""
    rng = np.random.default_rng(2)
    directions = [rng.standard_normal(x.shape) for x in case.inputs]
    both = [(a, b, d) for a, b, d in zip(mine, other, directions) if a.requires_grad and b.requires_grad]
    if not both:
        return
    a, b, d = map(list, zip(*both))
    d, e = [mt.asarray(v) for v in d], [torch.tensor(v) for v in d]
    mine = mt.grad(a, ours, d, allow_unused=True)
    other = torch.autograd.grad(b, theirs, e, allow_unused=True)
    for x, p, q in zip(case.inputs, mine, other):
        close(np.zeros_like(x) if p is None else p.data, np.zeros_like(x) if q is None else q.numpy(force=True))


def close(a, b):
    """To 1e-10 of the largest element."""
    assert np.allclose(a, b, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(b).max(initial=0.0))), (a, b)
