"""The checks are checked: wrong gradients are planted one at a time, and each must be caught and
named.
"""

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
from minitensor.engine import autograd, sums
from minitensor.engine.fused import FUSED
from minitensor.engine.op import OPS
from minitensor.ops.reductions import count_of, keep
from minitensor.testing import check, check_op, gradcheck, gradgradcheck

ROWS = {name: row for row in reversed(TABLE) for name in (row.name, *row.ops)}


def constant(x):
    """``x`` cut off from the graph, array or Tensor alike."""
    return mt.Tensor(x.data) if isinstance(x, mt.Tensor) else x


def spoil_g(g, out):
    """Right, but computed in the array of the gradient that was lent."""
    g *= out
    return g


def spoil_out(g, out):
    """Right, but computed in the array of the saved result."""
    out *= g
    return out


def flipped_nowhere(xp, g, axis):
    """A running sum from the wrong end."""
    return g.cumsum(axis=axis)


WRONG_RULES = {
    "a sign (sin)": ("sin", [lambda xp, g, x: -g * xp.cos(x)]),
    "a sign, second operand (subtract)": ("subtract", [lambda g: g, lambda g: g]),
    "a sign (arccos)": ("arccos", [lambda xp, g, x: g / xp.sqrt(1.0 - x * x)]),
    "a scale (square)": ("square", [lambda g, x: g * x]),
    "a scale of 1.0001 (exp)": ("exp", [lambda g, out: g * out * 1.0001]),
    "a scale (log2)": ("log2", [lambda g, x: g / x]),
    "the count forgotten (mean)": (
        "mean", [lambda xp, g, x_shape, axis: xp.broadcast_to(keep(g, x_shape, axis), x_shape)],
    ),
    "n for n - ddof (var)": (
        "var",
        [lambda g, x, axis: keep(2.0 * g, x.shape, axis) * (x - x.mean(axis=axis, keepdims=True)) / count_of(x.shape, axis)],
    ),
    "operands exchanged (multiply)": ("multiply", [lambda g, x: g * x, lambda g, y: g * y]),
    "a factor forgotten (divide)": ("divide", [lambda g, y: g / y, lambda g, out: -g * out]),
    "a wrong end (cumsum)": ("cumsum", [flipped_nowhere]),
    "a wrong axis (flip)": ("flip", [lambda xp, g, axis: xp.flip(g, axis=0) if g.ndim else g]),
    "a wrong direction (roll)": ("roll", [lambda xp, g, shift, axis: xp.roll(g, shift, axis=axis)]),
    "axes not put back (permute_dims)": ("permute_dims", [lambda xp, g, axes, x_shape: xp.permute_dims(g, axes).reshape(x_shape)]),
    "an off-by-one mask (tril)": ("tril", [lambda xp, g, k: xp.tril(g, k + 1)]),
    "an off-by-one mask (triu)": ("triu", [lambda xp, g, k: xp.triu(g, k + 1)]),
    "an off-by-one slice (pad)": ("pad", [lambda xp, g, x_shape, pad_width: _pad_rule(g, x_shape, pad_width)]),
    "branches exchanged (where)": (
        "where", [None, lambda xp, g, condition: xp.where(condition, 0.0, g), lambda xp, g, condition: xp.where(condition, g, 0.0)],
    ),
    "a missing transposition (matmul)": ("matmul", [lambda g, y: g @ y, OPS["matmul"].rules[1]]),
    "a rule missing (maximum)": ("maximum", [OPS["maximum"].rules[0], None]),
    "nothing but zeros (tanh)": ("tanh", [lambda g: g * 0.0]),
    "only the second derivative (tanh)": ("tanh", [lambda g, out: g * (1.0 - constant(out) * constant(out))]),
    "only the second derivative, of the cotangent (exp)": ("exp", [lambda g, out: constant(g) * out]),
    "a rule that writes to the gradient (exp)": ("exp", [spoil_g]),
    "a rule that writes to a saved value (exp)": ("exp", [spoil_out]),
    "repeated indices overwrite (getitem)": ("getitem", [lambda xp, g, index, x_shape: _overwrite(xp, g, index, x_shape)]),
    "a tanh as sigmoid's (sigmoid)": ("sigmoid", [lambda g, out: g * (1.0 - out * out)]),
    "padding ignored (embedding)": ("embedding", [lambda g, ids, weight_shape: autograd.Scatter(g * 0.5, ids, weight_shape)]),
}  # fmt: skip


def _pad_rule(g, x_shape, pad_width):
    starts = [before + (before + n < length) for (before, _), n, length in zip(pad_width, x_shape, g.shape)]
    return g[tuple(slice(start, start + n) for start, n in zip(starts, x_shape))]


def _overwrite(xp, g, index, x_shape):
    out = np.zeros(x_shape)
    out[index] = getattr(g, "data", g) if isinstance(g, mt.Tensor) else g
    return mt.Tensor(out) if isinstance(g, mt.Tensor) else out


@pytest.fixture
def plant(monkeypatch):
    """Give an op other rules, or a fused op another kernel, for one test."""

    def planted(name, value):
        if name in FUSED:
            kernels = FUSED[name].kernels
            monkeypatch.delitem(kernels, "cpu", raising=False)  # which would go before it
            monkeypatch.setitem(kernels, "any", (value(kernels["any"][0]), kernels["any"][1]))
            return
        monkeypatch.setattr(OPS[name], "rules", tuple(value))
        forgotten.append((OPS[name].pullbacks, dict(OPS[name].pullbacks)))
        OPS[name].pullbacks.clear()

    forgotten = []
    yield planted
    for pullbacks, before in forgotten:
        pullbacks.clear()
        pullbacks.update(before)


def caught(row):
    """The message with which ``check_op`` refuses the row's op: of the first example that fails.

    To shrink it takes three times as long, and is tested in test_testing.py.
    """
    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError) as error:
        patch.setattr(check, "PHASES", ("generate",))
        check_op(row.function, row.cases, order=row.order, wanted=row.wanted, name=row.name, examples=40)
    return str(error.value)


# What the check says of a wrong rule. A rule of this file that cannot run at all would be refused
# in other words.
SAID = {
    "maximum": "which kink together",
    "matmul": "its gradient fails: ValueError: matmul, in backward: matmul: Input operand 1 has a mismatch",
}


@pytest.mark.parametrize("mutation", WRONG_RULES)
def test_a_wrong_rule_is_caught(mutation, plant):
    name, rules = WRONG_RULES[mutation]
    plant(name, rules)
    message = caught(ROWS[name])
    said = "writes to one of its arguments" if rules[0] in (spoil_g, spoil_out) else SAID.get(name, "by its rule but")
    assert said in message, message
    assert ROWS[name].name in message and "shrunk example:" in message and "seed: 0" in message


@pytest.mark.parametrize(("name", "what"), [("spoil_g", [spoil_g]), ("spoil_out", [spoil_out])])
def test_a_rule_that_writes_is_told_so(name, what, plant):
    plant("exp", what)
    with pytest.raises(AssertionError, match="exp writes to one of its arguments.*pure"):
        gradcheck(mt.exp, [np.ones(3)])


# --- kernels --------------------------------------------------------------------------------------


def backward_as(change):
    """A kernel whose backward gives what ``change`` makes of the right gradients."""

    def planted(kernel):
        def mutated(xp, *inputs, **keywords):
            out, backward = kernel(xp, *inputs, **keywords)
            return out, backward and (lambda g: tuple(change(list(backward(g)), g)))

        mutated.__signature__ = __import__("inspect").signature(kernel)
        return mutated

    return planted


def first_row_only(gradients, g):
    """The gradient of a bias without the sum over the rows."""
    if gradients[2] is not None and g.size:
        gradients[2] = g.reshape(-1, g.shape[-1])[0]
    return gradients


def off_centre(gradients, g):
    """A softmax that forgets that its outputs sum to 1."""
    gradients[0] = gradients[0] + 1e-4 * g
    return gradients


def keys_for_queries(gradients, g):
    """Two gradients of one shape exchanged."""
    if gradients[0] is not None and gradients[0].shape == gradients[1].shape:
        gradients[:2] = gradients[1::-1]
    return gradients


def shifted(gradients, g):
    """The row of the next target."""
    gradients[0] = np.roll(gradients[0], 1, axis=0)
    return gradients


def zeroed(gradients, g):
    """A weight that never learns."""
    gradients[1] = None if gradients[1] is None else gradients[1] * 0.0
    return gradients


def written(gradients, g):
    """A kernel that scales its gradient in the array that it was lent."""
    g *= 1.0
    return gradients


WRONG_KERNELS = {
    "a lost sum over rows (linear)": ("linear", first_row_only),
    "a centre forgotten (softmax)": ("softmax", off_centre),
    "gradients exchanged (attention)": ("scaled_dot_product_attention", keys_for_queries),
    "rows shifted (cross_entropy)": ("cross_entropy", shifted),
    "a weight that never learns (layer_norm)": ("layer_norm_last", zeroed),
    "a kernel that writes to the gradient (gelu)": ("gelu", written),
    "a scale (silu)": ("silu", lambda gradients, g: [gradients[0] * 1.001]),
}


@pytest.mark.parametrize("mutation", WRONG_KERNELS)
def test_a_wrong_kernel_is_caught(mutation, plant):
    name, change = WRONG_KERNELS[mutation]
    plant(name, backward_as(change))
    assert ROWS[name].name in caught(ROWS[name])


def kept(kernel):
    """A kernel that gives the same array each time."""

    def mutated(xp, x):
        out, backward = kernel(xp, x)
        store = []

        def again(g):
            store.append(backward(g)[0])
            store[0][...] = store[-1]
            return (store[0],)

        return out, again

    return mutated


def test_a_kernel_that_returns_what_it_was_lent_is_caught():
    @mt.fused
    def doubled(x):
        return x + x

    @doubled.kernel
    def _(xp, x):
        return x + x, lambda g: (np.multiply(g, 2.0, out=g) if g.flags.writeable else g * 2.0,)

    with pytest.raises(
        AssertionError, match="kernel of doubled returns shares memory with the gradient that it was given"
    ):
        check_op(doubled, [np.ones(3)])


def test_a_kernel_that_gives_one_array_twice_is_caught(plant):
    plant("silu", kept)
    with pytest.raises(AssertionError, match="kernel of silu returns shares memory with what a second call gave"):
        check_op(mt.nn.functional.silu, [np.ones(3)])


def test_a_kernel_that_uses_up_what_it_saved_is_caught(plant):
    def planted(kernel):
        def mutated(xp, x, *, approximate="none"):
            out, backward = kernel(xp, x, approximate=approximate)
            calls = []
            return out, lambda g: (calls.append(g), (backward(g)[0] * len(calls),))[1]

        return mutated

    plant("gelu", planted)
    with pytest.raises(AssertionError, match="gelu: a second backward gives another gradient"):
        check_op(mt.nn.functional.gelu, [np.ones(3)])


def test_a_kernel_with_another_value_is_caught(plant):
    plant("silu", lambda kernel: lambda xp, x: (kernel(xp, x)[0] * (1 + 1e-8), kernel(xp, x)[1]))
    with pytest.raises(AssertionError, match="silu: output 0 of the kernel at index .* the definition gives"):
        check_op(mt.nn.functional.silu, [np.ones(3)])


# --- the engine -----------------------------------------------------------------------------------


def test_a_lost_broadcast_sum_is_caught(monkeypatch):
    """A slice in place of the sum over a broadcast axis: right if all elements are equal, so ones
    would not see it.
    """

    def sliced(gradient, shape):
        while gradient.ndim > len(shape):
            gradient = gradient[0]
        return gradient[tuple(slice(0, n) if n == 1 else slice(None) for n in shape)]

    monkeypatch.setattr(sums, "unbroadcast", sliced)
    for name in ("add", "multiply", "maximum"):
        assert name in caught(ROWS[name])


def test_a_mean_for_a_broadcast_sum_is_caught(monkeypatch):
    right = sums.unbroadcast
    mean = lambda gradient, shape: right(gradient / max(1, gradient.ndim - len(shape) + 1), shape)  # noqa: E731
    monkeypatch.setattr(sums, "unbroadcast", mean)
    assert "add" in caught(ROWS["add"])


def test_a_lost_second_use_is_caught(monkeypatch):
    monkeypatch.setattr(sums.GradientSums, "add", lambda self, node, value, *more: self.values.setdefault(node, value))
    with pytest.raises(AssertionError, match="by differences"):
        gradcheck(lambda x: x * x, [np.array([1.0, 2.0])])


# --- functions that are not what they seem --------------------------------------------------------


def test_a_function_that_writes_to_its_input_is_caught():
    @mt.op
    def doubled(xp, x):
        x *= 2.0
        return x

    doubled.vjp(lambda g: g * 2.0)
    with pytest.raises(AssertionError, match="doubled writes to one of its arguments"):
        check_op(doubled, [np.ones(3)])


def test_a_value_that_depends_on_recording_is_caught():
    def sly(x):
        return x * (1.0 if autograd.current_mode.get().grad else 1.0 + 1e-15)

    with pytest.raises(AssertionError, match="sly: output 0 differs between a call under no_grad and a recorded one"):
        check_op(sly, [np.array([1.0, 3.0])])


def test_float64_from_float32_is_caught():
    wide = mt.asarray(np.float64(2.0) * np.ones(3))
    with pytest.raises(AssertionError, match="output 0 of float32 inputs is float64"):
        check_op(lambda x: x * wide, [np.ones(3)], name="widening")


def test_a_dependence_on_memory_layout_is_caught():
    @mt.op
    def raw_order(xp, x):
        return x.ravel(order="K").reshape(x.shape)

    raw_order.vjp(lambda g, x_shape: g.reshape(x_shape))
    with pytest.raises(AssertionError, match="non-contiguous inputs"):
        check_op(raw_order, [np.arange(6.0).reshape(2, 3)])


def test_a_wrong_reference_value_shape_and_type_are_told():
    with pytest.raises(AssertionError, match=r"exp: output 0 at index \(1,\) is .*, the reference gives"):
        check_op(mt.exp, [np.zeros(2)], reference=lambda x: np.array([1.0, 2.0]))
    with pytest.raises(AssertionError, match=r"exp: output 0 has shape \(2,\), the reference \(3,\)"):
        check_op(mt.exp, [np.zeros(2)], reference=lambda x: np.ones(3))
    with pytest.raises(AssertionError, match="exp: output 0 is float64, the reference int64"):
        check_op(mt.exp, [np.zeros(2)], reference=lambda x: np.ones(2, dtype=int))


def test_gradgradcheck_alone_sees_a_second_derivative(plant):
    plant("tanh", WRONG_RULES["only the second derivative (tanh)"][1])
    x = np.array([0.3, -0.8])
    assert gradcheck(mt.tanh, [x]).checked
    with pytest.raises(AssertionError, match=r"the gradient of tanh: the gradient of input 0 \(x\) at index \(0,\) is"):
        gradgradcheck(mt.tanh, [x])
