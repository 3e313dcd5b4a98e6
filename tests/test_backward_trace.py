"""``mt.backward_trace()``: the contributions that it shows add up to ``.grad`` bit for bit, for
every op and every model; it changes no result, and leaves nothing behind.
"""

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from table import TABLE

import minitensor as mt
from minitensor.backend import is_floating
from minitensor.engine.mode import Mode, current_mode

TYPES = [np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)]
DRAWS = hypothesis.settings(
    max_examples=2, database=None, derandomize=True, deadline=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert current_mode.get() == Mode()


def is_float(value):
    return isinstance(value, np.ndarray) and is_floating(value.dtype)


def bits(array):
    """Shape, type and bytes of an array; all NaN count as one."""
    array = np.asarray(array)
    array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array) if is_floating(array.dtype) else array
    return array.shape, array.dtype, array.tobytes()


def add_up(t, leaves=()):
    """Every sum of contributions in a trace is the gradient that the engine had; of each leaf, by
    its node's number, it is what is in ``.grad``.
    """
    deposits = {}
    for one in t.passes:
        assert one.finished
        at = {}
        for arrival in [*one.seeds, *(a for step in one.steps for a in step.arrivals)]:
            at.setdefault(arrival.parent, []).append(arrival)
        assert sorted(at) == sorted(step.node for step in one.steps)
        assert [step.node for step in one.steps] == sorted((step.node for step in one.steps), reverse=True)
        for step in one.steps:
            arrivals, total = at[step.node], None
            for nth, arrival in enumerate(arrivals, 1):
                assert arrival.nth == nth and arrival.value.shape == t.nodes[step.node].shape
                total = arrival.value.array if total is None else arrival.added_to(total)
                assert bits(arrival.total.array) == bits(total)
            complete = step.gradient if step.before_hooks is None else step.before_hooks
            assert bits(total) == bits(complete.array)
            if step.deposited is not None:
                before = deposits.get(step.node)
                deposits[step.node] = step.grad.array
                if before is not None:
                    assert bits(step.grad.array) == bits(before + step.deposited.array)
    for leaf in leaves:
        if leaf.grad is not None:
            assert bits(leaf.grad.data) == bits(deposits[leaf.node.order].astype(leaf.dtype))


# --- every op of the table ------------------------------------------------------------------------


def plain(value):
    return np.asarray(value.data) if isinstance(value, mt.Tensor) else value


def run(row, values, keywords, dtype):
    """Results, leaves and gradients of the row's function, called twice on the same inputs."""
    mt.random.seed(0)
    rng = np.random.default_rng(0)
    inputs = [mt.tensor(value, dtype=dtype) if is_float(value) else value for value in values]
    wanted = range(len(values)) if row.wanted is None else row.wanted
    leaves = [inputs[i].requires_grad_() for i in wanted if is_float(values[i])]
    outs, ends = [], []
    for _ in range(2):
        made = row.function(*inputs, **keywords)
        outs += made if isinstance(made, (tuple, list)) else [made]
    for out in outs:
        if out.requires_grad:
            ends.append((out.astype("float32") * mt.tensor(rng.standard_normal(out.shape), dtype="float32")).sum())
    if ends and row.order:
        mt.stack(ends).sum().backward()
    return outs, leaves


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE])
def test_contributions_of_every_op_add_up(row):
    @DRAWS
    @hypothesis.given(row.cases if hasattr(row.cases, "example") else st.tuples(*row.cases))
    def check(case):
        case = list(case) if isinstance(case, (list, tuple)) else [case]
        keywords = case.pop() if case and isinstance(case[-1], dict) else {}
        for dtype in TYPES:
            with np.errstate(all="ignore"):
                outs, leaves = run(row, case, keywords, dtype)
                state = mt.random.default.state
                with mt.backward_trace() as t:
                    traced, again = run(row, case, keywords, dtype)
            assert mt.random.default.state == state
            assert [bits(out.data) for out in traced] == [bits(out.data) for out in outs]
            for one, other in zip(again, leaves):
                assert (one.grad is None) == (other.grad is None)
                assert one.grad is None or bits(one.grad.data) == bits(other.grad.data)
            add_up(t, again)

    check()
