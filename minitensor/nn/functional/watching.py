"""Looking at every attention that runs: its queries, keys, mask, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["tell_watchers", "watched", "watching_attention"]

_watchers: ContextVar[tuple[Callable[..., Any], ...]] = ContextVar("watchers of attention", default=())


@contextmanager
def watching_attention(watcher: Callable[..., Any]) -> Iterator[None]:
    """Call ``watcher(query, key, value, how, output)`` after each attention of this thread.

    That is of each ``scaled_dot_product_attention`` and ``packed_attention``, whoever calls it; the
    modules of ``nn`` do. query (..., T, K), key (..., S, K), value (..., S, V), output (..., T, V);
    ``how`` holds what else ``attention_weights`` takes: mask, is_causal, scale, bias.
    """
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def watched() -> bool:
    """Whether somebody watches."""
    return bool(_watchers.get())


def tell_watchers(*seen: Any) -> None:
    """Call all watchers."""
    for watcher in _watchers.get():
        watcher(*seen)
