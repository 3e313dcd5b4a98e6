"""Rows of a batch: none has a say in what another gets, and their order says nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import (
    KEEP,
    KEPT,
    Held,
    difference,
    fail,
    readable,
    same_bits,
    scale_of,
    unused,
)

__all__ = ["rows_in_any_order", "rows_independent"]

SORTED = "the rows are right and come out in another order: a sort, by length, say, that is not undone"
PUT_BACK = "put them back: with order = argsort(-lengths), the outputs are y[argsort(order)]"


def rows_independent(
    model: Any, inputs: Any, *, shared: Sequence[int | str] = (), call: Callable[..., Any] | None = None,
    gradient: bool = True, nan: bool = False, tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """What a row gets does not depend on the rows beside it.

    Beside other neighbours, ordinary and a thousand times larger ones, a row's output is the same
    bit for bit; alone, where arrays have other shapes, it is the same to rounding, and so it is in
    a copy of the model that sees this row first; the derivative by a neighbour's input is exactly
    0. With ``nan=True`` NaN in a neighbour stays there.

    Rows are the first axis of the output and of each array that is as long as the first one, but
    for those named in ``shared``. The rest is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "rows_independent"
    x = Inputs(inputs, s, seed)
    count, keys = x.rows(name, shared=shared)
    bound = s.tolerance if tolerance is None else float(tolerance)
    free = [
        key
        for key in keys
        if x.values[key].dtype.kind == "f" or x.values[key].ndim > 1 and x.values[key].dtype.kind in "iu"
    ]
    compared, largest = 0, 0.0
    notes: list[str] = []
    with s.kept():
        fresh = s.copied()
        out = readable(name, s, x)
        if not out.ndim or len(out) != count:
            raise ValueError(
                f"{name}: the output {out.shape} has not the {count} rows of the inputs: give it so by call="
            )
        seen = False
        for row in range(count):
            others = np.arange(count) != row
            for factor in (1.0, 1e3):
                values = {}
                for key in keys:
                    new = x.values[key].copy()
                    if key in free:
                        new[others] = x.other(key)[others]
                        new[others] *= factor if new.dtype.kind == "f" else 1
                    else:  # masks and lengths of the others, exchanged among them
                        new[others] = np.roll(new[others], 1, axis=0)
                    values[key] = new
                changed = s.run(x.replaced(values))
                compared += 1
                seen |= not same_bits(out[others], changed[others])
                gap, words = difference(out[row], changed[row], row)
                if words:
                    moved = any(difference(out[row], one)[0] <= bound * scale_of(out[row]) for one in changed)
                    _neighbours_tell(s, f"row {row} changes with the rows beside it", words, moved)
            changed = s.run(x.taken(keys, np.arange(row, row + 1)))
            compared += 1
            gap, words = difference(out[row], changed[0], row)
            largest = max(largest, gap / scale_of(out[row]))
            if gap > bound * scale_of(out[row]):
                _neighbours_tell(s, f"row {row} gets something else alone", words)
            if (new := fresh and fresh.copied()) is None:
                notes.append("the model cannot be copied, so that state kept from other rows was not looked for")
                continue
            with new.kept():
                changed = new.run(x.taken(keys, np.arange(row, row + 1)))
            compared += 1
            gap, words = difference(out[row], changed[0], row)
            if gap > bound * scale_of(out[row]):
                fail(
                    name, s.name, f"row {row} gets something else alone, in a copy of the model that has seen no other", words,
                    cause=f"the model keeps something from one row or call to the next: {KEPT}", cure=KEEP,
                )  # fmt: skip
        if not seen:
            unused(s, name, keys[0])
        for key in free:
            notes += _gradient_of_neighbours(s, x, key, count) if gradient else []
            if nan:
                notes += _nan_of_neighbours(s, x, key, count, out)
    return Held(name, compared, largest, tuple(dict.fromkeys(notes)))


def _neighbours_tell(s, what, words, moved=False):
    """Fail; ``moved``: what the row is to get is at the place of another row."""
    cause, cure = (SORTED, PUT_BACK) if moved else (
        "a norm, a softmax, a mean or a maximum goes over the rows, a reshape mixes them, or the model keeps something from one "
        "row or call to the next",
        "reduce over features or positions (axis=-1), keep the first axis in every reshape; statistics of a batch are for training",
    )  # fmt: skip
    fail("rows_independent", s.name, what, words, cause=cause, cure=cure)


def _gradient_of_neighbours(s, x, key, count):
    output, leaves = s.recorded(x, key)
    if notes := s.missing(output, leaves):
        return notes
    shape, rng = tuple(output.shape), np.random.default_rng(0)
    for row in range(count):
        output, leaves = s.recorded(x, key)
        seed = np.zeros(shape, dtype=s.float_dtype)
        seed[row] = rng.standard_normal(seed[row].shape)
        for g in s.gradients(output, seed, leaves):
            others = np.zeros(0) if g is None else np.delete(g, row, axis=0)
            if others.any():
                fail(
                    "rows_independent", s.name, f"the gradient of row {row} reaches the rows beside it",
                    f"it is up to {np.abs(others).max():.3g} there, and must be exactly 0",
                    cause="rows are mixed where their values make no difference here, but their slopes do",
                    cure="reduce over features or positions (axis=-1), keep the first axis in every reshape",
                )  # fmt: skip
    return []


def _nan_of_neighbours(s, x, key, count, out):
    for row in range(count):
        places = np.arange(count) != row
        planted = s.with_nan(x, key, places)
        if planted is None:
            return ["no NaN was planted (no nn.Embedding reads these ids)"]
        if not same_bits(planted[row], out[row]):
            _neighbours_tell(
                s, f"NaN in the rows beside it reaches row {row}", difference(out[row], planted[row], row)[1]
            )
    return []


def rows_in_any_order(
    model: Any, inputs: Any, *, shared: Sequence[int | str] = (), call: Callable[..., Any] | None = None,
    tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """The order of a batch says nothing: rows in another order give outputs in that order.

    They are the same to rounding, since a row may fall into another block of a matrix product, and
    so they are in a copy of the model that sees that order first. A scalar output, such as a loss,
    is the same. Arguments as in `rows_independent`.
    """
    s, name = subject_of(model, call), "rows_in_any_order"
    x = Inputs(inputs, s, seed)
    count, keys = x.rows(name, shared=shared)
    bound = s.tolerance if tolerance is None else float(tolerance)
    largest, orders = 0.0, [np.roll(np.arange(count), 1), np.arange(count)[::-1], x.rng.permutation(count)]
    notes: list[str] = []
    with s.kept():
        fresh = s.copied()
        out = readable(name, s, x)
        if out.ndim and len(out) != count:
            raise ValueError(
                f"{name}: the output {out.shape} has not the {count} rows of the inputs: give it so by call="
            )
        for order in orders:
            expected = out[order] if out.ndim else out
            changed = s.run(x.taken(keys, order))
            gap, words = difference(expected, changed)
            largest = max(largest, gap / scale_of(out))
            if gap > bound * scale_of(out):
                cause, cure = _why_order(expected, changed, bound * scale_of(out))
                fail(
                    name, s.name, f"the outputs do not go along with the order {order.tolist()} of the rows", words,
                    cause=cause, cure=cure,
                )  # fmt: skip
            if (new := fresh and fresh.copied()) is None:
                notes = ["the model cannot be copied, so that state kept from other orders was not looked for"]
                continue
            with new.kept():
                gap, words = difference(expected, new.run(x.taken(keys, order)))
            if gap > bound * scale_of(out):
                fail(
                    name, s.name, f"in a copy of the model that has seen no other, the order {order.tolist()} of the rows gives "
                    "other outputs", words, cause=f"the model keeps something from one row or call to the next: {KEPT}", cure=KEEP,
                )  # fmt: skip
    if same_bits(out, out[::-1] if out.ndim else out) and out.ndim:
        notes.append("all rows are the same, give different ones")
    return Held(name, 2 * len(orders), largest, tuple(notes))


def _why_order(expected, changed, bound):
    """``(cause, cure)`` of outputs that do not go along with the order of the rows."""
    if expected.ndim and expected.shape == changed.shape and _same_rows(expected, changed, bound):
        return SORTED, PUT_BACK
    return (
        "a row is treated by its number: a reshape mixes rows, a cumulative sum or a recurrence goes over them, one row "
        "stands for all, or the model keeps something between calls",
        "keep the first axis in every reshape, and let nothing run over it",
    )


def _same_rows(expected, changed, bound):
    """Whether ``changed`` has every row of ``expected`` once, wherever it is."""
    left = list(range(len(changed)))
    for row in expected:
        place = next((i for i in left if difference(row, changed[i])[0] <= bound), None)
        if place is None:
            return False
        left.remove(place)
    return True
