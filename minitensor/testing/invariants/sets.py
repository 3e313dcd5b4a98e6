"""Sets: elements that have no order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import Held, difference, fail, readable, same_bits, scale_of, unused

__all__ = ["permutation"]


def permutation(
    model: Any, inputs: Any, *, over: int | str = 0, outputs: str | None = None,
    call: Callable[..., Any] | None = None, tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """Elements that have no order are treated as a set: other orders give the same, to rounding.

    over: the input (B, T) or (B, T, ...) whose T elements have no order; further inputs (B, T,
    ...), such as a mask, go along with them. outputs: "permuted" if there is one for each element,
    in their order (equivariant), "unchanged" if it is of the whole set (invariant); default: by the
    shape of the output, (B, T, ...) or not. tolerance: of the largest output; default: 1e-4 in
    float32, 1e-10 in float64. The rest is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "permutation"
    x = Inputs(inputs, s, seed)
    array = x.array(over, name)
    count = array.shape[1] if array.ndim > 1 else 0
    if count < 2:
        raise ValueError(
            f"{name}: input {over!r}, {array.shape}, must be (rows, elements, ...) with at least two elements"
        )
    along = [k for k, v in x.values.items() if isinstance(v, np.ndarray) and v.shape[:2] == array.shape[:2]]
    bound = s.tolerance if tolerance is None else float(tolerance)
    largest, orders = (
        0.0,
        [np.roll(np.arange(count), 1), np.arange(count)[::-1], *(x.rng.permutation(count) for _ in range(2))],
    )
    with s.kept():
        out = readable(name, s, x)
        if outputs is None:
            outputs = "permuted" if out.shape[:2] == array.shape[:2] else "unchanged"
        if outputs not in ("permuted", "unchanged"):
            raise ValueError(f'{name}: outputs must be "permuted" or "unchanged", got {outputs!r}')
        _check_used(s, name, x, over, out)
        for order in orders:
            changed = s.run(x.replaced({key: x.values[key][:, order] for key in along}))
            expected = out[:, order] if outputs == "permuted" else out
            gap, words = difference(expected, changed)
            largest = max(largest, gap / scale_of(out))
            if gap > bound * scale_of(out):
                same = outputs == "permuted" and difference(out, changed)[0] <= bound * scale_of(out)
                what = "do not go along with" if outputs == "permuted" else "depend on"
                fail(
                    name, s.name, f"the outputs {what} the order {order.tolist()} of the elements", words,
                    cause="the outputs do not depend on the elements' places at all" if same else
                    "positions are added, a causal mask or a recurrence goes through the elements, or one is singled out",
                    cure='outputs="unchanged", if that is meant' if same else
                    "leave out positions and masks of order; pool by mean or maximum, not by the first or last",
                )  # fmt: skip
    return Held(name, len(orders), largest)


def _check_used(s, name, x, key, out):
    """Fail if the output is the same for other values of the input."""
    if same_bits(out, s.run(x.replaced({key: x.other(key)}))):
        unused(s, name, key)
