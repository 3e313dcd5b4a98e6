"""How tensors are read by index for all examples at once, and the few other functions that look at
values.
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import is_array, is_floating, is_narrow, np
from minitensor.engine.axes import axis_of
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.creation import arange
from minitensor.ops.elementwise import not_equal
from minitensor.ops.indexing import getitem, index_part
from minitensor.ops.shape import moveaxis, permute_dims
from minitensor.transforms.batched import Batched, Unknown
from minitensor.transforms.rules import RULES, NoRule

__all__ = ["READING"]


def _basic(op, values, mapped, params, size):
    """``x[index]`` of ints, slices, None and ``...``, and of arrays that are the same for all."""
    index = params["index"] if isinstance(params["index"], tuple) else (params["index"],)
    return read(values[0], index, True, [False] * len(index), size)


def read(x: Tensor, index: tuple[Any, ...], mapped: bool, parts_mapped: list[bool], size: int) -> Tensor:
    """``x[index]`` of each example, (B, ...); ``mapped``: x is (B, ...); ``parts_mapped``: which
    parts are.

    As in NumPy the axes that all arrays of the index make together stand where the first of these
    stands, or in front of all if something lies between them; so they do here, behind that of the
    examples.
    """
    if any(isinstance(part, (bool, np.bool_)) for part in index):
        raise NoRule
    if not any(_is_list(part) for part in index):
        return getitem(x, (slice(None), *index))
    placed = [i for i, part in enumerate(index) if _is_list(part) or isinstance(part, int)]
    apart = placed != list(range(placed[0], placed[-1] + 1))
    width = max(_width(part) - is_mapped for part, is_mapped in zip(index, parts_mapped) if _is_list(part))
    if not any(parts_mapped):
        out = getitem(x, (slice(None), *index))
        return moveaxis(out, width, 0) if apart else out  # (lists, B, ...) or (B, ..., lists, ...)
    _refuse_masks(index, parts_mapped)
    steps = arange(size, device=x.device).reshape((size, *[1] * width))
    wide = tuple(
        part.reshape((size, *[1] * (width - part.ndim + 1), *part.shape[1:])) if is_mapped else part
        for part, is_mapped in zip(index, parts_mapped)
    )
    before = 0 if apart else _axes_before(x, mapped, index, placed[0])
    if not mapped:
        out = getitem(x, wide)
        return moveaxis(out, before, 0)  # (..., B, lists, ...)
    out = getitem(x, (steps, *wide))  # (B, lists, ...): from here the lists go behind what was before them
    order = (0, *range(1 + width, 1 + width + before), *range(1, 1 + width), *range(1 + width + before, out.ndim))
    return permute_dims(out, axes=order)


def _is_list(part):
    return is_array(part) or isinstance(part, Tensor)


def _width(part):
    """How many axes of the result a list of an index makes: a mask makes one of its own."""
    return 1 if part.dtype.kind == "b" else part.ndim


def _refuse_masks(index, parts_mapped):
    """Raise Unknown for a mask that differs from example to example, NoRule for one beside such
    lists.
    """
    for part, is_mapped in zip(index, parts_mapped):
        if _is_list(part) and part.dtype.kind == "b":
            if not is_mapped:
                raise NoRule
            raise Unknown(
                "mt.vmap: a boolean mask that differs from example to example selects other numbers of elements: write "
                "mt.where(mask, x, 0)"
            )


def _axes_before(x, mapped, index, first):
    """How many axes of the result come of what stands before part ``first`` of the index."""
    taken = sum(_is_list(part) or isinstance(part, (int, slice)) for part in index)
    count = 0
    for part in index[:first]:
        if part is Ellipsis:
            count += x.ndim - mapped - taken
        elif part is None or isinstance(part, slice):
            count += 1
    return count


def _read_at(function, arguments, level):
    """``x[index]`` with an index that differs from example to example."""
    x, index = arguments["x"], arguments["index"]
    index = index if isinstance(index, tuple) else (index,)
    index = tuple(index_part(part, x.device) for part in index)
    flags = [level.mine(part) for part in index]
    try:
        out = read(level.value(x), tuple(map(level.value, index)), level.mine(x), flags, level.size)
    except NoRule:
        return None
    return Batched(out, level)


def _embedding(function, arguments, level):
    """The rows of one table for the ids of all examples."""
    if level.mine(arguments["weight"]):
        return None
    return Batched(function(level.value(arguments["ids"]), arguments["weight"], arguments["padding_idx"]), level)


def _put_along_axis(function, arguments, level):
    """The same along an axis of all examples; each is written to by itself."""
    axis, parts = arguments["axis"], [asarray(arguments[name]) for name in ("x", "indices", "values")]
    x, indices, values = parts
    if axis is None or not x.ndim == indices.ndim == values.ndim:
        return None
    return Batched(function(*map(level.all_of, parts), axis_of("put_along_axis", axis, x.ndim) + 1), level)


def _cross_entropy(function, arguments, level):
    """The loss of every target, and the mean of each example by the number of its targets that
    count.
    """
    logits, targets, how = (arguments[name] for name in ("logits", "targets", "reduction"))
    logits, targets = asarray(logits), asarray(targets)
    if arguments["weight"] is not None or is_narrow(logits.dtype) or how not in ("none", "sum", "mean"):
        return None
    soft, axes = is_floating(targets.dtype), tuple(range(1, logits.ndim))
    if targets.shape != (logits.shape if soft else logits.shape[:-1]):
        return None  # which raises as the function does
    logits, targets = level.all_of(logits), level.all_of(targets)
    losses = function(**{**arguments, "logits": logits, "targets": targets, "reduction": "none"})
    if how == "none":
        return Batched(losses, level)
    total = losses.sum(axis=axes) if axes else losses
    if how == "sum":
        return Batched(total, level)
    if soft:
        return Batched(total / (losses.size // max(level.size, 1)), level)
    real = not_equal(targets, arguments["ignore_index"])
    count = real.sum(axis=axes) if axes else real
    if not is_array(count._array) or not bool((count != 0).all()):
        return None  # an example in which nothing counts is an error, as it is alone
    return Batched(total / count.astype(losses.dtype), level)


def _stacks(function, arguments, level):
    """A function of stacks of matrices, whatever is before them."""
    return Batched(function(**{**arguments, "x": level.value(arguments["x"])}), level)


RULES["getitem"] = _basic

READING = {
    "minitensor.ops.indexing._read_at": _read_at,
    "minitensor.ops.indexing.put_along_axis": _put_along_axis,
    "minitensor.nn.functional.affine.embedding": _embedding,
    "minitensor.nn.functional.likelihood.cross_entropy": _cross_entropy,
    "minitensor.linalg._symmetric": _stacks,
}
