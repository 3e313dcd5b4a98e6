"""What the checks say of mistakes: words that name what was given, and lines that fail again."""

import itertools
import re

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import check_op, gradcheck, gradgradcheck
from minitensor.testing import strategies as st

X = np.array([0.5, -1.5, 2.0])
SQUARE = (lambda x: x * x, lambda g, x: 2 * g * x)


def fails_again(check, *given, **options):
    """The message of a failed check, whose snippet fails again in a namespace of its own."""
    before = mt.random.default.state
    with pytest.raises(AssertionError) as caught:
        check(*given, **options)
    assert mt.random.default.state == before
    words, _, snippet = str(caught.value).partition("\n\nTo see it again, paste:\n\n")
    with pytest.raises(AssertionError) as again:
        exec(snippet, {})
    assert str(again.value).startswith(words.partition("\nshrunk")[0].partition("\nseed")[0])
    return words, snippet


# --- lines to paste for layers --------------------------------------------------------------------


class Detached(mt.nn.Module):
    """A layer whose gradient lacks a part."""

    def __init__(self, d_in, bias=True):
        self.d_in, self.bias = d_in, bias
        self.linear = mt.nn.Linear(d_in, 2, bias=bias)

    def forward(self, x):
        return self.linear(x) + self.linear(x.detach())


class Hidden(Detached):
    """It does not keep what it was made with."""

    def __init__(self, size):
        super().__init__(size + 1)


LAYERS = [
    Detached(3), Detached(d_in=3, bias=False).astype("float64").eval(),
    mt.nn.Sequential(mt.nn.Linear(3, 3, bias=False), mt.nn.Tanh(), Detached(3)),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_made_again_with_its_values(layer):
    _, snippet = fails_again(gradcheck, layer, [X])
    assert "layer = " in snippet and "layer.load_state_dict({" in snippet
    made: dict = {}
    exec(snippet.partition("gradcheck(layer")[0], made)
    assert repr(made["layer"]) == repr(layer) and made["layer"].training == layer.training
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(made["layer"].state_dict()[name].numpy(), value.numpy(), strict=True)


def test_a_layer_that_cannot_be_made_again_is_left_to_the_reader():
    layer = Hidden(2)
    with pytest.raises(AssertionError) as caught:
        gradcheck(layer, [X])
    snippet = str(caught.value).partition("paste:\n\n")[2]
    assert "# layer: the Hidden that was checked, made as it is where the check was called" in snippet
    with pytest.raises(AssertionError, match="by its rule but"):
        exec(snippet, {"layer": Hidden(2)})


def test_an_object_that_is_called_is_no_class_in_the_lines():
    class Scale:
        def __call__(self, x):
            return x * 2.0 + x.detach()

    with pytest.raises(AssertionError, match=r"\n# fn: the function that was checked.*\ngradcheck\(fn, \["):
        gradcheck(Scale(), [X])


def test_a_layer_of_pytorch_is_made_again():
    torch = pytest.importorskip("torch")

    class Cut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 2, bias=False)

        def forward(self, x):
            return self.linear(x) + self.linear(x.detach())

    layer = torch.nn.Sequential(Cut(), torch.nn.Tanh()).double().eval()
    with pytest.raises(AssertionError) as caught:
        gradcheck(layer, [X])
    snippet = str(caught.value).partition("paste:\n\n")[2]
    assert "\n# Cut: the class of the layer that was checked" in snippet
    made: dict = {"Cut": Cut}
    with pytest.raises(AssertionError, match="by its rule but"):
        exec(snippet, made)
    assert torch.equal(made["layer"][0].linear.weight, layer[0].linear.weight) and not made["layer"].training


# --- the seed, and what answers otherwise the second time -----------------------------------------


@pytest.mark.parametrize("check", [gradcheck, check_op])
def test_every_failure_prints_the_seed(check):
    wrong = (SQUARE[0], lambda g, x: 3 * g * x)
    for inputs, words in (([X], "by its rule"), ([2.0], "no derivative was compared")):
        with pytest.raises(AssertionError, match=rf"{words}(.*\n)+seed: 0(\n|$)"):
            check(wrong, inputs)
        with pytest.raises(AssertionError, match=rf"{words}(.*\n)+seed: 7(\n|$)"):
            check(wrong, inputs, seed=7)
    with pytest.raises(AssertionError) as caught:
        check_op(wrong, st.tensors((2,)))
    assert str(caught.value).count("seed:") == 1


@pytest.mark.parametrize(
    ("of_rule", "error", "word"), [(True, AssertionError, "differ|linear|rule"), (False, KeyError, "once")]
)
def test_a_function_that_answers_otherwise_the_second_time(of_rule, error, word):
    calls = itertools.count()

    def flaky(x):
        if not of_rule and next(calls) == 40:
            raise KeyError("once")
        return x * x

    def vjp(g, x):
        return (3 if of_rule and next(calls) == 20 else 2) * g * x

    with pytest.raises(error) as caught:
        check_op((flaky, vjp), st.tensors((3,)))
    words = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert re.search(word, words) and "failed at one call and not at the next" in words
    assert "shrunk example: np.array(" in words and "seed: 0" in words
    assert not of_rule or str(caught.value).startswith("flaky: ")


# --- what cannot be given -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        (st.tensors, {}, r"check_op: tensors makes a strategy if it is called: give st\.tensors\(\)"),
        ([X, st.tensors], {}, r"give st\.tensors\(\)"),
        ([[st.tensors()]], {}, "a strategy within a list"), ([X, {"a": st.tensors()}], {}, "a strategy within a list"),
        ([X], {"keywords": {"y": st.tensors()}}, r"or keywords= is not drawn"),
        (lambda: X, {}, r"got function: if it makes a strategy, call it, <lambda>\(\)"),
        ([X], {"keywords": ["axis"]}, r"keywords must be a dict, .* got \['axis'\]"),
        ([X], {"at_kinks": "zero"}, "at_kinks must be a function, .* got 'zero'"),
        ([X.astype(object)], {}, r"input 0 \(x\) is an array of objects"),
        ([X], {"reference": "square"}, "reference must be a function .* got 'square'"),
        ([X], {"reference": lambda: 0}, r"check_op: reference= fails where it is called with 1 inputs"),
    ],
)  # fmt: skip
def test_what_is_given_is_named(inputs, options, words):
    with pytest.raises(TypeError, match=words):
        check_op(SQUARE, inputs, **options)


def test_a_list_of_numbers_is_told_beside_what_the_function_says_of_it():
    for check in (check_op, gradcheck):
        with pytest.raises(TypeError, match="multiply sequence") as caught:
            check(SQUARE, [[1.0, 2.0]])
        assert "input 0 is a list of numbers, which the function is given as it is" in caught.value.__notes__[0]


@pytest.mark.parametrize("examples", ["5", 0, True, 2.5])
def test_a_number_of_examples(examples):
    with pytest.raises(ValueError, match="examples must be an integer of at least 1, got"):
        check_op(SQUARE, st.tensors(), examples=examples)


@pytest.mark.parametrize("inputs", [st.tensors(), [st.tensors()], [[X, st.tensors()]]])
def test_checks_that_draw_nothing_say_which_one_does(inputs):
    for check in (gradcheck, gradgradcheck):
        with pytest.raises(
            TypeError, match=rf"{check.__name__} takes inputs and draws none: .* check_op\(fn, strategy\)"
        ):
            check(mt.sin, inputs)


@pytest.mark.parametrize("choice", [None, (None, None), np.zeros(5), "0", (1.0, 2.0, 3.0)])
def test_a_choice_at_kinks_that_is_no_gradient(choice):
    absolute = (np.abs, lambda g, x: g * np.where(x == 0, 7, np.sign(x)))
    with pytest.raises(
        TypeError, match="absolute: at_kinks= returned .*: it returns a tuple of gradients, one for each"
    ):
        gradcheck(absolute, [np.array([0.0, 1.0])], at_kinks=lambda g, x: choice)


class Rule:
    """Called, it squares."""

    def __call__(self, x):
        return x * x


def test_a_class_in_place_of_an_object():
    for kind, call in (
        (mt.nn.Linear, r"Linear\(in_features, out_features\)"),
        (mt.nn.ReLU, r"ReLU\(\)"),
        (Rule, r"Rule\(\)"),
    ):
        with pytest.raises(
            TypeError, match=f"is a class, and its objects are what is called: give one of them, {call}"
        ):
            check_op(kind, [X])
    assert check_op(Rule(), [X]).checked


@pytest.mark.parametrize(
    ("vjp", "words"),
    [
        (
            lambda g, x, y: (part for part in (g * y, g * x)),
            "returned a generator, 1 gradients for 2 inputs: return a tuple of 2",
        ),
        (lambda g, x, y: np.stack([g * y, g * x]), r"returned an array \(2, 3\) float64, 1 gradients for 2 inputs"),
        (lambda g, x, y: list(g * y), "returned a list of 3, 3 gradients for 2 inputs"),
        (lambda g, x, y: ({"x": g}, g), r"gives input 0, \(3,\) float64, a dict with the keys \['x'\] as its gradient"),
        (lambda g, x, y: (g * y, "no"), r"gives input 1, \(3,\) float64, 'no' as its gradient: an array of its shape"),
        (lambda g, x, y: (iter(g), g), r"an iterator as its gradient"),
        (lambda g, x, y: ([[1.0], [2.0, 3.0]], g), r"a list of 2 as its gradient"),
    ],
)
def test_what_a_vjp_returns_is_described(vjp, words):
    with pytest.raises(AssertionError, match=words):
        gradcheck((np.multiply, vjp), [X, X + 1])


def test_complex_numbers_are_refused():
    wave, twice = lambda x: np.exp(1j * x), lambda x: (x * x, np.exp(1j * x))
    for function, k in ((wave, 0), (twice, 1)):
        for check in (gradcheck, check_op):
            with pytest.raises(
                TypeError, match=f"output {k} is complex128, and complex numbers are not differentiated"
            ):
                check((function, lambda g, x: 2 * x), [X])
    assert not check_op((twice, lambda g, x: 2 * x), [X], order=0).checked  # values alone
    norm = (lambda z, y: np.abs(z) * y, lambda g, z, y: (None, g * np.abs(z)))
    with pytest.raises(TypeError, match=r"input 0 \(z\) is complex128, .* or leave it out of wanted="):
        gradcheck(norm, [X + 1j, X])
    assert gradcheck(norm, [X + 1j, X], wanted=[1]).checked == 1


def test_a_rule_with_a_buffer_of_its_own_is_told_so():
    kept, constant = {}, {}

    def into_buffer(g, x):
        return np.multiply(2 * g, x, out=kept.setdefault((x.shape, x.dtype), np.empty_like(x)))

    @mt.op
    def square(xp, x):
        return x * x

    square.vjp(lambda g, x: into_buffer(g, x))
    for function in ((SQUARE[0], into_buffer), square):
        with pytest.raises(
            AssertionError, match="a rule writes to an array that it returned at an earlier call, a buffer"
        ):
            check_op(function, [X], order=1)
    with pytest.raises(AssertionError, match="writes to one of its arguments"):
        check_op((SQUARE[0], lambda g, x: np.multiply(2 * g, x, out=g)), [X])
    flat = (np.floor, lambda g, x: constant.setdefault((x.shape, x.dtype), np.zeros_like(x)))
    assert check_op(flat, [X + 0.1]).checked  # what is kept and never changed harms nobody


def test_an_assert_at_a_moved_point_is_a_refusal():
    def root(x):
        assert (x >= 0).all(), "x must be at least 0"
        return np.sqrt(x)

    vjp = lambda g, x: g / (2 * np.sqrt(x))  # noqa: E731
    with np.errstate(divide="ignore"):
        report = gradcheck((root, vjp), [np.array([0.0, 1.0, 4.0])])
    assert (report.checked, report.kinks) == (2, 1)
    with pytest.raises(AssertionError, match="x must be at least 0"):
        gradcheck((root, vjp), [X])

    def writing(x):
        x[x < 0] = 0
        return np.sqrt(x)

    with pytest.raises(AssertionError, match="writing writes to one of its arguments"):
        gradcheck((writing, vjp), [np.array([1e-9, 1.0])])


def test_a_gradient_of_zeros_in_a_narrow_type_is_told():
    with pytest.raises(AssertionError, match="no derivative in bfloat16 was compared: every gradient is 0 there"):
        gradcheck(mt.nn.functional.relu, [-abs(X)], dtype="bfloat16")
