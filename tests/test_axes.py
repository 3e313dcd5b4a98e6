"""Axes, counts and shapes: NumPy's integers are integers, and what is out of range is refused
instead of wrapped round.
"""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F

X = mt.ones((1, 2, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: mt.squeeze(X, axis=3),
        lambda: mt.moveaxis(X, 4, 0),
        lambda: mt.moveaxis(X, (0, 0), (1, 2)),
        lambda: mt.expand_dims(X, (0, 0)),
        lambda: mt.take(X, [0], axis=-4),
        lambda: mt.take_along_axis(X, mt.zeros((1, 2, 3), dtype="int64"), 3),
        lambda: mt.put_along_axis(X, mt.zeros((1, 2, 1), dtype="int64"), 1.0, 5),
        lambda: mt.tensordot(mt.ones((2, 2)), mt.ones((2, 2)), axes=([3], [0])),
        lambda: mt.tensordot(mt.ones((2, 2)), mt.ones((2, 2)), axes=3),
        lambda: mt.split(X, 1, axis=3),
        lambda: mt.unstack(X, axis=3),
        lambda: mt.repeat(X, 2, axis=3),
        lambda: mt.topk(X, 1, axis=3),
        lambda: mt.diagonal(X, axis1=0, axis2=3),
    ],
)
def test_an_axis_out_of_range_or_named_twice_is_refused(call):
    with pytest.raises(ValueError, match="out of range for a tensor of|names an axis twice"):
        call()


# Each with a function ``i`` that makes integers of the kind that is tried out from an int, or from
# a list of them.
CALLS = [
    lambda x, i: x.sum(axis=i(1)), lambda x, i: x.sum(axis=i([0, 2])), lambda x, i: x.max(axis=(i(0), i(2))),
    lambda x, i: x.var(axis=i(1), ddof=i(1)), lambda x, i: x.cumsum(axis=i(1)), lambda x, i: F.softmax(x, axis=i(1)),
    lambda x, i: x.reshape(i(6)), lambda x, i: x.reshape((i(3), i(2))), lambda x, i: mt.reshape(x, shape=i([3, 2])),
    lambda x, i: x.transpose(i(2), i(0), i(1)), lambda x, i: x.transpose(i([2, 0, 1])),
    lambda x, i: mt.permute_dims(x, axes=i([2, 0, 1])), lambda x, i: mt.swapaxes(x, i(2), i(0)),
    lambda x, i: mt.squeeze(x, axis=i(0)), lambda x, i: mt.expand_dims(x, i(1)), lambda x, i: mt.expand_dims(x, i([0, 3])),
    lambda x, i: mt.moveaxis(x, i(0), i(2)), lambda x, i: mt.moveaxis(x, i([0, 1]), i([2, 0])),
    lambda x, i: mt.broadcast_to(x, i([2, 2, 3])), lambda x, i: mt.flip(x, axis=i(2)), lambda x, i: mt.rot90(x, i(1), i([0, 2])),
    lambda x, i: mt.roll(x, i(1), axis=1), lambda x, i: mt.roll(x, i(1)), lambda x, i: mt.roll(x, i([1, 2]), axis=i([2, 1])),
    lambda x, i: mt.repeat(x, i(2), axis=i(1)), lambda x, i: mt.repeat(x, i([1, 2]), axis=1), lambda x, i: mt.tile(x, i(2)),
    lambda x, i: mt.pad(x, pad_width=(i(1), i(2))), lambda x, i: mt.pad(x, pad_width=i(1)),
    lambda x, i: mt.pad(x, i([1, 2]), constant_values=(i(5), 6)), lambda x, i: mt.pad(x, {1: i(2), 2: (i(0), 1)}, mode="wrap"),
    lambda x, i: mt.split(x, i(3), axis=i(2))[1], lambda x, i: mt.split(x, [i(1), 2], axis=2)[1],
    lambda x, i: mt.split(x, i([1, 2]), axis=2)[1], lambda x, i: mt.unstack(x, i(2))[1], lambda x, i: mt.concat([x, x], i(1)),
    lambda x, i: mt.stack([x, x], i(1)), lambda x, i: mt.topk(x, i(2), axis=i(2))[0], lambda x, i: mt.sort(x, axis=i(1)),
    lambda x, i: mt.tril(x, k=i(1)), lambda x, i: mt.diagonal(x, i(1), i(1), i(2)),
    lambda x, i: mt.tensordot(x, mt.ones_like(x), i(3)), lambda x, i: mt.tensordot(x, mt.ones_like(x), (i([0, 2]), i([0, 2]))),
    lambda x, i: mt.norm(x, axis=i(2)), lambda x, i: mt.diff(x, axis=i(2)), lambda x, i: mt.round(x, decimals=i(1)) * x,
    lambda x, i: x[i(0), i(1)], lambda x, i: mt.full((i(2),), x[0, 0, 1]),
]  # fmt: skip
MADE = [
    lambda i, device: mt.zeros(i(2), device=device), lambda i, device: mt.ones((i(2), 3), device=device),
    lambda i, device: mt.full(i([2, 3]), 7.0, device=device), lambda i, device: mt.eye(i(2), i(3), i(1), device=device),
    lambda i, device: mt.linspace(0.0, 1.0, i(5), device=device), lambda i, device: mt.arange(i(5), device=device),
    lambda i, device: mt.random.uniform(i([2, 3]), device=device).shape,
    lambda i, device: F.one_hot(mt.tensor([1], device=device), i(3)),
]  # fmt: skip


def python(n):
    """Python's own integers."""
    return tuple(n) if isinstance(n, list) else n


def check_call(call, kinds, device="cpu"):
    """Assert that a call gives the same, and the same gradient, with integers of each of the kinds
    as with Python's.
    """
    x = mt.tensor(np.arange(6.0).reshape(1, 2, 3), requires_grad=True, device=device)
    wanted = call(x, python)
    cotangent = mt.tensor(np.random.default_rng(0).standard_normal(wanted.shape), device=device)
    for kind in kinds:
        y = call(x, kind)
        assert y.tolist() == wanted.tolist()
        assert mt.grad(y, x, cotangent).tolist() == mt.grad(call(x, python), x, cotangent).tolist()


@pytest.mark.parametrize("call", CALLS)
def test_integers_of_numpy_and_of_tensors_do_as_well(call):
    check_call(call, [np.int64, np.int32, np.array, mt.tensor])


@pytest.mark.parametrize("make", MADE)
def test_lengths_of_new_tensors_may_be_of_any_kind(make):
    for kind in (np.int64, np.int32, np.array, mt.tensor):
        assert np.array_equal(make(kind, "cpu"), make(python, "cpu"))


@pytest.mark.parametrize(
    "call",
    [
        lambda: X.sum(axis=np.array([0.5])),
        lambda: X.sum(axis="1"),
        lambda: mt.roll(X, 1.5),
        lambda: mt.zeros(2.5),
        lambda: mt.eye((2, 3)),
        lambda: mt.linspace(0, 1, 2.5),
        lambda: mt.topk(X, 1.5),
    ],
)
def test_what_is_no_integer_is_refused(call):
    with pytest.raises(TypeError, match="integer"):
        call()


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="repeat: 1 counts for axis 2 of length 3: one, or 3, none below 0"):
        mt.repeat(X, -1, axis=2)
    with pytest.raises(ValueError, match="does not divide into 0 equal parts"):
        mt.split(X, 0)
    assert mt.repeat(X, 0, axis=2).shape == (1, 2, 0)
    assert mt.repeat(X, [0, 2], axis=1).shape == (1, 2, 3)


def test_an_empty_list_is_an_index():
    assert X[:, []].shape == (1, 0, 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: mt.matmul(1.5, mt.ones((2, 2))), ValueError, "matmul.*x: 1.5"),
        (lambda: mt.ones((2, 2)) @ 2, ValueError, "matmul.*y: 2"),
        (lambda: mt.concatenate(1.5), TypeError, "concatenate: a list of tensors is wanted, got 1.5"),
        (lambda: mt.stack(3), TypeError, "stack: a list of tensors is wanted, got 3"),
        (lambda: mt.flip(X, axis=1.5), TypeError, "flip: an integer or a sequence of them"),
        (lambda: mt.flip(X, axis=3), ValueError, "flip: axis 3 is out of range"),
    ],
)
def test_what_cannot_be_joined_turned_or_multiplied_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_counts_may_be_a_tensor():
    assert mt.repeat(mt.tensor([5.0, 6.0]), mt.tensor([1, 2])).tolist() == [5.0, 6.0, 6.0]
    assert mt.tile(mt.tensor([5.0]), mt.tensor([2, 1])).tolist() == [[5.0], [5.0]]


def test_a_keyword_given_twice_is_refused():
    with pytest.raises(TypeError, match="sum: 'axis' is given twice"):
        mt.sum(X, 0, axis=1)


def test_values_that_do_not_fit_are_not_cut_off():
    with pytest.raises(TypeError, match="values are float32, they do not fit a tensor of int64"):
        mt.put_along_axis(mt.tensor([1, 2, 3]), mt.tensor([0]), mt.tensor([1.7]), 0)
