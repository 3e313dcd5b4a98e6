"""What an op, a kernel or a rule returns is looked at: one array of numbers, and what else was
promised.
"""

import numpy as np
import pytest

import minitensor as mt

x = mt.tensor([1.0, 2.0], requires_grad=True)
CONSTANT = x.detach()

NO_ARRAYS = {
    "a pair": (lambda xp, a: (a, a), "a tuple"),
    "a list": (lambda xp, a: [a, a], "a list"),
    "None": (lambda xp, a: None, "a NoneType"),
    "a dict": (lambda xp, a: {"a": a}, "a dict"),
    "a string": (lambda xp, a: "a", "a str"),
    "a tensor": (lambda xp, a: mt.exp(a), "a Tensor.*with the functions of its xp"),
    "objects": (lambda xp, a: np.array([None, 1.0]), "an array of object"),
    "complex": (lambda xp, a: a * 1j, "an array of complex"),
    "strings": (lambda xp, a: np.array(["a"]), "an array of <U1"),
    "dates": (lambda xp, a: np.zeros(2, "M8[s]"), "an array of datetime64"),
}


@pytest.mark.parametrize(("function", "message"), NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_an_op_returns_one_array(function, message):
    def binary(xp, a, b):
        return function(xp, a)

    def several(xp, *arrays):
        return function(xp, arrays[0])

    for made, count in ((mt.op(function), 1), (mt.op(binary), 2), (mt.op(several), 3)):
        made.vjp(*[lambda g: g] * (1 if count in (1, 3) else 2))
        for given in (x, CONSTANT):
            for _ in range(2):  # the second call goes the short way
                with pytest.raises(TypeError, match=f"returned {message}"):
                    made(*[given] * count)


def test_numbers_are_arrays_too():
    for out in (3, 2.5, True, np.float64(1.5), np.int32(4), np.array(7.0)):
        made = mt.op(lambda xp, a, out=out: out)(CONSTANT)
        assert made.shape == () and made.item() == out
    short = mt.op(lambda xp, a: a if a[0] > 0 else (a, a))  # right at first
    short.vjp(lambda g: g)
    assert short(x).shape == (2,)
    with pytest.raises(TypeError, match="returned a tuple"):
        short(-x)


def fused(kernel):
    """An op with this kernel."""
    made = mt.fused(lambda a: a * 2.0)
    made.kernel(kernel)
    return made


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda xp, a: a, "must return .*not ndarray"),
        (lambda xp, a: None, "must return .*not NoneType"),
        (lambda xp, a: (a, a), r"not tuple \(ndarray, ndarray\)"),
        (lambda xp, a: (a, a, lambda g: (g,)), "not tuple"),
        (lambda xp, a: (a, None), r"not tuple \(ndarray, NoneType\)"),
        (lambda xp, a: ((a, a), lambda g: (g,)), "returned a tuple"),
        (lambda xp, a: (None, lambda g: (g,)), "returned a NoneType"),
        (lambda xp, a: (a.astype(object), lambda g: (g,)), "returned an array of object"),
    ],
)
def test_a_kernel_returns_an_array_and_a_function(kernel, message):
    with pytest.raises(TypeError, match=message):
        fused(kernel)(x)


def test_a_kernel_need_not_give_a_backward_where_none_is_wanted():
    assert fused(lambda xp, a: (a, None))(CONSTANT).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda g: g, "one gradient .* for each of its 1 inputs, as a tuple, not ndarray"),
        (lambda g: (g, g), r"not tuple \(ndarray, ndarray\)"),
        (lambda g: None, "not NoneType"),
        (lambda g: ("g",), "must return an array"),
        (lambda g: (g.astype(object),), "an array of object"),
        (lambda g: (g[:1],), "shape"),
    ],
)
def test_a_backward_returns_one_gradient_per_input(backward, message):
    with pytest.raises((TypeError, RuntimeError), match=message):
        fused(lambda xp, a: (a * 2.0, backward))(x).sum().backward()


def test_a_definition_alone_returns_one_tensor():
    def returning(out):
        return mt.fused(lambda a: out)

    for out in ((x, x), None, np.ones(2)):
        with pytest.raises(TypeError, match="one tensor"):
            returning(out)(x)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda g: None, "a rule returned None"),
        (lambda g: (g,), "must return an array"),
        (lambda g: 2.0, "must return an array"),
        (lambda g: np.array([None, None]), "an array of object"),
        (lambda g: g * 1j, "an array of complex"),
        (lambda g: mt.exp(g), r"given arrays and returned a Tensor: write xp\.cos"),
    ],
)
def test_a_rule_returns_an_array(rule, message):
    made = mt.op(lambda xp, a: a * 2.0)
    made.vjp(rule)
    with pytest.raises(TypeError, match=message):
        made(x).sum().backward()
    with pytest.raises(TypeError, match=message):
        mt.grad(made(x).sum(), x)
