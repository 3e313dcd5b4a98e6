"""Modules: state by walking attributes, saving and loading, moving, repr."""

import copy
import pickle

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn


class Net(nn.Module):
    """One of everything that can be state, and some things that are not."""

    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.pair = (nn.Linear(4, 4, bias=False), nn.LayerNorm(4))
        self.heads = {"a": nn.Linear(4, 2), "b": [nn.Linear(4, 2)]}
        self.scale = nn.Parameter([2.0])
        self.steps = nn.Buffer([7])
        self.tied = self.first.weight
        self._hidden = nn.Linear(9, 9)
        self.width, self.note = 4, None


PARAMETERS = [
    "first.weight", "first.bias", "pair.0.weight", "pair.1.weight", "pair.1.bias", "heads.a.weight", "heads.a.bias",
    "heads.b.0.weight", "heads.b.0.bias", "scale",
]  # fmt: skip


# --- walking --------------------------------------------------------------------------------------


def test_parameters_come_once_in_order_of_definition_and_know_their_path():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == PARAMETERS
    assert [p.name for p in net.parameters()] == PARAMETERS
    assert net.first.weight.name == "first.weight"
    assert net.num_parameters() == sum(p.size for p in net.parameters())
    assert all(p.requires_grad and p.is_leaf and isinstance(p, nn.Parameter) for p in net.parameters())


def test_buffers():
    assert [name for name, _ in Net().named_buffers()] == ["steps"]
    assert [b.tolist() for b in Net().buffers()] == [[7]]


def test_modules_and_children_come_once():
    net = Net()
    net.again = net.first
    assert [name for name, _ in net.named_modules()] == ["", "first", "pair.0", "pair.1", "heads.a", "heads.b.0"]
    assert list(net.children()) == [net.first, *net.pair, net.heads["a"], net.heads["b"][0]]


def test_state_added_later_counts():
    net = Net()
    net.late = nn.Linear(2, 2)
    assert "late.weight" in net.state_dict()
    del net.late
    assert "late.weight" not in net.state_dict()


def test_a_module_that_contains_itself_is_refused():
    net = nn.Linear(2, 2)
    net.parent = nn.Sequential(net)
    with pytest.raises(ValueError, match=r"parent\.0 leads back to the Linear .* begin that attribute's name with _"):
        net.state_dict()
    net._parent = net.__dict__.pop("parent")
    assert list(net.state_dict()) == ["weight", "bias"]


def test_forward_must_be_defined():
    with pytest.raises(NotImplementedError, match="Net defines no forward"):
        Net()(1)


# --- containers -----------------------------------------------------------------------------------


def test_sequential():
    f, g, h = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)
    model = nn.Sequential(f, g, h)
    x = mt.random.normal((5, 3))
    np.testing.assert_array_equal(model(x).data, h(g(f(x))).data)
    assert len(model) == 3 and model[0] is f and list(model) == [f, g, h]
    assert isinstance(model[1:], nn.Sequential) and list(model[1:]) == [g, h]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


# --- saving and loading ---------------------------------------------------------------------------


def test_state_dict_round_trip():
    net, other = Net(), Net()
    assert other.load_state_dict(net.state_dict()) == ([], [])
    for (name, a), (_, b) in zip(net.state_dict().items(), other.state_dict().items()):
        np.testing.assert_array_equal(a.data, b.data, err_msg=name)
    assert other.tied is other.first.weight


def test_state_dict_is_a_snapshot_and_keeps_ties():
    net = Net()
    state = net.state_dict()
    assert state["tied"] is state["first.weight"] and not state["tied"].requires_grad
    before = state["scale"].data.copy()
    net.scale.assign(5.0)
    np.testing.assert_array_equal(state["scale"].data, before)


def test_loading_lists_every_fault_at_once_and_changes_nothing():
    net = Net()
    state = net.state_dict()
    del state["scale"], state["first.bias"]
    state |= {"old.weight": mt.zeros(1), "extra": mt.zeros(1), "pair.0.weight": mt.zeros((4, 5))}
    state["heads.a.bias"] = mt.full((2,), 9.0)
    before = net.heads["a"].bias.data.copy()
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    assert "missing: first.bias, scale" in text and "unexpected: old.weight, extra" in text
    assert "pair.0.weight has shape (4, 4) here and (4, 5) in the state" in text
    np.testing.assert_array_equal(net.heads["a"].bias.data, before)


def test_loading_not_strict_passes_over_names_but_not_shapes():
    net = Net()
    assert net.load_state_dict({"scale": [3.0], "what": [1.0]}, strict=False) == (
        [name for name in net.state_dict() if name != "scale"],
        ["what"],
    )
    assert net.scale.item() == 3.0
    with pytest.raises(ValueError, match="scale has shape"):
        net.load_state_dict({"scale": [3.0, 4.0]}, strict=False)


def test_one_name_of_a_tied_weight_is_enough_and_two_values_are_an_error():
    net = Net()
    state = Net().state_dict()
    del state["tied"]
    net.load_state_dict(state)
    np.testing.assert_array_equal(net.tied.data, state["first.weight"].data)
    state["tied"] = state["first.weight"] + 1
    with pytest.raises(ValueError, match=r"first\.weight and tied are one tensor here but have different values"):
        net.load_state_dict(state)


def test_loading_casts_and_copies_and_keeps_the_parameter():
    layer = nn.Linear(2, 2, bias=False)
    weight, value = layer.weight, np.ones((2, 2))
    layer.load_state_dict({"weight": value})
    value[:] = 5
    assert layer.weight is weight and weight.dtype == np.float32
    np.testing.assert_array_equal(weight.data, 1)


def test_backward_after_loading_refuses_the_stale_value():
    layer = nn.Linear(2, 2)
    list(layer.named_parameters())
    x = mt.ones((1, 2), requires_grad=True)
    y = layer(x).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="weight"):
        y.backward()


def test_copy_and_pickle_keep_ties_apart_from_the_original():
    net = Net()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.tied is other.first.weight and other.tied is not net.tied
        assert isinstance(other.tied, nn.Parameter) and other.tied.requires_grad
        other.scale.assign(9.0)
        assert net.scale.item() == 2.0


# --- changing everything at once ------------------------------------------------------------------


def test_train_and_eval_reach_everything():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert net.training
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert net.train() is net and all(module.training for module in net.modules())


def test_astype_keeps_identity_ties_gradients_and_hooks():
    net = Net()
    parameters = list(net.parameters())
    seen = []
    net.scale.register_hook(seen.append)
    (net.scale * 3).sum().backward()
    assert net.astype("float64") is net
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    assert net.tied is net.first.weight and net.tied.dtype == np.float64 and net.tied.requires_grad
    assert net.steps.dtype == np.int64
    assert net.scale.grad.dtype == np.float64 and net.scale.grad.tolist() == [3.0]
    (net.scale * 2).sum().backward()
    assert net.scale.grad.tolist() == [5.0] and len(seen) == 2
    with pytest.raises(TypeError, match="floating"):
        net.astype("int32")


def test_to_the_same_device_changes_nothing():
    net = Net()
    nodes = [p.node for p in net.parameters()]
    assert net.to("cpu") is net
    assert nodes == [p.node for p in net.parameters()]
    with pytest.raises(ValueError, match="unknown device"):
        net.to("tpu")


def test_frozen_parameters_stay_frozen():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    layer.astype("float64")
    assert not layer.bias.requires_grad and layer.weight.requires_grad and layer.bias.dtype == np.float64


def test_zero_grad_and_apply():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net(mt.ones((1, 2))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    order = []
    assert net.apply(order.append) is net
    assert order == [net[1], net[0], net]


def test_repr_shows_the_tree_and_folds_equal_layers():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.ReLU(), nn.Dropout(0.1))
    assert repr(net) == (
        "Sequential(\n  0: Linear(in_features=2, out_features=3)\n  1 to 2: 2 x ReLU()\n  3: Dropout(p=0.1)\n)"
    )
    assert "heads.b.0: Linear(in_features=4, out_features=2)" in repr(Net()) and "_hidden" not in repr(Net())


def test_a_parameter_owns_its_copy():
    source = np.ones(3, dtype=np.float32)
    parameter = nn.Parameter(source)
    parameter.assign(2.0)
    assert source.tolist() == [1, 1, 1]
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="only floating"):
        nn.Parameter([1, 2])
