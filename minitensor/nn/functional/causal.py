"""The triangle of causal attention, made once for the layers and steps that share it."""

from __future__ import annotations

from functools import lru_cache

from minitensor.backend import namespace
from minitensor.backend.capture import capturing

__all__ = ["below", "causal", "forget"]

# Elements: triangles up to this size are remembered, 64 of them; a greater one is made when needed.
KEPT = 1 << 18


def causal(queries, keys, device):
    """(T, S) boolean, raw: query t may see key s if ``s <= t + S - T`` (aligned to the lower
    right).
    """
    keep = queries * keys <= KEPT and capturing() is None  # in a CUDA graph nothing is computed yet
    return (_small if keep else _made)(queries, keys, device)


def below(mask, queries, keys, device):
    """The triangle, raw, and what is left of ``mask`` (..., T, S) in it, None if there is none."""
    triangle = causal(queries, keys, device)
    return triangle if mask is None else namespace(device).logical_and(mask, triangle)


def _made(queries, keys, device):
    xp = namespace(device)
    return xp.tril(xp.ones((queries, keys), dtype=bool), keys - queries)


_small = lru_cache(maxsize=64)(_made)


def forget():
    """Let go of every triangle."""
    _small.cache_clear()
