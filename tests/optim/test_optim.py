"""Optimisers by themselves: memory, groups, saving, errors."""

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim

KINDS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.05),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.05),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make_parameters(dtype="float32"):
    rng = np.random.default_rng(0)
    made = [mt.tensor(rng.normal(size=shape), dtype=dtype, requires_grad=True) for shape in [(3, 4), (4,), (), (4, 2)]]
    for name, parameter in zip(["w", "b", "scale", "out"], made):
        parameter.name = name
    return made


def loss_of(parameters, step=0):
    w, b, scale, out = parameters
    x = mt.asarray(np.random.default_rng(step + 1).normal(size=(5, 3)).astype(w.dtype))
    return mt.square(((x @ w + b) * scale) @ out - 1.0).mean()


def train(parameters, optimizer, steps, first=0, schedule=None):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(parameters, step).backward()
        optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if schedule is not None:
            schedule.step()


@every_kind
def test_loss_falls(kind):
    parameters = make_parameters()
    before = loss_of(parameters).item()
    train(parameters, KINDS[kind](parameters), 60)
    assert loss_of(parameters).item() < 0.7 * before


def test_parameters_and_gradients_are_views_of_one_array():
    parameters = make_parameters()
    nodes = [p.node for p in parameters]
    optimizer = optim.Adam(parameters)
    assert len({id(p.data.base) for p in parameters}) == 1
    assert [p.node for p in parameters] == nodes
    optimizer.zero_grad()
    loss_of(parameters).backward()
    assert len({id(p.node.watch.grad.base) for p in parameters}) == 1
    assert all(p.data.ctypes.data % 64 == parameters[0].data.ctypes.data % 64 for p in parameters)


@every_kind
def test_resume_is_bit_identical(kind):
    whole = make_parameters()
    optimizer = KINDS[kind](whole)
    train(whole, optimizer, 20, schedule=optim.InverseSqrtLR(optimizer, 5))

    first = make_parameters()
    optimizer = KINDS[kind](first)
    schedule = optim.InverseSqrtLR(optimizer, 5)
    train(first, optimizer, 11, schedule=schedule)
    saved = optimizer.state_dict(), schedule.state_dict(), [p.data.copy() for p in first]
    train(first, optimizer, 2)  # the saved state must not follow

    second = make_parameters()
    for p, value in zip(second, saved[2]):
        p.assign(value)
    optimizer = KINDS[kind](second)
    schedule = optim.InverseSqrtLR(optimizer, 5)
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    train(second, optimizer, 9, first=11, schedule=schedule)
    for p, q in zip(whole, second):
        np.testing.assert_array_equal(p.data, q.data)


@every_kind
def test_a_parameter_without_gradient_is_untouched(kind):
    parameters = make_parameters()
    optimizer = KINDS[kind](parameters)
    train(parameters, optimizer, 3)
    before = (
        parameters[1].data.copy(),
        {k: v.data.copy() for k, v in optimizer.state_dict()["state"]["1"].items() if k != "step"},
    )
    optimizer.zero_grad()
    loss_of(parameters).backward()
    parameters[1].grad = None
    optimizer.step()
    state = optimizer.state_dict()["state"]
    np.testing.assert_array_equal(parameters[1].data, before[0])
    for name, array in before[1].items():
        np.testing.assert_array_equal(state["1"][name].data, array)
    assert (state["0"]["step"], state["1"]["step"]) == (4, 3)


@every_kind
def test_many_pieces_equal_one(kind, monkeypatch):
    whole, cut = make_parameters(), make_parameters()
    train(whole, KINDS[kind](whole), 5)
    monkeypatch.setitem(optim.flat.PIECE, "cpu", 5)
    train(cut, KINDS[kind](cut), 5)
    for p, q in zip(whole, cut):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-6)


def test_a_tied_weight_counts_once():
    (w, *_) = make_parameters()
    optimizer = optim.SGD([w, w], lr=0.5)
    w.grad = mt.ones_like(w)
    before = w.data.copy()
    optimizer.step()
    np.testing.assert_allclose(w.data, before - 0.5)
    w.grad = mt.full_like(w, 2.0)
    assert float(optim.clip_grad_norm_([w, w], 100.0)) == pytest.approx(np.sqrt(12 * 4))


def test_backward_after_the_step_names_the_parameter():
    parameters = make_parameters()
    optimizer = optim.Adam(parameters)
    loss = loss_of(parameters)
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="(w|b|scale|out) that this op saved has been overwritten"):
        loss.backward()


def test_two_dtypes_and_accumulated_gradients():
    narrow, wide = mt.ones(3, requires_grad=True), mt.ones(3, dtype="float64", requires_grad=True)
    optimizer = optim.SGD([narrow, wide], lr=1.0)
    for _ in range(2):
        ((narrow * 2).sum() + (wide * 3).sum()).backward()
    norm = optim.clip_grad_norm_([narrow, wide], 1e9)
    assert float(norm) == pytest.approx(np.sqrt(3 * 16 + 3 * 36))
    optimizer.step()
    np.testing.assert_allclose(narrow.data, -3)
    np.testing.assert_allclose(wide.data, -5)


@every_kind
def test_state_follows_a_change_of_dtype(kind):
    parameters = make_parameters()
    optimizer = KINDS[kind](parameters)
    train(parameters, optimizer, 3)
    for p in parameters:  # what Module.astype does
        p._array, p.node = p._array.astype(np.float64), None
        p.requires_grad_()
    train(parameters, optimizer, 3, first=3)
    state = optimizer.state_dict()["state"]["0"]
    assert state["step"] == 6
    assert all(value.dtype == np.float64 for name, value in state.items() if name != "step")


def test_two_optimizers_over_the_same_parameters():
    parameters = make_parameters()
    fast, slow = optim.SGD(parameters, lr=0.1), optim.SGD(parameters, lr=0.01)
    loss_of(parameters).backward()
    expected = [p.data - 0.11 * p.grad.data for p in parameters]
    fast.step()
    slow.step()
    for p, value in zip(parameters, expected):
        np.testing.assert_allclose(p.data, value, rtol=1e-6)


def test_recorded_gradients_are_used_and_left_alone():
    w = mt.tensor([3.0, 4.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    (w * w).sum().backward(create_graph=True)
    recorded = w.grad
    optim.clip_grad_norm_([w], 1.0)
    np.testing.assert_allclose(recorded.data, [6, 8])
    optimizer.step()
    np.testing.assert_allclose(w.data, [3 - 0.6, 4 - 0.8], rtol=1e-5)


def test_nan_norm_does_not_outlive_its_gradients():
    parameters = make_parameters()
    optimizer = optim.SGD(parameters, lr=0.1)
    loss_of(parameters).backward()
    parameters[0].node.watch.grad[0, 0] = np.nan
    assert np.isnan(float(optim.clip_grad_norm_(parameters, 1.0)))
    optimizer.zero_grad()
    loss_of(parameters).backward()
    assert np.isfinite(float(optim.clip_grad_norm_(parameters, 1.0)))


def test_clip_grad_value_and_no_gradients():
    (w, *_) = make_parameters()
    assert float(optim.clip_grad_norm_([w], 1.0)) == 0.0
    w.grad = mt.asarray(np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4))
    optim.clip_grad_value_(w, 0.5)
    assert np.abs(w.grad.data).max() == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.Adam([]), "no parameters given"),
        (lambda w: optim.Adam([w], lr=-1.0), "lr must be a number, not negative, got -1.0"),
        (lambda w: optim.Adam([w], betas=(0.9, 1.0)), r"betas\[1\] must be a number at least 0 and below 1"),
        (lambda w: optim.Adam([{"params": [w], "rl": 1.0}]), r"unknown \['rl'\]"),
        (lambda w: optim.Adam([{"lr": 1.0}]), '"params" is missing'),
        (lambda w: optim.Adam([{"params": [w]}, {"params": w}]), "w is in two groups"),
        (lambda w: optim.Adam([w * 2]), "must be a floating leaf"),
        (lambda w: optim.SGD([w], nesterov=True), "needs momentum"),
        (lambda w: optim.Adafactor([w], d=0.5), "d must be a number at least 1"),
        (lambda w: optim.clip_grad_norm_([w], 0.0), "max_norm must be a positive number"),
        (lambda w: optim.CosineLR(optim.Adam([w]), 10, warmup_steps=10), "warmup_steps"),
        (lambda w: optim.NoamLR(optim.Adam([w]), 64, 0), "warmup_steps must be a positive integer"),
        (lambda w: optim.EMA([w], decay=1.0), "decay must be"),
    ],
)
def test_errors(make, message):
    w = make_parameters()[0]
    with pytest.raises(ValueError, match=message):
        make(w)


def test_not_a_tensor():
    with pytest.raises(TypeError, match="parameter 0 is a str"):
        optim.Adam("w")


def test_a_group_added_later_takes_part_and_a_refused_one_leaves_no_trace():
    w, b, *_ = make_parameters()
    optimizer = optim.SGD([w], lr=1.0)
    w.grad = mt.ones_like(w)
    with pytest.raises(TypeError, match="parameter 2 is a float"):
        optimizer.add_param_group({"params": [b, 1.0]})
    optimizer.add_param_group({"params": [b], "lr": 0.5})
    b.grad = mt.ones_like(b)
    before = w.data.copy(), b.data.copy()
    optimizer.step()
    np.testing.assert_allclose(w.data, before[0] - 1.0)
    np.testing.assert_allclose(b.data, before[1] - 0.5)


def test_loading_a_foreign_state_changes_nothing():
    parameters = make_parameters()
    adam = optim.Adam(parameters)
    train(parameters, adam, 2)
    with pytest.raises(ValueError, match="saved by 'Adam'.*SGD"):
        optim.SGD(parameters).load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match=r"groups of \[4\] parameters"):
        optim.Adam(parameters[:2]).load_state_dict(adam.state_dict())
    other = [mt.zeros((2, 2), requires_grad=True) for _ in range(4)]
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \(3, 4\) in the file, \(2, 2\) here"):
        optim.Adam(other).load_state_dict(adam.state_dict())


def test_to_asks_for_the_model_first():
    optimizer = optim.Adam(make_parameters())
    assert optimizer.to("cpu") is optimizer


def test_schedules_have_their_peaks_where_they_say():
    def rates(make, steps=12):
        optimizer = optim.SGD(make_parameters(), lr=2.0)
        schedule = make(optimizer)
        found = []
        for _ in range(steps):
            found += schedule.get_last_lr()
            schedule.step()
        return found

    inverse = rates(lambda o: optim.InverseSqrtLR(o, 4))
    assert inverse[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0]) and inverse[8] == pytest.approx(2.0 * np.sqrt(4 / 9))
    noam = rates(lambda o: optim.NoamLR(o, 16, 4))
    assert np.argmax(noam) == 3 and noam[3] == pytest.approx(2.0 * 16**-0.5 * 4**-0.5)
    cosine = rates(lambda o: optim.CosineLR(o, 10, warmup_steps=2, min_lr=0.1))
    assert cosine[:3] == pytest.approx([1.0, 2.0, 2.0]) and cosine[10:] == pytest.approx([0.1, 0.1])


def test_ema_averages_and_restores():
    parameters = make_parameters()
    ema, optimizer = optim.EMA(parameters, decay=0.9), optim.Adam(parameters)
    expected = [p.data.copy() for p in parameters]
    for step in range(5):
        train(parameters, optimizer, 1, first=step)
        ema.update()
        expected = [0.9 * e + 0.1 * p.data for e, p in zip(expected, parameters)]
    own = [p.data.copy() for p in parameters]
    with ema.applied():
        for p, e in zip(parameters, expected):
            np.testing.assert_allclose(p.data, e, rtol=1e-5)
    for p, value in zip(parameters, own):
        np.testing.assert_array_equal(p.data, value)
    again = optim.EMA(parameters, decay=0.9)
    again.load_state_dict(ema.state_dict())
    again.copy_to_parameters()
    np.testing.assert_allclose(parameters[0].data, expected[0], rtol=1e-5)
    with pytest.raises(ValueError, match="shapes"):
        optim.EMA(parameters[:1]).load_state_dict(ema.state_dict())
