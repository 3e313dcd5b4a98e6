"""Keys and values of positions that were computed before, kept for step-by-step decoding.

A cache holds constants: nothing is differentiated through it.

Letters: B batch (rows), H heads, S positions held, T new positions, K features of a head.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from minitensor.backend import device_of, namespace, np, on
from minitensor.engine.holdings import holder
from minitensor.engine.mode import no_grad
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["DecoderCache", "EncoderCache", "KeyValueCache", "check_batch", "constant_with_cache"]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from minitensor.engine.attached import TensorLike

    Forward = TypeVar("Forward", bound=Callable[..., Any])


class KeyValueCache:
    """Keys and values of one attention, of ``length`` positions.

    The capacity of its arrays doubles when it runs out.

    fixed: the positions are those of a memory and complete; attention reads them and adds none.
    """

    def __init__(self, fixed: bool = False) -> None:
        self.length = 0
        self.fixed = fixed
        self._arrays: Any = None  # [keys, values], each (B, H, capacity, K)

    def append(self, key: Tensor, value: Tensor) -> None:
        """Add the positions of ``key`` and ``value`` (B, H, T, K) behind those held."""
        start, stop = self.length, self.length + key.shape[2]
        if self._arrays is None:
            self._arrays = [_room(new._array, new.shape[2]) for new in (key, value)]
        held = self._arrays[0].shape
        if held[:2] != key.shape[:2]:
            raise ValueError(
                f"the cache holds {held[0]} rows of {held[1]} heads, the new positions are (B, H, T, K) = {key.shape}"
            )
        if stop > held[2]:
            grown = [_room(array, max(stop, 2 * held[2])) for array in self._arrays]
            for new, old in zip(grown, self._arrays):
                with on(new):
                    new[:, :, :start] = old[:, :, :start]
            self._arrays = grown
        for array, new in zip(self._arrays, (key, value)):
            with on(array):
                array[:, :, start:stop] = new._array
        self.length = stop

    def read(self) -> tuple[Tensor, ...]:
        """``(keys, values)`` of all positions held, (B, H, S, K) each."""
        return tuple(Tensor(array[:, :, : self.length]) for array in self._arrays)

    def reorder(self, rows: TensorLike) -> None:
        """Let row i go on from what row ``rows[i]`` held; rows may repeat or be left out."""
        if self._arrays is not None:
            rows = namespace(device_of(self._arrays[0])).asarray(rows)
            with on(rows):
                self._arrays = [array[rows] for array in self._arrays]


@holder(KeyValueCache)
def _held(cache):
    return {"keys and values of caches": cache._arrays or []}


class EncoderCache:
    """What a causal encoder keeps between calls: a KeyValueCache for each of its layers.

    Made by ``encoder.init_cache(batch)``.
    """

    def __init__(self, layers: Sequence[KeyValueCache], batch: int) -> None:
        self.layers = layers
        self.batch = batch  # number of rows

    @property
    def length(self) -> int:
        """How many positions are held: the position of the next token."""
        return self.layers[0].length

    def reorder(self, rows: TensorLike) -> None:
        """Let row i go on from row ``rows[i]``, as a DecoderCache does.

        rows: integers (B',), any repeated or left out.
        """
        rows = _checked_rows(rows, self.batch)
        if not np.array_equal(rows, np.arange(self.batch)):
            self.batch = len(rows)
            for layer in self.layers:
                layer.reorder(rows)


class DecoderCache:
    """What a decoder keeps between calls, made by ``decoder.init_cache(memory)``.

    layers: for each decoder layer a pair of KeyValueCaches, ``(own, memory)``: one grows with the
    target, the other was computed once from the encoder's output.
    """

    def __init__(self, layers: Sequence[tuple[KeyValueCache, KeyValueCache]], batch: int) -> None:
        self.layers = layers
        # The row of the first batch that each row's memory came from.
        self._sources = np.arange(batch)

    @property
    def length(self) -> int:
        """How many target positions are held: the position of the next token."""
        return self.layers[0][0].length

    @property
    def batch(self) -> int:
        """Number of rows."""
        return len(self._sources)

    def reorder(self, rows: TensorLike) -> None:
        """Let row i go on from row ``rows[i]``: survivors of beam search, sentences not finished.

        rows: integers (B',), any of them repeated or left out. The memory's side is copied only if
        a row changes its sentence.
        """
        rows = _checked_rows(rows, self.batch)
        if np.array_equal(rows, np.arange(self.batch)):
            return
        sources = self._sources[rows]
        for own, memory in self.layers:
            own.reorder(rows)
            if not np.array_equal(sources, self._sources):
                memory.reorder(rows)
        self._sources = sources


def _checked_rows(rows, batch) -> np.ndarray:
    """``rows`` as a NumPy array of row numbers below ``batch``."""
    rows = np.asarray(asarray(rows).to("cpu")._array)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise TypeError(f"reorder: rows must be a row of integers, got shape {rows.shape} of {rows.dtype}")
    if rows.size and not 0 <= rows.min() <= rows.max() < batch:
        raise IndexError(f"reorder: rows run from {rows.min()} to {rows.max()}, the cache holds {batch}")
    return rows


def constant_with_cache(forward: Forward) -> Forward:
    """The method ``forward``, which records nothing if it is given a ``cache``.

    Its result is then a constant.
    """
    place = list(inspect.signature(forward).parameters).index("cache")
    unrecorded = no_grad(forward)

    @functools.wraps(forward)
    def either(*args, **kwargs):
        cache = args[place] if len(args) > place else kwargs.get("cache")
        return (forward if cache is None else unrecorded)(*args, **kwargs)

    return either  # type: ignore[return-value]  # it is called alike


def check_batch(cache: EncoderCache | DecoderCache | None, x: Tensor) -> None:
    """Raise ValueError if ``x`` (B, T, D) has other rows than ``cache``; None has any."""
    if cache is not None and cache.batch != x.shape[0]:
        raise ValueError(
            f"the cache holds {cache.batch} rows, the input has shape {x.shape}: cache.reorder changes rows"
        )


def _room(array, capacity):
    """An empty array like ``array`` (B, H, S, K) with ``capacity`` positions."""
    batch, heads, _, width = array.shape
    return namespace(device_of(array)).empty((batch, heads, capacity, width), dtype=array.dtype)
