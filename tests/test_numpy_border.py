"""NumPy's functions on Tensors: our op if there is one, and never a plain array from a tensor that
wants a gradient.
"""

import itertools
import warnings

import numpy as np
import pytest

import minitensor as mt
from minitensor.ops.numpy_border import ASKING

RNG = np.random.default_rng(0)
V, M = RNG.uniform(0.5, 2.0, 4), RNG.uniform(0.5, 2.0, (4, 4))


def tracked(array):
    return mt.tensor(array, requires_grad=True)


# --- none of NumPy's functions loses a gradient ---------------------------------------------------

# What takes one number at a time takes it as Python does, by float(x): a way out that is asked for,
# as x.item() is.
BY_FLOAT = {
    "cdouble", "clongdouble", "complex128", "complex64", "csingle", "double", "float16", "float32", "float64", "fromiter", "half",
    "longdouble", "single", "str_",
}  # fmt: skip
# Answers about a tensor, not computed from its values; and what acts on the process, on files or on
# the screen.
STRUCTURE = ASKING | {
    "iterable",
    "isscalar",
    "typename",
    "ndindex",
    "broadcast_shapes",
    "obj2sctype",
    "sctype2char",
    "issubdtype",
}
ACTS = {
    "empty", "empty_like", "info", "masked_all", "masked_all_like", "ndarray", "recarray", "set_bit_generator", "set_printoptions",
    "set_state", "setbufsize", "seterr", "seterrcall", "show_config", "show_runtime", "source", "test",
}  # fmt: skip
SPACES = [
    np,
    np.linalg,
    np.fft,
    np.ma,
    np.random,
    np.strings,
    np.lib.stride_tricks,
    np.lib.scimath,
    np.polynomial.polynomial,
]


def calls(scale=1.0):
    """Argument lists that fit one function or another, with tracked tensors in many places, whose
    values ``scale`` changes.
    """
    x, m, one = tracked(V * scale), tracked(M * scale), tracked(np.array(1.5 * scale))
    plain, wide = V, M

    yield from ((a,) for a in (x, m, [x, x], (m, m), [[x, x]], one))
    yield from itertools.product((x, m, plain, 1, 2.0), (x, m, [0]))
    yield from itertools.product((x, m), (plain, wide, 0))
    yield from ((a, b, c) for a in (x, m, plain) for b in (x, 0, 1) for c in (x, m, 0, 1))
    yield from (
        ([x, m], 0),
        ((x, x), 1),
        (wide > 1, m, 0.0),
        (plain > 1, [x, x]),
        (4, x),
        ((2, 2), one),
        ((4,), x),
        (m, -1),
    )
    yield from (
        ("i,i->", x, x),
        ("ij,j", m, x),
        (same, x),
        (same, 0, m),
        (same, [0], m),
        (x, [plain > 1], [same]),
        (m, 1, [0]),
    )
    yield from (
        (wide, x),
        (x, None),
        (None, x),
        (x, x, x, x),
        (x, (2, 2)),
        (one, 1),
        (1, one),
        (m[0], m[1]),
        (x, x, 0.5),
    )


def same(*values):
    """The first argument: a function for the functions that take one."""
    return values[0]


def plain_parts(result, depth=0):
    """The plain arrays and numbers of NumPy's in ``result``."""
    if isinstance(result, (np.ndarray, np.generic, float, complex)):
        return [np.asarray(result)]
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, (list, tuple)) else ()
    return [found for part in parts if depth < 3 for found in plain_parts(part, depth + 1)]


def attempt(function, *args, **settings):
    """The plain parts of what the call gives; none if it is refused."""
    np.random.seed(0)  # noqa: NPY002  NumPy's own global generator
    try:
        return plain_parts(function(*args, **settings))
    except RecursionError:
        raise
    except Exception:  # whatever NumPy says of arguments that make no sense to it
        return []


def differ(found, others):
    """Whether the same call on other values gave something else: the result was
    computed from them.
    """
    return len(found) != len(others) or any(a.tobytes() != b.tobytes() for a, b in zip(found, others))


def wants(value):
    """Whether a tensor that requires a gradient is among the arguments."""
    if isinstance(value, mt.Tensor):
        return value.requires_grad
    return isinstance(value, (list, tuple)) and any(map(wants, value))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.__name__)
def test_no_function_of_numpy_gives_a_plain_array_from_a_tensor_that_wants_a_gradient(space):
    names = {name for name in dir(space) if not name.startswith("_")} - STRUCTURE - ACTS - BY_FLOAT
    lost = set()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name in sorted(names):
            function = getattr(space, name)
            if not callable(function) or (isinstance(function, type) and issubclass(function, BaseException)):
                continue
            for args, others in zip(calls(), calls(1.1)):
                found = attempt(function, *args) if wants(args) else []
                if found and differ(found, attempt(function, *others)):
                    lost.add(name)
    assert not lost


def test_no_method_of_a_ufunc_gives_a_plain_array_from_a_tensor_that_wants_a_gradient():
    ufuncs = [f for f in vars(np).values() if isinstance(f, np.ufunc)]
    assert len(ufuncs) > 90
    lost = set()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for ufunc, method in itertools.product(ufuncs, ("__call__", "reduce", "accumulate", "reduceat", "outer", "at")):
            for args, others in zip(calls(), calls(1.1)):
                found = attempt(getattr(ufunc, method), *args) if wants(args) else []
                if found and differ(found, attempt(getattr(ufunc, method), *others)):
                    lost.add((ufunc.__name__, method))
    assert not lost


# --- our op if there is one -----------------------------------------------------------------------

ONE = np.array([0.3, -0.7, 1.1, 0.4])
CALLS = {
    "ufuncs": lambda x, m: np.exp(x) * np.tanh(x) + np.absolute(x) + np.square(x) + np.positive(x) - np.negative(x) / 2.0,
    "an array on the left": lambda x, m: (V + x) * (V - x) / (V * x) ** 2 + (M @ x) + np.float64(3.0) * x - np.float32(2.0),
    "sum": lambda x, m: np.sum(m, axis=0) + np.mean(m, 1) + np.prod(x) + np.max(m, axis=-1) + np.amin(x) + np.std(m, 0, ddof=1),
    "keepdims": lambda x, m: np.sum(m, axis=1, keepdims=True) + np.var(m, axis=(0,), keepdims=True) + np.std(x, correction=1),
    "reduce": lambda x, m: np.add.reduce(m) + np.multiply.reduce(m, axis=1) + np.maximum.reduce(x) + np.logaddexp.reduce(m, 1),
    "accumulate": lambda x, m: np.add.accumulate(m) + np.multiply.accumulate(x) + np.cumsum(m).reshape(4, 4) + np.cumprod(m, 1),
    "outer": lambda x, m: np.multiply.outer(x, m) + np.add.outer(V, x)[:, :, None] + np.outer(x, V),
    "join": lambda x, m: np.concatenate([x, V, x]) + np.hstack((x, x, x)) + np.ravel(np.stack([x, V, x], axis=1)),
    "rows": lambda x, m: np.vstack([x, m, V]) + np.concatenate((m, M[:2])) + np.tile(x, (6, 1)) + np.repeat(m[:2], 3, axis=0),
    "columns": lambda x, m: np.column_stack([x, m]) @ np.pad(x, (0, 1), constant_values=2.0),
    "where": lambda x, m: np.where(x > 0, x, V) + np.where(V > 1, 0.0, x) + np.clip(x, 0.0, 1.0) + np.clip(m, min=0.8),
    "products": lambda x, m: np.dot(x, m) + np.dot(m, x) + np.inner(m, x) + np.vdot(m, m) + np.dot(2.0, x) + np.matmul(m, x),
    "einsum": lambda x, m: np.einsum("ij,j->i", m, x) + np.tensordot(m, x, 1) + np.trace(m) + np.average(x, weights=V),
    "norm": lambda x, m: np.linalg.norm(x) * x + np.linalg.norm(m, axis=1) + np.linalg.norm(m) + np.linalg.norm(x, 1),
    "linalg": lambda x, m: np.linalg.vector_norm(m, axis=0) + np.linalg.trace(m) + np.linalg.vecdot(m, V) + np.linalg.diagonal(m),
    "shape": lambda x, m: np.transpose(m) + np.swapaxes(m, 0, 1) + np.reshape(x, (1, 4)) + np.expand_dims(x, 1) + np.squeeze(x),
    "move": lambda x, m: np.moveaxis(m, 0, 1) + np.roll(m, 1, axis=0) + np.flip(m, 1) + np.tril(m) + np.broadcast_to(x, (4, 4)),
    "pick": lambda x, m: np.take(m, [0, 2, 2], axis=0) + np.sort(m, axis=None)[:4] + np.sort(x) + np.diagonal(m) + np.copy(x),
    "along": lambda x, m: np.take_along_axis(m, np.argsort(M, axis=1), 1) + sum(np.split(x, 2)).sum() + np.linspace(0.0, 1.0, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_numpys_function_runs_our_op_with_its_gradient(name):
    call, x, m = CALLS[name], ONE, M - 1.0
    tensors = tracked(x), tracked(m)
    out = call(*tensors)
    assert isinstance(out, mt.Tensor) and np.allclose(out.data, call(x, m), rtol=1e-12, atol=1e-12)
    g, dx, dm = (np.random.default_rng(1).standard_normal(shape) for shape in (out.shape, x.shape, m.shape))
    found = mt.grad(out, tensors, g, allow_unused=True)
    slope = sum((f.data * d).sum() for f, d in zip(found, (dx, dm)) if f is not None)
    h = 1e-6
    step = (call(x + h * dx, m + h * dm) - call(x - h * dx, m - h * dm)) / (2 * h)
    assert slope == pytest.approx((step * g).sum(), rel=1e-6, abs=1e-7)


def test_truth_values_and_indices_are_tensors_too():
    x = tracked(ONE)
    for found, right in (
        (np.greater(x, 0.0), ONE > 0), (np.argmax(x), 2), (np.argsort(x), np.argsort(ONE)), (np.isnan(x), ONE > 9),
        (np.bitwise_and(ONE > 0, x > 0.35), ONE > 0.35), (V > x, V > ONE), (np.any(x > 1), True), (np.zeros_like(x), ONE * 0),
        (np.logical_or.reduce(x > 1), True), (np.array([1.0], like=x), [1.0]),
    ):  # fmt: skip
        assert isinstance(found, mt.Tensor) and np.array_equal(found.data, right)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.percentile(x, 5), r"numpy.percentile would lose the gradient .* write x.detach\(\) .* or x.numpy\(\)"),
        (lambda x: np.sum(x, initial=1.0), r"numpy.sum with initial= would lose .*mt.sum takes \(x, /, axis=None"),
        (lambda x: np.add(x, 1.0, out=np.zeros(4)), r"numpy.add with out= would lose"),
        (lambda x: np.zeros(4).__iadd__(x), r"numpy.add with out= would lose"),
        (lambda x: np.subtract.reduce(x), r"numpy.subtract.reduce would lose"),
        (lambda x: np.add.at(np.zeros(4), [0], x[0]), r"numpy.add.at would lose"),
        (lambda x: np.fft.fft(x), r"numpy.fft.fft would lose"),
        (lambda x: np.linalg.eig(x.reshape(2, 2)), r"numpy.linalg.eig .*would lose"),
        (lambda x: np.asarray(x), r"np.asarray of a tensor that requires a gradient .* x.detach\(\)"),
        (lambda x: np.array([x, x]), r"np.asarray of a tensor"),
        (lambda x: np.mean([x, x * 2.0]), r"np.asarray of a tensor"),
        (lambda x: np.zeros(4).__setitem__(slice(None), x), r"np.asarray of a tensor"),
        (lambda x: np.from_dlpack(x), r"DLPack of a tensor"),
        (lambda x: np.ma.array(ONE, mask=ONE > 0) + x, r"np.asarray of a tensor"),
        (lambda x: mt.linspace(x[0], 1.0), r"linspace: start is a plain number here, which carries no gradient"),
    ],
)  # fmt: skip
def test_what_would_lose_the_gradient_says_so(call, message):
    with pytest.raises(TypeError, match=message):
        call(tracked(ONE))


def test_a_tensor_without_gradient_is_a_plain_array_where_there_is_no_op():
    x = mt.asarray(ONE)
    assert isinstance(np.exp(x), mt.Tensor) and np.array_equal(np.exp(x).data, np.exp(ONE))
    assert np.percentile(x, 5) == np.percentile(ONE, 5) and np.array_equal(np.fft.fft(x), np.fft.fft(ONE))
    assert np.sum(x, initial=1.0) == np.sum(ONE) + 1.0 and np.array_equal(np.asarray(x), ONE)
    total = np.zeros(4)
    total += x
    assert np.array_equal(total, ONE) and isinstance(total, np.ndarray)


def test_questions_are_answered_for_every_tensor():
    x = tracked(ONE)
    assert np.shape(x) == (4,) and np.ndim(x) == 1 and np.size(x) == 4 and np.result_type(x) == "float64"
    assert np.allclose(x, ONE) and np.array_equal(x, ONE) and np.array_repr(x) == np.array_repr(ONE)


def test_the_array_protocol_copies_as_numpy_asks():
    x = mt.ones((2,))
    assert np.shares_memory(np.asarray(x), x.data) and not np.shares_memory(np.array(x), x.data)
    assert (
        np.asarray(x, dtype="float64").dtype == "float64"
        and np.asarray(x, dtype="float32", copy=False).dtype == "float32"
    )
    copied = np.asarray(x, copy=True)
    copied[:] = 5.0
    assert x.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="copy=False: an array of float64 from a tensor of float32 is a copy"):
        np.asarray(x, dtype="float64", copy=False)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 5.0


def test_another_library_has_its_say_first():
    class Other:
        def __array_ufunc__(self, ufunc, method, *inputs, **settings):
            return "its own" if self is inputs[-1] else NotImplemented

    assert np.add(tracked(ONE), Other()) == "its own"
