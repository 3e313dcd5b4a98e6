"""The encoder layer and the training step of ``cases.py`` in JAX alone: pure functions of a dict of
weights, compiled whole by ``jax.jit``, with dropout by ``jax.random`` as it comes (threefry).

Weights have the names and shapes that PyTorch gives them. A call is over when all of its results
are there: gradients of the weights and the input, or the new weights. XLA takes as many threads as
the process has cores, so ``bind`` takes cores away, before JAX is imported.
"""

from __future__ import annotations

import math
import os

import numpy as np

__all__ = ["Layer", "Step", "bind"]


def bind(threads):
    """Let this process, and with it XLA, have so many cores, where the system can."""
    os.environ["NPROC"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _jax(dtype):
    """JAX, with float64 if that is asked for."""
    import jax

    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    return jax


# --- the layers, in the order of torch.nn ---------------------------------------------------------


class _Net:
    """Functions of weights ``w``, of which each sees those whose name starts with ``at``."""

    def __init__(self, jax, n_heads, dropout):
        self.jax, self.jnp, self.n_heads, self.p = jax, jax.numpy, n_heads, dropout

    def drop(self, x, key):
        """Inverted dropout."""
        if self.p == 0:
            return x
        kept = self.jax.random.bernoulli(key, 1 - self.p, x.shape)
        return self.jnp.where(kept, x / (1 - self.p), 0)

    def norm(self, w, at, x, eps=1e-5):
        """Layer norm."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return centred * self.jax.lax.rsqrt(variance + eps) * w[f"{at}.weight"] + w[f"{at}.bias"]

    def attention(self, w, at, x, memory, key, causal=False):
        """From x (B, T, D) to a memory (B, S, D), or to x itself."""
        (b, t, d), k = x.shape, x.shape[-1] // self.n_heads
        weight, bias = w[f"{at}.in_proj_weight"], w[f"{at}.in_proj_bias"]
        if memory is None:
            parts = self.jnp.split(x @ weight.T + bias, 3, axis=-1)
        else:
            query = x @ weight[:d].T + bias[:d]
            parts = [query, *self.jnp.split(memory @ weight[d:].T + bias[d:], 2, axis=-1)]
        q, key_, v = (part.reshape(b, -1, self.n_heads, k).swapaxes(1, 2) for part in parts)  # (B, H, T, K)
        scores = q @ key_.swapaxes(-1, -2) / math.sqrt(k)  # (B, H, T, S)
        if causal:
            scores = self.jnp.where(np.tri(t, dtype=bool), scores, -self.jnp.inf)
        mixed = self.drop(self.jax.nn.softmax(scores), key) @ v
        return mixed.swapaxes(1, 2).reshape(b, t, d) @ w[f"{at}.out_proj.weight"].T + w[f"{at}.out_proj.bias"]

    def feed_forward(self, w, at, x, key):
        """With a relu."""
        hidden = self.jax.nn.relu(x @ w[f"{at}.linear1.weight"].T + w[f"{at}.linear1.bias"])
        return self.drop(hidden, key) @ w[f"{at}.linear2.weight"].T + w[f"{at}.linear2.bias"]

    def layer(self, w, at, x, key, memory=None):
        """Of an encoder, or with a memory of a decoder; post-norm."""
        keys = iter(self.jax.random.split(key, 6))
        y = self.attention(w, f"{at}.self_attn", x, None, next(keys), causal=memory is not None)
        x = self.norm(w, f"{at}.norm1", x + self.drop(y, next(keys)))
        if memory is not None:
            y = self.attention(w, f"{at}.multihead_attn", x, memory, next(keys))
            x = self.norm(w, f"{at}.norm2", x + self.drop(y, next(keys)))
        y = self.feed_forward(w, at, x, next(keys))
        return self.norm(w, f"{at}.norm{2 if memory is None else 3}", x + self.drop(y, next(keys)))


def _layer_shapes(at, d_model, d_ff, crossed=False):
    shapes = {}
    for part in ("self_attn", "multihead_attn") if crossed else ("self_attn",):
        shapes |= {
            f"{at}.{part}.in_proj_weight": (3 * d_model, d_model), f"{at}.{part}.in_proj_bias": (3 * d_model,),
            f"{at}.{part}.out_proj.weight": (d_model, d_model), f"{at}.{part}.out_proj.bias": (d_model,),
        }  # fmt: skip
    for name, out, inside in (("linear1", d_ff, d_model), ("linear2", d_model, d_ff)):
        shapes |= {f"{at}.{name}.weight": (out, inside), f"{at}.{name}.bias": (out,)}
    for i in range(3 if crossed else 2):
        shapes |= {f"{at}.norm{i + 1}.{part}": (d_model,) for part in ("weight", "bias")}
    return shapes


def _waves(length, d_model):
    """Sinusoidal positions (T, D): sines at even places, cosines at odd ones."""
    angles = np.arange(length)[:, None] * np.exp(np.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, d_model)


class _Work:
    """Weights, and a compiled function of them that is called by ``run``."""

    def __init__(self, jax, shapes, dtype):
        self.jax, self.dtype, self.results = jax, dtype, None
        rng, self.w = np.random.default_rng(0), {}
        for name, shape in shapes.items():
            ones = "norm" in name and name.endswith("weight")
            array = np.ones(shape) if ones else rng.normal(size=shape) * shape[-1] ** -0.5
            self.w[name] = jax.numpy.asarray(array, dtype)
        self.key = jax.random.key(0)

    def set_weights(self, module, at=""):
        """Those of a module of PyTorch's, whose names go on from ``at``."""
        arrays = {at + name: self.jax.numpy.asarray(x.cpu().numpy()) for name, x in module.state_dict().items()}
        missing = self.w.keys() ^ arrays.keys()
        assert not missing, f"weights that only one side has: {sorted(missing)}"
        self.w = arrays

    def wait(self):
        """Until all results of the last run are there."""
        self.jax.block_until_ready(self.results)


# --- the work -------------------------------------------------------------------------------------


class Layer(_Work):
    """One post-norm encoder layer: the result is the gradient of the input."""

    def __init__(self, dtype, device, batch, length, d_model, n_heads, d_ff, dropout):
        jax = _jax(dtype)
        super().__init__(jax, _layer_shapes("layer", d_model, d_ff), dtype)
        data = np.random.default_rng(0).normal(size=(2, batch, length, d_model))
        self.x, self.g = (jax.numpy.asarray(a, dtype) for a in data)
        net = _Net(jax, n_heads, dropout)

        def gradients(w, x, g, key):
            key, own = jax.random.split(key)
            _, back = jax.vjp(lambda w, x: net.layer(w, "layer", x, own), w, x)
            return *back(g), key

        self.function = jax.jit(gradients)

    def take_weights(self, other):
        """Those of the same work in PyTorch."""
        self.set_weights(other.module, "layer.")

    def run(self):
        self.results = self.function(self.w, self.x, self.g, self.key)
        self.key = self.results[-1]
        return self.results[1]

    def values(self):
        """The gradient of the input."""
        return np.asarray(self.run())


class Step(_Work):
    """A training step of the encoder-decoder: the result is the loss."""

    def __init__(
        self, dtype, device, d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, dropout, shared=False
    ):  # fmt: skip
        assert not shared, "a table of embeddings that is used three times is not written here"
        jax = _jax(dtype)
        jnp, net = jax.numpy, _Net(jax, n_heads, dropout)
        shapes = {f"{name}.weight": (vocab_size, d_model) for name in ("source", "target", "output")}
        stacks = [f"body.{stack}.layers.{i}" for stack in ("encoder", "decoder") for i in range(n_layers)]
        for at in stacks:
            shapes |= _layer_shapes(at, d_model, d_ff, crossed="decoder" in at)
        super().__init__(jax, shapes, dtype)
        self.ids = [jnp.asarray(a) for a in np.random.default_rng(0).integers(3, vocab_size, size=(3, batch, length))]
        zeros = {name: jnp.zeros_like(a) for name, a in self.w.items()}
        self.state = (jnp.zeros((), "int32"), zeros, {name: jnp.zeros_like(a) for name, a in self.w.items()})
        positions = _waves(length, d_model).astype(dtype)

        def loss(w, ids, key):
            keys = iter(jax.random.split(key, 2 * n_layers + 2))
            source, target = (
                net.drop(w[f"{name}.weight"][part] * d_model**0.5 + positions, next(keys))
                for name, part in zip(("source", "target"), ids)
            )
            for at in stacks[:n_layers]:
                source = net.layer(w, at, source, next(keys))
            for at in stacks[n_layers:]:
                target = net.layer(w, at, target, next(keys), memory=source)
            return _smoothed(jax, target @ w["output.weight"].T, ids[2])

        def step(w, state, ids, key):
            key, own = jax.random.split(key)
            value, gradients = jax.value_and_grad(loss)(w, ids, own)
            length = jnp.sqrt(sum((g * g).sum() for g in gradients.values()))
            factor = jnp.minimum(1.0, 1.0 / (length + 1e-6))
            w, state = _adam(jnp, w, {name: g * factor for name, g in gradients.items()}, state)
            return value, w, state, key

        self.function = jax.jit(step, donate_argnums=(0, 1))

    def take_weights(self, other):
        """Those of the same work in PyTorch."""
        self.set_weights(other.model)

    def run(self):
        loss, self.w, self.state, self.key = self.results = self.function(self.w, self.state, self.ids, self.key)
        return loss

    def values(self):
        """The losses of two steps."""
        return np.array([self.run() for _ in range(2)])


def _smoothed(jax, logits, words, ignored=0, smoothing=0.1):
    """Label-smoothed cross-entropy (Szegedy et al. 2016), the mean over words that are counted."""
    logp = jax.nn.log_softmax(logits)
    right = jax.numpy.take_along_axis(logp, words[..., None], axis=-1)[..., 0]
    losses = -(1 - smoothing) * right - smoothing * logp.mean(axis=-1)
    counted = words != ignored
    return (losses * counted).sum() / counted.sum()


def _adam(jnp, w, gradients, state, lr=1e-4, betas=(0.9, 0.98), eps=1e-8):
    """Weights and state after a step of Adam."""
    (t, m, v), (beta1, beta2) = state, betas
    t = t + 1
    m = {name: beta1 * m[name] + (1 - beta1) * g for name, g in gradients.items()}
    v = {name: beta2 * v[name] + (1 - beta2) * g * g for name, g in gradients.items()}
    along, across = 1 - beta1**t, jnp.sqrt(1 - beta2**t)
    w = {name: p - lr / along * m[name] / (jnp.sqrt(v[name]) / across + eps) for name, p in w.items()}
    return w, (t, m, v)
