"""``minitensor.testing``: what it says, what it steps around, what it needs."""

import subprocess
import sys

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, testing
from minitensor.testing import check_op, gradcheck, gradgradcheck
from minitensor.testing import strategies as mst


@mt.op
def cube(xp, x, weight):
    """``weight * x ** 3``, with a rule that is wrong for one element."""
    return weight * x**3


cube.vjp(lambda g, x, weight: 3.0 * g * weight * x**2 * (1.0 + 0.01 * (x > 2.9)), lambda g, x: g * x**3)


def test_a_failure_names_op_input_index_and_both_numbers():
    x = np.array([[1.0, 2.0], [0.5, 3.0]])
    with pytest.raises(AssertionError) as caught:
        gradcheck(cube, [x, np.ones(2)])
    message = str(caught.value)
    assert "cube: the gradient of input 0 (x) at index (1, 1) is" in message
    by_rule, numeric = (float(part.split()[-1]) for part in message.split("\n")[0].split(" by ")[:2])
    assert by_rule == pytest.approx(1.01 * numeric, rel=1e-6)
    assert "relative error 0.0099" in message
    assert "input 0 (x) = np.array([[1. , 2. ], [0.5, 3. ]], dtype='float64')" in message


def test_a_drawn_failure_is_shrunk_and_says_its_seed():
    with pytest.raises(AssertionError) as caught:
        check_op(cube, mst.case(mst.tensors(low=0.0, high=4.0), 2.0), examples=100, seed=3)
    message = str(caught.value)
    assert "seed: 3" in message
    example = next(line for line in message.split("\n") if line.startswith("shrunk example"))
    assert example.count("np.array") == 1 and "[" not in example.replace("dtype", ""), (
        "one number without axes suffices"
    )


def test_the_same_seed_draws_the_same_examples():
    def drawn(seed):
        seen = []
        check_op(lambda x: (seen.append(x.shape), x * 1.0)[1], mst.case(mst.tensors()), examples=10, seed=seed)
        return seen

    assert drawn(1) == drawn(1) != drawn(2)


def test_inputs_of_any_type_are_brought_to_float64():
    report = gradcheck(mt.matmul, [mt.ones((2, 3)), np.ones((3, 2), dtype=np.float32)])
    assert report == testing.Report(checked=2, kinks=0)


def test_integers_masks_and_none_are_passed_through():
    ids, mask = np.array([2, 0, 0]), np.array([True, False, True])
    gradcheck(lambda w, ids, mask, none: mt.where(mask[:, None], w[ids], 0.0), [np.ones((3, 2)), ids, mask, None])


def test_wanted_leaves_inputs_out():
    def detached(x, y):
        return x * y.detach()

    assert gradcheck(detached, [np.ones(2), np.ones(2)], wanted=[0]).checked == 1
    with pytest.raises(AssertionError, match="detached: the gradient of input 1"):
        gradcheck(detached, [np.ones(2), np.ones(2)])


def test_kinks_near_by_are_stepped_around_and_those_in_place_are_left_out():
    x = np.array([1.0, 1e-5, -3e-4, -2.0])
    assert gradcheck(nn.functional.relu, [x]).kinks == 0, "no tolerance hides them: smaller steps do"
    report = gradcheck(lambda x: mt.max(x), [np.array([2.0, 2.0, 2.0, 1.0])])
    assert report.kinks == 3 and report.checked == 1
    with pytest.raises(AssertionError, match="every one of 3 derivatives is at a kink"):
        gradcheck(lambda x: mt.max(x), [np.full(3, 2.0)])


def test_a_wrong_slope_at_a_kink_near_by_is_no_excuse():
    @mt.op
    def ramp(xp, x):
        return xp.maximum(x, 0.0)

    ramp.vjp(lambda xp, g, x: g * (x > -0.01))
    with pytest.raises(AssertionError, match=r"ramp: the gradient of input 0 \(x\) at index \(0,\)"):
        gradcheck(ramp, [np.array([-1e-4, 1.0])])


def test_complex_step_is_exact_and_falls_back():
    x = np.linspace(0.1, 1.5, 7)
    gradcheck(lambda x: mt.exp(mt.sin(x * 10.0)) / x, [x], complex_step=True, rtol=1e-12, atol=0.0)
    gradcheck(mt.abs, [x], complex_step=True)
    gradcheck(mt.erf, [x], complex_step=True)

    @mt.op
    def tilted(xp, x):
        return xp.exp(x)

    tilted.vjp(lambda g, out: g * out * (1 + 1e-9))
    gradcheck(tilted, [x])
    with pytest.raises(AssertionError, match="tilted"):
        gradcheck(tilted, [x], complex_step=True, rtol=1e-11, atol=0.0)


def test_several_outputs_and_integer_outputs():
    check_op(lambda x: mt.topk(x, 2), [np.array([3.0, 1.0, 2.0])], name="topk")
    gradcheck(lambda x, y: (x * y, mt.sin(x), x + 1.0), [np.ones(3), np.ones(3)])


def test_a_function_must_return_tensors():
    with pytest.raises(TypeError, match="needs a function that returns Tensors, got ndarray"):
        gradcheck(lambda x: np.ones(3), [np.ones(3)])


def test_arguments_come_back_as_they_were():
    x = np.ones(3)
    constant = np.full(3, 2.0)
    t = mt.asarray(x)
    gradcheck(lambda a: a * constant, [t])
    gradgradcheck(lambda a: a * constant * a, [t])
    assert x.flags.writeable and constant.flags.writeable and t.node is None


def test_a_layer_is_checked_in_one_call_with_its_parameters():
    layer = nn.Linear(3, 2)
    before = {name: p.numpy().copy() for name, p in layer.named_parameters()}
    check_op(layer, [np.random.default_rng(0).standard_normal((4, 3))])
    for name, p in layer.named_parameters():
        assert p.dtype == np.float32 and p.requires_grad and p.grad is None
        assert np.array_equal(p.data, before[name])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LayerNorm(4), lambda: nn.RMSNorm(4), lambda: nn.Dropout(0.5),
        lambda: nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)),
        lambda: nn.MultiHeadAttention(4, 2), lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2),
    ],
    ids=["LayerNorm", "RMSNorm", "Dropout", "Sequential", "MultiHeadAttention", "TransformerEncoderLayer"],
)  # fmt: skip
def test_layers_keep_every_promise(layer):
    report = check_op(layer(), [np.random.default_rng(0).standard_normal((2, 3, 4))])
    assert report.checked > 0


def test_a_layer_with_a_wrong_gradient_names_the_parameter():
    class Odd(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(mt.ones((2,)))

        def forward(self, x):
            return x * self.weight.detach()

    with pytest.raises(AssertionError, match=r"Odd: the gradient of input 1 \(parameter weight\) at index \(0,\)"):
        gradcheck(Odd(), [np.ones((3, 2))])


def test_gradgradcheck_of_a_linear_function_and_of_a_constant():
    assert gradgradcheck(lambda x: x * 3.0, [np.ones(3)]).checked
    assert gradgradcheck(mt.sign, [np.ones(3)]).checked


def test_a_rule_that_cannot_be_recorded_is_told_so():
    @mt.op
    def raw_only(xp, x):
        return xp.exp(x)

    raw_only.vjp(lambda g, out: g * np.nan_to_num(out))
    with pytest.raises(AssertionError, match="its gradient fails if it is recorded for a second derivative: TypeError"):
        check_op(raw_only, [np.ones(3)])


def run(code):
    """``code`` in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60)


def test_hypothesis_is_imported_on_demand_alone():
    done = run("import sys, minitensor.testing; sys.exit('hypothesis' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_without_hypothesis_the_error_says_what_to_install():
    hide = "import sys, numpy; sys.modules['hypothesis'] = None; import minitensor.testing as t; "
    done = run(hide + "t.check_op(lambda x: x * 2.0, [numpy.ones(2)]); t.strategies")
    assert done.returncode != 0
    assert (
        'ImportError: minitensor.testing.strategies needs hypothesis: pip install "minitensor-autograd[test]"'
        in done.stderr
    )


def test_strategies_draw_what_they_say():
    from hypothesis import given, settings

    @settings(max_examples=200, database=None)
    @given(mst.matmul_operands(), mst.broadcastable(3), mst.attention_masks(2, 3, 4, 5), mst.tensors(distinct=True))
    def drawn(operands, three, mask, distinct):
        np.matmul(operands[0].data, operands[1].data)
        np.broadcast_shapes(*(x.shape for x in three))
        assert mask is None or np.broadcast_shapes(mask.shape, (2, 3, 4, 5)) == (2, 3, 4, 5) and mask.dtype == bool
        assert len(np.unique(distinct.data)) == distinct.size

    drawn()
