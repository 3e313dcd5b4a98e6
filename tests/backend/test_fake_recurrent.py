"""Recurrent layers on a device that is not NumPy: equal results, no waiting, two kernels and two
products a step, lengths of a device checked when a value is read.
"""

import itertools

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from tests.backend import emulator, fake_array, fake_cublas, fake_device
from tests.backend.parity import check_parity

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


@pytest.fixture(scope="module", autouse=True)
def device():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


def run(kind, device):
    """Output, final state and gradients of a two-way stack over a padded batch; and what made the
    host wait.
    """
    mt.random.seed(0)
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=True, orthogonal=True).astype("float64").to(device)
    array = np.random.default_rng(0).normal(size=(2, 5, 3))
    array[1, 3:] = np.nan
    x = mt.tensor(array, device=device).requires_grad_()
    fake_device.SYNCS.clear()
    output, state = layer(x, lengths=[5, 3])
    ends = [output, *(state if isinstance(state, tuple) else [state])]
    gradients = mt.grad(sum((end * end).sum() for end in ends), [x, *layer.parameters()])
    waits = list(fake_device.SYNCS)
    return [end.to("cpu").numpy() for end in (*ends, *gradients)], waits


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_equal_those_of_the_cpu_and_never_wait(kind):
    here, _ = run(kind, "cpu")
    there, waits = run(kind, "cuda")
    assert waits == []
    for mine, right in zip(there, here):
        np.testing.assert_allclose(mine, right, rtol=1e-10, atol=1e-12)


GATES = {"rnn": 1, "lstm": 4, "gru": 3}
NONLINEARITIES = [("rnn", {"nonlinearity": "tanh"}), ("rnn", {"nonlinearity": "relu"}), ("lstm", {}), ("gru", {})]
# Which biases there are, whether a state, and the shape: batch, steps, features, hidden features.
GIVEN = {
    "all": ("ih hh", True, (3, 4, 5, 6)),
    "no biases": ("", False, (2, 3, 2, 4)),
    "one bias": ("hh", False, (2, 3, 2, 4)),
    "the other": ("ih", True, (2, 3, 2, 4)),
    "one sequence": ("ih hh", True, (1, 4, 3, 5)),
    "one step": ("ih hh", True, (3, 1, 2, 4)),
    "ones": ("ih hh", False, (1, 1, 1, 1)),
    "blocks": ("ih hh", True, (3, 2, 4, 90)),  # of the threads of a kernel the last has some to spare
}


def inputs_of(kind, biases, states, batch, steps, features, hidden, scale=0.5):
    """x, W_ih, W_hh, both biases, None if there is none, and states."""
    rng, rows = np.random.default_rng(batch), GATES[kind] * hidden
    given = [rng.normal(size=(batch, steps, features))]
    given += [scale * rng.normal(size=(rows, n)) for n in (features, hidden)]
    given += [rng.normal(size=rows) if name in biases.split() else None for name in ("ih", "hh")]
    return [*given, *(rng.normal(size=(batch, hidden)) for _ in range((1 + (kind == "lstm")) * states))]


def layer_of(kind, **keywords):
    """A layer as a function of these, which returns the outputs and the final states."""

    def layer(*inputs, **more):
        state = None if len(inputs) == 5 else inputs[5:] if kind == "lstm" else inputs[5]
        output, final = getattr(F, kind)(*inputs[:5], state, **keywords, **more)
        return (output, *final) if kind == "lstm" else (output, final)

    return layer


def check_case(kind, keywords, given, reverse, padded, dtype=np.float64, tolerance=1e-10):
    """`check_parity` of a layer; padding is NaN."""
    biases, states, shape = GIVEN[given]
    inputs = inputs_of(kind, biases, states, *shape)
    lengths = None
    if padded:
        lengths = 1 + (shape[1] - 1 - np.arange(shape[0])) % shape[1]
        inputs[0][np.arange(shape[1]) >= lengths[:, None]] = np.nan
    layer = layer_of(kind, **keywords, reverse=reverse)
    check_parity(layer, inputs, {"lengths": lengths}, dtype=dtype, order=1, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind, keywords", NONLINEARITIES)
def test_kernels_equal_those_of_the_cpu(kind, keywords, reverse):
    for given, padded in itertools.product(GIVEN, [False, True]):
        check_case(kind, keywords, given, reverse, padded)
    check_case(kind, keywords, "all", reverse, True, np.float32, 1e-4)


@pytest.mark.parametrize("kind", GATES)
def test_kernels_equal_the_definition(kind):
    x, *rest = inputs_of(kind, "ih hh", True, 3, 4, 5, 6)
    (inputs, *_), layer = [[mt.tensor(a, device="cuda").requires_grad_() for a in (x, *rest)]], layer_of(kind)
    ends = layer(*inputs, lengths=[4, 1, 2])
    seeds = [mt.tensor(np.random.default_rng(1).normal(size=end.shape), device="cuda") for end in ends]
    by_kernel = mt.grad(ends, inputs, seeds, retain_graph=True)
    again = mt.grad(ends, inputs, seeds, retain_graph=True)  # the first pass has left all as it was
    by_definition = mt.grad(ends, inputs, seeds, create_graph=True)
    for mine, same, right in zip(by_kernel, again, by_definition):
        assert np.array_equal(mine.to("cpu").numpy(), same.to("cpu").numpy())
        np.testing.assert_allclose(mine.to("cpu").numpy(), right.to("cpu").numpy(), rtol=1e-10, atol=1e-12)
    with mt.no_grad():
        for mine, right in zip(layer(*inputs, lengths=[4, 1, 2]), ends):
            assert np.array_equal(mine.to("cpu").numpy(), right.to("cpu").numpy())


@pytest.mark.parametrize("kind", GATES)
def test_only_gradients_that_are_asked_for_are_made(kind):
    arrays = [mt.tensor(a, device="cuda") for a in inputs_of(kind, "ih hh", True, 3, 4, 5, 6)]
    whole = [a.detach().requires_grad_() for a in arrays]
    right = mt.grad((layer_of(kind)(*whole)[0] ** 2).sum(), whole)
    for wanted, one in enumerate(right):
        inputs = [a.detach().requires_grad_() if i == wanted else a for i, a in enumerate(arrays)]
        (mine,) = mt.grad((layer_of(kind)(*inputs)[0] ** 2).sum(), [inputs[wanted]])
        assert np.array_equal(mine.to("cpu").numpy(), one.to("cpu").numpy())


def calls_of(kind, steps, monkeypatch):
    """Kernels, CuPy's among them, and products of a layer forward and backward."""
    inputs = [mt.tensor(a, device="cuda").requires_grad_() for a in inputs_of(kind, "ih hh", True, 2, steps, 3, 4)]
    launched, before, launch = [], len(fake_cublas.CALLS), fake_array.launch
    with monkeypatch.context() as patch:
        for module in (fake_array, fake_device):
            patch.setattr(module, "launch", lambda *values: launched.append(launch(*values)))
        mt.grad(layer_of(kind)(*inputs)[0].sum(), inputs)
    return len(launched), len(fake_cublas.CALLS) - before


@pytest.mark.parametrize("kind", GATES)
def test_a_step_is_a_kernel_and_a_product_each_way(kind, monkeypatch):
    few, many = (calls_of(kind, steps, monkeypatch) for steps in (3, 7))
    assert [more - less for less, more in zip(few, many)] == [2 * 4, 2 * 4]


def test_a_wrong_argument_of_many_runs_never_reaches_a_kernel():
    from minitensor.backend import namespace

    kernels, x = namespace("cuda").kernels, mt.zeros((2, 3), device="cuda").data
    with pytest.raises(TypeError, match="rnn_backward takes 11 arguments, got 2"):
        kernels.prepared("rnn_backward", x.dtype, 6, x)
    with pytest.raises(TypeError, match="rnn_backward: needs a contiguous array of float32, got float32 with strides"):
        kernels.prepared("rnn_backward", x.dtype, 6, x.T, None, x, x, x, 0, x, 2, 3, 0)


@pytest.mark.parametrize("wrong", [0, 6])
def test_a_wrong_length_on_the_device_raises_when_a_value_is_read(wrong):
    layer, x = nn.GRU(3, 4).to("cuda"), mt.zeros((2, 5, 3), device="cuda")
    output, _ = layer(x, lengths=mt.tensor([5, wrong], device="cuda"))
    with pytest.raises(IndexError, match=f"GRU: the length {wrong} is not one of 1 to 5, the steps of x"):
        output.sum().item()


def test_a_state_on_another_device_is_named():
    layer, x = nn.GRU(3, 4).to("cuda"), mt.zeros((2, 5, 3), device="cuda")
    with pytest.raises(TypeError, match=r'x is on cuda:0 but h is on cpu.*write h\.to\("cuda:0"\)'):
        layer(x, mt.zeros((1, 2, 4)))
