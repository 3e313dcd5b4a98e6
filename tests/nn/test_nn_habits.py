"""What people bring along from PyTorch: freezing, names, buffers; and what is kept on a module
without being state.
"""

import copy
import pickle

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim

x = mt.tensor([[1.0, -2.0, 0.5]])


def make_net():
    """Two layers."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


# --- freezing -------------------------------------------------------------------------------------

OPTIMISERS = [optim.SGD, lambda p: optim.SGD(p, momentum=0.9), optim.Adam, optim.AdamW, optim.RMSprop, optim.Adafactor]


@pytest.mark.parametrize("make", OPTIMISERS)
def test_a_frozen_part_keeps_no_gradient_and_is_not_updated(make):
    net = make_net()
    optimizer = make(net.parameters())

    def step():
        optimizer.zero_grad()
        net(x).sum().backward()
        grads = [p.grad is not None for p in net.parameters()]
        before = [p.numpy().copy() for p in net.parameters()]
        optimizer.step()
        return grads, [not np.array_equal(p.numpy(), b) for p, b in zip(net.parameters(), before)]

    assert step() == ([True] * 4, [True] * 4)
    assert net[0].requires_grad_(False) is net[0]
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]
    assert net[0].weight.grad is None
    assert step() == ([False, False, True, True],) * 2
    assert net.requires_grad_(False) is net and not net(x).requires_grad
    assert net.requires_grad_() is net
    assert step() == ([True] * 4, [True] * 4)


def test_frozen_ones_train_as_if_never_frozen():
    net, other = make_net(), make_net()
    other.load_state_dict(net.state_dict())
    adam, twin = optim.Adam(net.parameters()), optim.Adam(other.parameters())
    for _ in range(4):
        for model, optimizer in ((net, adam), (other, twin)):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
        net.requires_grad_(False).requires_grad_(True)
    for a, b in zip(net.parameters(), other.parameters()):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_graph_from_before_the_freezing_still_reaches_the_leaf():
    layer, seen = nn.Linear(3, 2), []
    layer.weight.register_hook(lambda g: seen.append(g.shape))
    loss = layer(x).sum()
    layer.requires_grad_(False).requires_grad_(True)
    loss.backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.repeat(x.numpy(), 2, axis=0))
    assert seen == [(2, 3)]


def test_freezing_casting_and_back():
    layer, seen = nn.Linear(3, 2), []
    layer.weight.register_hook(lambda g: seen.append(g.dtype))
    old = layer(x).sum()
    layer.requires_grad_(False).astype("float64")
    assert layer.weight.dtype == np.float64 and not layer.weight.requires_grad
    layer.requires_grad_()
    layer(x.astype("float64")).sum().backward()
    assert layer.weight.grad.dtype == np.float64 and seen == [np.float64]
    with pytest.raises(RuntimeError, match="moved or cast between"):
        old.backward()


def test_freezing_leaves_buffers_alone_and_wants_a_truth_value():
    net = nn.CrossEntropyLoss(weight=[1.0, 2.0])
    net.requires_grad_(True)
    assert not net.weight.requires_grad
    with pytest.raises(TypeError, match="wanted must be True or False"):
        net.requires_grad_("no")
    with pytest.raises(TypeError, match="mode must be True or False"):
        net.train("no")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("cuda", r': write \.to\("cuda"\)'),
        ("half", ': write .astype."float16"'),
        ("named_children", ".*modules"),
        ("nothing", "$"),
    ],
)
def test_methods_of_pytorch_that_are_spelled_otherwise(name, cure):
    with pytest.raises(AttributeError, match=f"'Linear' object has no attribute '{name}'{cure}"):
        getattr(nn.Linear(2, 2), name)


def test_what_is_missing_in_a_property_is_named():
    class Broken(nn.Module):
        @property
        def size(self):
            return self.width * 2

    with pytest.raises(AttributeError, match="'Broken' object has no attribute 'width'"):
        Broken().size  # noqa: B018
    assert not hasattr(Broken(), "size") and not hasattr(Broken(), "cuda")


# --- names ----------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """A parameter of its own, some in a list, and a layer."""

    def __init__(self):
        self.scale = nn.Parameter([2.0])
        self.shifts = [nn.Parameter([1.0]), nn.Parameter([3.0])]
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x * self.scale) * self.shifts[0] * self.shifts[1]


@pytest.mark.parametrize(
    ("pick", "name", "path"),
    [
        (lambda m: m.scale, "Scaled.scale", "scale"),
        (lambda m: m.shifts[1], r"Scaled.shifts.1", "shifts.1"),
        (lambda m: m.layer.weight, "Linear.weight", "layer.weight"),
    ],
)
def test_the_stale_value_is_named_before_anybody_asked_for_names(pick, name, path):
    model = Scaled()
    loss = model(mt.ones((1, 3), requires_grad=True)).sum()
    pick(model).assign(0.0)
    with pytest.raises(RuntimeError, match=f"the value of {name} that this op saved has been overwritten"):
        loss.backward()
    list(model.parameters())  # knows the whole path
    loss = model(mt.ones((1, 3), requires_grad=True)).sum()
    pick(model).assign(0.5)
    with pytest.raises(RuntimeError, match=f"the value of {path} that"):
        loss.backward()


# --- what is state and what is not ----------------------------------------------------------------


class Keeps(nn.Module):
    """Keeps what it computed, in attributes, lists and dicts."""

    def __init__(self):
        self.layer = nn.Linear(3, 2)
        self.all, self.by_name, self.pair = [], {}, ()
        self.mean = nn.Buffer(np.zeros(3))

    def forward(self, x):
        self.given = x
        self.last = self.layer(x)
        self.all.append(self.last)
        self.by_name["last"] = self.last.detach()
        self.pair = (self.last * 2.0, mt.ones(2, requires_grad=True))
        self.mean = self.mean * 0.5 + x.mean(axis=0) * 0.5
        return self.last


@pytest.mark.parametrize("around", [mt.no_grad, mt.enable_grad])
def test_what_was_computed_is_no_state(around):
    model, names = Keeps(), ["layer.weight", "layer.bias", "mean"]
    with around():
        model(x)
        model(x)
    assert list(model.state_dict()) == names and len(list(model.parameters())) == 2
    assert [name for name, _ in model.named_buffers()] == ["mean"] and not model.mean.requires_grad
    np.testing.assert_array_equal(model.mean.numpy(), 0.75 * x.numpy()[0])
    assert model.load_state_dict(model.state_dict()) == ([], [])
    assert Keeps().load_state_dict(model.state_dict()) == ([], [])
    model.astype("float64").zero_grad()
    assert model.mean.dtype == model.layer.weight.dtype == np.float64 and model.last.dtype == np.float32
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(other.state_dict()) == names and not other.last.requires_grad  # a copy has no graph
        np.testing.assert_array_equal(other.last.numpy(), model.last.numpy())


def test_buffers_that_are_moved_but_not_saved():
    model = nn.Module()
    model.register_buffer("kept", [1.0])
    model.register_buffer("table", mt.ones(2), persistent=False)
    model.register_buffer("none", None)
    assert list(model.state_dict()) == ["kept"] and [name for name, _ in model.named_buffers()] == ["kept", "table"]
    model.astype("float64")
    assert model.table.dtype == np.float64
    assert model.load_state_dict({"kept": [3]}) == ([], []) and model.kept.tolist() == [3.0]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (
            list(other.state_dict()) == ["kept"] and isinstance(other.table, nn.Buffer) and not other.table.persistent
        )


def test_modules_that_hold_ops_are_copied():
    class Holds(nn.Module):
        def __init__(self):
            self.layer, self.activation, self.others = nn.Linear(3, 2), mt.tanh, [nn.functional.gelu, mt.matmul]

        def forward(self, x):
            return self.activation(self.layer(x))

    model = Holds()
    other = copy.deepcopy(model)
    assert other.activation is mt.tanh and other.others[0] is nn.functional.gelu
    np.testing.assert_array_equal(other(x).numpy(), model(x).numpy())


def test_what_is_no_state_is_not_loaded():
    layer = nn.Linear(3, 2)
    for wrong in (None, "weights.safetensors", [1], layer, layer.parameters()):
        with pytest.raises(TypeError, match=r"load_state_dict takes a dict of names and tensors, got"):
            layer.load_state_dict(wrong)
    with pytest.raises(ValueError, match=r"missing: weight, bias\n  unexpected: 3"):
        layer.load_state_dict({3: mt.ones(1)})
    with pytest.raises(ValueError, match=r"weight: a tensor holds numbers"):
        layer.load_state_dict({"weight": "x", "bias": [1.0, 2.0]})
    model = Keeps()
    model.mean = nn.Buffer([1, 2, 3])
    with pytest.raises(ValueError, match="mean is int64 here and float32 in the state"):
        model.load_state_dict({**model.state_dict(), "mean": [1.5, 2.5, 3.5]})
