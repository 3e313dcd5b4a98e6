"""Checks at their edges: outputs in narrow types, snippets of odd inputs, bounds of strategies."""

import base64
import collections
import functools
import warnings
import zlib

import hypothesis
import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.testing import adapters, check_op, gradcheck, mutants
from minitensor.testing import strategies as mst
from minitensor.testing.collected import collecting
from minitensor.testing.profiles import of_case
from minitensor.testing.snippet import literal

X = np.random.default_rng(0).normal(size=(4, 6, 2))


# --- narrow types ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "factor"), [("float16", 1.5), ("float32", 1.0 + 1e-5)])
def test_outputs_that_are_wrong_in_a_narrow_type(dtype, factor):
    def square(x):
        return x * x * x.dtype.type(factor if x.dtype == dtype else 1.0)

    with pytest.raises(AssertionError, match=rf"output 0 at index .* in {dtype} but .* in float64; rounding explains"):
        gradcheck((square, lambda g, x: 2 * g * x), [X[0, :, 0]], dtype=dtype)


@pytest.mark.parametrize(
    ("function", "dtypes"),
    [
        (F.softmax, ["float32"]),
        (lambda x: mt.floor(x * 3.0) + x, ["float16"]),
        (lambda x: (x + 100.0) - 100.0, ["bfloat16"]),
    ],
)
def test_right_outputs_in_narrow_types_pass(function, dtypes):
    # A softmax of large inputs takes what is nearly g from g.
    x = np.array([0.1, 0.2, -0.3, 15.94256576485075, 24.19257854367513])
    assert gradcheck(function, [x], dtype=dtypes).checked


def test_a_type_without_fractions_is_told():
    with pytest.raises(TypeError, match="dtype='int32': it takes float16"):
        gradcheck(mt.sin, [X[0]], dtype="int32")


# --- snippets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        X[:, ::2], X[::-1], X[:, :, ::-1], X[::2, ::-3], X.T[::2], X.transpose(1, 0, 2), X[:, 0], X[..., 0], X[0, ::-1, 0],
        np.asfortranarray(X)[::2, :, ::2], X[1:3, 2:4], np.arange(500.0)[::2],
    ],
)  # fmt: skip
def test_an_array_is_written_down_as_it_lies_in_memory(array):
    made = eval(literal(array), {"np": np, "base64": base64, "zlib": zlib})
    np.testing.assert_array_equal(made, array)
    assert [np.sign(s) for s in made.strides] == [np.sign(s) for s in array.strides]
    for flag in ("c_contiguous", "f_contiguous"):
        assert getattr(made.flags, flag) == getattr(array.flags, flag)


def test_a_rule_that_is_wrong_for_gaps_fails_again_when_it_is_pasted():
    def rule(g, x):
        return g * np.cos(x) * (1.0 if x.flags.c_contiguous else 1.01)

    for array in (X[:, ::2], X[:, ::-1]):
        with pytest.raises(AssertionError) as caught:
            gradcheck((np.sin, rule), [array])
        words, _, snippet = str(caught.value).partition("paste:\n")
        with pytest.raises(AssertionError) as again:
            exec(snippet, {"rule": rule})
        assert str(again.value).startswith(words)


def test_functions_without_a_name_have_each_its_own_in_a_snippet():
    with pytest.raises(AssertionError) as caught:
        check_op(lambda x: mt.sin(x), [X[0]], reference=lambda x: np.sin(x) + 1e-3)
    assert "check_op(fn, [" in str(caught.value) and "reference=reference" in str(caught.value)
    with pytest.raises(AssertionError) as caught:
        gradcheck((functools.partial(np.power, 2.0), lambda g, x: g), [X[0]])
    assert "gradcheck((f, vjp), [" in str(caught.value)


def test_arrays_of_pytorch_are_written_down():
    torch = pytest.importorskip("torch")
    assert literal(torch.tensor([0, 2])) == "torch.tensor(np.array([0, 2], dtype='int64'))"
    with pytest.raises(AssertionError, match=r"import torch\n(.*\n)*.*torch\.tensor\(np\.array\(\[0, 1\]"):
        gradcheck(lambda x, ids: torch.gather(x.detach() ** 2 + x, 0, ids), [X[0, :, 0], torch.tensor([0, 1])])


# --- strategies and profiles ----------------------------------------------------------------------


def drawn(strategy):
    found: list = []

    @hypothesis.settings(max_examples=20, database=None, derandomize=True)
    @hypothesis.given(strategy)
    def run(value):
        found.append(value.numpy().reshape(-1))

    run()
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("bounds", "least", "most"),
    [({"low": 0.3, "high": 0.4}, 0.3, 0.4), ({"low": 3.0}, 3.0, 7.0), ({"high": -5.0}, -9.0, -5.0)],
)
def test_what_is_drawn_lies_between_the_bounds(bounds, least, most):
    values = drawn(mst.tensors(**bounds))
    assert least <= values.min() and values.max() <= most


def test_bounds_and_profiles_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="low is 3 and high 1: no number lies between them"):
        drawn(mst.tensors(low=3, high=1))
    with pytest.raises(ValueError, match="the profile '0-d' draws shapes: leave out shape="):
        drawn(mst.tensors(shape=(2,), profile="0-d"))
    with pytest.raises(ValueError, match=r"the profile '0-d' draws shapes: it is one for st\.tensors"):
        check_op(mt.sin, [X[0]], profiles=["0-d"], order=1)


def test_named_tuples_and_dicts_are_varied_and_keywords_are_not():
    pair = collections.namedtuple("pair", "w b")
    varied, inside = of_case([pair(X, X), {"w": X.astype(np.float16)}], "huge", np.random.default_rng(0))
    assert abs(varied.b).max() > 1e3 and 1e3 < abs(inside["w"]).max() < np.inf
    largest = []
    check_op(lambda x, *, w: (largest.append(abs(w).max()), x * 1.0)[1], [X[0], {"w": X}], profiles="huge", order=1)
    assert max(largest) == abs(X).max()


# --- adapters and names ---------------------------------------------------------------------------


def test_a_number_of_python_has_the_type_of_the_inputs():
    report = check_op((lambda x: float((x * x).sum()), lambda g, x: 2 * g * x), [X[0]], dtype="float32")
    assert report.checked


@pytest.mark.parametrize(("function", "words"), [(3, "got int"), ((abs, abs, 1), "got a tuple of 3")])
def test_what_is_no_function_is_told(function, words):
    with pytest.raises(TypeError, match=words):
        gradcheck(function, [X[0]])


def test_what_leads_back_nowhere_is_told():
    torch = pytest.importorskip("torch")
    with pytest.raises(AssertionError, match="nothing leads back from its outputs: PyTorch never ran a backward"):
        gradcheck(lambda x: torch.tensor(x.sum().item()), [X[0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(torch.nn.Linear(2, 3))
    with pytest.raises(TypeError, match="a scripted module cannot be lent"):
        adapters.torch_function(scripted)


@pytest.mark.torch
def test_pytorch_is_given_its_own_tensors_in_dicts():
    torch = pytest.importorskip("torch")
    x = np.array([0.3, -1.0])
    assert gradcheck(lambda p: torch.tanh(p["w"]) + p["b"][0], [{"w": x, "b": (x, None)}]).checked == 2
    with pytest.raises(AssertionError, match="by its rule"):
        gradcheck((lambda p: p["w"] * 2, lambda g, p: {"w": 3 * g}), [{"w": x}])


def test_pairs_have_the_name_of_their_function_in_the_table():
    with collecting([]) as entries:
        gradcheck((np.sin, lambda g, x: g * np.cos(x)), [X[0]])
    assert entries[0]["op"] == "sin"
    with pytest.raises(TypeError, match="got sin: give the op"):
        mutants((np.sin, np.cos), [X[0]])


# --- why NaN --------------------------------------------------------------------------------------


def infinite_data_behind_an_optimiser():
    layer = mt.nn.Linear(3, 1)
    sgd = mt.optim.SGD(layer.parameters(), lr=0.01)
    for k in range(2):
        x = np.ones((4, 3), np.float32)
        x[2, 1] = np.inf if k else 1.0
        loss = (layer(mt.tensor(x)) ** 2).mean()
        loss.backward()
        sgd.step()
    return loss


def masked_target():
    logits = mt.where(np.array([[True, False, True]]), mt.ones((1, 3)), -np.inf)
    return F.cross_entropy(logits, np.array([1]))


def singular():
    return mt.linalg.slogdet(mt.zeros((2, 2)) * 1.0)[1]


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (infinite_data_behind_an_optimiser, "NaN or infinity in the data"), (masked_target, "masked target"),
        (singular, "log of 0 or less"),
    ],
)  # fmt: skip
def test_causes_that_were_named_otherwise(function, cause):
    with np.errstate(all="ignore"):
        finding = mt.why_nan(function)
    assert finding.cause == cause
    if function is infinite_data_behind_an_optimiser:
        assert finding.rows == (2,) and finding.phase == "backward"


# --- functions that refuse what lies outside their domain -----------------------------------------


def picky_log(factor):
    @mt.op
    def picky(xp, x):
        if (x <= 0).any():
            raise ValueError("x must be positive")
        return xp.log(x)

    picky.vjp(lambda g, x: g / x * factor)
    return picky


@pytest.mark.parametrize("x", [[0.2, 3.0], [1e-3], [1e-8, 5.0]])
def test_steps_that_the_function_refuses_say_nothing(x):
    assert check_op(picky_log(1.0), [np.array(x)]).hidden == 0
    with pytest.raises(AssertionError, match="by its rule but"):
        check_op(picky_log(1.001), [np.array(x)])


def test_a_function_that_refuses_every_step():
    def picky(x):
        if x.numpy().tolist() != [1.0, 2.0]:
            raise ValueError("no")
        return x * 2

    with pytest.raises(AssertionError, match="or at the end of what is taken: move the inputs off it"):
        gradcheck(picky, [np.array([1.0, 2.0])])
    with pytest.raises(ValueError, match="no"):  # the inputs themselves
        gradcheck(picky, [np.array([1.0, 3.0])])


def test_matrices_that_a_step_makes_unsymmetric():
    """A gradient of zeros is looked at by a step of 0.37 first, at which ``eigh`` refuses these."""
    x = np.array([[0.5, -0.1, 0.2], [-0.1, 0.9, -0.2], [0.2, -0.2, 0.7]])
    assert gradcheck(lambda x: 0.0 * mt.linalg.eigh(x).eigenvalues, [x]).checked
