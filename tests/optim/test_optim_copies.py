"""Deep copies and pickles of optimisers, schedules and averages: in the same state, and those made
together belong together.
"""

import copy
import pickle

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}
MAKERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.1),
}


@pytest.fixture(params=COPIES.values(), ids=COPIES)
def copied(request):
    """A way to copy."""
    return request.param


def train(model, optimizer, steps, schedule=None, ema=None):
    """A few steps on fixed numbers."""
    x = mt.tensor(np.linspace(-1, 1, 15).reshape(5, 3), dtype=next(model.parameters()).dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) * model(x)).sum().backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        if ema is not None:
            ema.update()


def values(model):
    """All parameters, as one list."""
    return np.concatenate([p.numpy().ravel() for p in model.parameters()]).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_model_and_optimiser_copied_together_belong_together(make, copied, dtype):
    mt.random.seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).astype(dtype)
    optimizer = make(model.parameters())
    train(model, optimizer, 3)
    before = values(model)
    other_model, other = copied((model, optimizer))
    assert [id(p) for p in other.param_groups[0]["params"]] == [id(p) for p in other_model.parameters()]
    train(other_model, other, 4)
    assert values(model) == before and values(other_model) != before
    train(model, optimizer, 4)
    assert values(other_model) == values(model)
    flat = other_model[0].weight.numpy().base  # one memory, as the original's
    assert all(np.shares_memory(flat, p.numpy()) for p in other_model.parameters())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_optimiser_alone(make, copied):
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    train(model, optimizer, 3)
    other = copied(optimizer)
    ours, theirs = optimizer.state_dict(), other.state_dict()
    assert ours["param_groups"] == theirs["param_groups"] and type(other) is type(optimizer)
    for index, state in ours["state"].items():
        for name, value in state.items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(theirs["state"][index][name]))
    before = values(model)
    for p in other.param_groups[0]["params"]:
        p.grad = mt.ones_like(p)
    other.step()
    assert values(model) == before
    assert [p.name for p in other.param_groups[0]["params"]] == ["weight", "bias"]


def test_groups_states_and_frozen_parameters(copied):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters()}]
    optimizer = optim.Adam(groups, lr=0.1)
    train(model, optimizer, 2)
    other_model, other = copied([model, optimizer])
    assert not other_model[1].bias.requires_grad
    train(model, optimizer, 2)
    train(other_model, other, 2)
    assert values(model) == values(other_model)
    other.param_groups[0]["lr"] = 0.0  # the groups are those that the entries look at
    before = other_model[0].weight.numpy().copy()
    train(other_model, other, 1)
    np.testing.assert_array_equal(other_model[0].weight.numpy(), before)


def test_schedules_and_averages(copied):
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    schedule, ema = optim.CosineLR(optimizer, 10, 2), optim.EMA(model.parameters(), 0.5)
    train(model, optimizer, 3, schedule, ema)
    everything = {"model": model, "optimizer": optimizer, "schedule": schedule, "ema": ema}
    other = copied(everything)
    assert other["schedule"].optimizer is other["optimizer"]
    train(*(other[k] for k in ("model", "optimizer")), 3, other["schedule"], other["ema"])
    train(model, optimizer, 3, schedule, ema)
    assert values(other["model"]) == values(model) and other["schedule"].get_last_lr() == schedule.get_last_lr()
    with ema.applied(), other["ema"].applied():
        assert values(other["model"]) == values(model)
    alone = copied(schedule)
    alone.step()
    assert alone.get_last_lr() != schedule.get_last_lr()


def test_a_model_that_holds_its_optimiser(copied):
    model = nn.Linear(3, 2)
    model._optimizer = optim.Adam(model.parameters(), lr=0.1)
    train(model, model._optimizer, 2)
    other = copied(model)
    train(other, other._optimizer, 2)
    train(model, model._optimizer, 2)
    assert values(other) == values(model)
