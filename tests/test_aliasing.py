"""Nobody's array is written to: gradients belong to their tensor alone, and what was overwritten is noticed."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import optim


def test_a_gradient_set_by_hand_is_copied():
    given = mt.tensor([3.0, 4.0])
    x, y = (mt.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    x.grad = y.grad = given
    optim.clip_grad_norm_([x, y], 1.0)
    optim.clip_grad_value_([x], 0.1)
    assert given.tolist() == [3.0, 4.0] and y.grad.tolist() != x.grad.tolist()


def test_clipping_a_recorded_gradient_leaves_the_graph_alone():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    recorded = x.grad
    optim.clip_grad_norm_([x], 1.0)
    assert recorded.tolist() == [3.0, 12.0]
    assert mt.grad(recorded.sum(), x).tolist() == [6.0, 12.0]


@pytest.mark.parametrize("op", [F.softmax, F.log_softmax, F.layer_norm, F.rms_norm, mt.exp, F.sigmoid])
@pytest.mark.parametrize("forget", [False, True])
def test_overwriting_a_result_that_backward_needs_is_noticed(op, forget):
    x = mt.tensor([1.0, 2.0, 4.0], requires_grad=True)
    y = op(x)
    z = (y * 1.0).sum()
    y.detach().assign(0.0)
    if forget:
        del y
    with pytest.raises(RuntimeError, match="overwritten"):
        z.backward()


def test_what_a_hook_returns_is_brought_to_the_tensors_type():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: g.astype("float64") * 2.0)
    (x * x).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [4.0, 8.0]
    assert mt.grad((x * x).sum(), x, create_graph=True).dtype == np.float32


def test_a_hook_may_return_an_array_also_where_the_pass_is_recorded():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: np.ones(2, dtype=np.float32))
    assert mt.grad((x * x).sum(), x, create_graph=True).tolist() == [1.0, 1.0]


def test_grad_can_keep_the_graph():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    assert mt.grad(y, x, retain_graph=True).tolist() == mt.grad(y, x).tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="freed"):
        mt.grad(y, x)


def test_a_faulty_rule_is_named():
    @mt.op
    def odd(xp, x):
        return x * 2

    odd.vjp(lambda g: 0.0)
    x = mt.ones(3, requires_grad=True)
    with pytest.raises(
        TypeError, match=r"odd, in backward: a rule returned 0.0, it must return an array of shape \(3,\)"
    ):
        odd(x).sum().backward()
    odd.vjp(lambda xp, g: g * xp.ones(7))
    with pytest.raises(ValueError, match="odd, in backward: .*broadcast"):
        odd(x).sum().backward()


def test_a_gradient_that_was_read_stays_what_it_was():
    w = mt.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    read = []
    for factor in (1.0, 2.0, 3.0):
        optimizer.zero_grad()
        (w * factor).sum().backward()
        read.append(w.grad)
    optim.clip_grad_value_([w], 0.5)
    assert [g.tolist() for g in read] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert w.grad.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("second", [lambda g: g, lambda g: g[:]], ids=["the same array", "a view of it"])
def test_a_kernel_may_give_two_inputs_the_same_gradient(second):
    @mt.fused
    def joint_sum(x, y):
        return x + y

    @joint_sum.kernel
    def _(xp, x, y, *, needs):
        def backward(g):
            both = 1.0 * g
            return both, second(both)

        return x + y, backward

    x, y = (mt.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    once = joint_sum(x, y)
    again = x * 10.0  # older: its gradient arrives later
    (joint_sum(x, y) + once + again).sum().backward()
    assert x.grad.tolist() == [12.0, 12.0] and y.grad.tolist() == [2.0, 2.0]
    x.grad = y.grad = None
    older = x * 10.0
    (joint_sum(x, y) + older).sum().backward()
    assert x.grad.tolist() == [11.0, 11.0] and y.grad.tolist() == [1.0, 1.0]
