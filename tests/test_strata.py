"""What ``check_op`` draws by default, whatever the seed: each kind of input is there."""

import hypothesis
import numpy as np
import pytest

from minitensor.testing import check_op
from minitensor.testing import strategies as st

SEEDS = [7, 2**31]


def drawn(strategy, seed, examples=25):
    """The examples of a check: lists, keywords at their end."""
    found = []

    def reference(*values, **keywords):  # is asked once for each
        found.append([*values, *([keywords] if keywords else [])])
        return values[0] * 1.0

    check_op(
        lambda x, *others, **keywords: x * 1.0, strategy, reference=reference, order=0, seed=seed, examples=examples
    )
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_tensors_of_each_number_of_axes_and_length(seed):
    shapes = [x.shape for (x,) in drawn(st.tensors(), seed)]
    assert len(shapes) == 25
    full = [shape for shape in shapes if 0 not in shape]
    assert all(sum(len(shape) == ndim for shape in full) >= 2 for ndim in range(4))
    assert all(sum(length in shape for shape in full) >= 2 for length in (1, 2, 3, 4))
    assert 1 <= sum(max(shape, default=1) > 64 for shape in full) <= 2
    assert 1 <= len(shapes) - len(full) <= 3
    assert max(shapes.count(shape) for shape in shapes if len(shape) > 1) <= 4
    assert max(max(x.shape, default=0) for (x,) in drawn(st.tensors(max_side=4), seed)) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_operands_are_broadcast_at_each_axis_of_either_side(seed):
    pairs = [tuple(x.shape for x in case) for case in drawn(st.broadcastable(2), seed)]
    assert len(pairs) == 25
    assert 1 <= sum(0 in a + b for a, b in pairs) <= 3
    for sign in (1, -1):
        sides = [pair[::sign] for pair in pairs]
        for ndim in (1, 2, 3):
            for axis in range(ndim):
                assert any(len(a) == len(b) == ndim and a[axis] == 1 < b[axis] for a, b in sides), (ndim, axis)
        assert sum(len(a) < len(b) and 0 not in b for a, b in sides) >= 2
    assert any(len(a) == len(b) and any(np.less(a, b)) and any(np.greater(a, b)) for a, b in pairs)
    assert sum(a == b and len(a) > 1 for a, b in pairs) >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_reductions_along_each_axis_from_either_end(seed):
    cases = [(x, named["axis"], named["keepdims"]) for x, named in drawn(st.reductions(), seed)]
    assert len(cases) == 25
    asked = {(axis, kept) for x, axis, kept in cases if x.ndim == 3 and isinstance(axis, int)}
    assert asked >= {(axis, kept) for axis in range(-3, 3) for kept in (False, True)}
    several = [axis for x, axis, _ in cases if isinstance(axis, tuple) and len(axis) == 2 and x.size]
    assert len(several) >= 2 and any(min(axis) < 0 for axis in several) and () in [axis for _, axis, _ in cases]
    assert {kept for x, axis, kept in cases if axis is None and x.ndim} == {False, True}
    assert sum(x.size == 0 for x, _, _ in cases) == 1 and sum(x.size > 64 for x, _, _ in cases) == 1


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_products_and_indices_of_each_kind(seed):
    operands = [(x.shape, y.shape) for x, y in drawn(st.matmul_operands(), seed)]
    ranks = {(len(a), len(b)) for a, b in operands if 0 not in a + b}
    assert ranks >= {(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (2, 3), (3, 3), (1, 3), (3, 1), (4, 3)}
    assert {(a[0] == 1, b[0] == 1) for a, b in operands if len(a) == len(b) == 3} == {
        (True, False),
        (False, True),
        (False, False),
    }
    places = [k[-1] for _, k in drawn([np.ones((2, 3)), st.index((2, 3)).map(lambda k: (k,))], seed) for k in k]
    places = [k for k in places if isinstance(k, np.ndarray) and k.dtype != bool and k.size]
    assert any(len(np.unique(k)) < k.size for k in places) and any(k.min() < 0 for k in places)
    ids = [k for _, k in drawn([np.ones(2), st.ids((4,), 6)], seed)]
    assert sum(5 in k for k in ids) >= 8 and sum(len(set(k.tolist())) < 4 for k in ids) >= 8


def test_filters_and_maps_keep_their_kinds_and_a_plain_given_draws():
    found = [x.shape for (x,) in drawn(st.tensors().filter(lambda x: x.ndim == 2).map(lambda x: x * 2.0), 1)]
    assert len(found) >= 20 and {len(shape) for shape in found} == {2} and len(set(found)) >= 8
    plain = []

    @hypothesis.settings(max_examples=60, database=None, derandomize=True)
    @hypothesis.given(st.tensors(), st.broadcastable(2))
    def run(x, pair):
        plain.append(x.shape)

    run()
    assert {len(shape) for shape in plain} == {0, 1, 2, 3} and max(max(shape, default=0) for shape in plain) == 4


# --- faults that one kind alone shows -------------------------------------------------------------


def summed(g, shape, but=None):
    """The gradient of what was broadcast; the sum over one axis is lost if it is ``but``."""
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis, length in enumerate(shape):
        if length == 1:
            g = g.take([0], axis=axis) if axis == but else g.sum(axis, keepdims=True)
    return g


def sine(wrong):
    """The sine with a rule that is half too large where ``wrong(x)``."""
    return np.sin, lambda g, x: g * np.cos(x) * (1 + wrong(x) / x.dtype.type(2)).astype(x.dtype)


@pytest.mark.parametrize(
    ("function", "strategy"),
    [
        (
            (np.multiply, lambda g, x, y: (summed(g * y, x.shape), summed(g * x, y.shape, but=2))),
            st.broadcastable(2),
        ),
        (sine(lambda x: np.full(x.shape, x.size > 64)), st.tensors()),
        ((np.sin, lambda g, x: np.clip(g, -5, 5) * np.cos(x)), st.tensors(shape=(2,))),
        ((np.sin, lambda g, x: np.abs(g) * np.cos(x)), st.tensors(shape=())),
    ],
)
def test_a_fault_that_one_kind_shows_is_found(function, strategy):
    with pytest.raises(AssertionError, match="shrunk example"):
        check_op(function, strategy, order=1, seed=5)


def test_a_rule_that_clips_is_not_linear():
    with pytest.raises(AssertionError, match="not linear in the gradient that it is given"):
        check_op((np.sin, lambda g, x: np.clip(g, -5, 5) * np.cos(x)), [np.array(0.5)])
