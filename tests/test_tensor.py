"""Tensors as values: making them, operators, methods, and the ways out of the library."""

import operator
import pickle

import numpy as np
import pytest

import minitensor as mt

X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize(
    ("name", "args"),
    [("zeros", ((2, 3),)), ("ones", (4,)), ("full", ((2,), 1.5)), ("eye", (3,)), ("eye", (2, 4, 1)), ("linspace", (0, 1, 7)),
     ("arange", (5,)), ("arange", (1, 7, 2)), ("arange", (0.0, 1.0, 0.25))],
)  # fmt: skip
def test_creation_follows_numpy_in_float32(name, args):
    ours, theirs = getattr(mt, name)(*args), getattr(np, name)(*args)
    assert ours.shape == theirs.shape and np.allclose(ours.data, theirs)
    assert ours.dtype == (np.float32 if theirs.dtype.kind == "f" else np.int64)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like"])
def test_like(name):
    x = mt.asarray(X)
    assert getattr(mt, name)(x).dtype == np.float64 and getattr(mt, name)(x, dtype=np.int64).dtype == np.int64
    assert mt.full_like(x, 2).tolist() == np.full_like(X, 2).tolist()


def test_numbers_and_lists_become_float32_and_arrays_keep_their_type():
    assert mt.tensor([1.0, 2.0]).dtype == mt.tensor(1.5).dtype == np.float32
    assert mt.tensor([1, 2]).dtype == np.int64 and mt.tensor([True]).dtype == bool
    assert mt.tensor(X).dtype == np.float64 and mt.tensor(np.float64(1.0)).dtype == np.float64
    assert mt.tensor([mt.asarray([1.0]), mt.asarray([2.0])]).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("make", [mt.tensor, mt.asarray])
def test_an_array_is_copied_also_where_its_flag_says_read_only(make):
    x = X.copy()
    view, x.flags.writeable = x[:], False
    t = make(x)
    view[:] = 0.0
    assert np.array_equal(t.numpy(), X)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_asarray_shares_a_memory_map_that_cannot_be_written(tmp_path, mode):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    t = mt.asarray(mapped)
    assert np.shares_memory(t.data, mapped) == (mode == "r")
    assert not np.shares_memory(mt.tensor(mapped).data, mapped)
    if mode == "r":
        with pytest.raises(RuntimeError, match="read-only.*mt.tensor"):
            t.assign(0.0)


def test_data_is_for_reading():
    t = mt.tensor(X)
    with pytest.raises(ValueError, match="read-only"):
        t.data[0] = 1.0
    with pytest.raises(TypeError, match="assign"):
        t.data = X
    t.assign(X + 1.0)
    assert np.array_equal(t.data, X + 1.0)


@pytest.mark.parametrize(
    ("data", "error"), [([[1.0], [1.0, 2.0]], ValueError), ("text", TypeError), ([1j], TypeError), ([None], TypeError)]
)
def test_what_is_no_tensor_is_refused(data, error):
    with pytest.raises(error, match="a tensor"):
        mt.tensor(data)


ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("operation", ARITHMETIC + COMPARISONS)
def test_operators_with_tensors_arrays_and_numbers_on_either_side(operation):
    x = np.abs(X) + 0.5
    t = mt.asarray(x)
    for left, right in ((t, t[0]), (t, x[0]), (x, t[0]), (t, 2), (2, t)):
        out = operation(left, right)
        assert isinstance(out, mt.Tensor)
        assert np.allclose(out.data, operation(np.asarray(left), np.asarray(right)), rtol=1e-14)


def test_the_other_operators():
    x, m = mt.asarray(X), mt.asarray(X > 0)
    assert np.array_equal((-x).data, -X) and np.array_equal(abs(x).data, abs(X)) and (+x) is x
    assert np.array_equal((x @ x.T).data, X @ X.T) and np.array_equal((X @ x.mT).data, X @ X.T)
    other = mt.asarray(X > 0.5)
    for operation in (operator.and_, operator.or_, operator.xor):
        assert np.array_equal(operation(m, other).data, operation(m.data, other.data))
    assert np.array_equal((~m).data, X <= 0)


@pytest.mark.parametrize(
    "name", "sum mean prod max min var std all any argmax argmin cumsum cumprod clip round".split()
)
def test_methods_that_numpy_has(name):
    args = {"cumsum": (1,), "cumprod": (1,), "clip": (-0.5, 0.5)}.get(name, ())
    assert np.allclose(getattr(mt.asarray(X), name)(*args).data, getattr(X, name)(*args), rtol=1e-13)


def test_shape_methods():
    x = mt.asarray(X)
    assert x.reshape(2, 6).shape == x.reshape((2, -1)).shape == (2, 6)
    assert x.transpose(1, 0).shape == x.transpose((1, 0)).shape == x.T.shape == (4, 3)
    assert x.flatten().shape == (12,) and x.swapaxes(0, 1).shape == (4, 3) and x.astype("float32").dtype == np.float32
    assert (x.ndim, x.size, x.device, len(x)) == (2, 12, "cpu", 3)
    assert [row.tolist() for row in x] == X.tolist()


def test_one_element_as_a_number():
    x = mt.tensor([[2.5]])
    assert float(x) == x.item() == 2.5 and int(x) == 2 and bool(x) and [0, 1, 2][mt.tensor(1)] == 1
    with pytest.raises(ValueError, match="item.. needs one element"):
        mt.ones((2,)).item()
    with pytest.raises(ValueError, match="truth value .* ambiguous"):
        bool(mt.ones((2,)))
    with pytest.raises(TypeError, match="only an integer tensor can be an index"):
        [0, 1][mt.tensor(1.0)]
    with pytest.raises(TypeError, match="0-d"):
        len(mt.tensor(1.0))


def test_repr():
    assert repr(mt.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(mt.tensor(X[0, :1], requires_grad=True)).endswith("dtype=float64, requires_grad=True)")


def test_numpy_dlpack_and_the_array_namespace():
    x = mt.tensor(X, requires_grad=True)
    assert np.array_equal(x.numpy(), X) and np.shares_memory(x.numpy(), x.data)
    assert np.array_equal(np.from_dlpack(mt.asarray(X)), X)
    assert x.__array_namespace__() is mt


def test_pickle_keeps_value_name_and_wish_for_a_gradient():
    x = mt.tensor(X, requires_grad=True)
    x.name = "weight"
    y = pickle.loads(pickle.dumps(x))
    assert np.array_equal(y.data, X) and y.name == "weight" and y.requires_grad and y.is_leaf


def test_detach_and_requires_grad():
    x = mt.tensor(X, requires_grad=True)
    assert not x.detach().requires_grad and np.shares_memory(x.detach().data, x.data)
    assert not (x * 2).is_leaf and x.is_leaf
    x.requires_grad_(False)
    assert not x.requires_grad and x.grad is None
    with pytest.raises(RuntimeError, match="requires_grad_.False. on the result of an op"):
        (mt.tensor(X, requires_grad=True) * 2).requires_grad_(False)


def test_unknown_devices_are_refused():
    for device in ("gpu", "cuda:x", 3):
        with pytest.raises(ValueError, match="unknown device"):
            mt.zeros((2,), device=device)


def test_asarray_copies_as_it_is_told():
    x, fixed = mt.tensor(X, requires_grad=True), np.frombuffer(X.tobytes())
    assert mt.asarray(x) is mt.asarray(x, copy=False) is x and np.shares_memory(
        mt.asarray(fixed, copy=False).data, fixed
    )
    assert not np.shares_memory(mt.asarray(fixed, copy=True).data, fixed)
    copied = mt.asarray(x, copy=True)
    assert not np.shares_memory(copied.data, x.data) and mt.grad(copied.sum(), x).tolist() == np.ones((3, 4)).tolist()
    for call in (
        lambda: mt.asarray(X, copy=False),
        lambda: mt.asarray([1.0], copy=False),
        lambda: mt.asarray(x, "float32", copy=False),
    ):
        with pytest.raises(ValueError, match="asarray: copy=False, but"):
            call()


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (np.ones(2), TypeError, r"must be None or a Tensor of shape \(2,\), got an ndarray of shape \(2,\)"),
        (0.0, TypeError, r"got a float of shape \(\)"),
        (mt.ones((3,)), ValueError, r"got a Tensor of shape \(3,\)"),
    ],
)
def test_a_gradient_is_a_tensor_of_the_same_shape(value, kind, words):
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(kind, match=words):
        x.grad = value
