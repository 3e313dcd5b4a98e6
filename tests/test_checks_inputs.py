"""Inputs of every profile, kinks, scales, narrow types, and failures that can be pasted."""

import os

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.testing import adapters, check_op, gradcheck, gradgradcheck
from minitensor.testing import strategies as mst

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
SCALES = 10.0 ** np.arange(-12, 13, 4 if THOROUGH else 12)


def op_of(function, *rules):
    made = mt.op(function)
    made.vjp(*rules)
    return made


# A name of this module, for a snippet to import. Its rule is wrong by one part in ten thousand.
near_square = op_of(lambda xp, x: x * x, lambda g, x: 2.0002 * g * x)
near_square.name = "near_square"


# --- scales ---------------------------------------------------------------------------------------


def functions_at(s):
    rng = np.random.default_rng(0)
    x, positive = rng.normal(size=(2, 3)), rng.uniform(0.5, 2.0, (2, 3))
    yield lambda x: mt.tanh(x) * s, x
    yield lambda x: mt.tanh(x / s), x * s
    yield from ((f, positive * s) for f in (mt.log, mt.sqrt, mt.log1p, lambda x: 1 / x, lambda x: x**3))
    yield lambda x: x**20, positive * min(max(s, 1e-8), 1e8)
    yield lambda x: mt.exp(x) * s, 30 + x
    yield lambda x: mt.exp(x) * s, x - 30
    yield from ((f, x * s) for f in (F.layer_norm, mt.square, mt.std, lambda x: mt.sqrt((x * x).sum())))
    yield mt.log, positive * 10.0 ** rng.integers(-12, 13, (2, 3))


@pytest.mark.parametrize("scale", SCALES)
def test_right_rules_of_any_scale_pass(scale):
    for function, x in functions_at(scale):
        assert gradcheck(function, [x]).checked
        assert gradgradcheck(function, [x]).checked


@pytest.mark.parametrize("scale", SCALES)
def test_one_part_in_ten_thousand_is_found_at_any_scale(scale):
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3))
    off = 1.0001
    for wrong, inputs in (
        (op_of(lambda xp, x: xp.log(x), lambda g, x: off * g / x), x * scale),
        (op_of(lambda xp, x: x * x, lambda g, x: 2 * off * g * x), x * scale),
        (op_of(lambda xp, x: 1 / x, lambda g, x: -off * g / (x * x)), x * scale),
        (op_of(lambda xp, x: xp.exp(x), lambda g, out: off * g * out), x + 30),
        (op_of(lambda xp, x: x**20, lambda g, x: 20 * off * g * x**19), x * min(max(scale, 1e-8), 1e8)),
    ):
        with pytest.raises(AssertionError, match=r"relative error (0.0001|9.9|1e-04)"):
            gradcheck(wrong, [inputs])


# --- kinks ----------------------------------------------------------------------------------------


def test_elements_that_kink_together_share_one_gradient():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 3.0])
    assert gradcheck(mt.maximum, [x, y]).kinks == 4
    both = op_of(lambda xp, x, y: xp.maximum(x, y), lambda g, x, y: g * (x >= y), lambda g, x, y: g * (y >= x))
    with pytest.raises(AssertionError, match=r"which kink together, is 2.0 in sum by its rule but (1|0.99)"):
        gradcheck(both, [x, y])
    every = (lambda x: x.max(), lambda g, x: g * (x == x.max()))
    for few in ([2.0, 2.0, 1.0], [2.0, 2.0, 2.0, 1.0]):
        assert gradcheck(mt.max, [np.array(few)]).kinks == len(few) - 1
        with pytest.raises(AssertionError, match="which kink together"):
            gradcheck(every, [np.array(few)])


def test_each_output_has_slopes_of_its_own():
    # In the sum of both outputs the jumps may cancel, or hide a slope of 2.
    def two(slope):
        return (
            lambda x: (np.maximum(x, 0.0), -np.maximum(x, 0.0)),
            lambda g, x: g[0] * (x > 0) + g[0] * slope * (x == 0) - g[1] * (x > 0),
        )

    x = np.array([0.0, 1.0, 2.0])
    for seed in range(3):
        assert gradcheck(two(1.0), [x], seed=seed).kinks == 1
        with pytest.raises(AssertionError, match=r"index \(0,\) of output 0 at index \(0,\), which has a kink there"):
            gradcheck(two(1.5), [x], seed=seed)


def test_the_documented_choice_at_a_kink_is_right():
    def choice(slope):
        return lambda g, x: g * np.where(x == 0, slope, np.sign(x))

    x = np.array([0.0, -1.0, 2.0])
    pair = (np.abs, choice(7.0))
    with pytest.raises(AssertionError, match=r"index \(0,\)"):
        gradcheck(pair, [x])
    assert gradcheck(pair, [x], at_kinks=choice(7.0)).kinks == 1
    with pytest.raises(AssertionError, match=r"index \(0,\)"):
        gradcheck(pair, [x], at_kinks=choice(6.0))
    order = lambda g, x: g[np.argsort(np.argsort(x, kind="stable"), kind="stable")]  # noqa: E731
    assert gradcheck(mt.sort, [np.array([1.0, 1.0, 1.0, 3.0])], at_kinks=order).kinks == 3


# --- narrow types ---------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_vjp(g, x):
    """Rounds after each step."""
    return softmax(x) * (g - (g * softmax(x)).sum(-1, keepdims=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rules_in_narrow_types(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    for seed in range(30 if THOROUGH else 2):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=(3, 8)), rng.normal(size=(8, 2))
        for function in (mt.tanh, F.softmax, mt.exp, F.layer_norm, F.gelu, mt.logsumexp):
            assert gradcheck(function, [2 * x], dtype=dtype, seed=seed).checked == 2
        assert gradcheck(mt.matmul, [x, w], dtype=dtype, seed=seed).checked == 4
        if dtype != "bfloat16":
            assert gradcheck((softmax, softmax_vjp), [x], dtype=dtype, seed=seed).checked == 2
    once = (np.square, lambda g, x: (2 if x.itemsize == 8 else 3) * g * x)
    if dtype != "bfloat16":
        with pytest.raises(AssertionError, match=f"by its rule in {dtype} but .* in float64"):
            gradcheck(once, [x], dtype=dtype)
    assert check_op(mt.tanh, mst.tensors(), dtype=dtype, examples=3).checked


def test_an_input_that_overflows_float16_is_told():
    with pytest.raises(AssertionError, match="an input overflows float16: make it smaller"):
        gradcheck(mt.tanh, [np.array([1e6])], dtype="float16")
    assert gradcheck(mt.square, [np.array([300.0, 2.0])], dtype="float16").checked  # an output that does


def test_a_type_in_which_nothing_was_compared_is_told():
    wrong = (lambda x: (x * x).sum(), lambda g, x: g * x * x.dtype.type(2 if x.itemsize > 2 else -2))
    with pytest.raises(AssertionError, match="no derivative in float16 was compared: an input overflows float16"):
        check_op(wrong, [np.array([1e5, 2.0])], dtype="float16")
    for check in (gradcheck, check_op):
        with pytest.raises(
            AssertionError, match="no derivative in float16 .* fewer elements, a mean in place of a sum"
        ):
            check(wrong, [np.linspace(0.5, 1.0, 3000)], dtype="float16")
    with pytest.raises(AssertionError, match="by its rule in float16"):
        check_op(wrong, [np.array([1.0, 2.0])], dtype="float16")


def test_types_that_are_not_narrower_are_refused():
    for check in (gradcheck, check_op):
        with pytest.raises(TypeError, match="'float64': it takes float16, bfloat16, float32.* in float64 by itself"):
            check(mt.exp, [np.ones(2)], dtype="float64")
        with pytest.raises(ValueError, match="names no type"):
            check(mt.exp, [np.ones(2)], dtype=[])
    with pytest.raises(ValueError, match="give order=1 or order=2"):
        check_op(mt.exp, [np.ones(2)], dtype="float32", order=0)


# --- inputs and keywords --------------------------------------------------------------------------


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, check_op])
def test_a_dict_at_the_end_is_read_as_the_function_takes_it(check):
    x = np.array([0.5, -1.0, 2.0])
    read: list = []

    def summed(x, axis=None, **more):
        read.append((axis, more))
        return x * x * x

    for inputs, right in (
        ([x, {"axis": 0}], (0, {})),  # names alone
        ([x, {"other": 1}], (None, {"other": 1})),  # any name, and nothing to differentiate in it
        ([x, {"other": x}, {}], None),  # the dict behind it holds the keywords
    ):
        del read[:]
        assert check(summed, inputs).checked
        if right is not None:
            assert read[0] == right
        else:
            assert set(read[0][0]) == {"other"} and not read[0][1]
    assert check(lambda d: d["a"] * d["a"], [{"a": x}]).checked
    assert check(lambda x, d: x * x * d["a"], [x, {"a": x}]).checked
    with pytest.raises(TypeError, match=r"the keys \['other'\], may be an input or hold keywords"):
        check(summed, [x, {"other": x}])


def test_errors_of_drawn_inputs_stay_what_they_are():
    pair = (np.sin, lambda g, x: g * np.cos(x))
    with pytest.raises(ValueError, match="low is 3 and high 1"):
        check_op(pair, mst.tensors(low=3, high=1))

    def lost(x):
        return {}["key"]

    with pytest.raises(KeyError, match="key") as caught:
        check_op((lost, lambda g, x: g), mst.tensors())
    assert "shrunk example: np.array(" in caught.value.__notes__[-1]


# --- profiles -------------------------------------------------------------------------------------


def test_profiles_draw_what_they_say():
    from hypothesis import given, settings
    from hypothesis import strategies as st

    drawn = {p: [] for p in (*mst.PROFILES, *mst.SHAPES)}

    def bounds(profile):
        return {} if profile in mst.SHAPES else {"min_dims": 2, "max_dims": 2, "min_side": 3}

    @settings(max_examples=12, database=None)
    @given(st.tuples(*[mst.tensors(profile=profile, **bounds(profile)) for profile in drawn]))
    def draw(tensors):
        for profile, x in zip(drawn, tensors):
            drawn[profile].append(x.data)

    draw()
    assert all(np.abs(x).max() > 1e3 for x in drawn["huge"] if x.any()), "zeros stay zeros"
    assert all(np.abs(x).max() < 1e-2 for x in drawn["tiny"])
    assert any((np.signbit(x) & (x == 0)).any() for x in drawn["zeros"])
    assert all(len(np.unique(x)) <= x.size / 2 for x in drawn["ties"])
    assert not any(x.flags.c_contiguous or x.flags.f_contiguous for x in drawn["strided"])
    assert all(min(x.strides) < 0 for x in drawn["reversed"]) and all(x.flags.f_contiguous for x in drawn["fortran"])
    assert all(x.size == 0 for x in drawn["empty"]) and all(x.ndim == 0 for x in drawn["0-d"])
    with pytest.raises(ValueError, match="no profile 'odd'; those that there are: ordinary, huge"):
        check_op(mt.tanh, [np.ones(3)], profiles=["odd"])


@pytest.mark.parametrize("function", [mt.tanh, mt.abs, mt.max, lambda x: mt.logsumexp(x)])
def test_right_ops_pass_with_every_profile(function):
    assert check_op(function, mst.tensors(min_side=1, max_dims=2), profiles=mst.PROFILES, examples=5).checked


@pytest.mark.parametrize(
    ("profile", "wrong"),
    [
        ("huge", lambda g, x: 2 * g * np.clip(x, -1e4, 1e4)),
        ("tiny", lambda g, x: 2 * g * np.where(np.abs(x) < 1e-3, 0.0, x)),
        ("ties", lambda g, x: 2 * g * x * (1 + (len(np.unique(x)) < x.size))),
        ("fortran", lambda g, x: 2 * g * x.ravel("K").reshape(x.shape)),
        ("strided", lambda g, x: 2 * g * (x if x.flags.contiguous or x.ndim < 1 else -x)),
    ],
)
def test_a_fault_of_one_profile_is_found_by_it(profile, wrong):
    x = np.random.default_rng(0).uniform(1.0, 2.0, (4, 3))
    assert gradcheck((np.square, wrong), [x]).checked
    with pytest.raises(AssertionError, match="np.array"):
        check_op((np.square, wrong), [x], profiles=[profile])


def test_broadcasting_on_either_side_and_ids_from_the_end():
    assert check_op(mt.multiply, mst.broadcastable(2, profile="left"), examples=5).checked
    lost = (np.multiply, lambda g, x, y: ((g * y), (g * x)))
    for profile in ("left", "right"):
        with pytest.raises(AssertionError, match="its rule gives input"):
            check_op(lost, mst.broadcastable(2, profile=profile), examples=20)
    wrong = (lambda w, k: w[k], lambda g, w, k: (np.eye(len(w), dtype=g.dtype)[np.where(k < 0, 0, k)].T @ g, None))
    inputs = [mst.tensors((4, 2)), mst.ids((5,), 4, negative=True)]
    with pytest.raises(AssertionError, match="by its rule"):
        check_op(wrong, inputs)
    assert check_op(lambda w, k: w[k], inputs, examples=5).checked


# --- what a failure says --------------------------------------------------------------------------


def pasted(caught, **names):
    """Run the snippet of a failure; the message of what it raises."""
    snippet = str(caught.value).partition("paste:\n\n")[2]
    with pytest.raises(AssertionError) as again:
        exec(snippet, names)
    return str(again.value).partition("\n")[0], snippet


def test_a_snippet_fails_in_the_same_way():
    x = np.array([[1.0, np.nan], [-2.5, -0.0]])
    vjp = lambda g, x: 2.1 * g * x  # noqa: E731
    square = np.square
    # Recorded, its gradient is a constant:
    cut_cube = op_of(
        lambda xp, x: x**3, lambda g, x: 3 * g * (x * x if isinstance(x, np.ndarray) else (x * x).detach())
    )
    big = np.random.default_rng(0).normal(size=(30, 30))
    for check, function, inputs, options in (
        (gradcheck, near_square, [x[:, :1]], {}),
        (gradcheck, (square, vjp), [x], {"seed": 3, "rtol": 1e-6}),
        (gradcheck, adapters.numpy_pair(square, vjp), [big], {}),
        (check_op, near_square, mst.tensors(min_side=1), {"seed": 4, "reference": np.square}),
        (check_op, near_square, mst.tensors(min_side=1), {"order": 1, "dtype": "float32", "wanted": [0]}),
        (gradgradcheck, cut_cube, [x[:1, :1]], {}),
    ):
        with pytest.raises(AssertionError) as caught:
            check(function, inputs, **options)
        first, snippet = pasted(caught, vjp=vjp, fn=function, near_square=near_square)
        assert first == str(caught.value).partition("\n")[0]
        if function is near_square:
            assert "near_square" in snippet


def test_options_are_written_down_as_the_check_takes_them():
    wrong = (np.square, lambda g, x: 2.1 * g * x)
    with pytest.raises(AssertionError) as caught:
        gradcheck(wrong, [np.ones(1)], rtol=np.float64(1e-6), seed=np.int64(3), dtype="bfloat16")
    _, snippet = pasted(caught, vjp=wrong[1])
    assert "rtol=np.float64(1e-06)" in snippet and "import ml_dtypes" not in snippet


def test_a_report_has_the_name_and_the_worst_error():
    report = check_op(mt.tanh, [np.ones((2, 3))])
    assert report.name == "tanh" and 0 < report.error < 1 and report.elements == 18
    assert gradcheck(mt.tanh, [np.ones(2)], name="my tanh").name == "my tanh"
    assert gradcheck(mt.square, [np.ones(3)], dtype="float16").error > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_where_the_slope_is(value):
    def vjp(g, x):
        return 2 * g * np.where(x == 2.0, value, x)

    with pytest.raises(AssertionError, match=r"at index \(1,\) is (nan|-?inf) by its rule"):
        gradcheck((np.square, vjp), [np.array([1.0, 2.0, 3.0])])
