"""Positions: encodings that are added to embeddings, and the bias on attention scores of T5.

Letters: B batch, T positions or queries, S keys, D model width, H heads. ``offset`` is the position
of the first one, which is ``cache.length`` in step-by-step decoding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from minitensor.backend import move, namespace, np, on
from minitensor.engine.settings import flag, integer
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn import init
from minitensor.nn.module import Module, Parameter
from minitensor.ops.creation import zeros

__all__ = ["LearnedPositionalEncoding", "RelativePositionBias", "SinusoidalPositionalEncoding"]

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from minitensor.engine.attached import TensorLike


class SinusoidalPositionalEncoding(Module):
    """Adds waves of fixed lengths (Vaswani et al. 2017, section 3.5): nothing trained or saved.

    PE[t, 2 i] = sin(t / 10000**(2 i / D))        PE[t, 2 i + 1] = cos(t / 10000**(2 i / D))
    """

    def __init__(self, d_model: int) -> None:
        self.d_model = integer("SinusoidalPositionalEncoding", "d_model", d_model, least=1)
        self._table: Tensor | None = None  # (positions, D), made when first needed and longer when it is too short

    def forward(self, x: TensorLike, offset: int = 0) -> Tensor:
        """``x`` (B, T, D) plus the encodings of positions ``offset`` to ``offset + T - 1``."""
        x = _checked_input(self, x)
        return x + self.encoding(x.shape[-2], offset, x.dtype, x.device)

    def encoding(self, length: int, offset: int = 0, dtype: DTypeLike = np.float32, device: str = "cpu") -> Tensor:
        """The encodings (length, D) alone."""
        length = integer("SinusoidalPositionalEncoding", "length", length, least=0)
        offset = integer("SinusoidalPositionalEncoding", "offset", offset, least=0)
        stop, table = offset + length, self._table
        if table is None or table.shape[0] < stop or (table.dtype, table.device) != (dtype, device):
            rows = max(stop, 2 * (0 if table is None else table.shape[0]))
            table = self._table = Tensor(move(self.rows(rows).astype(dtype), device))
        return table[offset:stop]

    def rows(self, length: int) -> Any:
        """The first rows of the table, an array (length, D); a subclass may have others."""
        rates = 10000.0 ** (-np.arange(0, self.d_model, 2) / self.d_model)  # (ceil(D / 2),)
        angles = np.arange(length)[:, None] * rates  # (length, ceil(D / 2))
        table = np.empty((length, self.d_model))
        table[:, 0::2] = np.sin(angles)
        table[:, 1::2] = np.cos(angles)[:, : self.d_model // 2]
        return table


class LearnedPositionalEncoding(Module):
    """Adds a trained vector per position; weight: (max_length, D), starts as N(0, 0.02**2)."""

    def __init__(self, max_length: int, d_model: int) -> None:
        self.max_length = integer("LearnedPositionalEncoding", "max_length", max_length, least=1)
        self.d_model = integer("LearnedPositionalEncoding", "d_model", d_model, least=1)
        self.weight = Parameter(zeros((self.max_length, self.d_model)))
        init.normal_(self.weight, std=0.02)

    def forward(self, x: TensorLike, offset: int = 0) -> Tensor:
        """``x`` (B, T, D) plus the vectors of T positions from ``offset`` on.

        Raises ValueError beyond ``max_length``.
        """
        x = _checked_input(self, x)
        offset = integer("LearnedPositionalEncoding", "offset", offset, least=0)
        stop = offset + x.shape[-2]
        if stop > self.max_length:
            raise ValueError(
                f"{self.weight.name or 'LearnedPositionalEncoding'} holds {self.max_length} positions, the sequence needs {stop}: "
                "cut it, or make the model with a greater max_length"
            )
        return x + self.weight[offset:stop]


class RelativePositionBias(Module):
    """A trained number per head and bucket of distance, added to attention scores.

    Raffel et al. 2020, T5, arXiv:1910.10683.

    Half of the buckets are one per distance, the others grow with its logarithm up to
    ``max_distance``, and the last holds all beyond. Bidirectional (an encoder): one half of all
    buckets serves keys behind the query, the other those ahead. Else (a decoder) keys ahead share
    bucket 0. weight: (n_buckets, n_heads).
    """

    def __init__(self, n_heads: int, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> None:
        name = "RelativePositionBias"
        self.n_heads = integer(name, "n_heads", n_heads, least=1)
        self.n_buckets = n_buckets = integer(name, "n_buckets", n_buckets, least=4)
        self.max_distance = integer(name, "max_distance", max_distance, least=1)
        self.bidirectional = flag(name, "bidirectional", bidirectional)
        one_side = n_buckets // 2 if self.bidirectional else n_buckets
        if n_buckets % 2 or self.max_distance <= one_side // 2:
            raise ValueError(
                f"{name}: n_buckets must be even, and max_distance above {one_side // 2}, got {n_buckets} and {max_distance}"
            )
        self.weight = Parameter(zeros((n_buckets, self.n_heads)))
        init.normal_(self.weight, std=self.n_heads**-0.5)

    def forward(self, queries: int, keys: int | None = None, offset: int = 0) -> Tensor:
        """The bias (1, H, T, S) of T ``queries`` from ``offset`` on against S ``keys`` from 0 on.

        keys: default: ``offset + queries``.
        """
        name = "RelativePositionBias"
        queries, offset = integer(name, "queries", queries, least=0), integer(name, "offset", offset, least=0)
        keys = offset + queries if keys is None else integer(name, "keys", keys, least=0)
        # A power of two, so that a growing sentence reuses the cached table.
        reach = 1 << max(keys, offset + queries).bit_length()
        line = _line_of_buckets(reach, self.n_buckets, self.max_distance, self.bidirectional, self.weight.device)
        xp = namespace(self.weight.device)
        with on(self.weight.device):
            distance = xp.arange(keys) - xp.arange(offset, offset + queries)[:, None]  # (T, S), key minus query
            buckets = line[distance + reach]
        return self.weight[buckets].transpose(2, 0, 1)[None]  # (T, S, H) to (1, H, T, S)

    def buckets(self, distance: Any) -> Any:
        """The bucket of each ``distance``, key minus query position, an array of integers."""
        return _buckets(distance, self.n_buckets, self.max_distance, self.bidirectional)


def _buckets(distance, n_buckets, max_distance, bidirectional):
    """See `RelativePositionBias.buckets`."""
    count, first = n_buckets, np.asarray(0)
    if bidirectional:
        count //= 2
        first = np.where(distance > 0, count, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = count // 2
    growth = np.log(np.maximum(distance, 1) / exact) / math.log(max_distance / exact)
    far = exact + (growth * (count - exact)).astype(np.int64)
    return first + np.where(distance < exact, distance, np.minimum(far, count - 1))


@lru_cache(maxsize=64)
def _line_of_buckets(reach, n_buckets, max_distance, bidirectional, device):
    """The buckets of the distances from ``-reach`` to ``reach``, a raw array on ``device``."""
    return move(_buckets(np.arange(-reach, reach + 1), n_buckets, max_distance, bidirectional), device)


def _checked_input(module, x) -> Tensor:
    """``x`` as a tensor; ValueError if its shape is not (..., time, d_model)."""
    x = asarray(x)
    if x.ndim < 2 or x.shape[-1] != module.d_model:
        raise ValueError(f"{module!r}: the input has shape {x.shape}, it must be (..., time, {module.d_model})")
    return x
