"""Recurrent layers on a device that is not NumPy: equal results, no waiting, lengths of a device
checked when a value is read.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from tests.backend import emulator, fake_device

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
