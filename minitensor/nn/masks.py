"""Masks have one meaning everywhere: boolean, **True = may attend**, broadcast to (B, H, T, S).

They combine with ``&``. How they are taken is in `functional/masking.py`.

Letters: B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.engine.mode import reads_values
from minitensor.engine.settings import integer
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.creation import arange
from minitensor.ops.ids import wide_ids

__all__ = ["causal_mask", "padding_mask"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


def causal_mask(n: int, device: str | None = None) -> Tensor:
    """``(n, n)``, True if key <= query: each position sees itself and what came before.

    >>> causal_mask(3).data.astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    steps = arange(integer("causal_mask", "n", n, least=0), device=device)
    return steps[:, None] >= steps[None, :]


@reads_values("lengths")
def padding_mask(lengths: TensorLike, length: int | None = None) -> Tensor:
    """``(B, 1, 1, S)``, True at the first ``lengths[b]`` keys of row b.

    S is ``length``; default: the greatest of ``lengths``.

    >>> padding_mask([2, 3]).data[:, 0, 0].astype(int)
    array([[1, 1, 0],
           [1, 1, 1]])
    """
    lengths = asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise TypeError(
            f"padding_mask: lengths must be a row of integers, got shape {lengths.shape} of {lengths.dtype}"
        )
    lengths = Tensor(wide_ids(lengths._array))
    length = length if length is None else integer("padding_mask", "length", length, least=0)
    # Reading the greatest from a GPU would wait for it.
    if length is None or lengths.device == "cpu":
        greatest = lengths.max().item() if lengths.size else 0
        length = greatest if length is None else length
        if greatest > length:
            raise ValueError(f"padding_mask: a row has {greatest} real tokens but length is {length}")
    return (arange(length, device=lengths.device)[None, :] < lengths[:, None]).reshape((lengths.size, 1, 1, length))
