"""The one door for masks, and for what they hide.

A mask has one meaning everywhere: boolean, **True = may attend**, broadcast to the scores
(B, H, T, S). Functions, layers and stacks take theirs through `as_mask`. What comes out is a
`CheckedMask`, and that is let through as it is: a stack looks at its masks once, and a layer that
is called by itself looks at its own.

0 * NaN is NaN: what is hidden must be gone, not weightless. Before weights are applied to it,
`blank_padding` sees to that, and between queries and keys `blank_hidden`.

Letters: B batch, H heads, T queries, S keys, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import is_array, namespace, np
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.elementwise import isfinite, where

__all__ = ["CheckedMask", "admit", "as_mask", "blank_hidden", "blank_padding", "surely_moderate"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


class CheckedMask(Tensor):
    """A mask that has been looked at; ``scores`` is the shape that it broadcasts to."""

    __slots__ = ("scores",)

    def __init__(self, data: Any, scores: tuple[int, ...]) -> None:
        super().__init__(data)
        self.scores = scores

    def __reduce__(self):
        build, (_, *arguments) = super().__reduce__()
        return build, (Tensor, *arguments)


def as_mask(mask: TensorLike | None, scores: tuple[int, ...], device: str) -> CheckedMask | None:
    """``mask`` as a CheckedMask; None stays None.

    scores: the shape of the scores, (B, H, T, S) or (..., T, S); device: where they are. Raises
    TypeError for a mask that is not boolean or on another device, ValueError for another shape.
    """
    if mask is None or (isinstance(mask, CheckedMask) and mask.scores == scores):
        return mask
    mask = asarray(mask)
    if mask.dtype != np.bool_:
        raise TypeError(
            f"a mask is boolean and True means may attend, this one is {mask.dtype}: write mask != 0 for one of 0 and 1, "
            "mask == 0 for one that is added to the scores, and pass additive scores as bias="
        )
    if mask.device != device:
        raise TypeError(f'the mask is on {mask.device}, the input on {device}: write mask.to("{device}")')
    if mask.ndim > len(scores) or any(n not in (1, want) for n, want in zip(mask.shape[::-1], scores[::-1])):
        axes = "(batch, heads, queries, keys)" if len(scores) == 4 else "(..., queries, keys)"
        hint = "one of shape (batch, queries, keys) needs mask[:, None], one of shape (batch, keys) needs mask[:, None, None]"
        raise ValueError(f"mask of shape {mask.shape} does not broadcast to {axes} = {tuple(scores)}; {hint}")
    return CheckedMask(mask._array, scores)


def admit(x: Tensor, mask: TensorLike | None, scores: tuple[int, ...]) -> tuple[Tensor, CheckedMask | None]:
    """``(x, mask)`` as layers may use them: the mask looked at, and `blank_padding` done.

    x (B, S', D): the last S' of the S keys. With a mask that has been through the door both come
    back as they are.
    """
    checked = as_mask(mask, scores, x.device)
    return (x if checked is mask else blank_padding(x, checked)), checked


def surely_moderate(*tensors):
    """Whether nothing that is hidden in them can matter; not known of what has no elements yet."""
    arrays = [x._array for x in tensors]
    return all(map(is_array, arrays)) and namespace(tensors[0].device).surely_moderate(*arrays)


def blank_padding(x, mask):
    """``x`` (B, S', D) with zeros for what is not finite at positions hidden from every query.

    Such a position has no say in the result, but would carry NaN into the gradients of the weights.
    x: the last of the S keys.
    """
    if mask is None or surely_moderate(x):
        return x
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)  # (B, H, T, S), each of them or 1
    seen = mask.any(axis=(1, 2))[:, max(0, mask.shape[-1] - x.shape[1]) :, None]  # (B or 1, S' or 1, 1)
    return where(seen | isfinite(x), x, 0.0)


def blank_hidden(where, query, key, value, mask):
    """All three with zeros at queries that see nothing, and at keys that no query sees.

    query: (..., T, K); key: (..., S, K); value: (..., S, V).

    For arrays and Tensors alike; ``where`` is that of their namespace.
    """
    asks, seen = mask.any(axis=-1)[..., None], mask.any(axis=-2)[..., None]  # (..., T, 1), (..., S, 1)
    return where(asks, query, 0.0), where(seen, key, 0.0), where(seen, value, 0.0)
