"""What optimisers, schedules, averages and clipping take: anything that is a number, and parameters
in any form.
"""

import math

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim

SETTINGS = {
    optim.SGD: {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.25},
    optim.Adam: {"lr": 0.1, "eps": 0.5, "weight_decay": 0.25},
    optim.AdamW: {"lr": 0.1, "eps": 0.5, "weight_decay": 0.25},
    optim.RMSprop: {"lr": 0.1, "alpha": 0.5, "eps": 0.5, "weight_decay": 0.25, "momentum": 0.5},
    optim.Adafactor: {"lr": 0.1, "beta2_decay": -0.5, "d": 2.0, "weight_decay": 0.25},
}
EACH = [(kind, name) for kind, settings in SETTINGS.items() for name in settings]
IDS = [f"{kind.__name__}-{name}" for kind, name in EACH]


def parameter():
    """Two numbers with a gradient."""
    w = mt.tensor([1.0, 2.0], requires_grad=True)
    w.name = "w"
    w.grad = mt.tensor([0.5, -2.0])
    return w


def stepped(kind, **settings):
    """The parameter after two steps."""
    w = parameter()
    optimizer = kind([w], **settings)
    optimizer.step()
    optimizer.step()
    return w.numpy().tolist(), optimizer


# --- hyper-parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), EACH, ids=IDS)
def test_numbers_of_any_type_do_what_pythons_do(kind, name):
    value = SETTINGS[kind][name]
    expected, _ = stepped(kind, **{name: value})
    for given in (np.float64(value), np.array(value), np.array([value]), mt.tensor([value], dtype="float64")):
        found, optimizer = stepped(kind, **{name: given})
        assert found == expected and type(optimizer.param_groups[0][name]) is float
        w = parameter()
        optimizer = kind([{"params": w, name: given}])
        optimizer.step()
        optimizer.param_groups[0][name] = given
        optimizer.step()
        assert w.numpy().tolist() == expected and type(optimizer.param_groups[0][name]) is float


WRONG = [
    (math.nan, ValueError), (np.float32("nan"), ValueError), (math.inf, ValueError), (-math.inf, ValueError), ("0.1", TypeError),
    (None, TypeError), (True, TypeError), ([0.1], TypeError), (1j, TypeError), (mt.ones((2,)), TypeError),
    (mt.tensor(math.nan), ValueError), (mt.tensor(0.1, requires_grad=True), TypeError), (np.array([0.1, 0.2]), TypeError),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), EACH, ids=IDS)
def test_what_is_no_number_is_refused_at_every_door(kind, name):
    sign = -1.0 if name == "beta2_decay" else 1.0
    for value, error in [*WRONG, (np.float32(-1) * sign, ValueError), (-1 * sign, ValueError)]:
        with pytest.raises(error, match=rf"{kind.__name__}: {name} "):
            kind([parameter()], **{name: value})
        with pytest.raises(error, match=rf"{kind.__name__}: {name} "):
            kind([{"params": [parameter()], name: value}])
        w = parameter()
        optimizer = kind([w])
        optimizer.param_groups[0][name] = value
        with pytest.raises(error, match=rf"{kind.__name__}: {name} "):
            optimizer.step()
        assert w.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda w: optim.Adam([w], betas=(0.9, math.nan)), ValueError, r"betas\[1\]"),
        (lambda w: optim.Adam([w], betas=(np.float32(-0.1), 0.9)), ValueError, r"betas\[0\]"),
        (lambda w: optim.Adam([w], betas=0.9), TypeError, "betas must be two numbers, got 0.9"),
        (lambda w: optim.AdamW([w], betas=(0.9,)), TypeError, "betas must be two numbers"),
        (lambda w: optim.Adam([w], betas=("a", 0.9)), TypeError, r"betas\[0\]"),
        (lambda w: optim.Adafactor([w], eps=1e-3), TypeError, "eps must be two numbers"),
        (lambda w: optim.Adafactor([w], eps=(None, math.nan)), ValueError, r"eps\[1\]"),
        (lambda w: optim.Adafactor([w], eps=(-1.0, 0.1)), ValueError, r"eps\[0\]"),
        (lambda w: optim.SGD([w], momentum=0.9, nesterov="yes"), TypeError, "nesterov must be True or False"),
        (lambda w: optim.RMSprop([w], alpha=1.0), ValueError, "alpha must be"),
        (lambda w: optim.EMA([w], decay=math.nan), ValueError, "EMA: decay"),
        (lambda w: optim.EMA([w], decay="0.9"), TypeError, "EMA: decay"),
        (lambda w: optim.EMA([w], warmup=10), TypeError, "EMA: warmup must be True or False"),
        (lambda w: optim.clip_grad_norm_(w, math.nan), ValueError, "max_norm"),
        (lambda w: optim.clip_grad_norm_(w, "1"), TypeError, "max_norm"),
        (lambda w: optim.clip_grad_value_(w, -1.0), ValueError, "clip_value"),
        (lambda w: optim.clip_grad_value_(w, mt.ones((2,))), TypeError, "clip_value"),
        (
            lambda w: optim.NoamLR(optim.SGD([w]), 64.5),
            ValueError,
            "NoamLR: d_model must be a positive integer, got 64.5",
        ),
        (lambda w: optim.NoamLR(optim.SGD([w]), 64, "9"), TypeError, "NoamLR: warmup_steps"),
        (lambda w: optim.InverseSqrtLR(optim.SGD([w]), -1), ValueError, "InverseSqrtLR: warmup_steps"),
        (lambda w: optim.LinearWarmup(optim.SGD([w]), math.nan), ValueError, "LinearWarmup: warmup_steps"),
        (lambda w: optim.CosineLR(optim.SGD([w]), 0), ValueError, "CosineLR: total_steps"),
        (lambda w: optim.CosineLR(optim.SGD([w]), 10, 10), ValueError, "CosineLR: warmup_steps .* from 0 to 9"),
        (lambda w: optim.CosineLR(optim.SGD([w]), 10, min_lr=math.nan), ValueError, "CosineLR: min_lr"),
        (lambda w: optim.StepLR(optim.SGD([w]), 0), ValueError, "StepLR: step_size"),
        (lambda w: optim.StepLR(optim.SGD([w]), 3, gamma=-0.1), ValueError, "StepLR: gamma"),
    ],
)
def test_other_settings(make, error, message):
    with pytest.raises(error, match=message):
        make(parameter())


def test_schedules_take_numpys_numbers_and_tensors():
    for number in (np.int64, mt.tensor):
        schedule = optim.CosineLR(optim.SGD([parameter()], lr=1.0), number(10), number(2), min_lr=np.float32(0.5))
        rates = []
        for _ in range(12):
            rates += schedule.get_last_lr()
            schedule.step()
        assert rates[:2] == [0.5, 1.0] and rates[-1] == 0.5 and all(type(rate) is float for rate in rates)


def test_a_schedule_of_ones_own_that_gives_no_rate_is_named():
    class Falling(optim.Schedule):
        def rate(self, base, n):
            return base - n

    schedule = Falling(optim.SGD([parameter()], lr=0.5))
    with pytest.raises(ValueError, match="Falling: the rate must be a number, not negative, got -0.5"):
        schedule.step()


# --- parameters -----------------------------------------------------------------------------------

TAKERS = {
    "SGD": optim.SGD,
    "Adam": lambda given: optim.Adam(given),
    "group": lambda given: optim.Adam([{"params": given}]),
    "add_param_group": lambda given: optim.SGD([parameter()]).add_param_group({"params": given}),
    "EMA": optim.EMA,
    "clip_grad_norm_": lambda given: optim.clip_grad_norm_(given, 1.0),
    "clip_grad_value_": lambda given: optim.clip_grad_value_(given, 1.0),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_every_place_that_takes_parameters(take):
    layer = nn.Linear(2, 2)
    for fine in (layer.weight, layer.parameters(), [layer.weight, layer.weight], tuple(layer.parameters())):
        take(fine)
    for wrong, message in [
        (layer, r"parameters, not a module such as this Linear: write model.parameters\(\)"),
        (nn.ModuleList([layer]), r"this ModuleList: write model.parameters\(\)"),
        (layer.named_parameters(), r"parameter \d is a tuple.*not named_parameters"),
        ([layer.weight, None], r"parameter \d is a NoneType"),
        ({layer.weight}, "order"),
        (layer.state_dict(), r"parameter \d is a str|unknown \['bias', 'weight'\]"),
        (3, "parameters, a tensor or several"),
        (None, "parameters, a tensor or several"),
        ("weight", r"parameter \d is a str"),
        (np.ones(3), r"parameter \d is a float64|NumPy"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            take(wrong)


def test_groups_and_parameters_do_not_mix():
    w, b = parameter(), parameter()
    for mixed in ([{"params": [w]}, b], [w, {"params": [b]}]):
        with pytest.raises(TypeError, match="a Tensor among groups"):
            optim.Adam(mixed)
    optimizer = optim.Adam({"params": p} for p in (w, b))
    assert len(optimizer.param_groups) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda o: optim.NoamLR(o, 64), lambda o: optim.CosineLR(o, 10), lambda o: optim.InverseSqrtLR(o),
        lambda o: optim.LinearWarmup(o, 10), lambda o: optim.StepLR(o, 10),
    ],
)  # fmt: skip
def test_schedules_take_an_optimiser(make):
    for wrong in (nn.Linear(2, 2), [parameter()], None, optim.EMA(parameter())):
        with pytest.raises(TypeError, match=f"takes an optimiser, such as .*, got {type(wrong).__name__}"):
            make(wrong)


def test_states_with_odd_parts():
    optimizer, ema = optim.Adam([parameter()]), optim.EMA([parameter()])
    for part in ({"state": [1]}, {"param_groups": 3}, {"param_groups": [{}]}, {"state": {"0": {"step": -1}}}):
        with pytest.raises(ValueError, match="this is no|step of w"):
            optimizer.load_state_dict({**optimizer.state_dict(), **part})
    for averages in (None, 1.0, [1.0], [np.ones(3)]):
        with pytest.raises(ValueError, match="this is no|have shapes"):
            ema.load_state_dict({"updates": 1, "averages": averages})
    ema.load_state_dict({"updates": 1, "averages": [np.ones(2)]})
    for group in ([parameter()], parameter(), None):
        with pytest.raises(TypeError, match="a group is a dict"):
            optimizer.add_param_group(group)


@pytest.mark.parametrize(
    "make", [lambda w: optim.Adam([w]), lambda w: optim.StepLR(optim.SGD([w]), 3), lambda w: optim.EMA([w])]
)
def test_what_is_no_saved_state_is_refused(make):
    one = make(parameter())
    for wrong in (
        None,
        {},
        {"steps": -1, "updates": -1, "averages": one.state_dict().get("averages")},
        [1],
        "state.safetensors",
    ):
        with pytest.raises(ValueError, match=r"this is no|not negative|steps|updates"):
            one.load_state_dict(wrong)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ["master", "exp_avg"])
def test_a_saved_array_of_another_shape_is_refused(dtype, name):
    w = nn.Parameter(np.ones((2, 2), dtype))
    adam = optim.Adam([w])
    (w * w).sum().backward()
    adam.step()
    saved = adam.state_dict()
    saved["state"]["0"][name] = mt.ones((1,))
    with pytest.raises(ValueError, match=rf"Adam: {name} of .* has shape \(1,\) in the file, \(2, 2\) here"):
        adam.load_state_dict(saved)
