"""The transforms give what JAX's give, on more than 200 functions.

All of them under MINITENSOR_THOROUGH=1, a few of them otherwise: JAX compiles each.
"""

import os

import numpy as np
import pytest
from transforms.functions import FUNCTIONS, inputs_of

import minitensor as mt
import minitensor.nn.functional as F

jax = pytest.importorskip("jax")
jnp = jax.numpy

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
SAMPLE = ["power in a product", "std {'axis': 0}", "lists apart", "causal attention", "a dict of results", "gru"]
EXACT = 1e-10


class Ours:
    """minitensor under the names that the functions use."""

    names = {"mse": "mse_loss", "huber": "huber_loss", "bce": "binary_cross_entropy_with_logits", "kl": "kl_div"}
    eye2, svdvals, norm = np.eye(2), staticmethod(mt.linalg.svdvals), staticmethod(mt.norm)

    def __getattr__(self, name):
        return getattr(F, self.names.get(name, name), None) or getattr(mt, name)

    def gelu_tanh(self, x):
        return F.gelu(x, approximate="tanh")

    def gelu_erf(self, x):
        return F.gelu(x)

    def attention(self, q, k, v, mask=None, bias=None):
        return F.scaled_dot_product_attention(q, k, v, mask=mask, bias=bias)

    def cross_entropy(self, x, targets, smoothing=0.0):
        return F.cross_entropy(x, targets, label_smoothing=smoothing)

    def soft_cross_entropy(self, x, targets):
        return F.cross_entropy(x, targets)

    def lstm(self, x, w, u, b):
        out, (h, c) = F.lstm(x, w, u, b, None)
        return out, h * c

    def gru(self, x, w, u, b):
        return F.gru(x, w, u, b, None)[0]

    def rnn(self, x, w, u, b):
        return F.rnn(x, w, u, b, None)[0]


class Theirs:
    """JAX under the same names, and by their formulas what it does not have."""

    def __init__(self):
        nn = jax.nn
        self.relu, self.sigmoid, self.silu, self.softplus, self.elu = nn.relu, nn.sigmoid, nn.silu, nn.softplus, nn.elu
        self.leaky_relu, self.softmax, self.log_softmax = nn.leaky_relu, nn.softmax, nn.log_softmax
        self.erf, self.logsumexp, self.linalg = jax.scipy.special.erf, nn.logsumexp, jnp.linalg
        self.norm, self.eye2 = jnp.linalg.norm, np.eye(2)

    def __getattr__(self, name):
        return getattr(jnp, name)

    def gelu_tanh(self, x):
        return jax.nn.gelu(x, approximate=True)

    def gelu_erf(self, x):
        return jax.nn.gelu(x, approximate=False)

    def svdvals(self, x):
        return jnp.linalg.svd(x, compute_uv=False)

    def linear(self, x, w, b):
        return x @ w.T if b is None else x @ w.T + b

    def layer_norm(self, x, w, b):
        y = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y if w is None else y * w + b

    def rms_norm(self, x, w):
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w

    def attention(self, q, k, v, mask=None, bias=None):
        scores = q @ jnp.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
        scores = scores if bias is None else scores + bias
        return jax.nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf), axis=-1) @ v

    def soft_cross_entropy(self, x, targets):
        return -(targets * jax.nn.log_softmax(x)).sum(-1).mean()

    def cross_entropy(self, x, targets, smoothing=0.0):
        n = x.shape[-1]
        return self.soft_cross_entropy(x, (1 - smoothing) * np.eye(n)[targets] + smoothing / n)

    def mse(self, x, y):
        return ((x - y) ** 2).mean()

    def huber(self, x, y):
        d = jnp.abs(x - y)
        return jnp.where(d <= 1, d * d / 2, d - 0.5).mean()

    def bce(self, x, t):
        return (jax.nn.softplus(x) - t * x).mean()

    def kl(self, log_p, t):
        return (t * (jnp.log(t) - log_p)).mean()

    def embedding(self, ids, w):
        return w[ids]

    def conv2d(self, x, w):
        return jax.lax.conv(x, w, (1, 1), "VALID")

    def lstm(self, x, w, u, b):
        h = c = jnp.zeros((x.shape[0], u.shape[1]))
        outs = []
        for t in range(x.shape[1]):
            i, f, g, o = jnp.split(x[:, t] @ w.T + b + h @ u.T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            outs.append(h)
        return jnp.stack(outs, axis=1), h * c

    def gru(self, x, w, u, b):
        h, outs = jnp.zeros((x.shape[0], u.shape[1])), []
        for t in range(x.shape[1]):
            rx, zx, nx = jnp.split(x[:, t] @ w.T + b, 3, axis=-1)
            rh, zh, nh = jnp.split(h @ u.T, 3, axis=-1)
            z, new = jax.nn.sigmoid(zx + zh), jnp.tanh(nx + jax.nn.sigmoid(rx + rh) * nh)
            h = (1 - z) * new + z * h
            outs.append(h)
        return jnp.stack(outs, axis=1)

    def rnn(self, x, w, u, b):
        h, outs = jnp.zeros((x.shape[0], u.shape[1])), []
        for t in range(x.shape[1]):
            h = jnp.tanh(x[:, t] @ w.T + b + h @ u.T)
            outs.append(h)
        return jnp.stack(outs, axis=1)


def leaves(tree):
    """The arrays of a tree, dicts by their sorted keys, as JAX has them."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [] if tree is None else [tree]


def like(tree, rng):
    """Random numbers in the shape of each floating leaf of a tree, None for others."""
    if isinstance(tree, dict):
        return {key: like(tree[key], rng) for key in sorted(tree)}
    if isinstance(tree, (tuple, list)):
        return type(tree)(like(part, rng) for part in tree)
    return rng.standard_normal(tree.shape)


def converted(tree, make):
    """A tree with each array made one of a library."""
    if isinstance(tree, dict):
        return {key: converted(part, make) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(converted(part, make) for part in tree)
    return make(tree)


def transformed(lib, function, make, xs, v, u, stacks, stacked_v):
    """What all transforms make of one function, by name; ``lib`` is JAX or minitensor."""
    jacobian = lib.jacobian if lib is mt else lib.jacrev
    places = tuple(range(len(xs)))

    def scalar(*args):
        return sum((leaf * leaf + 0.5 * leaf).sum() for leaf in leaves(function(*args)))

    def gradient(*args):
        return lib.value_and_grad(scalar, places)(*args)[1]

    out, vjp_fun = lib.vjp(function, *xs)
    found = {"out": out, "vjp": vjp_fun(converted(u, make)), "jvp": lib.jvp(function, tuple(xs), tuple(v))}
    found["value_and_grad"] = lib.value_and_grad(scalar, places)(*xs)
    if THOROUGH:
        found["jacobian"] = jacobian(function, places)(*xs)
        found["hessian"] = lib.hessian(scalar, places)(*xs)
        found["hvp"] = mt.hvp(scalar, xs, v) if lib is mt else lib.jvp(gradient, tuple(xs), tuple(v))[1]
        if lib is mt and len(xs) == 1:
            found["hvp"] = (found["hvp"],)
        found["jvp of jvp"] = lib.jvp(lambda *a: lib.jvp(function, a, tuple(v))[1], tuple(xs), tuple(v))
        found["jvp of vmap"] = lib.jvp(lib.vmap(function), stacks, stacked_v)
        found["vmap of jacobian"] = lib.vmap(jacobian(function, places))(*stacks)
        found["grad of vmap"] = lib.value_and_grad(lambda *a: lib.vmap(scalar)(*a).sum(), places)(*stacks)
        found["vmap of vmap"] = lib.vmap(lib.vmap(function, 0, -1), 1, 1)(
            *[(mt if lib is mt else jnp).stack([s, s]) for s in stacks]
        )
    found["vmap"] = lib.vmap(function)(*stacks)
    found["vmap of grad"] = lib.vmap(gradient, (None, *[0] * (len(xs) - 1)) if len(xs) > 1 else 0)(
        *(xs[:1] if len(xs) > 1 else []), *stacks[len(xs) > 1 :]
    )
    return found


def compared(name):
    """The greatest difference over all transforms of a function, relative to values above 1."""
    function, _ = FUNCTIONS[name]
    xs, rng = inputs_of(name), np.random.default_rng(7)
    with mt.no_grad():
        out = function(Ours(), *map(mt.asarray, xs))
    if any(leaf.dtype.kind != "f" for leaf in leaves(out)):
        raise AssertionError(f"{name} returns integers")
    u, v = like(out, rng), [rng.standard_normal(x.shape) for x in xs]
    stacks = [np.stack([x, x * 0.99, x * 0.98]) for x in xs]
    stacked_v = [rng.standard_normal(x.shape) for x in stacks]
    sides = []
    for lib, namespace, make in ((mt, Ours(), mt.asarray), (jax, Theirs(), jnp.asarray)):
        given = [tuple(map(make, part)) for part in (xs, v, stacks, stacked_v)]

        def run(xs, v, stacks, stacked_v, lib=lib, namespace=namespace, make=make):
            return transformed(lib, lambda *args: function(namespace, *args), make, xs, v, u, stacks, stacked_v)

        sides.append(run(*given) if lib is mt else jax.jit(run)(*given))
    ours, theirs = sides
    worst = 0.0
    for key in ours:
        mine, other = leaves(ours[key]), leaves(theirs[key])
        assert len(mine) == len(other), (name, key)
        for a, b in zip(mine, other):
            assert a.shape == b.shape, (name, key, a.shape, b.shape)
            a, b = a.data, np.asarray(b)
            worst = max(worst, float((abs(a - b) / np.maximum(abs(b), 1.0)).max(initial=0.0)))
            np.testing.assert_allclose(a, b, rtol=EXACT, atol=EXACT, err_msg=f"{name}: {key}")
    return worst


@pytest.fixture(autouse=True)
def float64():
    """JAX in float64 for these tests alone."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", FUNCTIONS if THOROUGH else SAMPLE)
def test_transforms_are_those_of_jax(name):
    assert compared(name) <= EXACT


def test_there_are_two_hundred():
    assert len(FUNCTIONS) >= 200
