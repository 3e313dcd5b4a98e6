"""Functions that are compared with JAX: each written once, for a namespace ``n`` that is
minitensor's or JAX's.

A row is ``(function of (n, *arrays), specs)``, one spec for each argument: a shape, or a shape with
the bounds between which its numbers lie.
"""

from __future__ import annotations

import zlib

import numpy as np

FUNCTIONS = {}


def add(name, function, *specs):
    """Enter a function under a name of its own."""
    assert name not in FUNCTIONS, name
    FUNCTIONS[name] = function, specs


def inputs_of(name):
    """The arguments of a function, float64, the same in every run."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    _, specs = FUNCTIONS[name]
    found = []
    for spec in specs:
        shape, low, high = spec if len(spec) == 3 and isinstance(spec[0], tuple) else (spec, -1.5, 1.5)
        found.append(rng.uniform(low, high, shape))
    return found


# --- one operand ----------------------------------------------------------------------------------

DOMAINS = {
    "sqrt": (0.3, 3), "log": (0.3, 3), "log2": (0.3, 3), "log10": (0.3, 3), "log1p": (-0.6, 3), "arcsin": (-0.8, 0.8),
    "arccos": (-0.8, 0.8), "arctanh": (-0.8, 0.8), "arccosh": (1.3, 3), "reciprocal": (0.4, 2), "tan": (-1.1, 1.1),
}  # fmt: skip
SHAPES = [(2, 3), (4,), (), (1, 2, 1, 2), (3, 1)]
UNARY = (
    "exp expm1 sin cos tan sinh cosh tanh arcsin arccos arctan arcsinh arccosh arctanh sqrt log log2 log10 log1p square "
    "reciprocal negative positive abs sign floor ceil trunc erf relu sigmoid silu softplus gelu_tanh gelu_erf elu leaky_relu"
).split()
for i, name in enumerate(UNARY):
    low, high = DOMAINS.get(name, (-2.2, 2.2))
    add(name, lambda n, x, name=name: getattr(n, name)(x), (SHAPES[i % len(SHAPES)], low, high))
    add(f"{name} of 2x, by a weight", lambda n, x, w, name=name: w * getattr(n, name)(x * 1.25) + x,
        (SHAPES[(i + 1) % len(SHAPES)], low / 1.25 if name != "arccosh" else 1.1, high / 1.25), (2, 1, 1))  # fmt: skip

# --- two operands, broadcast ----------------------------------------------------------------------

PAIRS = [((3, 1), (1, 2)), ((2, 3), (3,)), ((), (2, 2)), ((2, 1, 2), (3, 1)), ((4,), (4,))]
BINARY = "add subtract multiply divide power maximum minimum logaddexp hypot arctan2 copysign remainder".split()
for i, name in enumerate(BINARY):
    left, right = PAIRS[i % len(PAIRS)]
    specs = {"power": ((left, 0.3, 2), (right, -2, 2)), "divide": ((left, -2, 2), (right, 0.4, 2)),
             "remainder": ((left, 0.3, 2), (right, 2.3, 3))}.get(name, ((left, -2, 2), (right, -2, 2)))  # fmt: skip
    add(name, lambda n, x, y, name=name: getattr(n, name)(x, y), *specs)
    add(f"{name} in a product", lambda n, x, y, name=name: getattr(n, name)(x, y) * n.sin(x) - y, *specs)
add("where", lambda n, x, y: n.where(x > 0.1, x * y, y), (2, 3), (3,))
add("where of a comparison", lambda n, x, y: n.where(x < y, n.exp(x), y**2), (3, 1), (2,))
add("clip", lambda n, x: n.clip(x, -0.7, 0.8) * x, (3, 2))
add("power of a number", lambda n, x: x**3 - 2.0**x, (3,))
add("floor divide", lambda n, x, y: n.floor_divide(x, y) + x * y, ((3,), 1, 2), ((3,), 0.3, 0.7))
add("numbers on the left", lambda n, x: 1.0 - x / 3.0 + 2.0 / (x * x + 1.0), (2, 2))

# --- reductions -----------------------------------------------------------------------------------

for name in "sum mean prod max min var std logsumexp norm".split():
    for k, named in enumerate([{}, {"axis": 0}, {"axis": (0, 2), "keepdims": True}]):
        if name == "norm":
            named = {a: b for a, b in named.items() if a == "axis"}
            named = {} if isinstance(named.get("axis"), tuple) else named
            if k == 2:
                continue
        add(f"{name} {named}", lambda n, x, name=name, named=named: getattr(n, name)(x, **named), (2, 3, 2))
add("var with ddof", lambda n, x: n.var(x, axis=1, ddof=1), (2, 4))
add("std with ddof", lambda n, x: n.std(x, axis=-1, ddof=1, keepdims=True), (2, 3))
add("cumsum", lambda n, x: n.cumsum(x, axis=1), (2, 3))
add("cumsum of the flat", lambda n, x: n.cumsum(x), (2, 2))
add("cumprod", lambda n, x: n.cumprod(x, axis=0), (3, 2))
add("softmax by hand", lambda n, x: n.exp(x) / n.exp(x).sum(axis=-1, keepdims=True), (2, 3))
add("zscore", lambda n, x: (x - x.mean(axis=0)) / n.std(x, axis=0), (4, 2))
add("argmax picks", lambda n, x: x * (n.argmax(x, axis=0) + 1), (3, 2))
add("all and any", lambda n, x: n.where(n.any(x > 1.0, axis=0), x, 2.0 * x) + n.where(n.all(x > -9.0), x, 0.0), (3, 2))
add("sum of nothing", lambda n, x: n.sum(x, axis=0) + 1.0, (0, 3))
add("empty", lambda n, x: n.sin(x) * 2.0, (0, 2))

# --- shape ----------------------------------------------------------------------------------------

add("reshape", lambda n, x: n.reshape(x, (3, 2)) @ x, (2, 3))
add("reshape with -1", lambda n, x: n.reshape(x, (-1, 2)) ** 2, (2, 3, 2))
add("transpose", lambda n, x: x.T @ x, (2, 3))
add("permute", lambda n, x: n.permute_dims(x, (2, 0, 1)) * 3.0, (2, 3, 2))
add("moveaxis", lambda n, x: n.moveaxis(x, 0, -1) ** 2, (2, 3, 2))
add("swapaxes", lambda n, x: n.swapaxes(x, 0, 2) * x, (2, 3, 2))
add("expand and squeeze", lambda n, x: n.squeeze(n.expand_dims(x, 1) * x[:, None], 1), (3,))
add("broadcast", lambda n, x: n.broadcast_to(x, (2, 3, 2)) ** 2, (3, 1))
add("concatenate", lambda n, x, y: n.concatenate([x, y * 2.0, x], axis=1), (2, 2), (2, 1))
add("stack", lambda n, x, y: n.stack([x, y, x * y], axis=1), (2, 2), (2, 2))
add("split", lambda n, x: n.split(x, 2, axis=1)[0] * n.split(x, 2, axis=1)[1], (2, 4))
add("flip", lambda n, x: n.flip(x, axis=1) * x, (2, 3))
add("flip all", lambda n, x: n.flip(x) * x, (2, 3))
add("roll", lambda n, x: n.roll(x, 1, axis=0) * x, (3, 2))
add("roll flat", lambda n, x: n.roll(x, 2) * x, (3, 2))
add("tile", lambda n, x: n.tile(x, (2, 2)) ** 2, (2, 1))
add("repeat", lambda n, x: n.repeat(x, 2, axis=1) ** 2, (2, 2))
add("pad", lambda n, x: n.pad(x, ((1, 0), (0, 2))) + 1.0, (2, 2))
add("pad reflect", lambda n, x: n.pad(x, ((1, 1),), mode="reflect") ** 2, (4,))
add("pad edge", lambda n, x: n.pad(x, ((0, 1), (2, 0)), mode="edge") ** 2, (2, 2))
add("pad a constant", lambda n, x: n.pad(x, 1, constant_values=0.5) ** 2, (2, 2))
add("tril", lambda n, x: n.tril(x) @ x, (3, 3))
add("triu", lambda n, x: n.triu(x, 1) * 2.0, (2, 3, 3))
add("diagonal", lambda n, x: n.diagonal(x) ** 2, (3, 2))
add("diagonal, offset", lambda n, x: n.diagonal(x, 1, 0, 2), (2, 2, 3))
add("rot90", lambda n, x: n.rot90(x) ** 2, (2, 3))
add("diff", lambda n, x: n.diff(x, axis=1) ** 2, (2, 4))
add("meshgrid", lambda n, x, y: n.meshgrid(x, y)[0] * n.meshgrid(x, y)[1], (2,), (3,))
add("outer sum", lambda n, x, y: x[:, None] - y[None, :] ** 2, (3,), (2,))

# --- reading by index -----------------------------------------------------------------------------

IDS, GRID = np.array([2, 0, 2]), np.array([[0, 1], [1, 0]])
MASK = np.array([True, False, True])
add("row", lambda n, x: x[1] * x[-1], (3, 2))
add("slices", lambda n, x: x[1:, ::2] ** 2, (3, 3))
add("backwards", lambda n, x: x[::-1, 1:] * 2.0, (3, 3))
add("ellipsis", lambda n, x: x[..., 0] * x[0, ..., 1], (2, 2, 2))
add("new axes", lambda n, x: x[None, :, None] * x[:, None, :], (2, 2))
add("ids", lambda n, x: x[IDS] ** 2, (3, 2))
add("ids of columns", lambda n, x: x[:, IDS] ** 2, (2, 3))
add("two lists", lambda n, x: x[IDS, np.array([1, 0, 1])], (3, 2))
add("lists apart", lambda n, x: x[IDS, :, np.array([1, 0, 1])] * 2.0, (3, 2, 2))
add("a list and an int apart", lambda n, x: x[0, :, GRID] ** 2, (2, 3, 2))
add("a grid of ids", lambda n, x: x[GRID] ** 2, (2, 2))
add("a mask", lambda n, x: x[MASK] ** 2, (3, 2))
add("a mask behind", lambda n, x: x[:, MASK] ** 2, (2, 3))
add("take", lambda n, x: n.take(x, GRID, axis=1), (2, 2))
add("take along axis", lambda n, x: n.take_along_axis(x, GRID, axis=1) ** 2, (2, 2))
add("sort", lambda n, x: n.sort(x, axis=0) * np.arange(3.0)[:, None], (3, 2))
add("argsort picks", lambda n, x: n.take_along_axis(x * x, n.argsort(x, axis=1), axis=1), (2, 3))
add("the greatest row", lambda n, x: x[n.argmax(x[:, 0])] ** 2, (3, 2))
add("ids from values", lambda n, x, y: y[n.argsort(x)] * x, (3,), (3, 1))
add("median", lambda n, x: n.sort(x)[1:3].mean(), (4,))

# --- products -------------------------------------------------------------------------------------

add("matmul", lambda n, x, y: x @ y, (2, 3), (3, 2))
add("matmul of a row", lambda n, x, y: x @ y, (3,), (3, 2))
add("matmul of a column", lambda n, x, y: x @ y, (2, 3), (3,))
add("dot", lambda n, x, y: x @ y, (3,), (3,))
add("stacked matmul", lambda n, x, y: n.matmul(x, y), (2, 1, 2, 2), (3, 2, 1))
add("stack of rows", lambda n, x, y: n.matmul(x, y), (3,), (2, 3, 2))
add("quadratic form", lambda n, x, a: x @ a @ x, (3,), (3, 3))
for equation, *shapes in [
    ("ij,jk->ik", (2, 3), (3, 2)), ("bij,bjk->bik", (2, 2, 2), (2, 2, 1)), ("ii->i", (3, 3)), ("ij->", (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("bhtk,bhsk->bhts", (1, 2, 2, 2), (1, 2, 3, 2)), ("ij,ij,j->i", (2, 3), (2, 3), (3,)), ("...i,...i->...", (2, 3), (2, 3)),
]:  # fmt: skip
    add(f"einsum {equation}", lambda n, *xs, equation=equation: n.einsum(equation, *xs), *shapes)
add("tensordot", lambda n, x, y: n.tensordot(x, y, axes=2), (2, 2, 3), (2, 3))
add("tensordot of axes", lambda n, x, y: n.tensordot(x, y, axes=([0], [1])), (2, 3), (2, 2))
add("vecdot", lambda n, x, y: n.vecdot(x, y), (2, 3), (3,))
add("outer", lambda n, x, y: n.outer(x, y), (2,), (3,))
add("trace", lambda n, x: n.trace(x @ x), (3, 3))

# --- linear algebra -------------------------------------------------------------------------------

EYE = 3.0 * np.eye(3)
add("det", lambda n, x: n.linalg.det(x + EYE), (3, 3))
add("det of a stack", lambda n, x: n.linalg.det(x), (2, 2, 2))
add("inv", lambda n, x: n.linalg.inv(x + EYE), (3, 3))
add("solve", lambda n, x, y: n.linalg.solve(x + EYE, y), (3, 3), (3, 2))
add("solve a vector", lambda n, x, y: n.linalg.solve(x + EYE, y), (3, 3), (3,))
add("slogdet", lambda n, x: n.linalg.slogdet(x + EYE)[1], (3, 3))
add("cholesky", lambda n, x: n.linalg.cholesky(x @ x.mT + EYE), (3, 3))
add("eigenvalues", lambda n, x: n.linalg.eigvalsh(x + x.mT + np.diag([1.0, 5.0, 9.0])), (3, 3))
add(
    "projector",
    lambda n, x: (lambda v: v[:, :1] @ v[:, :1].mT)(n.linalg.eigh(x + x.mT + np.diag([1.0, 6.0, 12.0]))[1]),
    (3, 3),
)
add("singular values", lambda n, x: n.svdvals(x + np.eye(3, 2)), (3, 2))
add("matrix power", lambda n, x: n.linalg.matrix_power(x, 3), (2, 2))
add("frobenius", lambda n, x: n.linalg.norm(x), (2, 3))
add("logdet of a gram", lambda n, x: n.linalg.slogdet(x.mT @ x + n.eye2)[1], (3, 2))
add("gaussian density", lambda n, x, m: -0.5 * (x - m) @ n.linalg.solve(EYE + n.outer(m, m), x - m), (3,), (3,))
add("least squares", lambda n, a, b: n.linalg.solve(a.mT @ a + n.eye2, a.mT @ b), (3, 2), (3,))

# --- layers and losses ----------------------------------------------------------------------------

TARGETS, HOT = np.array([2, 0]), np.eye(3)[[2, 0]]
CAUSAL = np.tril(np.ones((3, 3), dtype=bool))
add("softmax", lambda n, x: n.softmax(x, axis=-1), (2, 3))
add("softmax, axis 0", lambda n, x: n.softmax(x, axis=0) ** 2, (3, 2))
add("log softmax", lambda n, x: n.log_softmax(x, axis=-1), (2, 3))
add("linear", lambda n, x, w, b: n.linear(x, w, b), (2, 3), (2, 3), (2,))
add("layer norm", lambda n, x, w, b: n.layer_norm(x, w, b), (2, 4), (4,), (4,))
add("layer norm of a stack", lambda n, x, w, b: n.layer_norm(x, w, b), (2, 2, 3), (3,), (3,))
add("rms norm", lambda n, x, w: n.rms_norm(x, w), (2, 3), (3,))
add("attention", lambda n, q, k, v: n.attention(q, k, v), (2, 2), (3, 2), (3, 1))
add("attention of heads", lambda n, q, k, v: n.attention(q, k, v), (1, 2, 2, 2), (1, 2, 3, 2), (1, 2, 3, 2))
add("causal attention", lambda n, q, k, v: n.attention(q, k, v, mask=CAUSAL), (3, 2), (3, 2), (3, 2))
add("attention with a bias", lambda n, q, k, v, b: n.attention(q, k, v, bias=b), (2, 2), (3, 2), (3, 2), (2, 3))
add("cross entropy", lambda n, x: n.cross_entropy(x, TARGETS), (2, 3))
add("cross entropy of soft targets", lambda n, x: n.soft_cross_entropy(x, HOT * 0.7 + 0.1), (2, 3))
add("smoothed cross entropy", lambda n, x: n.cross_entropy(x, TARGETS, 0.1), (2, 3))
add("mse", lambda n, x, y: n.mse(x, y), (2, 3), (2, 3))
add("huber", lambda n, x, y: n.huber(x, y), (2, 3), (2, 3))
add("binary cross entropy", lambda n, x: n.bce(x, HOT), (2, 3))
add("kl divergence", lambda n, x: n.kl(n.log_softmax(x, axis=-1), HOT * 0.7 + 0.1), (2, 3))
add("embedding", lambda n, w: n.embedding(GRID, w) ** 2, (3, 2))
add("conv2d", lambda n, x, w: n.conv2d(x, w), (1, 2, 3, 3), (1, 2, 2, 2))
add("mlp", lambda n, x, w, v: n.linear(n.gelu_erf(n.linear(x, w, None)), v, None), (2, 2), (3, 2), (1, 3))
add("lstm", lambda n, x, w, u, b: n.lstm(x, w, u, b), (1, 2, 2), (8, 2), (8, 2), (8,))
add("gru", lambda n, x, w, u, b: n.gru(x, w, u, b), (1, 2, 2), (6, 2), (6, 2), (6,))
add("rnn", lambda n, x, w, u, b: n.rnn(x, w, u, b), (1, 3, 1), (2, 1), (2, 2), (2,))


def block(n, x, w, v):
    """Attention, and a perceptron around which x goes."""
    y = n.linear(n.relu(n.linear(n.attention(x, x, x), w, None)), v, None)
    return n.layer_norm(x + y, None, None)


add("transformer block", block, (2, 2), (3, 2), (2, 3))

# --- compositions ---------------------------------------------------------------------------------

add("rosenbrock", lambda n, x: (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum(), (4,))
add("rastrigin", lambda n, x: (x**2 - 10.0 * n.cos(6.0 * x) + 10.0).sum(), (3,))
add("gaussian kernel", lambda n, x: n.exp(-((x[:, None] - x[None]) ** 2).sum(axis=-1)), (3, 2))
add("distances", lambda n, x, y: n.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=-1)), (2, 3), (3, 3))
add("logistic regression", lambda n, w, x: n.softplus(-(x @ w)).mean(), (3,), (4, 3))
add("kepler", lambda n, e: e - 0.3 * n.sin(e - 0.3 * n.sin(e)), (3,))
add("newton's root", lambda n, x: (lambda y: 0.5 * (y + x / y))(0.5 * (x + 1.0)), ((3,), 0.5, 2))
add("a loop of tanh", lambda n, x: n.tanh(n.tanh(n.tanh(x) + x) + x), (2, 2))
add("horner", lambda n, x, c: ((c[0] * x + c[1]) * x + c[2]) * x + c[3], (3,), (4,))
add("the same twice", lambda n, x: x * x + x / (x * x + 2.0), (2, 2))
add("a constant", lambda n, x: x * 0.0 + 3.0, (2, 2))
add("one input unused", lambda n, x, y: n.sin(x), (2, 2), (3,))
add("two results", lambda n, x, y: (x * y, n.cos(x).sum()), (2, 2), (2,))
add("a dict of results", lambda n, x: {"a": x[0] * x, "b": [n.exp(x), (x.sum(),)]}, (3,))
add("integers beside", lambda n, x: x * n.argsort(x), (3,))
add("lotka volterra", lambda n, s: n.stack([s[0] * (1.1 - 0.4 * s[1]), s[1] * (0.1 * s[0] - 0.4)]), (2,))
add("power iteration", lambda n, a, v: (lambda w: a @ w / n.norm(a @ w))(a @ v / n.norm(a @ v)), (3, 3), (3,))
add("entropy", lambda n, x: (lambda p: -(p * n.log(p)).sum(axis=-1))(n.softmax(x, axis=-1)), (2, 3))
add("cosine similarity", lambda n, x, y: (x @ y) / (n.norm(x) * n.norm(y)), (3,), (3,))
add("mixture", lambda n, x, m: n.logsumexp(-0.5 * (x[:, None] - m) ** 2, axis=1), (3,), (2,))
add("haversine", lambda n, p, q: 2.0 * n.arcsin(n.sqrt(n.sin((p - q) / 2.0) ** 2 * 0.5 + 0.05)), (2,), (2,))
add("convolution by hand", lambda n, x, k: n.stack([(x[i : i + 2] * k).sum() for i in range(3)]), (4,), (2,))
add("running mean", lambda n, x: n.cumsum(x, axis=0) / np.arange(1.0, 5.0), (4,))
add("pendulum", lambda n, s: n.concatenate([s[1:], -n.sin(s[:1])]), (2,))
add("batch norm by hand", lambda n, x, w: (x - x.mean(axis=0)) / n.sqrt(n.var(x, axis=0) + 1e-5) * w, (3, 2), (2,))
add("hinge", lambda n, x: n.maximum(0.0, 1.0 - x * np.array([1.0, -1.0, 1.0])).sum(), (3,))
add("pinball", lambda n, x: n.where(x > 0, 0.9 * x, -0.1 * x).mean(), (5,))
add("swish by hand", lambda n, x: x / (1.0 + n.exp(-1.5 * x)), (2, 3))
add("mish", lambda n, x: x * n.tanh(n.softplus(x)), (2, 3))
add("glu", lambda n, x: x[:, :2] * n.sigmoid(x[:, 2:]), (2, 4))
add("rotary", lambda n, x: x * np.cos(1.0) + n.concatenate([-x[..., 1:], x[..., :1]], axis=-1) * np.sin(1.0), (3, 2))
add("contrastive", lambda n, x, y: n.cross_entropy(x @ y.T, np.arange(2)), (2, 3), (2, 3))
