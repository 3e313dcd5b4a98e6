"""One function on two devices: equal values, equal gradients of the first and of the second order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

import minitensor as mt
from minitensor.backend import device_of, is_array, move, on
from minitensor.random import default

__all__ = ["check_parity", "check_row", "moved"]


def moved(value, device, dtype=None):
    """``value`` with every array and Tensor inside on ``device``, floats in ``dtype`` where given."""
    if isinstance(value, mt.Tensor):
        return mt.Tensor(moved(value.data, device, dtype))
    if is_array(value) or isinstance(value, np.generic):
        array = move(np.asarray(value), device)
        with on(device):
            return array if dtype is None or array.dtype.kind != "f" else array.astype(dtype)
    if isinstance(value, (tuple, list)):
        return type(value)(moved(item, device, dtype) for item in value)
    if isinstance(value, dict):
        return {key: moved(item, device, dtype) for key, item in value.items()}
    return value


def _results(function, inputs, keywords, wanted, device, dtype, order):
    """Outputs, and gradients up to ``order``, of one run on ``device``, as host arrays."""
    state = default.state
    arguments = [mt.Tensor(x) if is_array(x) else x for x in (moved(value, device, dtype) for value in inputs)]
    leaves = [
        x.requires_grad_()
        for i, x in enumerate(arguments)
        if isinstance(x, mt.Tensor) and x.dtype.kind == "f" and (wanted is None or i in wanted)
    ]
    out = function(*arguments, **moved(keywords, device, dtype))
    default.state = state
    ends = [o for o in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(o, mt.Tensor)]
    found = list(ends)
    rng = np.random.default_rng(0)
    for step in range(order):
        ends = [o for o in ends if o.requires_grad]
        if not ends or not leaves:
            break
        seeds = [mt.Tensor(move(rng.standard_normal(o.shape).astype(o.dtype), device)) for o in ends]
        ends = [
            g for g in mt.grad(ends, leaves, seeds, create_graph=step + 1 < order, allow_unused=True) if g is not None
        ]
        found += ends
    assert all(device_of(x.data) == device for x in found), [device_of(x.data) for x in found]
    return [move(x.data, "cpu") for x in found]


def check_parity(
    function, inputs, keywords=None, *, wanted=None, device="cuda:0", dtype=np.float64, order=2, rtol=1e-9, atol=1e-10
):
    """Raise AssertionError where ``function(*inputs, **keywords)`` or a gradient differs between the CPU and ``device``."""
    here, there = (_results(function, inputs, keywords or {}, wanted, d, dtype, order) for d in ("cpu", device))
    assert len(here) == len(there)
    for right, mine in zip(here, there):
        assert (right.shape, right.dtype) == (mine.shape, mine.dtype)
        np.testing.assert_allclose(mine, right, rtol=rtol, atol=atol)


def compared(row):
    """The function of a row, with what of its outputs every solver gives in their place where they are not unique."""
    return row.function if row.unique is None else lambda *xs, **keywords: row.unique(*row.function(*xs, **keywords))


def check_row(row, examples, device="cuda:0"):
    """`check_parity` with ``device`` on so many drawn inputs of a row of the table of ops."""

    @settings(max_examples=examples, deadline=None)
    @given(row.cases)
    def check(case):
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        inputs = [value for value in case if not isinstance(value, dict)]
        check_parity(compared(row), inputs, keywords, wanted=row.wanted, device=device, order=min(row.order, 2))

    check()
