"""Nobody's array is written to: gradients belong to their tensor alone, and what was overwritten is
noticed.
"""

import sys
import threading

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
    try:
        z.backward()
    except RuntimeError as error:
        assert "overwritten" in str(error)
    else:  # a compiled kernel that makes the gradient from x, when nobody holds the result any more
        assert forget
        np.testing.assert_array_equal(x.grad.numpy(), mt.grad((op(x) * 1.0).sum(), x).numpy())


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


def clear_a_part(w):
    """Through a part of it."""
    w.grad[0:1].assign(0.0)


def set_anew(w):
    """By another tensor, which stays its own."""
    given = mt.tensor([0.0, 2.0])
    w.grad = given
    given.assign(7.0)


def write_to_a_handle(w):
    """Through a handle from before an optimiser took the parameter over."""
    held = w.grad
    optim.SGD([w], lr=1.0)
    held.assign([0.0, 2.0])


WRITES = {
    "assign": lambda w: w.grad.assign([0.0, 2.0]),
    "detached": lambda w: w.grad.detach().assign([0.0, 2.0]),
    "a part": clear_a_part,
    "set": set_anew,
    "read before": write_to_a_handle,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("bound", [False, True], ids=["free", "in a flat buffer"])
def test_what_is_written_to_a_gradient_counts(write, bound):
    w = mt.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0) if bound else None
    (w * mt.tensor([1.0, 2.0])).sum().backward()
    write(w)
    (w * 10.0).sum().backward()
    assert w.grad.tolist() == [10.0, 12.0]
    w.grad.assign([5.0, 2.0])
    write(w)
    assert w.grad.tolist() == [0.0, 2.0]
    (optimizer or optim.SGD([w], lr=1.0)).step()
    assert w.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("bound", [False, True])
def test_clipping_leaves_what_was_read_and_takes_what_was_written(bound):
    w = mt.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0) if bound else None
    (w * 2.0).sum().backward()
    read = w.grad
    read.assign([3.0, 0.25])
    optim.clip_grad_value_([w], 0.5)
    assert read.tolist() == [3.0, 0.25] and w.grad.tolist() == [0.5, 0.25]
    if bound:
        optimizer.step()
        assert w.tolist() == [0.5, 1.75]


def test_gradients_cannot_be_written_past_the_engine():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    shown = []
    x.register_hook(lambda g: shown.append(g))
    (x * x).sum().backward()
    for array in (x.grad.data, x.grad.numpy(), shown[0].data, shown[0].detach().data):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    for gradient in (shown[0], shown[0].detach()):
        with pytest.raises(RuntimeError, match="assign"):
            gradient.assign(0.0)
    narrow = mt.tensor([1.0, 2.0], dtype="float16", requires_grad=True)
    (narrow * 2.0).sum().backward()
    with pytest.raises(RuntimeError, match="x.grad = value"):  # it is kept in float32, and rounded when read
        narrow.grad.assign(0.0)
    narrow.grad = mt.tensor([0.0, 0.0])
    assert narrow.grad.tolist() == [0.0, 0.0] and narrow.grad.dtype == np.float16


def test_a_gradient_that_is_set_takes_the_type_of_its_tensor():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    x.grad = mt.tensor([1.0, 1.0], dtype="float64")
    assert x.grad.dtype == np.float32


def test_a_hook_is_removed_by_its_handle_also_from_inside():
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    handles = [x.register_hook(lambda g, i=i: seen.append(i) or handles[1].remove()) for i in range(3)]
    (x * x).sum().backward()
    assert seen == [0, 2]  # the first removed the second, before its turn
    handles[1].remove()
    handles[0].remove()
    handles[2]()
    with x.register_hook(lambda g: g * 2.0):
        assert mt.grad((x * x).sum(), x).tolist() == [4.0, 8.0]
    assert mt.grad((x * x).sum(), x).tolist() == [2.0, 4.0] and seen == [0, 2]


@pytest.mark.parametrize("bound", [False, True], ids=["free", "in a flat buffer"])
def test_threads_may_deposit_in_one_gradient(bound):
    x = mt.tensor(np.zeros(100_000, np.float32), requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0) if bound else None
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work():
        for _ in range(25):
            (x * 1.0).sum().backward()
            assert x.grad is not None  # a reader in between

    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert float(x.grad.data.min()) == float(x.grad.data.max()) == 100.0
    if bound:
        optimizer.step()
        assert float(x.data.max()) == -100.0


def test_a_rule_may_hand_out_one_of_many_saved_operands():
    @mt.op
    def first_of(xp, *xs):
        return xs[0] * xs[1]

    first_of.vjp(lambda i, xs: xs[1 - i])
    x, y = mt.tensor([1.0, 2.0], requires_grad=True), mt.tensor([3.0, 4.0])
    first_of(x, y).backward(mt.ones((2,)))
    x.grad.assign(0.0)
    assert y.tolist() == [3.0, 4.0]
