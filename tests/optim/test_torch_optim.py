"""Each optimiser, schedule and clipping rule against PyTorch's, in float64."""

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim

torch = pytest.importorskip("torch", reason="parity tests need torch")
pytestmark = pytest.mark.torch

SHAPES = {"weight": (5, 7), "bias": (7,), "stack": (2, 3, 4), "scale": (), "unused": (3,), "late": (4, 4)}
STEPS = 20

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.9}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.5, "weight_decay": 0.1, "d": 2.0, "eps": (1e-5, 1e-2), "beta2_decay": -0.6}),
]


def gradient(name, step):
    """A fixed random gradient; None if this parameter takes no part in the step."""
    if name == "unused" or (name == "late" and step < 5) or (name == "bias" and step in (3, 11)):
        return None
    seed = list(SHAPES).index(name) * 1000 + step
    return np.random.default_rng(seed).normal(size=SHAPES[name])


def start(name):
    return np.random.default_rng(list(SHAPES).index(name)).normal(size=SHAPES[name])


def pair(groups=None):
    ours = {name: mt.tensor(start(name), requires_grad=True) for name in SHAPES}
    theirs = {name: torch.tensor(start(name), requires_grad=True) for name in SHAPES}
    for name, parameter in ours.items():
        parameter.name = name
    return ours, theirs


def set_gradients(ours, theirs, step):
    for name in SHAPES:
        g = gradient(name, step)
        ours[name].grad = None if g is None else mt.tensor(g)
        theirs[name].grad = None if g is None else torch.tensor(g)


def assert_equal(ours, theirs, what=""):
    for name in SHAPES:
        np.testing.assert_allclose(
            ours[name].data, theirs[name].detach().numpy(), rtol=1e-10, atol=1e-10, err_msg=f"{name} {what}"
        )


@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda value: str(value))
def test_equals_torch(kind, options):
    ours, theirs = pair()
    mine, other = getattr(optim, kind)(ours.values(), **options), getattr(torch.optim, kind)(theirs.values(), **options)
    for step in range(STEPS):
        set_gradients(ours, theirs, step)
        mine.step()
        other.step()
        assert_equal(ours, theirs, f"step {step}")


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adafactor"])
def test_groups_equal_torch(kind):
    ours, theirs = pair()

    def groups(parameters):
        decayed = [parameters[n] for n in ("weight", "stack", "late")]
        plain = [parameters[n] for n in ("bias", "scale", "unused")]
        return [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "lr": 0.003, "weight_decay": 0.0}]

    mine, other = getattr(optim, kind)(groups(ours), lr=0.01), getattr(torch.optim, kind)(groups(theirs), lr=0.01)
    for step in range(STEPS):
        set_gradients(ours, theirs, step)
        mine.step()
        other.step()
    assert_equal(ours, theirs)


@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clip_grad_norm_equals_torch(max_norm):
    ours, theirs = pair()
    set_gradients(ours, theirs, 6)
    norm = optim.clip_grad_norm_(ours.values(), max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs.values(), max_norm)
    assert float(norm) == pytest.approx(float(expected), rel=1e-12)
    for name in SHAPES:
        if ours[name].grad is not None:
            np.testing.assert_allclose(ours[name].grad.data, theirs[name].grad.numpy(), rtol=1e-12)


def test_clip_grad_value_equals_torch():
    ours, theirs = pair()
    set_gradients(ours, theirs, 6)
    optim.clip_grad_value_(ours.values(), 0.3)
    torch.nn.utils.clip_grad_value_(theirs.values(), 0.3)
    for name in SHAPES:
        if ours[name].grad is not None:
            np.testing.assert_array_equal(ours[name].grad.data, theirs[name].grad.numpy())


SCHEDULES = [
    (lambda o: optim.StepLR(o, 3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    (lambda o: optim.CosineLR(o, 25, min_lr=0.01), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 25, 0.01)),
    (lambda o: optim.LinearWarmup(o, 8), lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: min(1, (n + 1) / 8))),
    (
        lambda o: optim.NoamLR(o, 64, 7),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: 64**-0.5 * min((n + 1) ** -0.5, (n + 1) * 7**-1.5)),
    ),
]


@pytest.mark.parametrize(("ours_of", "theirs_of"), SCHEDULES, ids=["step", "cosine", "warmup", "noam"])
def test_schedules_equal_torch(ours_of, theirs_of):
    ours, theirs = pair()
    mine, other = optim.SGD(ours.values(), lr=0.1), torch.optim.SGD(theirs.values(), lr=0.1)
    schedule, reference = ours_of(mine), theirs_of(other)
    for step in range(STEPS):
        set_gradients(ours, theirs, step)
        assert schedule.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-12)
        mine.step()
        other.step()
        schedule.step()
        reference.step()
    assert_equal(ours, theirs)
