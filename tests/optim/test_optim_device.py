"""Optimisers, files and checkpoints on a device that is not NumPy: equal numbers, and not one wait
in a step.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim
from tests.backend import emulator, fake_device

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with"
)

KINDS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, lr=0.05),
    "Adam, decayed": lambda p: optim.Adam(p, lr=0.05, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.05),
}
SHAPES = [(3, 4), (5,), (), (2, 2, 2)]


@pytest.fixture(scope="module", autouse=True)
def device():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


def make(device, dtype="float64"):
    rng = np.random.default_rng(0)
    return [mt.tensor(rng.normal(size=shape), dtype=dtype, device=device, requires_grad=True) for shape in SHAPES]


def train(parameters, optimizer, steps, first=0):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss = sum((mt.sin(p * (step + 1)) * p).sum() for p in parameters)
        loss.backward()
        fake_device.SYNCS.clear()
        norm = optim.clip_grad_norm_(parameters, 1.0)
        optim.clip_grad_value_(parameters, 0.5)
        optimizer.step()
        if norm.device != "cpu":
            assert fake_device.SYNCS == []


def host(parameters):
    return [p.to("cpu").data for p in parameters]


def assert_equal(a, b, rtol=1e-10):
    for x, y in zip(host(a), host(b)):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_device_equals_host(kind, dtype):
    here, there = make("cpu", dtype), make("cuda", dtype)
    train(here, KINDS[kind](here), 5)
    train(there, KINDS[kind](there), 5)
    assert_equal(here, there, 1e-10 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_state_moves_with_the_model(kind, tmp_path):
    stay, go = make("cpu"), make("cpu")
    optimizer = KINDS[kind](stay)
    train(stay, optimizer, 6)

    moving = KINDS[kind](go)
    train(go, moving, 2)
    for p in go:
        p._array = p.to("cuda")._array
    moving.to("cuda")
    train(go, moving, 2, first=2)
    path = tmp_path / "state.safetensors"
    mt.save(path, {"parameters": go, "optimizer": moving.state_dict()})

    state = mt.load(path, device="cuda")
    back = make("cuda")
    for p, value in zip(back, state["parameters"]):
        assert value.device == "cuda:0"
        p.assign(value)
    resumed = KINDS[kind](back)
    resumed.load_state_dict(state["optimizer"])
    train(back, resumed, 2, first=4)
    assert_equal(stay, back, 1e-9)


def test_to_asks_for_the_model_first():
    parameters = make("cpu")
    parameters[0].name = "embedding.weight"
    with pytest.raises(TypeError, match=r'embedding.weight is on cpu, not on cuda:0; write model.to\("cuda:0"\) first'):
        optim.Adam(parameters).to("cuda")


def test_ema():
    here, there = make("cpu"), make("cuda")
    for parameters in (here, there):
        ema, optimizer = optim.EMA(parameters, decay=0.8), optim.Adam(parameters)
        for step in range(3):
            train(parameters, optimizer, 1, first=step)
            ema.update()
        ema.copy_to_parameters()
    assert_equal(here, there)


def test_checkpoint():
    here, there = make("cpu"), make("cuda")
    for x, *_ in (here, there):
        mt.checkpoint(lambda x: mt.tanh(x) * x, x).sum().backward()
    np.testing.assert_allclose(there[0].grad.to("cpu").data, here[0].grad.data, rtol=1e-12)


def test_tied_weights_on_a_device_are_written_once(tmp_path):
    table = mt.ones((100, 10), device="cuda")
    path = tmp_path / "state.safetensors"
    mt.save(path, [table, mt.Tensor(table.data)])
    a, b = mt.load(path)
    assert a is b and a.device == "cpu"
