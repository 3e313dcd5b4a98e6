"""A trace of work on GPUs: its copies are on the host, and gradients that cross devices add up."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.tracing.record import Scattered
from tests.backend import emulator

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


def test_values_and_gradients_are_copied_to_the_host(device):
    rng = np.random.default_rng(0)
    x = mt.tensor(rng.standard_normal((3, 4)).astype(np.float32), device=device, requires_grad=True)
    b = mt.tensor(rng.standard_normal(4).astype(np.float32), requires_grad=True)
    with mt.backward_trace({"x": x, "b": b}) as t:
        y = F.softmax(x[np.array([0, 0, 2])] + b.to(device))
        (y * y).to("cpu").sum().backward()
    assert {type(node.value.array) for node in t.nodes.values()} == {np.ndarray}
    for step in t.passes[0].steps:
        arrivals, total = t.passes[0].arrivals_at(step.node), None
        for arrival in arrivals:
            total = arrival.value.array if total is None else arrival.added_to(total)
        np.testing.assert_array_equal(total, step.gradient.array)
    assert any(isinstance(a.value, Scattered) for step in t.passes[0].steps for a in step.arrivals)
    np.testing.assert_array_equal(t.passes[0].step_of(x.node.order).grad.array, x.grad.to("cpu").data)
    np.testing.assert_array_equal(t.passes[0].step_of(b.node.order).grad.array, b.grad.data)
    inside = t.open(next(node.id for node in t.nodes.values() if node.name == "softmax"))
    assert len(inside.passes[0].steps) > 3
