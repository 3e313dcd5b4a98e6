"""``mutants``: what it changes, what it counts, and that nothing of it is left behind; a sample of
the table's ops, and all of them with MINITENSOR_THOROUGH=1.
"""

import os
import threading

import mutants as bench
import numpy as np
import pytest

import minitensor as mt
from minitensor.backend.compiled import kernels
from minitensor.engine.fused import FUSED
from minitensor.engine.op import OPS
from minitensor.testing import check_op, gradcheck, mutants
from minitensor.testing import strategies as st
from minitensor.testing.planted import changed, planted, standing_for
from minitensor.testing.sources import tree_of

THOROUGH = os.environ.get("MINITENSOR_THOROUGH") == "1"
X = [np.array([0.3, -1.2, 2.0])]


def op_of(function, *rules, name=None):
    made = mt.op(function, name=name)
    made.vjp(*rules)
    return made


# --- our own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "maximum", "tanh", "softmax"])
def test_a_sample_of_the_table(name):
    report = bench.survey(name, 6)
    assert len(report.caught) >= 3 and not report.survived, str(report)


@pytest.mark.skipif(not THOROUGH, reason="MINITENSOR_THOROUGH=1 runs every op of the table")
def test_the_whole_table(monkeypatch):
    monkeypatch.setattr(kernels, "on", False)
    found = [bench.survey(name) for name in bench.TARGETS]
    assert sum(len(report.caught) for report in found) >= 200
    # Which of two equal kernels runs; singular matrices, which the table leaves out.
    assert {report.op for report in found if report.survived} <= {"packed_attention", "svd"}


@pytest.mark.skipif(not THOROUGH, reason="MINITENSOR_THOROUGH=1 checks every op with 100 seeds")
def test_no_false_alarm(monkeypatch):
    monkeypatch.setattr(kernels, "on", False)
    assert not [alarm for row in bench.TABLE if row.order for alarm in bench.false_alarms(row, range(100))[0]]


def test_every_rule_of_the_library_is_found_in_its_source():
    for op in OPS.values():
        for rule in op.rules or ():
            if rule is not None:
                tree, _ = tree_of(rule)
                names = [a.arg for a in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)]
                assert names == list(rule.__code__.co_varnames[: len(names)]), op


# --- a user's -------------------------------------------------------------------------------------

scaled = mt.op(lambda xp, x, y: 2.0 * x * y, name="scaled")
scaled.vjp(lambda g, y: 2.0 * g * y, lambda g, x: g * (x + x))  # two on one line


def test_two_lambdas_of_one_line_are_told_apart():
    report = mutants(scaled, [X[0], X[0] + 1.0])
    assert report.share == 1.0 and len(report.caught) > 20 and "100 %" in str(report)
    said = {mutant.part: mutant for mutant in report.all}
    assert set(said) == {"the rule of x", "the rule of y"}
    assert all("- scaled.vjp(lambda g, y: 2.0 * g * y, lambda" in mutant.diff for mutant in report.all)
    assert {mutant.kind for mutant in report.caught} >= {
        "sign",
        "factor",
        "swapped operands",
        "dropped term",
        "no-grad branch",
    }


def test_a_closure_and_a_helper_are_changed_too():
    factor = 3.0

    def rule(g, x):
        return _times(g, factor)

    report = mutants(op_of(lambda xp, x: factor * x, rule, name="tripled"), X)
    assert report.share == 1.0 and "the rule of x, _times" in {mutant.part for mutant in report.caught}


def _times(a, b):
    return a * b


def test_a_fused_op_kernel_inner_function_and_definition():
    report = mutants(FUSED["silu"], [st.tensors(shape=(3,))], limit=20)
    assert report.share == 1.0 and {mutant.part for mutant in report.caught} == {"the kernel", "the definition"}


def test_equivalent_and_crashed_are_told_and_counted_apart():
    made = op_of(lambda xp, x: x * x, lambda g, x: g * 1.0 * x + 1.0 * x * g, name="twice")
    report = mutants(made, X)
    assert report.of("equivalent") and "equivalent: outputs, first and second derivatives were those" in str(report)
    assert "to rounding, on 91 inputs" not in str(report) and report.share == 1.0
    broken = op_of(lambda xp, x: x @ x, lambda g, x: g * 2.0 * x.T, name="square_norm")
    report = mutants(broken, [np.array([1.0, 2.0])])
    assert not report.survived and all(mutant.said for mutant in (*report.caught, *report.of("crashed")))


def test_what_a_check_does_not_see_is_shown_with_its_source():
    made = op_of(lambda xp, x: xp.abs(x), lambda xp, g, x: g * xp.sign(x), name="magnitude")
    report = mutants(made, [np.array([-1.0, 0.0, 2.0])], order=1)
    assert report.share == 1.0, str(report)
    blind = mutants(made, [np.array([1.0, 2.0])], order=0)
    assert not blind.caught
    far = op_of(lambda xp, x: xp.minimum(x, 6.0), lambda xp, g, x: g * xp.less(x, 6.0), name="cut")
    report = mutants(far, [st.tensors(shape=(2,), low=0.0, high=2.0)])
    assert "survived: " in str(report) and "+     far = " in str(report) and report.share < 1.0


def test_what_cannot_be_changed_is_refused():
    with pytest.raises(TypeError, match="mutants takes an op or a fused op.*got conv2d: give the op"):
        mutants(mt.nn.functional.conv2d, X)
    wrong = op_of(lambda xp, x: x * x, lambda g, x: g * x, name="wrong")
    with pytest.raises(AssertionError, match="wrong: the gradient"):
        mutants(wrong, X)
    typed = {}
    exec("made = lambda g, x: g * x", typed)
    with pytest.raises(ValueError, match="its source cannot be read"):
        mutants(op_of(lambda xp, x: 0.5 * x * x, typed["made"], name="typed"), X)


# --- nothing is left behind -----------------------------------------------------------------------


def test_a_planted_op_is_seen_in_its_block_and_its_thread_alone():
    sine = OPS["sin"]
    wrong = changed(sine, rules=(lambda xp, g, x: -g * xp.cos(x),))
    before = dict(sine.__dict__)
    seen = []

    def slope():
        x = mt.tensor([0.0], requires_grad=True)
        seen.append(float(mt.grad(mt.sin(x).sum(), x).item()))

    with pytest.raises(KeyboardInterrupt), planted(sine, wrong):
        assert standing_for(sine) is wrong
        slope()
        other = threading.Thread(target=slope)
        other.start()
        other.join()
        raise KeyboardInterrupt
    slope()
    assert seen == [-1.0, 1.0, 1.0] and standing_for(sine) is sine
    assert sine.__dict__ == before


def test_a_mutant_within_a_profile_and_a_profile_within_a_mutant():
    sine = OPS["sin"]
    wrong = changed(sine, rules=(lambda xp, g, x: -g * xp.cos(x),))
    x = mt.tensor([0.0], requires_grad=True)
    with mt.profile(), planted(sine, wrong):
        assert mt.grad(mt.sin(x).sum(), x).item() == -1.0
    with planted(sine, wrong), mt.profile() as profile:
        assert mt.grad(mt.sin(x).sum(), x).item() == -1.0
    assert "sin" in str(profile)


# --- the holes that mutants showed ----------------------------------------------------------------


@pytest.mark.parametrize("check", [gradcheck, check_op])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_infinite_gradient_is_no_kink(check, bad):
    made = op_of(lambda xp, x: x * x, lambda xp, g, x: xp.where(xp.greater(x, 1.5), bad, 2.0 * g * x))
    with pytest.raises(AssertionError, match=r"at index \(2,\) is (-?inf|nan) by its rule"):
        check(made, X, **({"order": 1} if check is check_op else {}))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_at_a_tie_add_up(share):
    def rule(sign):
        return lambda xp, g, x, y: g * xp.greater(sign * x, sign * y) + share * g * xp.equal(x, y)

    made = op_of(lambda xp, x, y: xp.maximum(x, y), rule(1.0), rule(-1.0))
    ties = np.array([1.0, 2.0, 3.0, 3.0]), np.array([1.0, 0.0, 4.0, 3.0])
    with pytest.raises(AssertionError, match="which kink together"):
        check_op(made, list(ties))
    for one_sided in (mt.maximum, mt.minimum):
        check_op(one_sided, list(ties))


def test_a_lost_sum_over_what_was_broadcast_on_either_side():
    for side in (0, 1):
        rules = [lambda g: g, lambda g: g]
        rules[side] = [_first_of(lambda g, x_shape: (g, x_shape)), _first_of_y][side]
        with pytest.raises(AssertionError):
            check_op(op_of(lambda xp, x, y: x + y, *rules), st.broadcastable(2))


def _cut(g, shape):
    while g.ndim > len(shape):
        g = g[0]
    return g[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]


def _first_of(arguments):
    return lambda g, x_shape: _cut(*arguments(g, x_shape))


def _first_of_y(g, y_shape):
    return _cut(g, y_shape)
