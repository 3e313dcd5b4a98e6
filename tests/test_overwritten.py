"""What a user writes after the forward pass, into any array that a graph may keep, never spoils a
gradient.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn

DIFFERENTIABLE = [pytest.param(row, id=str(row)) for row in TABLE if row.order]


def arrays_in(value):
    """All raw arrays within tuples, lists and dicts."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)


def copied(value):
    """``value`` with its own arrays, raw ones in place of Tensors."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(copied(item) for item in value)
    return np.array(value) if isinstance(value, (np.ndarray, mt.Tensor)) else value


def gradients(row, inputs, keywords, place, overwrite, recorded):
    """The gradient of the input at ``place``; all others are raw arrays, which are overwritten
    after the forward pass.
    """
    inputs, keywords = copied(inputs), copied(keywords)
    given = inputs[place]
    x = inputs[place] = mt.asarray(given).requires_grad_()
    mt.random.seed(0)  # for dropout
    out = row.function(*inputs, **keywords)
    results = [y for y in (out if isinstance(out, (tuple, list)) else [out]) if y.requires_grad]
    seeds = [np.random.default_rng(i).normal(size=y.shape).astype(y.dtype) for i, y in enumerate(results)]
    kept = [y.numpy().copy() for y in results]
    if overwrite:
        for array in (given, *arrays_in(inputs), *arrays_in(keywords)):
            array[...] = ~array if array.dtype == bool else 0
    assert all(np.array_equal(y.numpy(), value, equal_nan=True) for y, value in zip(results, kept))
    if not results:
        return None
    gradient = mt.grad(results, x, seeds, create_graph=recorded, allow_unused=True)
    return None if gradient is None else gradient.numpy()


@pytest.mark.parametrize("row", DIFFERENTIABLE)
def test_arrays_given_to_an_op_may_be_overwritten(row):
    @given(row.cases)
    @settings(
        max_examples=10, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def check(case):
        inputs = [value for value in case if not isinstance(value, dict)]
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        for place, value in enumerate(inputs):
            if isinstance(value, mt.Tensor) and value.dtype.kind == "f" and place in (row.wanted or range(9)):
                for recorded in (False, True):
                    wrong, right = (gradients(row, inputs, keywords, place, flag, recorded) for flag in (True, False))
                    assert np.array_equal(wrong, right, equal_nan=True) if right is not None else wrong is None

    check()


# --- ops and kernels of somebody else, whose operands and keywords may be anything ----------------


@mt.op
def scaled(xp, x, y, *, by, table):
    """``x y by table["a"][0]``."""
    return x * y * by * table["a"][0]


scaled.vjp(lambda g, y, by, table: g * y * by * table["a"][0], lambda g, x, by, table: g * x * by * table["a"][0])


@mt.fused
def joined(x, y, *, by):
    """The same in one kernel."""
    return x * y * by


@joined.kernel
def _(xp, x, y, *, by):
    return x * y * by, lambda g: (g * y * by, g * x * by)


@mt.op
def many(xp, *xs):
    """The product of all."""
    return np.prod(xs, axis=0)


many.vjp(lambda g, xs: [g * np.prod([y for k, y in enumerate(xs) if k != i], axis=0) for i in range(len(xs))])


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("kind", ["op", "fused", "variadic"])
def test_ops_of_ones_own_keep_copies(kind, create_graph):
    if kind == "variadic" and create_graph:
        return  # its rule is NumPy's alone
    x = mt.tensor(np.array([1.0, 2.0]), requires_grad=True)
    y, by, a = np.array([3.0, 4.0]), np.array([5.0, 6.0]), np.array([1.0, 1.0])
    table = {"a": [a]}
    uses = {
        "op": lambda: scaled(x, y, by=by, table=table),
        "fused": lambda: joined(x, y, by=by),
        "variadic": lambda: many(x, y, by),
    }
    out = uses[kind]()
    y[:] = by[:] = a[:] = 0.0
    table["a"] = []
    assert mt.grad(out.sum(), x, create_graph=create_graph).tolist() == [15.0, 24.0]


def test_a_list_that_is_a_keyword_may_be_changed():
    x, axes = mt.tensor(np.ones((2, 3)), requires_grad=True), [1]
    pick = mt.op(lambda xp, x, *, axes: x.sum(axis=tuple(axes)))
    pick.vjp(lambda xp, g, x_shape, axes: xp.expand_dims(g, axes[0]) + xp.zeros(x_shape))
    out = pick(x, axes=axes)
    axes[0] = 0
    out.sum().backward()
    assert x.grad.tolist() == [[1.0] * 3] * 2


HANDED_ON = {
    "reshape": lambda a: mt.reshape(a, (2, 1)),
    "broadcast": lambda a: mt.broadcast_to(a, (3, 2)),
    "a part": lambda a: mt.split(a, 2)[0],
    "an op that returns what it is given": lambda a: mt.op(lambda xp, x: x)(a),
    "a view of it": lambda a: mt.op(lambda xp, x: x[::-1])(a),
    "a keyword": lambda a: mt.op(lambda xp, x, *, mask: mask)(1.0, mask=a),
    "a kernel's": lambda a: joined_view(a),
    "a parameter": nn.Parameter,
    "a state": lambda a: loaded(a),
    "no dropout": lambda a: F.dropout(a, 0.0),
}


@mt.fused
def joined_view(x):
    """x."""
    return x * 1.0


@joined_view.kernel
def _(xp, x):
    return x[:], lambda g: (g,)


def loaded(array):
    """The bias of a layer that has taken ``array`` over."""
    layer = nn.Linear(1, 2)
    layer.load_state_dict({"weight": np.zeros((2, 1)), "bias": array})
    return layer.bias


@pytest.mark.parametrize("hand_on", HANDED_ON.values(), ids=HANDED_ON)
def test_no_tensor_lies_in_the_users_memory(hand_on):
    array = np.array([1.0, 2.0])
    made = hand_on(array)
    before = made.tolist()
    array[:] = 9.0
    assert made.tolist() == before


def test_what_comes_from_outside_during_backward_is_copied_too():
    x = mt.tensor(np.array([1.0, 2.0]), requires_grad=True)
    seed, answer = np.array([3.0, 4.0]), np.array([5.0, 6.0])
    (x + 0.0).backward(seed)
    seed[:] = 0.0
    assert x.grad.tolist() == [3.0, 4.0]
    with x.register_hook(lambda g: answer):
        gradient = mt.grad((x * x).sum(), x)
        answer[:] = 0.0
    assert gradient.tolist() == [5.0, 6.0]
    state = (layer := nn.Linear(2, 1)).state_dict()
    out = (x.astype("float32") * layer.weight).sum()
    state["weight"].assign(0.0)
    assert np.array_equal(mt.grad(out, x).data, layer.weight.data[0])
