"""The four networks that are compared, of equal parameter count: embedding -> RNN, LSTM, GRU or
Transformer -> linear.

All are made as their literature advises, so that none is at a disadvantage. Recurrent weights start
orthogonal (Saxe et al. 2014, arXiv:1312.6120), the LSTM's forget gate open (bias 1; Jozefowicz et
al. 2015). The Transformer is causal, of two pre-norm layers with sinusoidal positions (Vaswani et
al. 2017; Xiong et al. 2020). The recurrent networks have one layer; its width is what makes the
count equal.

Letters: B sequences, T positions, D model width, C classes.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import minitensor as mt
from minitensor import nn
from minitensor.models.recurrent import recurrent_layer

__all__ = ["COLOURS", "KINDS", "NAMES", "N_HEADS", "N_LAYERS", "Case", "Network", "Shape", "equal_shapes", "fit"]

KINDS = ("rnn", "lstm", "gru", "transformer")
NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "transformer": "Transformer"}
COLOURS = {"rnn": "#c0392b", "lstm": "#1f4e8c", "gru": "#2e8b57", "transformer": "#d1662b"}

N_HEADS = 4
N_LAYERS = 2  # of the Transformer


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of a network: its kind, its width D, and for the Transformer the width of its
    feed-forward networks.
    """

    kind: str
    vocab_size: int
    n_classes: int
    d_model: int
    d_ff: int = 0

    def build(self, **options: object) -> Network:
        """A network of this shape with weights from ``mt.random``; ``options`` of the recurrent
        layer override the defaults.
        """
        return Network(self, **options)


class Network(nn.Module):
    """Ids (B, T) to logits (B, T, C); see the head of this file."""

    def __init__(self, shape: Shape, **options: object) -> None:
        self.shape = shape
        self.body: Any
        d_model = shape.d_model
        self.embedding = nn.Embedding(shape.vocab_size, d_model)
        if shape.kind == "transformer":
            self.positions = nn.SinusoidalPositionalEncoding(d_model)
            self.body = nn.TransformerEncoder(N_LAYERS, d_model, N_HEADS, shape.d_ff, dropout=0.0, norm_first=True)
        else:
            defaults = {"orthogonal": True} | ({"forget_bias": 1.0} if shape.kind == "lstm" else {})
            self.body = recurrent_layer(shape.kind, d_model, d_model, **(defaults | options))
        self.output = nn.Linear(d_model, shape.n_classes)

    def read(self, x: mt.Tensor, last: int | None = None, is_causal: bool = True) -> mt.Tensor:
        """Embedded inputs (B, T, D) to the logits of the ``last`` positions, (B, last, C); default:
        of all. is_causal: whether a Transformer looks back only.
        """
        if self.shape.kind == "transformer":
            states = self.body(self.positions(x), is_causal=is_causal)  # (B, T, D)
        else:
            states, _ = self.body(x)
        return self.output(states if last is None else states[:, -last:])

    def forward(self, ids: Any, last: int | None = None, is_causal: bool = True) -> mt.Tensor:
        """Ids (B, T) to the logits of the ``last`` positions, (B, last, C); default: of all."""
        return self.read(self.embedding(ids), last, is_causal)


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and how its recurrent weights start: ``matrix`` times ``gain``; "" for the
    network's own way.
    """

    kind: str
    nonlinearity: str = "tanh"
    matrix: str = ""
    gain: float = 1.0

    @property
    def name(self) -> str:
        """Its name in table and picture."""
        if not self.matrix:
            return NAMES[self.kind]
        return f"RNN (gain {self.gain:g})" if self.nonlinearity == "tanh" else f"relu RNN ({self.matrix})"

    def build(self, shape: Shape) -> Network:
        """The network, its weights drawn anew."""
        if not self.matrix:
            return shape.build()
        network = shape.build(nonlinearity=self.nonlinearity)
        weight = network.body.weight_hh_l0  # orthogonal as it comes
        start = mt.eye(*weight.shape) if self.matrix == "identity" else weight.detach()
        weight.assign(self.gain * start)
        if self.matrix == "identity":  # Le et al.: "the biases are zero"
            for bias in (network.body.bias_ih_l0, network.body.bias_hh_l0):
                mt.nn.init.zeros_(bias)
        return network


def equal_shapes(budget: int, vocab_size: int, n_classes: int) -> dict[str, Shape]:
    """The shape of each kind whose parameters come closest to ``budget`` in number."""
    # 16 D^2 parameters if d_ff = 2 D; D goes by whole heads, d_ff makes up for what that leaves.
    d_model = N_HEADS * max(1, round(math.sqrt(budget / (8 * N_LAYERS)) / N_HEADS))

    def make(kind: str, size: int) -> Shape:
        if kind == "transformer":
            return Shape(kind, vocab_size, n_classes, d_model, d_ff=size)
        return Shape(kind, vocab_size, n_classes, d_model=size)

    def count(shape: Shape) -> int:
        return shape.build().num_parameters()

    return {kind: fit(partial(make, kind), count, budget) for kind in KINDS}


def fit(make: Callable[[int], Any], count: Callable[[Any], int], budget: int) -> Any:
    """Of ``make(1)``, ``make(2)``, ..., whose counts grow, the one whose count is closest to
    ``budget``.

    Sizes are looked for up to the root of the budget, which no width of a network with square
    weights exceeds.
    """
    size = bisect.bisect_left(range(1, math.isqrt(budget)), budget, key=lambda n: count(make(n)))
    return min((make(max(1, size)), make(size + 1)), key=lambda made: abs(count(made) - budget))
