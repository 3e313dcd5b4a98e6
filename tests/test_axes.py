"""Axes, counts and shapes: NumPy's integers are integers, and what is out of range is refused instead of wrapped round."""

import numpy as np
import pytest

import minitensor as mt

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


@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x.sum(axis=i(1)),
        lambda x, i: x.max(axis=(i(0), i(2))),
        lambda x, i: x.reshape(i(6)),
        lambda x, i: x.reshape((i(3), i(2))),
        lambda x, i: x.transpose(i(2), i(0), i(1)),
        lambda x, i: mt.squeeze(x, axis=i(0)),
        lambda x, i: mt.moveaxis(x, i(0), i(2)),
        lambda x, i: mt.roll(x, i(1), axis=1),
        lambda x, i: mt.roll(x, i(1)),
        lambda x, i: mt.repeat(x, i(2), axis=i(1)),
        lambda x, i: mt.tile(x, i(2)),
        lambda x, i: mt.pad(x, pad_width=(i(1), i(2))),
        lambda x, i: mt.pad(x, pad_width=i(1)),
        lambda x, i: mt.split(x, i(3), axis=i(2))[1],
        lambda x, i: mt.topk(x, i(2), axis=i(2))[0],
        lambda x, i: x[i(0), i(1)],
    ],
)
def test_integers_of_numpy_and_of_tensors_do_as_well(call):
    x = mt.tensor(np.arange(6.0).reshape(1, 2, 3), requires_grad=True)
    wanted = call(x, int)
    cotangent = np.random.default_rng(0).standard_normal(wanted.shape)
    for kind in (np.int64, np.int32, lambda n: np.array(n)):
        y = call(x, kind)
        assert np.array_equal(y.data, wanted.data)
        assert np.array_equal(mt.grad(y, x, cotangent).data, mt.grad(call(x, int), x, cotangent).data)


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
