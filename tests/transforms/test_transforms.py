"""What the transforms promise beside numbers: structures, types, graphs left alone, errors."""

import threading
import time
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.transforms.level import Level
from minitensor.transforms.rules import FUSED_RULES, RULES

Point = namedtuple("Point", "x y")
X = mt.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype="float64")
V = mt.tensor([0.5, -1.0, 2.0], dtype="float64")


def close(a, b):
    """Equal trees of numbers."""
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        return all(close(x, y) for x, y in zip(a, b))
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-13)
    return True


def looped(function, *stacks):
    """What ``vmap`` must give, one example after the other."""
    return mt.stack([function(*[stack[i] for stack in stacks]) for i in range(len(stacks[0]))])


# --- structures, types, what does not depend ------------------------------------------------------


def test_trees_come_back_as_they_went_in():
    tree = {"b": [V, (X,)], "a": Point(V, None), "o": OrderedDict(z=V)}

    def function(t):
        return Point((t["b"][0] * t["o"]["z"]).sum() + t["b"][1][0].sum(), [t["a"].x * 2.0])

    out, vjp_fun = mt.vjp(function, tree)
    (back,) = vjp_fun(Point(mt.tensor(1.0, dtype="float64"), [V]))
    assert type(out) is Point and type(back) is dict and list(back) == ["b", "a", "o"]
    assert type(back["a"]) is Point and back["a"].y is None and type(back["o"]) is OrderedDict
    assert close(back["b"], [V, (mt.ones_like(X),)]) and close(back["a"].x, V * 2.0)
    jacobian = mt.jacobian(function)(tree)
    assert type(jacobian) is Point and jacobian.y[0]["b"][1][0].shape == (3, 2, 3)
    value, grad = mt.value_and_grad(lambda t: t["a"].x.sum())(tree)
    assert close(grad["b"][1], (mt.zeros_like(X),))
    hessian = mt.hessian(lambda t: (t.x * t.y).sum())(Point(V, V))
    assert close(hessian.x.y, mt.eye(3, dtype="float64")) and close(hessian.x.x, mt.zeros((3, 3), dtype="float64"))


class Pair(list):
    """A list whose constructor takes something else than its parts."""

    def __init__(self, left, right, name):
        super().__init__([left, right])
        self.name = name


class Both(tuple):
    """A tuple of which the same is true."""

    def __new__(cls, left, right):
        made = super().__new__(cls, (left, right))
        made.name = "both"
        return made


def test_containers_of_ones_own_keep_their_class_and_attributes():
    def function(t):
        assert (type(t), type(t[1]), t.name, t[1].name) == (Pair, Both, "mine", "both")
        return Pair(t[0] * 2.0, Both(t[1][0] * 3.0, t[1][1]), "out")

    square = mt.eye(3, dtype="float64")
    tree = Pair(V, Both(V, square), "mine")
    out, vjp_fun = mt.vjp(function, tree)
    (back,) = vjp_fun(Pair(V, Both(V, square), "any"))
    for found, name in ((out, "out"), (back, "mine"), (mt.vmap(function)(tree), "out")):
        assert (type(found), type(found[1]), found.name, found[1].name) == (Pair, Both, name, "both")
        assert close(found[0], V * 2.0) and close(found[1][0], V * 3.0) and close(found[1][1], square)
    now = time.gmtime(0)  # a class of the interpreter's own
    assert type(mt.vjp(lambda x: (x, now), V, has_aux=True)[2]) is time.struct_time


def test_aux_is_handed_on():
    def function(x):
        return (x * x).sum(), {"twice": x * 2.0, "word": "beside"}

    for found in (mt.vjp(function, V, has_aux=True)[2], mt.jvp(function, (V,), (V,), has_aux=True)[2],
                  mt.value_and_grad(function, has_aux=True)(V)[0][1], mt.jacobian(function, has_aux=True)(V)[1],
                  mt.hessian(function, has_aux=True)(V)[1]):  # fmt: skip
        assert found["word"] == "beside" and close(found["twice"], V * 2.0) and not found["twice"].requires_grad


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_type_stays(dtype):
    x = V.astype(dtype)
    out, tangent = mt.jvp(lambda x: F.softmax(x) * x, (x,), (x,))
    (back,) = mt.vjp(lambda x: F.softmax(x) * x, x)[1](x)
    hessian = mt.hessian(lambda x: (F.softmax(x) * x).sum())(x)
    stacked = mt.vmap(lambda x: F.softmax(x) * x)(mt.stack([x, x]))
    assert {
        t.dtype.name for t in (out, tangent, back, hessian, stacked, mt.hvp(lambda x: (x**3).sum(), (x,), (x,)))
    } == {dtype}


def test_what_does_not_depend_has_zeros():
    (a, b), tangents = mt.jvp(lambda x, y: (y * 2.0, x.argmax()), (V, V), (V, mt.zeros_like(V)))
    assert close(tangents[0], mt.zeros_like(V)) and tangents[1] is None and b.dtype == "int64"
    out, vjp_fun = mt.vjp(lambda x: (mt.tensor(3.0), x.argmax()), V)
    assert close(vjp_fun((mt.tensor(1.0), None)), (mt.zeros_like(V),))
    assert close(mt.jacobian(lambda x: mt.ones((2,)))(V), mt.zeros((2, 3), dtype="float64"))
    assert close(mt.hessian(lambda x: x.sum())(V), mt.zeros((3, 3), dtype="float64"))
    assert close(mt.value_and_grad(lambda x: 2.5)(V)[1], mt.zeros_like(V))
    assert mt.jacobian(lambda x: x)(mt.zeros((0, 2))).shape == (0, 2, 0, 2)


def test_numbers_and_arrays_are_taken():
    value, (a, b) = mt.value_and_grad(lambda x, y: (x * y).sum(), (0, 1))(2.0, np.ones(3))
    assert value.item() == 6.0 and a.item() == 3.0 and a.dtype == "float32" and b.dtype == "float64"
    assert mt.jvp(mt.sin, (0.0,), (1.0,))[1].item() == 1.0


def test_a_part_under_no_grad_is_a_constant():
    def function(x):
        with mt.no_grad():
            fixed = x * 3.0
        return (x * fixed).sum()

    assert close(mt.value_and_grad(function)(V)[1], V * 3.0)
    assert close(mt.value_and_grad(mt.no_grad(lambda x: (x * x).sum()))(V)[1], mt.zeros_like(V))


# --- graphs that are there already ----------------------------------------------------------------


def test_no_gradient_is_deposited_and_graphs_go_on():
    w, x = mt.tensor(V, requires_grad=True), mt.tensor(V * 2.0, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(1))
    out, vjp_fun = mt.vjp(lambda x: (x * w * w).sum(), x)
    (gx,) = vjp_fun(mt.tensor(1.0, dtype="float64"))
    assert w.grad is None and x.grad is None and not seen
    assert close(gx.detach(), (w * w).detach()) and gx.requires_grad  # by w
    gx.sum().backward()
    assert close(w.grad, w.detach() * 2.0) and x.grad is None
    out.backward()  # the value leads back to both
    assert close(x.grad, (w * w).detach()) and len(seen) == 1
    with mt.no_grad():
        value, grad = mt.value_and_grad(lambda x: (x * w).sum())(x)
    assert not value.requires_grad and not grad.requires_grad


def test_constants_give_constants():
    out, vjp_fun = mt.vjp(mt.sin, V)
    assert not out.requires_grad and not vjp_fun(V)[0].requires_grad
    assert not mt.jvp(mt.sin, (V,), (V,))[1].requires_grad and not mt.hessian(lambda x: x.sum())(V).requires_grad
    assert vjp_fun(mt.tensor(V, requires_grad=True))[0].requires_grad


def test_a_result_is_nobody_elses():
    u = mt.tensor(V)
    (back,) = mt.vjp(lambda x: x + 0.0, V)[1](u)
    back.assign(0.0)
    assert close(u, V)


def test_vjp_fun_again_and_after_an_update():
    w = mt.tensor(V, requires_grad=True)
    _, vjp_fun = mt.vjp(lambda x: x * w, V)
    assert close(vjp_fun(V)[0].detach(), vjp_fun(V)[0].detach())
    w.assign(0.0)
    with pytest.raises(RuntimeError, match="overwritten"):
        vjp_fun(V)


# --- orders and nesting ---------------------------------------------------------------------------

FUSED = {
    "softmax": lambda x: F.softmax(x) ** 2,
    "log_softmax": lambda x: F.log_softmax(x),
    "layer_norm": lambda x: F.layer_norm(x, V, V),
    "rms_norm": lambda x: F.rms_norm(x, V),
    "gelu": F.gelu,
    "attention": lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None]),
    "linear": lambda x: F.linear(x, X),
    "cross_entropy": lambda x: F.cross_entropy(x, 1),
    "lstm": lambda x: F.lstm(x.reshape((1, 3, 1)), mt.ones((4, 1)), mt.ones((4, 1)), None, None)[0],
}


@pytest.mark.parametrize("name", FUSED)
def test_nested_orders_of_fused_ops(name):
    def scalar(x):
        return (FUSED[name](x) ** 2).sum()

    hessian = mt.hessian(scalar)(V)
    assert close(hessian @ V, mt.hvp(scalar, (V,), (V,)))
    assert close(hessian @ V, mt.jvp(lambda x: mt.value_and_grad(scalar)(x)[1], (V,), (V,))[1])
    twice = mt.jvp(lambda x: mt.jvp(scalar, (x,), (V,))[1], (V,), (V,))[1]
    np.testing.assert_allclose(twice.item(), (V @ hessian @ V).item(), rtol=1e-10)
    step = 1e-5
    slope = [(mt.value_and_grad(scalar)(V + s * V)[1]) for s in (step, -step)]
    np.testing.assert_allclose(((slope[0] - slope[1]) / (2 * step)).data, (hessian @ V).data, rtol=1e-5, atol=1e-7)
    rows = mt.stack([V, V * 0.5])
    assert close(mt.vmap(FUSED[name])(rows), looped(FUSED[name], rows))
    gradient = mt.vmap(lambda x: mt.value_and_grad(scalar)(x)[1])(rows)
    assert close(gradient, looped(lambda x: mt.value_and_grad(scalar)(x)[1], rows))
    assert close(mt.vmap(mt.hessian(scalar))(rows)[0], hessian)
    total = mt.value_and_grad(lambda r: mt.vmap(scalar)(r).sum())(rows)[1]
    assert close(total, gradient)
    assert close(mt.jvp(mt.vmap(FUSED[name]), (rows,), (rows,))[1],
                 looped(lambda x: mt.jvp(FUSED[name], (x,), (x,))[1], rows))  # fmt: skip


def test_gradients_by_what_is_the_same_for_all_are_one_for_each():
    w = mt.tensor(V, requires_grad=True)
    each = mt.vmap(lambda x: mt.value_and_grad(lambda w: mt.tanh(w @ x))(w)[1])(X)
    assert close(each.detach(), looped(lambda x: mt.value_and_grad(lambda w: mt.tanh(w @ x))(w.detach())[1], X))
    assert w.grad is None
    nested = mt.vmap(lambda w: mt.vmap(lambda x: mt.value_and_grad(lambda w: mt.tanh(w @ x))(w)[1])(X))(
        mt.stack([V, V])
    )
    assert close(nested[1], each.detach()) and nested.shape == (2, 2, 3)
    outer = mt.value_and_grad(
        lambda w: (mt.vmap(lambda x: mt.value_and_grad(lambda v: (v * v) @ x)(w)[1])(X) * X).sum()
    )(V)[1]
    assert close(outer, 2.0 * (X * X).sum(axis=0))


def test_vmap_of_vjp_fun_takes_many_cotangents_through_one_graph():
    _, vjp_fun = mt.vjp(lambda x: x * x, V)
    assert close(mt.vmap(vjp_fun)(mt.eye(3, dtype="float64"))[0], mt.jacobian(lambda x: x * x)(V))


# --- vmap -----------------------------------------------------------------------------------------


def test_axes_in_and_out():
    y = mt.tensor(np.arange(24.0).reshape(2, 3, 4))
    function = mt.vmap(
        lambda a, b: (a["k"] * b[0], a["k"].sum(), b[1]), ({"k": 1}, (None, -1)), (0, -1, {}.get("none"))
    )
    with pytest.raises(ValueError, match="out_axes is None for the result.2"):
        function({"k": y}, (V[0], X))
    function = mt.vmap(lambda a, b: (a["k"] * b[0], a["k"].sum(), b[0]), ({"k": 1}, (None, -1)), (2, -1, None))
    a, b, c = function({"k": y}, (V[0], X))
    assert a.shape == (2, 4, 3) and b.shape == (3,) and c.shape == ()
    assert close(a, (y * 0.5).transpose((0, 2, 1)))
    assert mt.vmap(lambda x: mt.tensor(1.0), axis_size=2)(X).shape == (2,)
    assert mt.vmap(lambda: mt.ones(2), axis_size=3)().shape == (3, 2)
    assert mt.vmap(lambda x, *, y: x + y)(X, y=X).shape == (2, 3)
    assert mt.vmap(lambda x, name: x + len(name), (0, None))(X, "ab").shape == (2, 3)
    assert mt.vmap(lambda x: [None, x])(X)[0] is None
    for shape in [(0, 3), (0,), (0, 2, 2)]:
        assert mt.vmap(lambda x: x.sum() * mt.ones((2, 0)))(mt.zeros(shape)).shape == (0, 2, 0)


INDEX = [
    lambda x, i: x[i], lambda x, i: x[:, i], lambda x, i: x[i, :, 0], lambda x, i: x[0, :, i], lambda x, i: x[..., i],
    lambda x, i: x[None, i], lambda x, i: x[i, i], lambda x, i: x[[0, 1], i], lambda x, i: x[:, [0, 1], i],
    lambda x, i: x[[0, 1], :, i], lambda x, i: x[:, None, i], lambda x, i: x[i, None, i], lambda x, i: x[0, ..., i],
    lambda x, i: x[i, ..., [1, 0]], lambda x, i: x[1, i], lambda x, i: x[i[None], i[:, None]], lambda x, i: x[i[0]],
    lambda x, i: x[i[0], :, i[1]], lambda x, i: x[:, i[0], 1:], lambda x, i: x[:, -1, i], lambda x, i: x[1, i[0]],
    lambda x, i: x[[True, False]], lambda x, i: x[:, [[0, 1]], [[1, 0]]], lambda x, i: x[0, :, [1, 0]],
    lambda x, i: x[..., [1, 0], None], lambda x, i: mt.take(x, i, axis=1), lambda x, i: mt.take(x, i + 5, axis=0, mode="wrap"),
    lambda x, i: mt.take(x, i * 3, mode="clip"), lambda x, i: mt.take(x, i),
    lambda x, i: mt.take_along_axis(x[0, :2], i[:, None], axis=1),
    lambda x, i: mt.take_along_axis(x[0], mt.argsort(x[0], axis=0), 0),
    lambda x, i: mt.put_along_axis(x[0], i[:1, None], x[0][:1, :1], axis=1), lambda x, i: F.embedding(i, x[0]),
    lambda x, i: mt.put_along_axis(x, mt.argsort(x, axis=1), x * 2.0, axis=1), lambda x, i: F.one_hot(i, 3),
    lambda x, i: x[i < 5], lambda x, i: mt.sort(x, axis=None)[i], lambda x, i: mt.topk(x, 2)[0],
    lambda x, i: x[i % 2 == 0, :, 0],
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(INDEX)))
def test_reading_by_index(number):
    rng = np.random.default_rng(number)
    stacks, ids = mt.tensor(rng.standard_normal((3, 2, 3, 2))), mt.tensor(rng.integers(0, 2, (3, 2)))
    function = INDEX[number]
    for in_axes in ((0, 0), (0, None), (None, 0)):
        given = [s if axis == 0 else s[1] for s, axis in zip((stacks, ids), in_axes)]
        try:
            found = mt.vmap(function, in_axes)(*given)
        except TypeError as error:
            assert "boolean mask that differs" in str(error) and number in (35, 38)
            continue
        parts = [function(*[g[k] if axis == 0 else g for g, axis in zip(given, in_axes)]) for k in range(3)]
        np.testing.assert_array_equal(found.data, np.stack([part.data for part in parts]))


KNOWN = (
    (lambda x: x if x.sum() > 0 else -x, "truth value"), (lambda x: x.item(), "number"), (lambda x: float(x[0]), "number"),
    (lambda x: x.numpy(), "array"), (lambda x: np.asarray(x), "array"), (lambda x: x.tolist(), "numbers"),
    (lambda x: x.data, "array"), (lambda x: x[x > 1.0], "boolean mask"), (lambda x: mt.nonzero(x > 2.0), "shape of a result"),
    (lambda x: range(x.argmax()), "number"), (lambda x: X.assign(x), "values"), (lambda x: x.assign(0.0), "memory"),
    (lambda x: x.sum().backward(), "no gradient of its own"), (lambda x: mt.grad(x.sum(), x), "no gradient of its own"),
    (lambda x: mt.checkpoint(mt.sin, x), "no gradient of its own"), (lambda x: x.requires_grad_(), "no gradient of its own"),
    (lambda x: mt.sum(X, axis=x.argmax()), "number|setting"), (lambda x: mt.zeros(x.argmax()), "integer"),
    (lambda x: mt.pad(x, x.argmax()), "number|values"), (lambda x: np.sin(x.data), "array"), (lambda x: bool(x.any()), "truth"),
)  # fmt: skip


@pytest.mark.parametrize(("function", "said"), KNOWN)
def test_what_cannot_be_known_of_many_is_an_error(function, said):
    with pytest.raises(TypeError, match=said):
        mt.vmap(function)(X)


def test_random_numbers_are_refused_and_the_loop_draws_them():
    for draw in (lambda x: mt.random.normal(()), lambda x: F.dropout(x), lambda x: mt.random.Generator(3).integers(4)):
        with pytest.raises(RuntimeError, match="the same for all examples"):
            mt.vmap(draw)(X)
    assert mt.vmap(lambda x: F.dropout(x, training=False))(X).shape == (2, 3)
    a, b = mt.vmap(lambda x: mt.random.normal(()), loop=True)(X)
    assert a.item() != b.item()
    assert mt.vmap(lambda x: x if x.sum() > 10 else -x, loop=True)(X)[0, 0].item() == -1.0


def test_a_tensor_that_leaks_says_so():
    kept = []
    mt.vmap(lambda x: kept.append(x) or x)(X)
    for use in (lambda x: x + 1.0, lambda x: X @ x, F.softmax, lambda x: x[0], lambda x: x.reshape(-1), lambda x: mt.stack([x, x]),
                lambda x: mt.vmap(lambda y: x + y)(X), lambda x: mt.vjp(mt.sin, x), lambda x: F.linear(X, x)):  # fmt: skip
        with pytest.raises(TypeError, match="mt.vmap: the values"):
            use(kept[0])
    assert "one of 2 examples" in repr(kept[0])
    found = []

    def other_thread(x):
        def work():
            try:
                x + 1.0
            except TypeError as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x

    mt.vmap(other_thread)(X)
    assert len(found) == 1


def test_an_op_without_a_rule_runs_example_by_example():
    calls = []

    @mt.op
    def multiply(xp, x, y):  # of one's own, under a name of the library's
        calls.append(x.shape)
        return x * y.sum()

    multiply.vjp(lambda g, y: g * y.sum(), lambda xp, g, x, y: (g * x).sum() * xp.ones_like(y))
    assert close(mt.vmap(multiply)(X, X), X * X.sum(axis=1, keepdims=True)) and calls == [(3,), (3,)]
    gradient = mt.vmap(lambda x: mt.value_and_grad(lambda x: multiply(x, V).sum())(x)[1])(X)
    assert close(gradient, mt.ones_like(X) * 1.5)


@pytest.mark.parametrize("shape", [(3, 6), (6, 3)])
def test_decompositions_that_are_no_op_run_example_by_example(shape):
    x = mt.tensor(np.random.default_rng(0).standard_normal((2, 2, *shape)))
    for function in (lambda a: tuple(mt.linalg.svd(a)), lambda a: tuple(mt.linalg.qr(a, mode="complete"))):
        assert close(mt.vmap(function)(x[0]), function(x[0]))
        assert close(mt.vmap(mt.vmap(function))(x), function(x))


def test_no_examples_have_results_where_zeros_are_refused():
    none, ids = mt.zeros((0, 2, 5)), mt.zeros((0, 2, 5)).astype("int64")
    for axis in (0, 1, -1):  # indices that repeat are refused
        assert mt.vmap(lambda a, i, axis=axis: mt.put_along_axis(a, i, 1.0, axis=axis))(none, ids).shape == (0, 2, 5)
    whole = mt.op(lambda xp, x: 1.0 / _refused(x), name="whole")
    assert mt.vmap(whole)(none).shape == (0, 2, 5)
    with pytest.raises(ValueError, match="never"):
        mt.vmap(mt.op(lambda xp, x: _refused(x * 0), name="never"))(none)


def _refused(x):
    if not x.all():
        raise ValueError("never 0")
    return x


def test_every_rule_is_for_an_op_that_there_is():
    from minitensor.engine.fused import FUSED as fused
    from minitensor.engine.op import OPS

    assert set(RULES) <= set(OPS) and set(FUSED_RULES) <= set(fused)
    assert set(OPS) - set(RULES) == {"put", "put_along_axis", "embedding"}


def test_each_op_runs_once_for_all_examples():
    many = mt.ones((50, 4))
    with mt.profile() as p:
        mt.vmap(lambda x: F.softmax(x * 2.0).sum())(many)
    assert {row.name: row.calls for row in p.rows if row.name in ("multiply", "softmax", "sum")} == {
        "multiply": 1, "softmax": 1, "sum": 1
    }  # fmt: skip


def test_the_mode_is_as_before_after_an_error():
    with pytest.raises(ZeroDivisionError):
        mt.vmap(lambda x: 1 // 0)(X)
    assert (X + X).shape == (2, 3) and mt.random.uniform(()).shape == ()
    from minitensor.engine.mode import current_mode

    assert current_mode.get().observer is None and not isinstance(current_mode.get().observer, Level)


# --- errors ---------------------------------------------------------------------------------------

I = mt.tensor([1, 2, 3])  # noqa: E741
ERRORS = [
    (lambda: mt.vjp(mt.sin, I), TypeError, "vjp: primal 0 is int64, and only floating numbers have a derivative"),
    (lambda: mt.vjp(lambda x: x["a"], {"a": 3}), TypeError, r"vjp: primal 0\['a'\] is int"),
    (lambda: mt.vjp(lambda x: x, "text"), TypeError, "primal 0 is a str: tensors, arrays and floats"),
    (lambda: mt.value_and_grad(lambda x, i: x.sum(), (0, 1))(V, I), TypeError, r"argument 1 \(argnums\) is int64.*out of argnums"),
    (lambda: mt.vjp(mt.sin, V)[1](V[:2]), ValueError, r"the cotangent has the shape \(2,\), the output \(3,\)"),
    (lambda: mt.vjp(mt.sin, V)[1](V.astype("float32")), TypeError, "the cotangent has the type float32, the output float64"),
    (lambda: mt.vjp(mt.sin, V)[1]((V,)), TypeError, "cotangent is a tuple, it must be a tensor"),
    (lambda: mt.vjp(lambda x: (x, x), V)[1](V), TypeError, "the cotangent is a Tensor, but the output is a tuple of 2"),
    (lambda: mt.vjp(lambda x: {"a": x}, V)[1]({"b": V}), TypeError, r"a dict with the keys \['b'\].*\['a'\]"),
    (lambda: mt.vjp(lambda x: x.argmax(), V)[1](V), TypeError, "which has no derivative: its cotangent must be None"),
    (lambda: mt.vjp(lambda x: "text", V), TypeError, "the function returned a str"),
    (lambda: mt.vjp(mt.sin, V, has_aux=True), TypeError, r"returns a pair \(output, aux\), got a Tensor"),
    (lambda: mt.jvp(mt.sin, V, V), TypeError, "jvp: primals is a tuple or list"),
    (lambda: mt.jvp(mt.sin, (V,), (V, V)), ValueError, "1 primals but 2 tangents"),
    (lambda: mt.jvp(mt.sin, (V,), (V[:2],)), ValueError, r"tangent 0 has the shape \(2,\), the primal \(3,\)"),
    (lambda: mt.jvp(mt.sin, (V,), (I,)), TypeError, "tangent 0 has the type int64, the primal float64"),
    (lambda: mt.jvp(lambda t: t["a"], ({"a": V},), (V,)), TypeError, "tangent 0 is a Tensor, but primal 0 is a dict"),
    (lambda: mt.jvp(lambda t: t[0], ([V],), ((V,),)), TypeError, "tangent 0 is a tuple of 1, but primal 0 is a list of 1"),
    (lambda: mt.hvp(mt.sin, (V,), (V,)), ValueError, r"hvp: the function must return one number.*got one of shape \(3,\)"),
    (lambda: mt.value_and_grad(mt.sin)(V), ValueError, r"one of shape \(3,\): write .sum\(\)"),
    (lambda: mt.value_and_grad(lambda x: (x.sum(), x))(V), TypeError, "got a tuple; has_aux=True"),
    (lambda: mt.value_and_grad(lambda x: x.argmax())(V), TypeError, "returned int64, which has no derivative"),
    (lambda: mt.value_and_grad(mt.sum, 1)(V), ValueError, "argnums = 1 is out of range: the function was called with 1 positional"),
    (lambda: mt.value_and_grad(mt.sum, (0, -1))(V), ValueError, "names an argument twice"),
    (lambda: mt.value_and_grad(mt.sum, "x"), TypeError, "argnums is an integer or a sequence of them, got 'x'"),
    (lambda: mt.jacobian(mt.sum, True), TypeError, "argnums is an integer"),
    (lambda: mt.jacobian(lambda x: x.argmax())(V), TypeError, "the output is int64, which has no derivative"),
    (lambda: mt.hessian(3), TypeError, "hessian: the first argument must be a function, got 3"),
    (lambda: mt.vmap(3), TypeError, "vmap: the first argument must be a function"),
    (lambda: mt.vjp(V, V), TypeError, "vjp: the first argument must be a function, got tensor"),
    (lambda: mt.vmap(mt.sin, "a"), TypeError, "in_axes is an int, None, or a tuple"),
    (lambda: mt.vmap(mt.sin, (0.5,)), TypeError, r"in_axes\[0\] must be an int or None, got 0.5"),
    (lambda: mt.vmap(mt.add, (0,))(X, X), ValueError, "in_axes has 1 entries for 2 positional arguments"),
    (lambda: mt.vmap(mt.sin, 2)(X), ValueError, r"argument 0 has shape \(2, 3\), and no axis 2 of examples"),
    (lambda: mt.vmap(mt.sin)(3.0), ValueError, "no axis 0 of examples"),
    (lambda: mt.vmap(mt.sin)("text"), TypeError, "argument 0 is a str, which has no axis of examples"),
    (lambda: mt.vmap(mt.add)(X, V), ValueError, "numbers of examples differ: argument 0 has 2 along axis 0; argument 1 has 3"),
    (lambda: mt.vmap(mt.sin, axis_size=3)(X), ValueError, "argument 0 has 2 along axis 0; axis_size is 3"),
    (lambda: mt.vmap(mt.sin, None)(X), ValueError, "no argument has an axis of examples"),
    (lambda: mt.vmap(lambda t: t["a"], ({"b": 0},))({"a": X}), TypeError, "in_axes does not fit"),
    (lambda: mt.vmap(lambda x: (x, x), 0, (0, 0, 0))(X), TypeError, "out_axes does not fit: it has a tuple of 3"),
    (lambda: mt.vmap(mt.sin, 0, 2)(X), ValueError, "out_axes is 2 for the result"),
    (lambda: mt.vmap(mt.sin, 0, None)(X), ValueError, "differs from example to example"),
    (lambda: mt.vmap(lambda x: "text")(X), TypeError, "the function returned a str"),
    (lambda: mt.vmap(lambda x: x.reshape(2))(X), ValueError, r"reshape\(x: \(3,\)"),
    (lambda: mt.vmap(lambda x: x.sum(axis=1))(X), ValueError, "axis 1 is out of"),
    (lambda: mt.vmap(mt.sin, loop=True)(mt.zeros((0, 2))), ValueError, "no example to run"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number):
    call, kind, said = ERRORS[number]
    with pytest.raises(kind, match=said):
        call()


@pytest.mark.gpu
def test_the_device_stays():
    x = X.to("cuda")
    for made in (mt.jvp(mt.sin, (x,), (x,))[1], mt.vjp(mt.sin, x)[1](x)[0], mt.vmap(lambda x: x[x.argmax()] * F.softmax(x))(x),
                 mt.hessian(lambda x: (F.softmax(x) ** 2).sum())(x), mt.vmap(mt.jacobian(mt.sin))(x)):  # fmt: skip
        assert made.device == x.device
