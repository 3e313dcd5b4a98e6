"""How ids became vectors: the table, the positions, and their sum, as they were computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minitensor import nn
from minitensor.models.explain.capture import Array, Seen, array_of
from minitensor.models.vit import ViT

__all__ = ["Embedding", "embeddings", "patches"]

POSITIONS = (nn.SinusoidalPositionalEncoding, nn.LearnedPositionalEncoding)


@dataclass
class Embedding:
    """Parts (T, D) by name, in order, and their sum; ids: what was looked up, (T,)."""

    ids: Array
    parts: dict[str, Array]
    total: Array


def embeddings(seen: Seen) -> list[Embedding]:
    """One for each sequence of ids that went in, in order of their tables."""
    found: list[Embedding] = []
    for call in seen.calls:
        if isinstance(call.module, nn.Embedding) and call.given is not None and call.result is not None:
            ids, vectors = array_of(call.given), array_of(call.result)
            ids, vectors = (ids[0], vectors[0]) if ids.ndim == 2 else (ids, vectors)
            if ids.ndim != 1:
                continue
            name = call.path.rpartition(".")[2]
            beside = found and len(found[-1].ids) == len(ids) and name in ("positions", "segments")
            if beside:
                found[-1].parts[name] = vectors
                found[-1].total = found[-1].total + vectors
            else:
                found.append(Embedding(ids, {"embedding": vectors}, vectors))
        elif isinstance(call.module, POSITIONS) and found and call.given is not None and call.result is not None:
            given, made = array_of(call.given)[0], array_of(call.result)[0]
            last = found[-1]
            if given.shape != last.total.shape:
                continue
            if not np.array_equal(given, last.total):  # multiplied on the way, as by sqrt(D)
                last.parts = {_scaled(last.total, given): given}
            waves = isinstance(call.module, nn.SinusoidalPositionalEncoding)
            last.parts["position waves" if waves else "positions"] = made - given
            last.total = made
    return found


def patches(model: ViT, seen: Seen) -> Embedding:
    """What a ViT makes of an image: patches, behind a class token if any, and positions."""
    call = next(call for call in seen.calls if call.module is model.patches)
    vectors, positions = array_of(call.result)[0], array_of(model.positions)[0]
    if model.class_token is not None:
        vectors = np.concatenate([array_of(model.class_token)[0], vectors])
    parts = {"patches": vectors, "positions": positions}
    return Embedding(np.arange(len(vectors)), parts, vectors + positions)


def _scaled(before, after):
    size = np.abs(before).max()
    factor = float(np.abs(after).max() / size) if size else 1.0
    return f"embedding x {factor:.4g}"
