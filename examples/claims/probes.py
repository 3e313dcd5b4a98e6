"""A small causal Transformer whose states can be read, and linear probes of them.

Letters: B or N sentences, T positions, D features, H heads, V words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minitensor as mt
from claims.senses import WORDS, Texts
from minitensor import nn

__all__ = ["Reader", "fit_probe"]

N_HEADS = 4
RIDGE = 1.0  # the penalty of a probe


class Reader(nn.Module):
    """Ids (B, T) to the logits (B, T, V) of what comes next, each word from those before it."""

    def __init__(self, d_model: int, n_layers: int) -> None:
        self.embedding = nn.Embedding(len(WORDS), d_model)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.positions = nn.SinusoidalPositionalEncoding(d_model)
        self.body = nn.TransformerEncoder(n_layers, d_model, N_HEADS, 2 * d_model, dropout=0.0, norm_first=True)
        self.output = nn.Linear(d_model, len(WORDS))

    def forward(self, ids: np.ndarray, last: int | None = None) -> mt.Tensor:
        """Logits of the ``last`` positions; default: of all."""
        x = self.body(self.positions(self.embedding(ids)), is_causal=True)  # (B, T, D)
        return self.output(x if last is None else x[:, -last:])

    @mt.no_grad
    def states(self, texts: Texts) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of the word that is asked about: its vector in the table and its states behind each
        layer, (N, D) each; and what it looks at in each layer, (N, H, T) each.
        """
        rows = np.arange(len(texts.ids))
        x = self.embedding(texts.ids)
        states, weights = [x.numpy()[rows, texts.place]], []
        x = self.positions(x)
        for layer in self.body.layers:
            x, seen = layer(x, is_causal=True, need_weights=True)
            states.append(x.numpy()[rows, texts.place])
            weights.append(seen.numpy()[rows, :, texts.place])
        return states, weights


def fit_probe(states: np.ndarray, labels: np.ndarray, classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """A linear map of states (N, D), each feature scaled to mean 0 and variance 1, to scores
    (N, classes), by ridge regression to 1 for the right class and 0 for others.
    """
    mean, deviation = states.mean(axis=0), states.std(axis=0) + 1e-6

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.column_stack([(x - mean) / deviation, np.ones(len(x))])

    x = scaled(states.astype(np.float64))
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ np.eye(classes)[labels])
    return lambda new: scaled(new.astype(np.float64)) @ weights
