"""The recurrent encoder-decoders as two ONNX graphs: an encoder, and a decoder that goes one
position at a time.

    encoder   source (B, S), mask (B, S)
              -> memory (B, S, M), memory_keys (B, S, A), states (L, B, H)
                 and of an LSTM cells (L, B, H); M = 2 H
    decoder   ids (B,), mask (B, S), memory, memory_keys, states, and of an LSTM cells, with input
              feeding feed (B, D)
              -> logits (B, V), new_states (L, B, H), new_cells, new_feed

With a fixed context the memory has one position, the encoder's last states; without additive
attention the keys are the memory. Sources are padded to the right.

Letters: B sentences, S source positions, L layers, H features of a state, D of an embedding, V
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from toolkit.interchange.graph import Graph
from toolkit.translation import PairSettings

__all__ = ["decoder", "encoder"]

Weights = Mapping[str, np.ndarray]
# Of each cell: its name in ONNX, and which of PyTorch's gates, in their order, ONNX has where.
CELLS = {"rnn": ("RNN", [0]), "gru": ("GRU", [1, 0, 2]), "lstm": ("LSTM", [0, 3, 1, 2])}


def encoder(weights: Weights, s: PairSettings) -> bytes:
    """What the decoder reads and starts from."""
    g = Graph(weights)
    source, mask = g.input("source", np.int64, ["B", "S"]), g.input("mask", np.bool_, ["B", "S"])
    lengths = g.add_node(
        "ReduceSum", g.add_node("Cast", mask, to=6), g.constant(np.array([1], np.int64)), keepdims=0
    )  # int32
    x = g.transpose(_embedded(g, "source", source, s), 1, 0, 2)  # (S, B, D), as ONNX has it
    ends = ""
    for n in range(s.layers):
        y, last, *_ = _layer(g, "encoder", n, x, s, lengths=lengths, both=True)  # (S, 2, B, H), (2, B, H)
        x = g.reshape(g.transpose(y, 0, 2, 1, 3), 0, 0, 2 * s.hidden)
        ends = g.reshape(g.transpose(last, 1, 0, 2), 0, 2 * s.hidden)  # (B, M)
    memory = g.unsqueeze(ends, 1) if s.attention == "none" else g.transpose(x, 1, 0, 2)
    keys = g.linear(memory, "attention.key") if s.attention == "additive" else memory
    first = g.transpose(g.reshape(g.linear(ends, "bridge"), 0, s.layers, s.hidden), 1, 0, 2)
    length = "one" if s.attention == "none" else "S"
    g.output(memory, "memory", ["B", length, 2 * s.hidden])
    g.output(keys, "memory_keys", ["B", length, s.hidden if s.attention == "additive" else 2 * s.hidden])
    g.output(g.add_node("Tanh", first), "states", [s.layers, "B", s.hidden])
    if s.arch == "lstm":
        g.output(first, "cells", [s.layers, "B", s.hidden])
    return g.bytes("encoder")


def decoder(weights: Weights, s: PairSettings) -> bytes:
    """One position of the target."""
    g = Graph(weights)
    length = "one" if s.attention == "none" else "S"
    ids = g.input("ids", np.int64, ["B"])
    mask = g.input("mask", np.bool_, ["B", "S"]) if s.attention != "none" else None
    memory = g.input("memory", np.float32, ["B", length, 2 * s.hidden])
    keys = (
        g.input("memory_keys", np.float32, ["B", "S", s.hidden if s.attention == "additive" else 2 * s.hidden])
        if mask
        else ""
    )
    states = [g.input("states", np.float32, [s.layers, "B", s.hidden])]
    if s.arch == "lstm":
        states.append(g.input("cells", np.float32, [s.layers, "B", s.hidden]))
    word = _embedded(g, "target", ids, s)  # (B, D)
    x = g.add_node("Concat", word, g.input("feed", np.float32, ["B", s.d_model]), axis=1) if s.input_feeding else word
    new: list[list[str]] = [[] for _ in states]
    h, context = x, ""
    for n in range(s.layers):
        module, number = ("lower", 0) if n == 0 else ("upper", n - 1)
        start = [g.cut(each, 0, n, n + 1) for each in states]  # (1, B, H)
        _, *ends = _layer(g, module, number, g.unsqueeze(h, 0), s, start=start)
        for each, end in zip(new, ends, strict=True):
            each.append(end)
        h = g.squeeze(ends[0], 0)
        if n == 0:
            context = _context(g, h, memory, keys, mask, s)
            upper = g.add_node("Concat", h, context, axis=1)
            h = upper if s.layers > 1 else h
    readout = g.add_node("Tanh", g.linear(g.add_node("Concat", h, context, word, axis=1), "readout"))
    g.output(g.linear(readout, "output"), "logits", ["B", weights["output.weight"].shape[0]])
    for name, each in zip(("new_states", "new_cells"), new):
        g.output(g.add_node("Concat", *each, axis=0), name, [s.layers, "B", s.hidden])
    if s.input_feeding:
        g.output(readout, "new_feed", ["B", s.d_model])
    return g.bytes("decoder")


# --- parts ----------------------------------------------------------------------------------------


def _embedded(g: Graph, side: str, ids: str, s: PairSettings) -> str:
    return g.scaled(g.add_node("Gather", g.weight(f"{side}_embedding.weight"), ids), math.sqrt(s.d_model))


def _layer(
    g: Graph,
    module: str,
    n: int,
    x: str,
    s: PairSettings,
    *,
    start: list[str] | None = None,
    lengths: str = "",
    both: bool = False,
) -> list[str]:
    """A recurrent layer over (T, B, I): its outputs (T, directions, B, H), and its last states, of
    an LSTM h and c, (directions, B, H).
    """
    op, order = CELLS[s.arch]
    ends = ("", "_reverse") if both else ("",)

    def gates(name: str) -> np.ndarray:
        """A parameter of all directions, its gates in ONNX's order."""
        each = (g.weights[f"{module}.{name}_l{n}{end}"] for end in ends)
        return np.stack([np.concatenate([np.split(one, len(order))[gate] for gate in order]) for one in each])

    bias = np.concatenate([gates("bias_ih"), gates("bias_hh")], axis=1)
    arrays = [gates("weight_ih"), gates("weight_hh"), bias]
    inputs = [g.constant(values, f"{module}.{n}.{what}") for values, what in zip(arrays, "WRB", strict=True)]
    how = {"direction": "bidirectional" if both else "forward", "hidden_size": s.hidden}
    extra = {"linear_before_reset": 1} if op == "GRU" else {}
    made: list[str] = g.add_node(
        op, x, *inputs, lengths, *(start or []), outputs=3 if op == "LSTM" else 2, **how, **extra
    )
    return made


def _context(g: Graph, h: str, memory: str, keys: str, mask: str | None, s: PairSettings) -> str:
    """What states (B, H) get of the memory (B, S, M): (B, M)."""
    if s.attention == "none":
        return g.squeeze(memory, 1)
    query = g.unsqueeze(g.linear(h, "attention.query"), 1)  # (B, 1, A)
    if s.attention == "additive":
        hidden = g.add_node("Tanh", g.add_node("Add", query, keys))  # (B, S, A)
        scores = g.transpose(
            g.add_node("MatMul", hidden, g.constant(g.weights["attention.score"][:, None], "score")), 0, 2, 1
        )
    else:
        scores = g.add_node("MatMul", query, g.transpose(keys, 0, 2, 1))  # (B, 1, S)
    assert mask is not None
    return g.squeeze(g.attention(scores, memory, g.unsqueeze(mask, 1)), 1)
