"""The work that is timed: the same on either side, float32 in training mode, forward and backward
(and, for a step, the update).

``make(name, library)`` imports that library alone, so that the process of one never loads the
other. ``agree(name)`` imports both, copies the weights, and compares results in float64 without
dropout: there no rounding error tips a relu over its kink. On a GPU weights, inputs and ids lie
there from the start, and a result stays there: what is timed ends with ``wait()``, not with a copy.
``products(name)`` lists the matrix products of the work, which no implementation can do without:
the floor.

Letters: B sequences, T positions, D width, H heads, F feed-forward width, V vocabulary, L layers.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["BATCH", "CASES", "CHARACTERS", "agree", "make", "products"]


@dataclass(frozen=True)
class Case:
    """What to run: ``kind`` is a class of this file by library, ``options`` are its arguments,
    ``title`` says it in words.
    """

    title: str
    kind: str
    options: dict[str, Any]


CHARACTERS, BATCH = 65, 64  # characters of tinyshakespeare; sequences of a recurrent layer
STEP = dict(d_model=256, n_heads=8, n_layers=3, d_ff=1024, vocab_size=8000, batch=64, length=24)
CASES = {
    "step": Case(
        "training step of an encoder-decoder: d 256, 3 + 3 layers, feed-forward 1024, vocabulary 8 000, 64 pairs of 24 tokens, "
        "dropout 0.1, label smoothing 0.1, clipping, Adam", "Step", STEP | dict(dropout=0.1),
    ),
    "layer": Case("encoder layer (32, 32, 512), 8 heads, feed-forward 2048, dropout 0.1", "Layer", dict(dropout=0.1)),
    "layer-no-dropout": Case("the same without dropout", "Layer", dict(dropout=0.0)),
    "gpt": Case(
        "training step of a GPT on characters: 6 layers, d 384, 6 heads, 4 x 256 tokens, no dropout, Adam", "Characters",
        dict(d_model=384, n_heads=6, n_layers=6, batch=4, length=256),
    ),
    "gpt-small": Case(
        "the same: 4 layers, d 128, 4 heads, 12 x 64 tokens", "Characters",
        dict(d_model=128, n_heads=4, n_layers=4, batch=12, length=64),
    ),
    "rnn": Case("RNN 64 x 32 x 256", "Recurrent", dict(layer="RNN", steps=32, size=256)),
    "gru": Case("GRU 64 x 32 x 256", "Recurrent", dict(layer="GRU", steps=32, size=256)),
    "lstm": Case("LSTM 64 x 32 x 256", "Recurrent", dict(layer="LSTM", steps=32, size=256)),
    "lstm-large": Case("LSTM 64 x 64 x 512", "Recurrent", dict(layer="LSTM", steps=64, size=512)),
    "chain": Case("900 small ops on (4, 4) arrays: h = tanh(h * w + x) 300 times", "Chain", {}),
}  # fmt: skip


def make(name, library, dtype="float32", device="cpu", **changes):
    """The work of a case in "minitensor" or "torch", with ``changes`` to its options.

    ``run()`` does it, ``wait()`` waits until the device has, and ``values()`` does it and returns
    the result as an array.
    """
    module = importlib.import_module({"minitensor": "ours", "torch": "theirs"}[library])
    return getattr(module, CASES[name].kind)(dtype=dtype, device=device, **(CASES[name].options | changes))


def agree(name, device="cpu"):
    """Raise AssertionError unless both libraries compute the same from the same weights, in float64
    and without dropout.
    """
    changes = {"dropout": 0.0} if "dropout" in CASES[name].options else {}
    ours, theirs = (make(name, library, "float64", device, **changes) for library in ("minitensor", "torch"))
    ours.take_weights(theirs)
    np.testing.assert_allclose(ours.values(), theirs.values(), rtol=1e-7, atol=1e-9, err_msg=name)


def products(name):
    """``[(count, rows, inner, columns), ...]`` of the matrix products of a case, stacks counted by
    their matrices.
    """
    case = CASES[name]
    return _PRODUCTS[case.kind](**{k: v for k, v in case.options.items() if k != "dropout"})


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


def _layer_products():
    return _block(32, 32, 512, 8, 2048)


def _step_products(d_model, n_heads, n_layers, d_ff, vocab_size, batch, length):
    sizes = (batch, length, d_model, n_heads, d_ff)
    return n_layers * (_block(*sizes) + _block(*sizes, crossed=True)) + _linear(batch * length, d_model, vocab_size)


def _characters_products(d_model, n_heads, n_layers, batch, length):
    return n_layers * _block(batch, length, d_model, n_heads, 4 * d_model) + _linear(
        batch * length, d_model, CHARACTERS
    )


def _recurrent_products(layer, steps, size):
    width = {"RNN": 1, "GRU": 3, "LSTM": 4}[layer] * size
    over_time = [(1, BATCH, size, width), (1, BATCH, width, size)] * steps + [(1, width, BATCH * steps, size)]
    return _linear(BATCH * steps, size, width) + over_time


_PRODUCTS = {
    "Layer": _layer_products, "Step": _step_products, "Characters": _characters_products, "Recurrent": _recurrent_products,
    "Chain": lambda: [],
}  # fmt: skip
