"""What a check must find: one wrong element among large or many ones, slopes at kinks, checks of
nothing, rules that never run.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.testing import Report, adapters, check_op, gradcheck, gradgradcheck
from minitensor.testing import strategies as mst
from minitensor.testing.problem import Problem

MANY = np.random.default_rng(5).normal(size=20_000)


def op_of(function, *rules):
    made = mt.op(function)
    made.vjp(*rules)
    return made


# --- claims that no step confirms ----------------------------------------------------------------


@pytest.mark.parametrize("near", [5e-5, 5e-8])
def test_a_zero_beside_a_kink_is_no_right_zero(near):
    late = op_of(lambda xp, x: xp.maximum(x, 0.0), lambda g, x: g * (x > 2 * near))
    with pytest.raises(AssertionError, match=r"at index \(0,\)"):
        gradcheck(late, [np.array([near, 1.0, -1.0])])


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.01])
@pytest.mark.parametrize("size", [1e5, 1e6, 1e8])
def test_a_wrong_slope_of_what_oscillates(size, factor):
    def sine(factor):
        return op_of(lambda xp, x: xp.sin(x), lambda xp, g, x: factor * g * xp.cos(x))

    x = np.array([0.3, -1.2, 2.0, 1.1])
    assert gradcheck(sine(1.0), [x * size]).checked
    with pytest.raises(AssertionError, match="by its rule but"):
        gradcheck(sine(factor), [x * size])
    faster = op_of(lambda xp, x: xp.sin(size * x), lambda xp, g, x: factor * g * size * xp.cos(size * x))
    with pytest.raises(AssertionError, match="by its rule but"):
        gradcheck(faster, [x])


@pytest.mark.parametrize("function", [mt.sin, mt.cos, mt.tan])
def test_huge_inputs_of_what_oscillates_are_no_fault(function):
    # Given, not drawn: what hypothesis draws depends on the modules that happen to be loaded.
    for seed in range(5):
        check_op(function, [np.random.default_rng(seed).normal(size=(2, 3))], profiles=["huge"], examples=20)


def test_where_neighbouring_steps_change_all_differences_say_nothing():
    # The slope of the gradient: 560 of another element made the bend of this one look small.
    x = np.array([-183610590425.52213, 165102230911.08868])
    assert gradgradcheck(mt.tan, [x]).hidden
    for size in (1e13, 1e14, 1e15):
        for function in (mt.sin, mt.tan):
            with pytest.raises(AssertionError, match="no derivative was compared"):
                gradcheck(function, [np.array([1.3, -0.7]) * size])


def test_all_inputs_at_once_hide_no_wrong_one():
    def product(*factors):
        rules = [
            lambda g, y, z: factors[0] * g * y * z,
            lambda g, x, z: factors[1] * g * x * z,
            lambda g, x, y: factors[2] * g * x * y,
        ]
        return op_of(lambda xp, x, y, z: x * y * z, *rules)

    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    for check in (gradcheck, gradgradcheck):
        assert check(product(1.0, 1.0, 1.0), list(x)).checked == (3 if check is gradcheck else 4)
        for place in range(3):
            factors = [1.0 + 1e-4 * (k == place) for k in range(3)]
            with pytest.raises(AssertionError, match=rf"input {place} \("):
                gradcheck(product(*factors), list(x))
    with pytest.raises(AssertionError, match="by its rule but"):
        gradcheck(product(1.0 + 1e-4, 1.0 - 1e-4, 1.0), list(x))


def test_kinks_alone_are_a_check_of_nothing_and_one_element_beside_them_is_not():
    with pytest.raises(AssertionError, match="no derivative was compared: every one of 3 derivatives is at a kink"):
        check_op(mt.abs, [np.zeros(3)])
    # Most drawn elements are whole numbers here; each is held to the slopes of both sides.
    whole = mst.tensors(shape=(8,)).map(lambda x: np.concatenate([np.round(x.data[:7]), x.data[7:]]))
    for function in (mt.abs, mt.floor, mt.ceil, F.relu):
        assert check_op(function, [whole], examples=5).kinks


def test_an_element_beside_inputs_of_other_sizes():
    x, y = np.array([1e-8, 1.0, 1e8]), np.array([1e9, 1e-9, 1.0])
    product = op_of(lambda xp, x, y: x * y, lambda g, y: g * y, lambda g, x: g * x * np.array([1.0, 1.01, 1.0]))
    with pytest.raises(AssertionError, match=r"input 1 \(y\) at index \(1,\)"):
        gradcheck(product, [x, y])


def test_infinite_and_large_inputs_bring_no_warnings():
    assert check_op(mt.tanh, [np.array([np.inf, 1.0])]).kinks
    assert check_op(mt.square, [np.array([1e150, -2e150])]).checked


def test_a_rule_that_returns_a_tensor_is_told_what_to_write():
    cosine = op_of(lambda xp, x: xp.sin(x), lambda g, x: g * mt.cos(x))
    with pytest.raises(
        AssertionError, match=r"returned a Tensor: write xp\.cos \(a rule may ask for xp\), not mt\.cos"
    ):
        gradcheck(cosine, [MANY[:3]])


def test_kinks_that_were_given_are_enough_beside_one_element():
    assert check_op(mt.abs, [np.array([0.0, 0.0, 0.0, 1.0])]).kinks >= 3


# --- one element ----------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [0.1, 1e-4, 1e-7])
def test_a_lost_row_beside_large_ones(small):
    affine = op_of(
        lambda xp, x, w: x @ w,
        lambda g, w: g @ w.T,
        lambda xp, g, x: (x.T @ g) * xp.asarray([[1.0], [1.0], [0.0]]),
    )
    inputs = [np.array([[1e5, 1.0, small], [2e5, 3.0, -small]]), np.ones((3, 2))]
    assert gradcheck(mt.matmul, inputs).checked and gradgradcheck(mt.matmul, inputs).checked
    for check in (gradcheck, check_op):
        with pytest.raises(AssertionError, match=r"input 1 \(w\) at index \(2, [01]\) is -?0\.0 by its rule"):
            check(affine, inputs)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.0001])
def test_a_wrong_element_among_many(factor):
    factors = np.ones(len(MANY))
    factors[5] = factor
    square = op_of(lambda xp, x: x * x, lambda xp, g, x: 2.0 * g * x * xp.asarray(factors))
    with pytest.raises(AssertionError, match=r"at index \(5,\)"):
        gradcheck(square, [MANY])


def test_a_wrong_second_derivative_among_many():
    factors = np.ones(len(MANY))
    factors[-1] = 1.01

    def cosine(xp, g, x):
        return g * (xp.cos(x) if isinstance(x, np.ndarray) else xp.cos(x * factors))

    sine = op_of(lambda xp, x: xp.sin(x), cosine)
    assert gradcheck(sine, [MANY]).checked
    with pytest.raises(AssertionError, match=r"the gradient of .* at index \(19999,\)"):
        gradgradcheck(sine, [MANY])


@pytest.mark.parametrize(
    "function", [mt.square, mt.tanh, mt.exp, F.relu, mt.abs, F.softmax, mt.std, F.layer_norm, mt.logsumexp, mt.max]
)
def test_right_rules_pass_on_many_elements(function):
    # Of many elements logsumexp has hardly a second derivative, which is looked for in ever fewer.
    x = MANY[:3000] if function is mt.logsumexp else MANY
    assert gradcheck(function, [x]).checked
    assert gradgradcheck(function, [x]).checked


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e4, 1e9])
def test_scales_are_no_fault(scale, seed):
    x = np.random.default_rng(seed).normal(size=(4, 5))
    assert gradcheck(lambda x: mt.tanh(x) * scale, [x], seed=seed).checked
    assert gradcheck(lambda x: F.layer_norm(x), [x * scale], seed=seed, wanted=[0]).checked
    doubled = op_of(lambda xp, x: xp.tanh(x), lambda g, out: 2.0 * g * (1.0 - out * out))
    with pytest.raises(AssertionError, match="by differences"):
        gradcheck(lambda x: doubled(x) * scale, [x], seed=seed)


# --- kinks ----------------------------------------------------------------------------------------


def relu_with(slope):
    """relu with another slope at 0."""
    return op_of(
        lambda xp, x: xp.maximum(x, 0.0), lambda xp, g, x: g * (1.0 * xp.greater(x, 0) + slope * xp.equal(x, 0))
    )


@pytest.mark.parametrize("check", [gradcheck, check_op])
def test_a_slope_at_a_kink_lies_between_those_of_both_sides(check):
    x = [np.array([-1.0, 0.0, 2.0])]
    for slope in (0.0, 0.5, 1.0):
        assert check(relu_with(slope), x).kinks
    for slope in (-0.5, 1.1, 5.0):
        with pytest.raises(AssertionError, match=r"at index \(1,\)"):
            check(relu_with(slope), x)


def test_ties_and_jumps_are_no_fault():
    x = np.array([2.0, 2.0, 1.0, 0.5])
    for function in (mt.max, mt.sign, mt.floor, lambda x: mt.abs(x - 1.0), lambda x: mt.clip(x, 0.5, 2.0), mt.sort):
        assert gradcheck(function, [x]).checked


def test_strategies_reach_where_ops_change():
    def beyond(limit):
        return op_of(lambda xp, x: x * x, lambda xp, g, x: 2.0 * g * x * (1.0 + xp.greater(xp.abs(x), limit)))

    for limit in (2.5, 6.0):
        with pytest.raises(AssertionError, match="shrunk example"):
            check_op(beyond(limit), mst.tensors())


# --- nothing compared -----------------------------------------------------------------------------

WRONG = op_of(lambda xp, x: x * x, lambda g, x: -7.0 * g * x)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, check_op])
@pytest.mark.parametrize(
    ("function", "inputs", "options", "words"),
    [
        (WRONG, [[1.0, 2.0]], {}, "floating"),
        (WRONG, [1.0], {}, "floating"),
        (WRONG, [np.arange(3)], {}, "no input is a floating array"),
        (WRONG, [np.ones(3)], {"wanted": []}, "no input is a floating array that is wanted"),
        (WRONG, [np.ones((0, 2))], {}, "the inputs have no elements"),
        (mt.argmax, [np.ones(3)], {}, "no output is floating"),
        (lambda: mt.ones((2,)), [], {}, "floating"),
    ],
    ids=["a list", "a number", "integers", "nothing wanted", "no elements", "integer output", "no input"],
)
def test_a_check_of_nothing_fails(check, function, inputs, options, words):
    with pytest.raises(AssertionError, match=f"derivative was compared.*{words}"):
        check(function, inputs, **options)


def test_a_wanted_input_that_there_is_not():
    with pytest.raises(ValueError, match=r"wanted=\[1\] numbers inputs from 0, and there are 1"):
        gradcheck(mt.exp, [np.ones(2)], wanted=[1])


def test_random_numbers_make_no_function():
    rng = np.random.default_rng(0)
    functions = [lambda x: x * rng.random(3), (lambda x: x * (rng.random(3) < 0.5), lambda g, x: g)]
    for check, function in ((gradcheck, functions[0]), (gradcheck, functions[1]), (check_op, functions[1])):
        with pytest.raises(AssertionError, match="output 0 differs between two calls at the same inputs"):
            check(function, [np.ones(3)])


def test_one_tensor_is_one_input_and_anything_else_is_told():
    assert gradcheck(mt.tanh, mt.ones((3, 2))) == Report(checked=1, kinks=0)
    assert check_op(mt.tanh, np.ones((3, 2))).checked == 3
    for check in (gradcheck, gradgradcheck, check_op):
        with pytest.raises(TypeError, match="inputs must be a list"):
            check(mt.tanh, 1.0)


def test_lists_of_arrays_are_differentiated():
    assert gradcheck(mt.concat, [[np.ones((2, 3)), np.ones((1, 3))]]).checked == 2
    assert check_op(mt.stack, [(np.ones(3), np.ones(3))], reference=np.stack).checked

    def detached(pair, z):
        return pair[0].detach() * pair[1] * z

    with pytest.raises(AssertionError, match=r"input 0 \(argument 0\[0\]\)"):
        gradcheck(detached, [(np.ones(3), np.ones(3)), np.ones(3)])
    assert gradcheck(detached, [(np.ones(3), np.ones(3)), np.ones(3)], wanted=[1]).checked == 1


# --- gradients that never run ---------------------------------------------------------------------


class Layer:
    """A layer of the older kind, with its own backward, which is wrong."""

    def __call__(self, x):
        return x * x

    def backward(self, g):
        return 3.0 * g


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, check_op])
@pytest.mark.parametrize(
    "function",
    [Layer(), lambda x: Layer()(x), Layer().__call__, functools.partial(Layer())],
    ids=["object", "hidden", "method", "partial"],
)
def test_an_object_whose_backward_never_runs(check, function):
    with pytest.raises(AssertionError, match="Layer, which has a backward of its own: minitensor never calls it"):
        check(function, [np.array([1.0, 2.0])])


def test_a_backward_that_never_runs_with_one_flag_alone():
    def square(x, *, old=False):
        return Layer()(x) if old else x * x

    check_op(square, [mst.tensors(max_dims=1), st.fixed_dictionaries({})], order=1, examples=5)
    with pytest.raises(AssertionError, match="Layer, which has a backward of its own"):
        check_op(square, [mst.tensors(max_dims=1), st.fixed_dictionaries({"old": st.booleans()})], order=1)


def plain(x):
    return x * x


@pytest.mark.parametrize(
    ("without", "by_layer"),
    [(1.0, 2.0), ((0,), (0, 1)), (np.bool_(0), np.bool_(1)), (plain, Layer())],
)
def test_a_backward_that_never_runs_with_one_argument_alone(without, by_layer):
    def square(x, how):
        return Layer()(x) if how == by_layer else x * x

    with pytest.raises(AssertionError, match="Layer, which has a backward of its own"):
        check_op(square, [mst.tensors(max_dims=1), st.sampled_from([without, by_layer])], order=1)


def test_a_backward_that_never_runs_of_one_length_or_profile_alone():
    with pytest.raises(AssertionError, match="Layer, which has a backward of its own"):
        check_op(lambda x: x * x if x.size <= 1 else Layer()(x), [mst.tensors(max_dims=1)], order=1)

    def square(x):
        return Layer()(x) if np.abs(x.numpy()).max(initial=0) > 1e3 else x * x

    with pytest.raises(AssertionError, match="Layer, which has a backward of its own"):
        check_op(square, [mst.tensors(shape=(5,))], order=1, profiles="huge")


@pytest.mark.torch
@pytest.mark.parametrize("check", [gradcheck, check_op])
def test_the_backward_of_a_function_of_pytorch_is_what_is_checked(check):
    torch = pytest.importorskip("torch")

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * g * x

    for function in (Square.apply, lambda x: Square.apply(x)):
        with pytest.raises(AssertionError, match=r"the gradient of input 0 \(x\) at index \(0,\) is .* by its rule"):
            check(function, [np.array([1.0, 2.0])])


def test_an_op_whose_rule_never_runs():
    square = mt.op(lambda xp, x: x * x, name="square")
    square.vjp(lambda g, x: -7.0 * g * x)
    pair = adapters.numpy_pair(np.square, lambda g, x: -7.0 * g * x, name="square")

    @mt.fused
    def cube(x):
        return x * x * x

    @cube.kernel
    def _(xp, x):
        def backward(g):
            return (-7.0 * g,)

        return x * x * x, backward

    x = np.array([1.0, 2.0])
    for rule in (square, pair, cube):

        def blocked(x, rule=rule):
            with mt.no_grad():
                y = rule(x)
            return 0.0 * y + mt.sin(x)

        for function in (blocked, lambda x, rule=rule: 0.0 * rule(x.detach()) + mt.sin(x)):
            with pytest.raises(AssertionError, match=f"calls {rule.name}, whose own rule never ran"):
                gradcheck(function, [x])
        assert gradcheck(lambda x, rule=rule: rule(mt.ones(2)) * x, [x]).checked, "a constant has no part in it"
        assert gradcheck(lambda x, w, rule=rule: rule(w) * x, [x, x], wanted=[0]).checked


def test_a_layer_that_runs_its_backward_is_a_layer():
    class Both(Layer):
        def __call__(self, x):
            return x * self.backward(x)

    assert gradcheck(Both(), [np.array([1.0, 2.0])]).checked == 1


def test_what_cancels_raises_no_alarm_where_it_is_tiny():
    # The gradient of the mean's weight is 0, and computed as 1e-191: the slopes of that are of no
    # meaning.
    logits, weight = np.array([164.35402478574517, -276.2559434833556]), np.array([1.1369616873214543, 0.77])
    keywords = {"reduction": "mean", "label_smoothing": 0.0}
    report = check_op(mt.nn.functional.cross_entropy, [logits, np.array(0), weight], keywords=keywords, seed=202)
    assert report.checked


def test_a_step_beyond_all_that_happens_is_not_the_surest():
    # The slopes of the gradient of a softmax far apart are 1e-14, hidden by rounding; a step of
    # 0.37 of 1005 sees nothing but 0 on both sides.
    x = [[32.102342746467016, 1005.0970667227357, 740.1224090054114, 1059.683125252266]]
    x += [[1083.8422606595868, 971.6655262253546, 655.2643599489442, -611.1031229388473]]
    assert check_op(mt.nn.functional.softmax, [np.array(x)], keywords={"axis": 0}, seed=428).checked


def test_what_rounding_leaves_of_a_sum_raises_no_alarm_where_elements_move_far():
    # The second derivatives are 0, computed as 6e-17, and a step moves the element by 540 times it.
    logits, keywords = np.array([14.18594964030806, 540.5564355911224]), {"reduction": "mean", "label_smoothing": 0.0}
    assert check_op(
        mt.nn.functional.cross_entropy, [logits, np.array(0), np.ones(2)], keywords=keywords, seed=906
    ).checked


def test_what_moves_in_large_steps_alone_raises_no_alarm():
    # The gradient at the first is 35 units in the last place of 1, and stands still in fine steps.
    x = np.array([[-1160.3336747315302, 0.3], [-1193.4275995916446, -1.0]])
    for seed in (1, 3, 5, 11, 16):
        assert check_op(mt.nn.functional.softmax, [x], keywords={"axis": 0}, seed=seed).checked


def test_a_jump_is_a_kink():
    report = gradcheck((np.sign, lambda g, x: 0 * g), [np.array([0.0, 1.0])])
    assert (report.checked, report.kinks, report.hidden) == (1, 1, 0)


def test_a_jump_of_the_curvature_hides_no_wrong_slope():
    def bent(at_zero):
        def vjp(g, x):
            return g * np.where(x == 0, at_zero, 2 * np.maximum(x, 0))

        return lambda x: np.maximum(x, 0) ** 2, vjp

    assert gradcheck(bent(0.0), [np.zeros(2)]).checked == 1
    with pytest.raises(AssertionError, match=r"at index \(0,\) is .* by its rule"):
        gradcheck(bent(0.01), [np.array([0.0, 1.0])])


def test_a_large_gradient_hides_no_wrong_one_that_has_no_part_in_it():
    with pytest.raises(AssertionError, match=r"at index \(1,\) of the outputs that it moves is"):
        gradcheck((np.log, lambda g, x: g / x * np.where(x > 1, 1.5, 1)), [np.array([1e-18, 2.0])])
    assert gradcheck((np.log, lambda g, x: g / x), [np.array([1e-18, 2.0])]).checked == 1


def test_an_infinite_input_is_no_comparison():
    with np.errstate(invalid="ignore"), pytest.raises(AssertionError, match="every one of 3 derivatives is at a kink"):
        gradcheck((np.sum, lambda g, x: np.full(x.shape, 1.01 * g)), [np.array([np.inf, 1.0, -np.inf])])


def by_order(factor=1.0):
    """NumPy's sort, and the rule that gives the gradient of each output to the element there."""

    def vjp(g, x):
        return factor * g[np.argsort(np.argsort(x, kind="stable"), kind="stable")]

    return np.sort, vjp


@pytest.mark.parametrize("x", [[1.0, 1.0, 1.0, 2.0], [0.0, 3.0, 0.0, 0.0, -1.0]])
def test_sorted_ties_have_a_slope_near_by(x):
    # The middle one of three equal numbers: no element alone moves that output.
    assert gradcheck(by_order(), [np.array(x)]).kinks == 3
    with pytest.raises(AssertionError, match="by its rule"):
        gradcheck(by_order(1.1), [np.array(x)])
    with pytest.raises(AssertionError, match="by its rule"):
        gradcheck((np.sort, lambda g, x: np.full(x.shape, g[1])), [np.array(x)])


class Pair(NamedTuple):
    w: Any
    b: Any


def test_inputs_in_named_tuples_and_dicts_are_differentiated():
    x = np.array([0.3, -1.0])
    assert gradcheck(lambda p: mt.tanh(p.w) + p.b, [Pair(x, x)]).checked == 2
    assert gradcheck(lambda p: mt.tanh(p["w"]) + p["b"][0], [{"w": x, "b": [x]}]).checked == 2


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"order": 3}, r"order must be 0 \(values\), 1 .* got 3"),
        ({"rtol": -1}, "rtol must be a number of at least 0, got -1"),
        ({"seed": None}, "seed must be an integer of at least 0, got None"),
        ({"wanted": 0}, r"wanted must be a list of numbers of inputs, such as \[0\], got 0"),
    ],
)
def test_options_that_are_none_are_refused(option, error):
    with pytest.raises((ValueError, TypeError), match=error):
        check_op(mt.sin, [np.ones(2)], **option)
    assert check_op(mt.sin, [np.ones(2)], profiles="tiny").checked


def test_second_derivatives_beside_infinite_ones_are_those_of_the_function():
    # d2/dxdy of x^y at y = 0 is 1 / x, and infinite at x = 0.
    x = np.array([[0.0, 1.6811661272208758, 0.0], [1.2132861392839132, 0.0, 0.9448013794714334]])
    assert check_op(mt.power, [x, np.array([0.0])], seed=401).checked


# --- how often the function is asked --------------------------------------------------------------


def counted(function):
    """``function``, and a list that grows by one with each call of it."""
    calls = []

    def counting(*inputs):
        calls.append(1)
        return function(*inputs)

    return counting, calls


def test_a_right_rule_is_seen_by_two_points_a_line():
    """Once for the value, once recorded, and twice for the one line through both inputs."""
    function, calls = counted(lambda x, y: mt.sum(x * y))
    gradcheck(function, [np.array([1.25, 1.5]), np.array([1.5, 1.75])])
    assert len(calls) == 4


def test_no_point_is_computed_twice_and_minus_zero_is_another():
    function, calls = counted(lambda x: mt.copysign(mt.sin(x), x))
    problem = Problem(function, [np.array([1.0, 2.0])])
    first = problem.evaluate_beside([np.array([0.0, 2.5])])
    assert problem.evaluate_beside([np.array([0.0, 2.5])])[0] is first[0]
    assert len(calls) == 1
    assert np.signbit(problem.evaluate_beside([np.array([-0.0, 2.5])])[0][0])
    assert not np.signbit(problem.replaced(problem.values).evaluate_beside([np.array([0.0, 2.5])])[0][0])
    assert len(calls) == 3  # what was replaced is another problem


def test_outputs_that_are_large_are_not_remembered():
    problem = Problem(lambda x: x[:, None] * mt.ones((1, 1000)), [np.array([1.0, 2.0])])
    beside = [np.array([1.5, 2.5])]
    assert problem.evaluate_beside(beside)[0] is not problem.evaluate_beside(beside)[0]


@pytest.mark.parametrize("period", [0.37, 0.01, 0.001])
def test_a_zero_where_waves_come_back_at_the_largest_step(period):
    wave = op_of(lambda xp, x: xp.sin(2 * np.pi * x / period), lambda xp, g, x: 0 * g)
    with pytest.raises(AssertionError, match="by its rule but"):
        gradcheck(wave, [np.array([0.05, 0.4, 1.3])])


def test_a_wrong_slope_of_a_narrow_bell_on_a_large_number():
    """Narrower than the largest steps, and hidden by rounding in the fine ones."""
    y = np.random.default_rng(3).normal(size=12)
    bell = op_of(
        lambda xp, y: 1 + 1e-9 * xp.exp(-((10 * y) ** 2)),
        lambda xp, g, y: -0.5 * g * 1e-9 * 200 * y * xp.exp(-((10 * y) ** 2)),
    )
    with pytest.raises(AssertionError, match="by its rule but"):
        gradcheck(bell, [y])


def test_a_documented_choice_may_take_gradients():
    def choice(g, x):
        x = mt.tensor(x, requires_grad=True)
        return mt.grad(mt.sum(x * g) * 7.0, x).data

    rule = op_of(lambda xp, x: xp.maximum(x, 0.0), lambda xp, g, x: g * xp.where(x == 0, 7.0, x > 0))
    assert gradcheck(rule, [np.array([0.0, 2.0])], at_kinks=choice).kinks == 1


def test_what_is_hidden_by_rounding_is_not_looked_at_in_finer_steps():
    function, calls = counted(lambda x: mt.sum(mt.exp(x)) + 1e3)
    report = check_op(function, [np.array([0.5, -25.0])], order=1)
    assert report.hidden == 1
    assert len(calls) < 20


# --- what few points see --------------------------------------------------------------------------


def parts(*functions):
    """A NumPy pair of outputs that are functions of one element each, and their sum's rule."""

    def forward(x):
        return np.array([f(x[i]) for i, f, _ in functions], dtype=x.dtype)

    def backward(g, x):
        found = np.zeros_like(x)
        for k, (i, _, slope) in enumerate(functions):
            found[i] += g[k] * slope(x[i])
        return found

    return forward, backward


SINE = (1, np.sin, np.cos)


@pytest.mark.parametrize(
    ("function", "slope", "x"),
    [
        (lambda x: np.sin(3e9 * x), lambda x: 1.5e9 * np.cos(3e9 * x), 0.3),
        (lambda x: np.sin(2 * np.pi * x / 5e-6), lambda x: 0.0, 0.37123),
        (lambda x: np.tanh(x / 1e-10), lambda x: 0.0, 2e-10),
        (lambda x: x * (1 - (x / 0.2) ** 2) ** 2 * (abs(x) < 0.2), lambda x: 0.0, 0.0),  # Tukey's biweight
        (lambda x: abs(x - 1), lambda x: 0.5, 1 + 1e-7),
    ],
)
def test_steep_narrow_and_near_slopes_are_no_kinks_in_place(function, slope, x):
    with pytest.raises(AssertionError, match=r"at index \(0,\)"):
        gradcheck(parts((0, function, slope), SINE), [np.array([x, 0.4])])


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: abs(x) + 5e3 * x * x, lambda x: np.sign(x) + 1e4 * x),
        (np.sign, lambda x: 0.0),
    ],
)
def test_a_wrong_slope_beside_a_kink_that_bends_and_beside_a_jump(function, slope):
    beside = (0, np.sin, lambda x: np.cos(x) / 2)
    with pytest.raises(AssertionError, match=r"at index \(0,\)"):
        gradcheck(parts((0, function, slope), beside, SINE), [np.array([0.0, 0.4])])


@pytest.mark.parametrize("x", [1 + 1e-8, 1 + 2.5e-7])
def test_a_slope_near_a_kink_is_compared(x):
    assert gradcheck((lambda x: abs(x - 1), lambda g, x: g * np.sign(x - 1)), [np.array([x])]).checked == 1


@pytest.mark.parametrize("seed", range(3))
def test_right_rules_at_a_kink_that_bends_and_beside_what_is_infinite(seed):
    def bent(x):
        return abs(x - 1e3) + 500 * (x - 1e3) ** 2

    def slope(x, at_kink):
        return np.sign(x - 1e3) + 1e3 * (x - 1e3) + at_kink * (x == 1e3)

    pair = parts((0, bent, lambda x: slope(x, 1)), (0, bent, lambda x: slope(x, 0)), SINE)
    gradcheck(pair, [np.array([1e3, 0.4])], seed=seed)

    def infinite(x):
        return np.exp(1000 + x)

    with np.errstate(over="ignore"):
        gradcheck(parts((0, abs, np.sign), (0, infinite, infinite), SINE), [np.array([0.0, 0.4])], seed=seed)


# --- kinks in any order of memory, of many ties -------------------------------------------------


def clipped(ends_count):
    inside = np.greater_equal if ends_count else np.greater
    return lambda x: np.clip(x, -1, 1), lambda g, x: g * inside(1, abs(x))


@pytest.mark.parametrize(
    "lay", [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, 1)[::-1, ::2][::-1]]
)
def test_the_verdict_at_kinks_does_not_ask_how_an_input_lies_in_memory(lay):
    ends = lay(np.array([[0.0, -1.0], [1.0, -1.0]]))
    for ends_count in (True, False):
        assert gradcheck(clipped(ends_count), [ends]).kinks == 3
    tied = lay(np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]]))
    assert gradcheck(lambda x: mt.max(x, axis=1), [tied]).kinks == 2
    for share in (0.0, 1.0):  # to none of two, and to both

        def rule(g, x, share=share):
            most = x == x.max(axis=1, keepdims=True)
            return g[:, None] * most * np.where(most.sum(axis=1, keepdims=True) > 1, share, 1.0)

        with pytest.raises(AssertionError, match=r"\(0, 0\) and of .* at index \(0, 1\), which kink together"):
            gradcheck((lambda x: x.max(axis=1), rule), [tied])


def test_more_kinks_than_outputs_that_are_looked_at_alone():
    pairs = np.random.default_rng(0).normal(size=(31, 2))
    pairs[:30, 1] = pairs[:30, 0]

    def rule(g, x, halved=20):
        most = (x == x.max(axis=1, keepdims=True)).astype(float)
        most[:halved] /= 2
        return most * g[:, None]

    assert gradcheck((lambda x: x.max(axis=1), lambda g, x: rule(g, x, 30)), [pairs]).kinks == 60
    with pytest.raises(AssertionError, match=r"and of 54 more, which kink together, .* for 24 elements of the outputs"):
        gradcheck((lambda x: x.max(axis=1), rule), [pairs])


@pytest.mark.parametrize("ties", [4, 10])
def test_a_sort_of_many_ties(ties):
    x = np.array([[0.5] * ties, range(ties)], dtype=float)

    def rule(g, x):
        made = np.empty_like(x)
        np.put_along_axis(made, np.argsort(x, axis=1, kind="stable"), g, axis=1)
        return made

    assert gradcheck(lambda x: mt.sort(x, axis=1), [x]).kinks == ties
    assert gradcheck((lambda x: np.sort(x, axis=1), rule), [x]).kinks == ties
    with pytest.raises(AssertionError, match=r"at index \(0, \d+\)"):
        gradcheck((lambda x: np.sort(x, axis=1), lambda g, x: np.where(x == 0.5, 1.5, 1) * rule(g, x)), [x])


def test_second_derivatives_at_ties_of_a_maximum():
    """There the first ones jump, and are no maximum: the sum along a line of ties may be any that
    they have beside it.
    """

    def largest(x, y):
        return mt.max(x * y, axis=-1)

    assert gradgradcheck(largest, [np.array([0.5, -0.9, -1.8]), np.zeros(3)]).kinks
    assert gradgradcheck(largest, [np.array([1.5, 1.5, -1.0]), np.full(3, 0.5)]).kinks
