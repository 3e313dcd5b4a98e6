"""What all ways of decoding share: the steps of a model, word by word, and the best of its answers.

See `search.py` for what a model takes part with, and for the letters.
"""

from __future__ import annotations

import numpy as np

import minitensor as mt

__all__ = [
    "at_hand", "check_numbers", "checked", "columns", "fetched", "limits_of", "namespace", "real", "starts", "stops_of", "top",
    "word_by_word",
]  # fmt: skip

BLOCK = 64  # tokens that share one maximum while the best of a row are looked for
# The share of finished rows at which they are dropped: dropping copies the caches of the others.
DROP_AT = 0.25


def word_by_word(step, state, start_ids, stop_id, max_new_tokens, choose, stream):
    """What `greedy` and `sample` share; ``choose(log_probabilities, sentences)``, of a Tensor,
    picks tokens.
    """
    ids = starts(start_ids)
    limits, stops = limits_of(max_new_tokens, len(ids)), stops_of(stop_id)
    outputs: list[list] = [[] for _ in ids]
    sentence = np.arange(len(ids))  # which one each row belongs to
    running = np.ones(len(ids), dtype=bool)
    while running.any():
        if running.mean() <= 1 - DROP_AT:
            rows = np.flatnonzero(running)
            state.reorder(rows)
            ids, sentence, running = ids[rows], sentence[rows], running[rows]
        ids = choose(checked(step(ids, state), len(ids)), sentence)
        running &= ~np.isin(ids, stops)
        rows = np.flatnonzero(running)
        for row in rows:
            output = outputs[sentence[row]]
            output.append(int(ids[row]))
            running[row] = len(output) < limits[sentence[row]]
        if stream is not None and rows.size:
            stream(sentence[rows].tolist(), ids[rows].tolist())
    return outputs


def top(values, count):
    """The ``count`` largest of each row of ``values`` (rows, V) and their places, in any order.

    They lie within the ``count`` blocks of the largest maxima, and maxima are much quicker to find
    than a partition. Arrays of NumPy give such, Tensors give Tensors.
    """
    rows, size = values.shape
    blocks, xp = size // BLOCK, namespace(values)
    if blocks <= 2 * count:
        places = _largest(values, count)
        return xp.take_along_axis(values, places, axis=1), places
    maxima = values[:, : blocks * BLOCK].reshape((rows, blocks, BLOCK)).max(axis=2)
    chosen, numbers = _largest(maxima, count), columns(values)  # (rows, count), (V,)
    within = (chosen[:, :, None] * BLOCK + numbers[:BLOCK]).reshape((rows, -1))
    rest = xp.broadcast_to(numbers[blocks * BLOCK :], (rows, size - blocks * BLOCK))
    candidates = xp.concatenate([within, rest], axis=1)
    inner = xp.take_along_axis(values, candidates, axis=1)
    order = _largest(inner, count)
    return xp.take_along_axis(inner, order, axis=1), xp.take_along_axis(candidates, order, axis=1)


def _largest(values, count):
    """The places of the ``count`` largest of each row, in any order."""
    count = min(count, values.shape[1])
    if isinstance(values, mt.Tensor):
        return mt.topk(values, count)[1]
    return np.argpartition(-values, count - 1, axis=1)[:, :count]


def columns(values):
    """The numbers of the columns, (V,), where ``values`` are."""
    numbers = np.arange(values.shape[1])
    return mt.asarray(numbers, device=values.device) if isinstance(values, mt.Tensor) else numbers


def namespace(values):
    """The module whose functions take ``values``."""
    return mt if isinstance(values, mt.Tensor) else np


def at_hand(log_probabilities):
    """The log-probabilities as the search works with them: as an array on the CPU, as the Tensor
    that they are on a GPU.
    """
    return log_probabilities.data if log_probabilities.device == "cpu" else log_probabilities


def fetched(ids, values):
    """Tokens and their log-probabilities, Tensors of one shape on a GPU, as arrays: by one copy."""
    ids, values = mt.stack([ids.astype("float64"), values.astype("float64")]).to("cpu").data
    return ids.astype(np.int64), values


def checked(log_probabilities, rows):
    """The model's answer as a Tensor (rows, V)."""
    values = mt.asarray(log_probabilities)
    if values.ndim != 2 or len(values) != rows:
        raise ValueError(f"step must return log-probabilities (rows, V) for {rows} rows, got shape {values.shape}")
    return values


def limits_of(max_new_tokens, n):
    """The most tokens of each of ``n`` sentences, an array."""
    limits = np.broadcast_to(np.asarray(max_new_tokens), (n,))
    if limits.dtype.kind not in "iu":
        raise TypeError(f"max_new_tokens must be an integer, or one for each sentence, got {max_new_tokens!r}")
    if (limits < 1).any():
        raise ValueError(f"max_new_tokens must be at least 1, got {limits.min()}")
    return limits


def starts(start_ids):
    """The newest token of each sentence, an array (N,). Raises ValueError for another rank,
    TypeError for other numbers than integers.
    """
    ids = start_ids.to("cpu").data if isinstance(start_ids, mt.Tensor) else np.asarray(start_ids)
    if ids.ndim != 1:
        raise ValueError(f"start_ids must be one token for each sentence, (N,), got shape {ids.shape}")
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(f"start_ids must be integers, the ids of tokens, got {ids.dtype}")
    return ids.astype(np.int64)


def stops_of(stop_id):
    """The stop tokens as a row of integers."""
    stops = np.atleast_1d(np.asarray(stop_id if np.isscalar(stop_id) else list(stop_id)))
    if stops.size and stops.dtype.kind not in "iu":
        raise TypeError(f"stop_id must be the id of a token, or several of them, got {stop_id!r}")
    return stops.astype(np.int64)


def real(name, value):
    """``value`` as a Python number, whichever type of number it is; TypeError for others."""
    if isinstance(value, str) or not hasattr(value, "__float__") or getattr(value, "ndim", None):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def check_numbers(values):
    """Raise FloatingPointError for NaN among log-probabilities."""
    if np.isnan(values).any():
        raise FloatingPointError(
            "the model's log-probabilities are NaN: its weights are spoilt, or its training diverged"
        )
