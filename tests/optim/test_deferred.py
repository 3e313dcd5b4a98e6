"""Steps that only finite numbers reach: the same on the CPU, where they are looked at, and on a
device, where nobody waits.
"""

import copy
import pickle

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim
from tests.backend import emulator, fake_device

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(
            emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with"
        ),
    ),
]
KINDS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, lr=0.05),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.05),
}


class Halving(optim.Adam):
    """Adam with a rule of its own, which knows nothing of a mask."""

    def rule(self, group, step, numbers=None):
        return lambda xp, p, g, m, v, s=None, t=None: xp.multiply(p - 0.1 * g, 0.5, out=p)


@pytest.fixture(scope="module", autouse=True)
def fake():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


class Run:
    """A few parameters in training; the loss of update ``bad`` is not finite, or only its
    gradient.
    """

    def __init__(self, kind, device, dtype="float64"):
        rng = np.random.default_rng(0)
        shapes = [(3, 4), (5,), (), (2, 2, 2)]
        made = [mt.tensor(rng.normal(size=shape), dtype=dtype, device=device, requires_grad=True) for shape in shapes]
        self.parameters, self.optimizer = made, kind(made)
        self.ema = optim.EMA(made, decay=0.9, warmup=True)
        self.check = optim.DeferredCheck(self.optimizer, self.ema)
        self.steps = 0

    def step(self, spoilt=None):
        self.optimizer.zero_grad()
        loss = sum((mt.sin(p * (self.steps + 1)) * p).sum() for p in self.parameters)
        if spoilt == "gradient":
            zero = self.parameters[1] - self.parameters[1].detach()
            loss = loss + mt.sqrt(zero * zero).sum()
        with np.errstate(all="ignore"):
            (loss * (float(spoilt) if spoilt in ("nan", "inf") else 1.0)).backward()
            norm = optim.clip_grad_norm_(self.parameters, 1.0)
        fake_device.SYNCS.clear()
        self.check.step(loss * float(spoilt) if spoilt in ("nan", "inf") else loss, norm)
        if self.parameters[0].device != "cpu":
            assert fake_device.SYNCS == []
        self.steps += 1

    def state(self):
        """All of it, as bytes."""
        adam, ema = self.optimizer.state_dict()["state"], self.ema.state_dict()
        arrays = [*self.parameters, *ema["averages"]]
        arrays += [value for one in adam.values() for name, value in sorted(one.items()) if name != "step"]
        numbers = [one["step"] for one in adam.values()], ema["updates"]
        return [tensor.to("cpu").data.tobytes() for tensor in arrays], numbers


@pytest.mark.parametrize(
    "kind, spoilt", [("Adam", "nan"), ("Adam", "gradient"), *((kind, "inf") for kind in [*KINDS, "of a user"])]
)
@pytest.mark.parametrize("device", DEVICES)
def test_all_is_as_before_the_first_bad_step(device, kind, spoilt):
    kind = KINDS.get(kind, Halving)
    run, left = Run(kind, device), Run(kind, device)
    for _ in range(3):
        run.step()
        left.step()
    run.step(spoilt)
    for _ in range(3):
        run.step()  # these are good, and left out too
    rows, bad = run.check.read()
    assert bad == 3 and len(rows) == 7 and all(len(row) == 2 for row in rows)
    assert run.state() == left.state()
    run.steps = left.steps
    for _ in range(2):
        run.step()
        left.step()
    assert run.check.read() == ([*left.check.read()[0][-2:]], None) and run.state() == left.state()


@pytest.mark.parametrize("device", DEVICES)
def test_steps_are_those_of_the_optimiser(device):
    run, plain = Run(KINDS["Adam"], device), Run(KINDS["Adam"], device)
    plain.check.step = lambda *numbers: (plain.optimizer.step(), plain.ema.update())
    for _ in range(4):
        run.step()
        plain.step()
    assert run.state() == plain.state()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("device", DEVICES)
def test_parameters_of_fewer_bits(device, dtype):
    run, left = Run(KINDS["Adam"], device, dtype), Run(KINDS["Adam"], device, dtype)
    for _ in range(2):
        run.step()
        left.step()
    run.step("inf")
    assert run.check.read()[1] == 2 and run.state() == left.state()


@pytest.mark.parametrize("reader", ["state_dict", "load_state_dict", "pickle", "deepcopy"])
@pytest.mark.parametrize("device", DEVICES)
def test_what_looks_at_the_counts_reads_the_numbers_first(device, reader):
    run = Run(KINDS["Adam"], device)
    run.step()
    saved = run.optimizer.state_dict()
    run.step("nan")
    run.step()
    if reader == "load_state_dict":
        run.optimizer.load_state_dict(saved)
    elif reader == "state_dict":
        assert {one["step"] for one in run.optimizer.state_dict()["state"].values()} == {1}
    else:
        whole = run.parameters, run.optimizer
        _, other = pickle.loads(pickle.dumps(whole)) if reader == "pickle" else copy.deepcopy(whole)
        assert {one["step"] for one in other.state_dict()["state"].values()} == {1}
    run.step()  # still left out, until somebody reads that there was a bad one
    assert {one["step"] for one in run.optimizer.state_dict()["state"].values()} == {1}
    rows, bad = run.check.read()
    assert len(rows) == 4 and bad == 1
    run.step()
    assert {one["step"] for one in run.optimizer.state_dict()["state"].values()} == {2}


def test_more_numbers_than_fit_are_read_in_between(monkeypatch):
    monkeypatch.setattr("minitensor.optim.deferred.ROOM", 8)
    w = mt.tensor([1.0], device="cuda", requires_grad=True)
    check = optim.DeferredCheck(optim.SGD([w], lr=1.0))
    given = [[float(10 * i + j) for j in range(3)] for i in range(7)]
    given[5][1] = np.inf
    for numbers in given:
        w.grad = mt.tensor([1.0], device="cuda")
        check.step(*(mt.tensor(number, device="cuda", dtype="float32") for number in numbers))
    assert check.read() == (given, 5) and w.item() == -4.0
    check.step(*(mt.tensor(0.5, device="cuda") for _ in range(20)))
    assert check.read() == ([[0.5] * 20], None)


def test_what_it_does_not_take():
    w = mt.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    check = optim.DeferredCheck(optimizer)
    with pytest.raises(TypeError, match="got none"):
        check.step()
    with pytest.raises(TypeError, match="tensors of one number, such as a loss, got float"):
        check.step(1.0)
    with pytest.raises(TypeError, match=r"tensors of one number, such as a loss, got \(2,\)"):
        check.step(w)
    with pytest.raises(TypeError, match="takes an optimiser"):
        optim.DeferredCheck([w])
    with pytest.raises(TypeError, match="ema must be an optim.EMA or None"):
        optim.DeferredCheck(optimizer, 0.9)
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        copy.copy(check)
    assert check.read() == ([], None)
