"""The Transformer as two ONNX graphs: an encoder, and a decoder that goes one position at a time.

    encoder   source (B, S), mask (B, S)
              -> memory_keys (L, B, H, S, K), memory_values (L, B, H, S, K)
    decoder   ids (B,), position (1,), mask (B, S), memory_keys, memory_values,
              keys (L, B, H, P, K), values (L, B, H, P, K)
              -> logits (B, V), new_keys (L, B, H, P + 1, K), new_values (L, B, H, P + 1, K)

Letters: B sentences, S source positions, P positions written before, L layers, H heads, K features
of a head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from toolkit.interchange.graph import Graph
from toolkit.translation import PairSettings

__all__ = ["decoder", "encoder", "position_table"]

EPS = 1e-5
Weights = Mapping[str, np.ndarray]


def encoder(weights: Weights, s: PairSettings) -> bytes:
    """The source's keys and values for each layer of the decoder."""
    g = Graph(weights)
    source = g.input("source", np.int64, ["B", "S"])
    mask = g.unsqueeze(g.input("mask", np.bool_, ["B", "S"]), 1, 2)  # (B, 1, 1, S)
    length = g.add_node("Shape", source, start=1, end=2)  # (1,)
    x = g.scaled(g.add_node("Gather", g.weight("source_embedding.weight"), source), math.sqrt(s.d_model))
    first = g.constant(np.array([0], np.int64))
    x = g.add_node("Add", x, g.add_node("Slice", _positions(g, "source", s), first, length, first))
    for n in range(s.layers):
        name = f"encoder.layers.{n}"
        y = g.layer_norm(x, f"{name}.norm1", EPS) if s.pre_norm else x
        q, k, v = (_heads(g, f"{name}.attention", y, part, s) for part in range(3))
        x = _leave(g, x, _attend(g, f"{name}.attention", q, k, v, mask, s), f"{name}.norm1", s)
        x = _feed_forward(g, x, name, "norm2", s)
    if s.pre_norm:
        x = g.layer_norm(x, "encoder.norm", EPS)
    for part, what in ((1, "keys"), (2, "values")):
        each = [_heads(g, f"decoder.layers.{n}.cross_attention", x, part, s) for n in range(s.decoder_depth)]
        _stack(g, each, f"memory_{what}", "S", s)
    return g.bytes("encoder")


def decoder(weights: Weights, s: PairSettings) -> bytes:
    """One position of the target."""
    g = Graph(weights)
    held: list[int | str] = [s.decoder_depth, "B", s.heads, "P", s.d_model // s.heads]
    seen: list[int | str] = [s.decoder_depth, "B", s.heads, "S", s.d_model // s.heads]
    ids, position = g.input("ids", np.int64, ["B"]), g.input("position", np.int64, [1])
    mask = g.unsqueeze(g.input("mask", np.bool_, ["B", "S"]), 1, 2)
    memory = [g.input(f"memory_{what}", np.float32, seen) for what in ("keys", "values")]
    before = [g.input(what, np.float32, held) for what in ("keys", "values")]
    x = g.scaled(g.add_node("Gather", g.weight("target_embedding.weight"), ids), math.sqrt(s.d_model))
    x = g.add_node("Add", x, g.add_node("Gather", _positions(g, "target", s), position))
    x = g.unsqueeze(x, 1)  # (B, 1, D)
    kept: tuple[list[str], list[str]] = ([], [])
    for n in range(s.decoder_depth):
        name = f"decoder.layers.{n}"
        y = g.layer_norm(x, f"{name}.norm1", EPS) if s.pre_norm else x
        q, *new = (_heads(g, f"{name}.self_attention", y, part, s) for part in range(3))
        for all_layers, one, into in zip(before, new, kept, strict=True):
            into.append(g.add_node("Concat", _layer(g, all_layers, n), one, axis=2))
        x = _leave(g, x, _attend(g, f"{name}.self_attention", q, kept[0][n], kept[1][n], None, s), f"{name}.norm1", s)
        y = g.layer_norm(x, f"{name}.norm2", EPS) if s.pre_norm else x
        q = _heads(g, f"{name}.cross_attention", y, 0, s)
        k, v = (_layer(g, all_layers, n) for all_layers in memory)
        x = _leave(g, x, _attend(g, f"{name}.cross_attention", q, k, v, mask, s), f"{name}.norm2", s)
        x = _feed_forward(g, x, name, "norm3", s)
    if s.pre_norm:
        x = g.layer_norm(x, "decoder.norm", EPS)
    g.output(g.squeeze(g.linear(x, "output"), 1), "logits", ["B", weights["output.weight"].shape[0]])
    for each, what in zip(kept, ("keys", "values"), strict=True):
        _stack(g, each, f"new_{what}", "Q", s)
    return g.bytes("decoder")


# --- parts ----------------------------------------------------------------------------------------


def position_table(weights: Weights, side: str, s: PairSettings) -> np.ndarray:
    """What is added at each position (longest, D), on the "source" or the "target" side."""
    if s.positions == "learned":
        return weights[f"{side}_positions.weight"]
    rates = 10000.0 ** (-np.arange(0, s.d_model, 2) / s.d_model)
    angles = np.arange(s.max_length)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(s.max_length, -1).astype(np.float32)


def _positions(g: Graph, side: str, s: PairSettings) -> str:
    return g.constant(position_table(g.weights, side, s), f"{side}_positions")


def _heads(g: Graph, name: str, x: str, part: int, s: PairSettings) -> str:
    """Queries (part 0), keys (1) or values (2) of (B, T, D): (B, H, T, K)."""
    rows = slice(part * s.d_model, (part + 1) * s.d_model)
    return g.transpose(g.reshape(g.linear(x, f"{name}.qkv", rows), 0, 0, s.heads, s.d_model // s.heads), 0, 2, 1, 3)


def _attend(g: Graph, name: str, q: str, k: str, v: str, mask: str | None, s: PairSettings) -> str:
    """(B, T, D) of queries (B, H, T, K), keys and values (B, H, S, K)."""
    scores = g.scaled(g.add_node("MatMul", q, g.transpose(k, 0, 1, 3, 2)), (s.d_model // s.heads) ** -0.5)
    joined = g.reshape(g.transpose(g.attention(scores, v, mask), 0, 2, 1, 3), 0, 0, s.d_model)
    return g.linear(joined, f"{name}.out")


def _leave(g: Graph, x: str, y: str, norm: str, s: PairSettings) -> str:
    """``x + y``, and its norm if that is behind the sublayer."""
    x = g.add_node("Add", x, y)
    return x if s.pre_norm else g.layer_norm(x, norm, EPS)


def _feed_forward(g: Graph, x: str, layer: str, norm: str, s: PairSettings) -> str:
    y = g.layer_norm(x, f"{layer}.{norm}", EPS) if s.pre_norm else x
    y = g.add_node("Relu", g.linear(y, f"{layer}.feed_forward.linear1"))
    return _leave(g, x, g.linear(y, f"{layer}.feed_forward.linear2"), f"{layer}.{norm}", s)


def _layer(g: Graph, x: str, n: int) -> str:
    """Layer ``n`` of (L, B, H, S, K)."""
    return g.add_node("Gather", x, g.constant(np.int64(n)), axis=0)


def _stack(g: Graph, each: list[str], name: str, length: str, s: PairSettings) -> None:
    """An output (L, B, H, ``length``, K) of what each layer has."""
    joined = g.add_node("Concat", *(g.unsqueeze(one, 0) for one in each), axis=0)
    g.output(joined, name, [s.decoder_depth, "B", s.heads, length, s.d_model // s.heads])
