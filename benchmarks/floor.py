"""The floor: the matrix products of a case, which no implementation can do without, and nothing
else.

Letters: B sequences, T positions, D width, H heads, F feed-forward width, V vocabulary, L layers.
"""

from __future__ import annotations

import math

import numpy as np
from cases import CASES, CHARACTERS

__all__ = ["Floor", "products"]

LARGE = 1 << 24  # bytes; what is larger is not in a cache when it is used again
BLOCK = 256  # queries of causal attention that are multiplied at once


def products(name):
    """``[(count, rows, inner, columns), ...]`` of the matrix products of a case, stacks counted by
    their matrices.
    """
    case = CASES[name]
    return _PRODUCTS[case.kind](**case.options) if case.measure == "time" else []


class Floor:
    """The products of a case by NumPy, or by CuPy on a GPU.

    Large arrays share memory by their role: causal attention would fill gigabytes.
    """

    def __init__(self, name, device):
        self.device, rng = device, np.random.default_rng(0)
        shapes = [self._shapes(*product) for product in products(name)]
        sizes = [max((math.prod(three[role]) for three in shapes), default=0) for role in range(3)]
        shared = [rng.standard_normal(size if 4 * size > LARGE else 0, np.float32) for size in sizes]

        def array(role, shape):
            size = math.prod(shape)
            whole = shared[role] if 4 * size > LARGE else rng.standard_normal(size, np.float32)
            return whole[:size].reshape(shape)

        self.work = [[array(role, shape) for role, shape in enumerate(three)] for three in shapes]
        if device != "cpu":
            import cupy

            self.cupy, self.work = cupy, [[cupy.asarray(x) for x in arrays[:2]] for arrays in self.work]

    @staticmethod
    def _shapes(count, rows, inner, columns):
        """Of the two factors and the product."""
        three = ((rows, inner), (inner, columns), (rows, columns))
        return [(count, *shape) if count > 1 else shape for shape in three]

    def run(self):
        if self.device != "cpu":
            for a, b in self.work:
                self.cupy.matmul(a, b)
            return
        for a, b, out in self.work:
            np.matmul(a, b, out=out)

    def wait(self):
        if self.device != "cpu":
            self.cupy.cuda.get_current_stream().synchronize()


def _linear(rows, inside, outside):
    """Forward, gradient of the input, gradient of the weight."""
    return [(1, rows, inside, outside), (1, rows, outside, inside), (1, outside, rows, inside)]


def _attention(stack, queries, keys, features):
    """Scores and mixture, and the two gradients of each."""
    scores, mixture = (stack, queries, features, keys), (stack, queries, keys, features)
    return [scores, mixture, scores, mixture, (stack, keys, queries, features), (stack, keys, queries, features)]


def _block(batch, length, d_model, n_heads, d_ff, crossed=False):
    """A layer of a Transformer: attention, feed-forward network, and the attention to a memory of
    the same length.
    """
    rows, attention = batch * length, _attention(batch * n_heads, length, length, d_model // n_heads)
    own = _linear(rows, d_model, 3 * d_model) + attention + _linear(rows, d_model, d_model)
    cross = _linear(rows, d_model, d_model) * 2 + _linear(rows, d_model, 2 * d_model) + attention if crossed else []
    return own + cross + _linear(rows, d_model, d_ff) + _linear(rows, d_ff, d_model)


def _layer_products(batch, length, d_model, n_heads, d_ff, dropout):
    return _block(batch, length, d_model, n_heads, d_ff)


def _step_products(d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, dropout, shared=False):
    sizes = (batch, length, d_model, n_heads, d_ff)
    return n_layers * (_block(*sizes) + _block(*sizes, crossed=True)) + _linear(batch * length, d_model, vocab_size)


def _characters_products(d_model, n_heads, n_layers, batch, length):
    return n_layers * _block(batch, length, d_model, n_heads, 4 * d_model) + _linear(
        batch * length, d_model, CHARACTERS
    )


def _recurrent_products(layer, batch, steps, size):
    width = {"RNN": 1, "GRU": 3, "LSTM": 4}[layer] * size
    over_time = [(1, batch, size, width), (1, batch, width, size)] * steps + [(1, width, batch * steps, size)]
    return _linear(batch * steps, size, width) + over_time


def _causal_products(batch, n_heads, length, features):
    """By blocks of queries, each with the keys up to its last query."""
    starts = range(0, length, BLOCK)
    stops = [min(start + BLOCK, length) for start in starts]
    blocks = [_attention(batch * n_heads, stop - start, stop, features) for start, stop in zip(starts, stops)]
    return [product for block in blocks for product in block]


def _decode_products(d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, tokens, cached):
    """The encoder and the memory's keys and values once, then word by word; forward alone."""
    features, stack, rows = d_model // n_heads, batch * n_heads, batch * length

    def mixed(queries, keys):
        return [(stack, queries, features, keys), (stack, queries, keys, features)]

    def dense(rows, *columns):
        return [(1, rows, d_model, c) for c in columns] + [(1, rows, d_model, d_ff), (1, rows, d_ff, d_model)]

    encoder = n_layers * (dense(rows, 3 * d_model, d_model) + mixed(length, length) + [(1, rows, d_model, 2 * d_model)])
    words = []
    for t in range(1, tokens + 1):
        words += n_layers * (dense(batch, 3 * d_model, *[d_model] * 3) + mixed(1, t) + mixed(1, length))
        words.append((1, batch, d_model, vocab_size))
    return encoder + words


_PRODUCTS = {
    "Layer": _layer_products, "Step": _step_products, "Characters": _characters_products, "Recurrent": _recurrent_products,
    "Causal": _causal_products, "Decode": _decode_products, "Chain": lambda: [], "Adam": lambda fused: [],
}  # fmt: skip
