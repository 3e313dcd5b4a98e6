"""Forward hooks: what they see, what they may replace, how they are removed; and that they are no
state.
"""

import copy
import pickle

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn

x = mt.tensor([[1.0, -2.0, 0.5]])


def make_net():
    """Two layers."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_hooks_see_module_arguments_and_output_in_order():
    layer, seen = nn.Linear(3, 2), []
    layer.register_forward_pre_hook(lambda module, args: seen.append(("before", module, args)))
    layer.register_forward_hook(lambda module, args, output: seen.append(("after", module, args, output)))
    first = layer.register_forward_hook(lambda *given: seen.append("first"), prepend=True)
    layer.register_forward_pre_hook(lambda *given: seen.append("very first"), prepend=True)
    y = layer(x)
    assert seen == ["very first", ("before", layer, (x,)), "first", ("after", layer, (x,), y)]
    first.remove()
    first.remove()
    del seen[:]
    layer(x)
    assert "first" not in seen and len(seen) == 3


def test_hooks_replace_arguments_and_output():
    layer = nn.Tanh()
    with layer.register_forward_hook(lambda module, args, output: output * 2.0):
        np.testing.assert_allclose(layer(x).numpy(), 2 * np.tanh(x.numpy()))
    with layer.register_forward_pre_hook(lambda module, args: args[0] * 0.0):
        assert layer(x).tolist() == [[0, 0, 0]]
    with layer.register_forward_pre_hook(lambda module, args: (args[0] * 0.0,)):
        assert layer(x).tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(layer(x).numpy(), np.tanh(x.numpy()))


def test_hooks_with_keywords():
    attention, seen = nn.MultiHeadAttention(4, 2), []
    sequence = mt.random.normal((1, 3, 4))

    def causal(module, args, kwargs):
        return args, {**kwargs, "is_causal": True}

    attention.register_forward_pre_hook(causal, with_kwargs=True)
    attention.register_forward_hook(lambda module, args, kwargs, output: seen.append(kwargs), with_kwargs=True)
    attention.register_forward_hook(lambda module, args, output: seen.append(args))
    y = attention(sequence, mask=None)
    assert seen == [{"mask": None, "is_causal": True}, (sequence,)]
    np.testing.assert_array_equal(y.numpy(), attention.forward(sequence, is_causal=True).numpy())
    attention.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    with pytest.raises(TypeError, match=r"returns None or \(args, kwargs\), got tuple"):
        attention(sequence)


def test_gradients_run_through_what_a_hook_put_in():
    net = make_net()
    net[1].register_forward_hook(lambda module, args, output: output * 3.0)
    net(x).sum().backward()
    twin = make_net()
    twin.load_state_dict(net.state_dict())
    twin[2](twin[1](twin[0](x)) * 3.0).sum().backward()
    np.testing.assert_allclose(net[0].weight.grad.numpy(), twin[0].weight.grad.numpy(), rtol=1e-6)


def test_hooks_on_every_part_of_a_model():
    model, names = nn.Transformer(8, 2, 1, 1, 16), []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda module, args, output, name=name: names.append(name))
    model(mt.ones((1, 2, 8)), mt.ones((1, 3, 8)))
    assert names[-1] == "" and {"encoder", "decoder.layers.0.cross_attention", "encoder.layers.0.norm1"} <= set(names)


def test_a_hook_that_removes_itself_or_another_and_one_that_fails():
    layer, calls = nn.ReLU(), []
    handles = []

    def once(module, args, output):
        calls.append("once")
        for handle in handles:
            handle.remove()

    handles += [layer.register_forward_hook(once), layer.register_forward_hook(lambda *given: calls.append("other"))]
    layer(x)
    layer(x)
    assert calls == ["once"]
    layer.register_forward_hook(lambda module, args, output: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        layer(x)
    with pytest.raises(TypeError, match="a hook is a function, got int"):
        layer.register_forward_hook(3)


def count_calls(module, args, output):
    """A hook that can be pickled."""
    module.calls = getattr(module, "calls", 0) + 1


def test_hooks_are_no_state_and_are_copied():
    layer = nn.Linear(3, 2)
    before, text = layer.state_dict(), repr(layer)
    handle = layer.register_forward_hook(count_calls)
    assert list(layer.state_dict()) == list(before) and repr(layer) == text and len(list(layer.parameters())) == 2
    assert [name for name, _ in layer.named_modules()] == [""]
    other, third = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    handle.remove()
    for module in (layer, other, third):
        module(x)
    assert (other.calls, third.calls) == (1, 1) and not hasattr(layer, "calls")
    fresh = nn.Linear(3, 2)
    fresh.load_state_dict(other.state_dict())
    fresh(x)
    assert not hasattr(fresh, "calls")
