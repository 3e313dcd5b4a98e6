"""The triangle of causal attention, made once for the layers and steps that share it."""

from __future__ import annotations

from functools import lru_cache
from weakref import WeakValueDictionary

from minitensor.backend import namespace

__all__ = ["causal", "forget"]

# Elements: triangles up to this size are remembered, 64 of them; a greater one as long as somebody
# holds it.
KEPT = 1 << 18
_held: WeakValueDictionary = WeakValueDictionary()


def causal(queries, keys, device):
    """(T, S) boolean, raw: query t may see key s if ``s <= t + S - T`` (aligned to the lower
    right).
    """
    if queries * keys <= KEPT:
        return _small(queries, keys, device)
    place = queries, keys, device
    triangle = _held.get(place)
    if triangle is None:  # the layers of a step share it; between steps it costs no memory
        triangle = _held[place] = _made(*place)
    return triangle


def _made(queries, keys, device):
    xp = namespace(device)
    return xp.tril(xp.ones((queries, keys), dtype=bool), keys - queries)


_small = lru_cache(maxsize=64)(_made)


def forget():
    """Let go of every triangle."""
    _small.cache_clear()
    _held.clear()
