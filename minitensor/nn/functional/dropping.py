"""Dropout.

A mask follows from three integers of a generator. On a GPU none is written out: the kernels that
multiply by it, forward and backward, draw it again (``Drawn``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from minitensor import random
from minitensor.backend import compute_dtype, namespace, on
from minitensor.backend.capture import capturing
from minitensor.engine.fused import fused
from minitensor.engine.mode import current_mode
from minitensor.engine.settings import probability
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["Drawn", "dropout", "dropout_mask"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike

MANY = 1 << 12  # elements from which a compiled kernel is called for them
BLOCK = 256  # threads of a block of the kernel, each of which makes four random words


class Drawn(NamedTuple):
    """A mask of dropout that is not written out.

    Element i is 0 if the ``bits`` bits (16 or 64) that are its share of the random words from block
    ``counter`` on are below ``cut``, else ``factor``.
    """

    key: tuple[int, int]
    counter: int
    bits: int
    cut: int
    factor: float
    shape: tuple[int, ...]
    dtype: Any
    device: str

    def shift(self):
        """What a kernel adds to the counter in a CUDA graph; None outside of one."""
        capture = capturing()
        return None if capture is None else capture.shift(self.key)

    def times(self, xp, x=None):
        """``x`` times the mask, a new raw array; the mask itself if x is None."""
        count, share = math.prod(self.shape), 64 // self.bits
        x = None if x is None else xp.ascontiguousarray(x)
        y = xp.empty(self.shape, dtype=self.dtype)
        xp.kernels.launch(
            "dropout", self.dtype, (-(-count // (4 * share * BLOCK)),), BLOCK,
            (x, y, count, *self.key, self.counter, self.cut, share, self.factor, self.shift()),
        )  # fmt: skip
        return y

    def written(self):
        """The mask as a raw array."""
        with on(self.device):
            return self.times(namespace(self.device))


def _written(mask):
    """A mask, drawn or an array, as a raw array."""
    return mask.written() if isinstance(mask, Drawn) else mask


@fused(name="dropout")
def _dropout(x, *, mask):
    return x * _written(mask)


@_dropout.kernel
def _(xp, x, *, mask):
    if isinstance(mask, Drawn):  # of a type that has a kernel
        return mask.times(xp, x), lambda g: (mask.times(xp, g),)
    return x * mask, lambda g: (g * mask,)


def dropout(x: TensorLike, p: float = 0.5, training: bool = True, generator: random.Generator | None = None) -> Tensor:
    """Zero each element with probability ``p`` and multiply the others by ``1 / (1 - p)``; p = 1
    gives zeros.

    The bits come from ``generator`` (default: the default one). Without training, or with p = 0, x
    itself. Srivastava et al., "Dropout", JMLR 2014.
    """
    x = asarray(x)
    mask = dropout_mask(x.shape, p, training, generator, x.device, x.dtype)
    return x if mask is None else _dropout(x, mask=mask)


def dropout_mask(shape, p, training, generator, device, dtype):
    """A raw array, or Drawn on a GPU: 0 with probability ``p``, else ``1 / (1 - p)``; None if
    nothing is dropped. ``dtype``: of what it multiplies.

    16 random bits an element, as long as these hold p and 1 - p to one part in a thousand, else 64:
    the mean of the mask stays 1.
    """
    p = probability("dropout", "p", p)
    if not training or p == 0.0 or not current_mode.get().dropout:
        return None
    xp, dtype = namespace(device), compute_dtype(dtype)
    if p == 1.0:
        return xp.zeros(shape, dtype=dtype)
    generator, cut, factor = random.generator_of("dropout", generator), round(p * 2**16), 1.0 / (1.0 - p)
    short = abs(cut - p * 2**16) <= 2**16 * 1e-3 * min(p, 1.0 - p)
    each, bits = (4, 16) if short else (1, 64)  # elements of a random word, bits of an element
    cut = cut if short else int(p * 2**53) << 11
    place = (seed, stream), counter, skip = generator.take_share(shape, each)
    if xp.name == "cuda" and xp.kernels.has(dtype) and not skip:
        return Drawn((seed, stream), counter, bits, cut, factor, shape, dtype, device)
    if xp.name == "cpu" and short and math.prod(shape) > MANY and xp.kernels.has(dtype):
        mask = xp.empty(skip + math.prod(shape), dtype=dtype)
        words = (xp.uint64(seed), xp.uint64(stream), xp.uint64(counter), xp.uint16(cut))
        xp.kernels.run("dropout_mask", *words, dtype.type(factor), mask)
        return mask[skip:].reshape(shape)
    kept = xp.greater_equal(random.bits_of(place, shape, each, device), xp.uint16(cut) if short else xp.uint64(cut))
    with on(kept):
        mask = kept.astype(dtype)
        mask *= factor
    return mask
