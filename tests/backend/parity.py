"""One function on two devices: equal values, equal gradients of the first and of the second order.

In float64 two devices agree to what its rounding leaves. Numbers of fewer bits differ by more if a
function is ill-conditioned or large terms cancel, so there a device is held to the values of
float64, as in ``tests/test_narrow.py``:

    |found - exact| <= 2 eps |exact| + 2 max |f(x (1 + eps u)) - f(x)| + c max |exact| + tiny

with u = +-1, drawn, the smallest number tiny, and c = 512 eps of float32, in which numbers of 16
bits are computed too: attention, the worst, needs 200 on the CPU.
"""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, given, settings

import minitensor as mt
from minitensor.backend import device_of, is_array, move, on
from minitensor.random import default

__all__ = ["check_parity", "check_rounded_row", "check_row", "moved", "nowhere"]

FLOAT64 = np.dtype(np.float64)


def moved(value, device, dtype=None):
    """``value`` with every array and Tensor inside on ``device``, floats in ``dtype`` if given."""
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


def nowhere(pairs):
    """Four pairs of rows (..., 2, 4, C): in two pairs there is a class that neither row can have,
    in the next one that only the first can have, in the last one that only the second can have, by
    a probability that is 0 in float64.
    """
    pairs[..., :2, 1] = pairs[..., 1, 2, 0] = pairs[..., 0, 3, 0] = -np.inf
    pairs[..., 1, 3, 0] = -3000.0
    return pairs


def _results(function, inputs, keywords, wanted, device, dtype, order, cotangent=lambda values: values):
    """Outputs, and gradients up to ``order``, of one run on ``device``, as host arrays.

    cotangent: of normal numbers those that a gradient starts from.
    """
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
        seeds = [
            mt.Tensor(move(cotangent(np.array(rng.standard_normal(o.shape))).astype(o.dtype), device)) for o in ends
        ]
        ends = [
            g for g in mt.grad(ends, leaves, seeds, create_graph=step + 1 < order, allow_unused=True) if g is not None
        ]
        found += ends
    assert all(device_of(x.data) == device for x in found), [device_of(x.data) for x in found]
    return [move(x.data, "cpu") for x in found]


def check_parity(
    function, inputs, keywords=None, *, wanted=None, device="cuda:0", dtype=np.float64, order=2, rtol=1e-9, atol=1e-10
):
    """Raise AssertionError if ``function(*inputs, **keywords)`` or a gradient differs between the
    CPU and ``device``.
    """
    here, there = (_results(function, inputs, keywords or {}, wanted, d, dtype, order) for d in ("cpu", device))
    assert len(here) == len(there)
    for right, mine in zip(here, there):
        assert (right.shape, right.dtype) == (mine.shape, mine.dtype)
        np.testing.assert_allclose(mine, right, rtol=rtol, atol=atol)


def _rounded(value, dtype, shift=lambda values: values):
    """``value`` with the floats in it, however deep, rounded to ``dtype``, shifted, and
    in float64.
    """
    if isinstance(value, mt.Tensor):
        return mt.Tensor(_rounded(value.data, dtype, shift))
    if isinstance(value, np.ndarray):
        return np.array(shift(value.astype(dtype).astype(FLOAT64))) if value.dtype.kind == "f" else value
    if isinstance(value, (tuple, list)):
        return type(value)(_rounded(item, dtype, shift) for item in value)
    return {key: _rounded(item, dtype, shift) for key, item in value.items()} if isinstance(value, dict) else value


def check_rounded(function, inputs, keywords=None, *, dtype, wanted=None, device="cuda:0", order=2):
    """Raise AssertionError if ``function`` of floats of ``dtype`` on ``device`` differs from
    float64 by more than rounding.
    """
    keywords, limits, rng = keywords or {}, np.finfo(dtype), np.random.default_rng(0)
    eps, smallest = float(limits.eps), float(limits.smallest_subnormal)

    def run(device, dtype_of_run, shift=lambda values: values):
        given = (_rounded(value, dtype, shift) for value in (inputs, keywords))
        return _results(
            function, *given, wanted, device, dtype_of_run, order, lambda values: _rounded(values, dtype, shift)
        )

    def shifted(values):
        return values * (1 + eps * rng.choice([-1.0, 1.0], size=values.shape))

    with np.errstate(all="ignore"):
        found, like = run(device, dtype), run("cpu", dtype)
        exact, near = run("cpu", FLOAT64), [run("cpu", FLOAT64, shifted) for _ in range(4)]
        for k, (got, mine, right) in enumerate(zip(found, like, exact, strict=True)):
            assert (got.shape, got.dtype) == (mine.shape, mine.dtype)
            got, right = got.astype(FLOAT64), right.astype(FLOAT64)
            change = np.max([np.abs(one[k] - right) for one in near], axis=0)
            cancelled = 512 * float(np.finfo(np.float32).eps) * np.abs(right).max(initial=1.0)
            bound = 2 * eps * np.abs(right) + 2 * change + cancelled + smallest
            fits = (np.abs(got - right) <= bound) | ((got == right) | np.isnan(got) & np.isnan(right))
            fits |= np.isinf(got) & (np.abs(right) + bound > float(limits.max))
            assert fits.all(), (k, got[~fits], right[~fits], bound[~fits])


def compared(row):
    """The function of a row, with what of its outputs every solver gives in their place if they are
    not unique.
    """
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


def check_rounded_row(row, examples, dtype, device="cuda:0"):
    """`check_rounded` with ``device`` on so many drawn inputs of a row of the table; of 16 bits to
    the first order alone.
    """
    order = min(row.order, 2 if np.dtype(dtype).itemsize > 2 else 1)

    # The same inputs each time: a tolerance that is drawn with them is not one for rare inputs.
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(row.cases)
    def check(case):
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        inputs = [value for value in case if not isinstance(value, dict)]
        check_rounded(compared(row), inputs, keywords, dtype=dtype, wanted=row.wanted, device=device, order=order)

    check()
