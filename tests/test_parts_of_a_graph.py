"""Derivatives with respect to intermediate results: what lies below them is let be; what was freed
or is stale raises as ever.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim


def leaf(*values, name=None):
    x = mt.tensor(np.array(values), requires_grad=True)
    x.name = name
    return x


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "make", [mt.exp, nn.functional.softmax, lambda x: mt.checkpoint(mt.exp, x)], ids=["op", "fused", "checkpoint"]
)
def test_the_graph_can_be_walked_piece_by_piece(make, create_graph):
    x = leaf(1.0, 2.0, 0.5)
    whole = mt.grad((make(x) ** 3).sum(), x)
    f = make(x)
    upper = mt.grad((f**3).sum(), f, create_graph=create_graph)
    f.backward(upper.detach())
    np.testing.assert_allclose(x.grad.data, whole.data, rtol=1e-12)


def test_a_pass_that_ends_above_a_freed_part_is_fine_and_one_into_it_raises():
    x = leaf(1.0, 2.0)
    f = mt.exp(x)
    y = (f * f).sum()
    z = (f * 3.0).sum()
    y.backward()
    assert mt.grad(z, f, retain_graph=True).tolist() == [3.0, 3.0]
    with pytest.raises(RuntimeError, match="freed"):
        mt.grad(z, x)
    with pytest.raises(RuntimeError, match="freed"):
        mt.grad(y, f)


def test_a_pass_that_ends_above_a_stale_part_is_fine_and_one_into_it_raises():
    w = nn.Parameter([1.0, 2.0])
    w.name = "w"
    optimizer = optim.SGD([w], lr=0.1)
    f = w * w
    (w * 2.0).sum().backward()
    optimizer.step()
    z = (f * 3.0).sum()
    assert mt.grad(z, f, retain_graph=True).tolist() == [3.0, 3.0]
    with pytest.raises(RuntimeError, match="value of w .* overwritten"):
        mt.grad(z, w)


def test_only_what_the_wanted_rules_ask_for_must_be_fresh():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0, name="w")
    y = (x * w).sum()
    w.assign(0.0)
    assert mt.grad(y, w, retain_graph=True).tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="value of w .* overwritten"):
        mt.grad(y, x)


def test_a_checkpoint_below_is_not_run():
    runs = []
    x = leaf(1.0, 2.0)
    y = mt.checkpoint(lambda t: runs.append(1) or t * t, x)
    z = (y * y).sum()
    assert mt.grad(z, y, retain_graph=True).tolist() == [2.0, 8.0] and len(runs) == 1
    assert mt.grad(z, [y, x])[1].tolist() == [4.0, 32.0] and len(runs) == 2


def test_the_other_branch_is_neither_run_nor_freed():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    hidden = mt.exp(w)
    y = (x * hidden).sum()
    seen = []
    hidden.register_hook(seen.append)
    np.testing.assert_allclose(mt.grad(y, x).data, np.exp(w.data))
    assert seen == []
    hidden.sum().backward()
    np.testing.assert_allclose(w.grad.data, np.exp(w.data))


def test_a_wanted_tensor_that_leads_to_another_is_passed_through():
    x = leaf(1.0, 2.0)
    f = x * x
    g = f * f
    df, dx = mt.grad(g.sum(), [f, x])
    assert df.tolist() == [2.0, 8.0] and dx.tolist() == [4.0, 32.0]


def test_results_are_shared_with_nobody():
    x, y, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), mt.tensor([5.0, 6.0], dtype="float64")
    dx, dy = mt.grad(x + y, [x, y], seed)
    dx.assign(0.0)
    assert dy.tolist() == seed.tolist() == [5.0, 6.0]
    df, dx = mt.grad(f := x + 1.0, [f, x], seed)
    df.assign(0.0)
    assert dx.tolist() == seed.tolist() == [5.0, 6.0]

    @mt.op
    def weighted(xp, x, w):
        return (x * w).sum()

    weighted.vjp(lambda g, w: w, None)  # hands out what it saved
    w = mt.tensor([3.0, 4.0], dtype="float64")
    mt.grad(weighted(x, w), x).assign(0.0)
    assert w.tolist() == [3.0, 4.0]
