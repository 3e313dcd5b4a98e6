"""Where wrong rules hid: at points where a formula cancels, at jumps, among ties of both signs, in
inputs that cannot be moved, and in what a rule is given or keeps.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import check_op, gradcheck
from minitensor.testing import strategies as st

RNG = np.random.default_rng(0)


def pair(function, slope, at, there):
    """A NumPy pair whose rule gives ``there`` in the place of ``slope`` where ``at`` is true."""

    def vjp(g, x):
        with np.errstate(all="ignore"):
            return (g * np.where(at(x), there, slope(x))).astype(x.dtype)

    return lambda x: np.asarray(function(x)).astype(x.dtype), vjp


def fails(check, words):
    with pytest.raises(AssertionError, match=words):
        check()


# --- removable singularities ----------------------------------------------------------------------


def one(x):
    return np.where(x == 0, 1.0, x)


SINGULAR = {
    "(exp(x) - 1) / x": (lambda x: np.where(x == 0, 1.0, (np.exp(x) - 1) / one(x)), 0.5),
    "(1 - cos(x)) / x": (lambda x: np.where(x == 0, 0.0, (1 - np.cos(x)) / one(x)), 0.5),
    "(x - arctan(x)) / x^2": (lambda x: np.where(x == 0, 0.0, (x - np.arctan(x)) / one(x) ** 2), 1 / 3),
}


@pytest.mark.parametrize("function", SINGULAR.values(), ids=SINGULAR)
def test_a_wrong_slope_where_a_formula_cancels(function):
    f, slope = function

    def check(there):
        return gradcheck(pair(f, lambda x: 0.0, lambda x: x == x, there), [np.zeros(2)])

    assert check(slope).checked
    for wrong in (slope + 0.01, -slope, 0.0, -7.0, np.nan):
        fails(lambda wrong=wrong: check(wrong), "by its rule but")


# --- jumps ----------------------------------------------------------------------------------------

JUMPS = {  # the function, its slope, where it jumps, the slope there, and others, nearer to the jump and beyond
    "floor": (np.floor, lambda x: 0 * x, 1.0, 0.0, 3.0, -0.1),
    "1 if x >= 0": (lambda x: (x >= 0) * 1.0, lambda x: 0 * x, 0.0, 0.0, 3.0, -7.0),
    "1 if x <= 0": (lambda x: (x <= 0) * 1.0, lambda x: 0 * x, 0.0, 0.0, -7.0, 3.0),
    "x^2 or -x": (lambda x: np.where(x >= 1, x * x, -x), lambda x: np.where(x >= 1, 2 * x, -1.0), 1.0, 2.0, 5.0, -1.5),
    "exp(x) less 1 above": (lambda x: np.exp(x) - (x > 0), np.exp, 0.0, 1.0, 0.5, 1.5),
}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_at_a_jump_a_slope_is_finite_and_on_the_side_of_the_jump(jump):
    function, slope, place, right, between, beyond = jump

    def check(there, **how):
        made = pair(function, slope, lambda x: x == place, there)
        return gradcheck(made, [np.array([place, 0.3])], **how)

    assert check(right).kinks == check(between).kinks == 1
    for wrong in (beyond, np.nan, np.inf, -np.inf):
        fails(lambda wrong=wrong: check(wrong), r"at index \(0,\)")
    chosen = lambda g, x: g * np.where(x == place, beyond, slope(x))  # noqa: E731
    assert check(beyond, at_kinks=chosen).kinks == 1


# --- ties -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [mt.sort, lambda x: mt.sort(mt.abs(x))], ids=["sort", "sort of abs"])
def test_ties_of_both_signs_are_sorted(function):
    rng = np.random.default_rng(4)
    x = rng.permutation(np.r_[np.full(5, 1.0), np.full(5, -1.0), rng.uniform(-2, 2, 10)])
    assert gradcheck(function, [x], seed=4).kinks == 10


# --- inputs that cannot be moved ------------------------------------------------------------------


def expected(p, x):
    if p.sum() != 1:
        raise ValueError("p must add up to 1")
    return (p * x).sum()


@pytest.mark.parametrize("factor", [0.0, 1.0, -3.0, np.nan])
def test_an_input_that_no_step_may_move_was_not_compared(factor):
    given = [np.array([0.25, 0.5, 0.25]), RNG.normal(size=3)]
    fails(lambda: gradcheck((expected, lambda g, p, x: (factor * g * x, g * p)), given), r"input 0 \(p\)")
    fails(lambda: check_op((expected, lambda g, p, x: (factor * g * x, g * p)), given), r"input 0 \(p\)")


def test_a_slope_of_0_of_which_a_rule_leaves_rounding_was_compared():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        given = [rng.normal(size=5), np.array(0.5)]
        report = gradcheck(lambda x, c: mt.exp(x + c) / mt.exp(x + c).sum(), given, seed=seed)
        assert list(report.by_input.values()) == [5, 1]


def test_an_input_that_rounding_hides_was_not_compared():
    hidden = (lambda x, y: 1e14 * x + y, lambda g, x, y: (1e14 * g, 5 * g))
    words = r"no derivative of input 1 \(y\) was compared"
    fails(lambda: gradcheck(hidden, [np.ones(2), np.ones(2)]), words)
    assert gradcheck(hidden, [np.ones(2), np.ones(2)], wanted=[0]).by_input == {"input 0 (x)": 2}


# --- what a rule is given, and what it keeps ------------------------------------------------------

kept = {}


def keeping(x):
    kept["x"] = x
    return x * x


RULES = {
    "broadcast": (lambda g, x: 2 * g * x if g.size == 1 or 0 not in g.strides else 0 * x, "is one number broadcast"),
    "not contiguous": (lambda g, x: 2 * g * x if g.flags.c_contiguous else 7 * x, "reads the memory and not the array"),
    "NaN at zeros": (lambda g, x: 2 * x * np.where(g == 0, np.nan, g), "zeros in the place of the other"),
    "clipped": (lambda g, x: 2 * x * np.clip(g, -5, 5).astype(x.dtype), "cotangents times -1024"),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_that_some_cotangents_mislead(rule):
    vjp, words = rule
    fails(lambda: check_op((lambda x: x * x, vjp), [RNG.normal(size=(3, 2))]), words)


@pytest.mark.parametrize("ndim", [1, 3])
def test_a_rule_that_some_cotangents_mislead_in_some_dimensions(ndim):
    """Whatever an example of no or of one element hides."""

    def rule(g, x):
        return 0 * x if x.ndim == ndim and g.size > 1 and 0 in g.strides else 2 * g * x

    for seed in range(3):
        fails(lambda seed=seed: check_op((lambda x: x * x, rule), st.tensors(), seed=seed), "is one number broadcast")


def clipped_below(x):
    kept["mask"] = x > 0
    return x * kept["mask"]


KEEPING = {
    "the input": (keeping, lambda g, x: 2 * g * kept["x"]),
    "a mask": (clipped_below, lambda g, x: g * kept["mask"]),
}


@pytest.mark.parametrize("rule", KEEPING.values(), ids=KEEPING)
def test_a_rule_that_keeps_what_it_needs_in_one_place_for_all(rule):
    fails(lambda: check_op(rule, [RNG.normal(size=3)]), "after another call, with the inputs times -0.75")


def test_a_narrow_bump_is_right():
    def bump(x):
        return np.exp(-x * x / 1e-6)

    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = np.r_[rng.uniform(-2e-3, 2e-3, 2), rng.uniform(-0.1, 0.1, 2)]
        assert gradcheck((bump, lambda g, x: -2e6 * g * x * bump(x)), [x], seed=seed).checked


def test_a_rule_that_is_wrong_with_two_of_three_inputs():
    def some(x, y, z):
        odd = x.requires_grad and y.requires_grad and not z.requires_grad
        return x * y * z + (x - x.detach() if odd else 0.0)

    fails(lambda: check_op(some, [RNG.normal(size=3) for _ in range(3)]), "alone are wanted")
