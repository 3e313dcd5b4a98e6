"""The training loop on the fake device: the host waits for it where a line of the log is due, and
nowhere else, and an update that is not finite is left out all the same.
"""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import tiny_training
from tiny_training import SETTINGS, traces
from toolkit import training_state
from toolkit.console import UserError
from toolkit.settings import Training
from toolkit.trainer import LOG_EVERY, Trainer

import minitensor as mt
import minitensor.nn.functional as F
from tests.backend import emulator, fake_device

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with"
)
LEISURE = {**SETTINGS, "save_every": 1e9, "validate_every": 1000, "epochs": None}


@pytest.fixture(scope="module", autouse=True)
def fake():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


class Task(tiny_training.Task):
    """The tiny task, on a device."""

    def __init__(self, device="cuda"):
        super().__init__()
        self.device = device
        self.model.to(device)

    def loss(self, batch, divide_by):
        source, given, wanted = (
            mt.asarray(array, device=self.device) for array in (batch.source, batch.target_in, batch.target_out)
        )
        return F.cross_entropy(self.model(source, given), wanted, ignore_index=0, reduction="sum") / divide_by


def trainer(folder: Path, task=None, **changes):
    folder.mkdir(exist_ok=True)
    return Trainer(task or Task(), Training(**{**LEISURE, **changes}), folder)


def noting_waits(made):
    """Which reads of the GPU there are in each update: in it, and behind it."""
    update, found = made.update, []

    def watched(batch):
        found.append(list(fake_device.SYNCS))
        fake_device.SYNCS.clear()
        loss = update(batch)
        assert fake_device.SYNCS == []
        return loss

    made.update = watched
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_host_waits_at_the_lines_of_the_log_only(tmp_path, accumulate):
    made = trainer(tmp_path, steps=2 * LOG_EVERY + 3, accumulate=accumulate)
    found = noting_waits(made)
    made.run()
    one_copy = ["get", "get"]  # of the losses and norms of 10 updates, and what the checks of ids have found
    assert [waits for waits in found[1:] if waits] == [one_copy, one_copy]
    assert found[LOG_EVERY] == found[2 * LOG_EVERY] == one_copy


def test_a_run_is_that_of_the_cpu_and_resumes_exactly(tmp_path, monkeypatch):
    ticks = count()
    monkeypatch.setattr(training_state.time, "monotonic", lambda: float(next(ticks)))
    for device in ("cpu", "cuda"):
        trainer(tmp_path / device, Task(device), steps=13, validate_every=6).run()
    logs = [
        [json.loads(line) for line in (tmp_path / device / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        for device in ("cpu", "cuda")
    ]
    for mine, right in zip(*logs, strict=True):
        assert mine.keys() == right.keys() and mine["step"] == right["step"]
        assert mine.get("loss", 0) == pytest.approx(right.get("loss", 0), rel=1e-4)
    rests = set()
    for minutes in (0.1, 0.2, 0.4, 100.0):  # some end where no line of the log is due
        rests.add(trainer(tmp_path / "parts", steps=13, validate_every=6, minutes=minutes).run().position.step)
    assert len(rests - {6, LOG_EVERY, 12, 13}) > 1
    assert traces(tmp_path / "parts") == traces(tmp_path / "cuda")


@pytest.mark.parametrize("rooted", [False, True], ids=["loss", "gradient"])
def test_a_diverged_update_is_named_and_explained_though_it_is_read_later(tmp_path, capsys, rooted):
    """The fifth of ten updates."""
    task = Task()
    loss, seen, states = task.loss, [], []

    def spoilt(batch, divide_by):
        seen.append(mt.random.default.state)
        bias, made = task.model.output.bias, loss(batch, divide_by)
        if len(seen) < 5 or (5 < len(seen) <= LOG_EVERY):
            return made
        return made + (mt.sqrt((bias - bias) ** 2).sum() if rooted else mt.log(bias - bias).sum())

    task.loss = spoilt
    made = trainer(tmp_path, task, steps=30, accumulate=1, clip=0.0)
    update = made.update

    def watched(batch):
        if len(seen) == 4:
            states.append((task.model.state_dict(), made.optimizer.state_dict(), made.schedule.state_dict()))
        return update(batch)

    made.update = watched
    what = "the norm of the gradient is nan" if rooted else "the loss is -inf"
    with pytest.raises(UserError, match=f"{what} in update 5: training has diverged; start again with a lower --lr"):
        with np.errstate(all="ignore"):
            made.run()
    assert len(seen) == LOG_EVERY + 1 and seen[LOG_EVERY] == seen[4]  # the same random numbers, once more
    after = task.model.state_dict(), made.optimizer.state_dict(), made.schedule.state_dict()
    assert repr(bits(after)) == repr(bits(states[0]))
    assert made.position.step == 4 and made.position.batch + made.position.epoch * made.per_epoch == 4
    text = "".join(capsys.readouterr())
    told = "slope of a root at 0" if rooted else "log of 0 or less"
    assert told in text and ("mt.sqrt((bias - bias) ** 2)" if rooted else "mt.log(bias - bias)") in text


def bits(state):
    """Nested state with arrays as bytes."""
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [bits(one) for one in state]
    return state.to("cpu").data.tobytes() if isinstance(state, mt.Tensor) else state


@pytest.mark.parametrize("due", ["checkpoint", "validation", "end"])
def test_nothing_is_written_before_the_losses_are_read(tmp_path, due):
    task = Task()
    loss, calls = task.loss, []

    def spoilt(batch, divide_by):
        calls.append(1)
        return loss(batch, divide_by) * (float("nan") if len(calls) == 2 else 1.0)

    task.loss = spoilt
    changes = {"checkpoint": {"save_every": 0.0}, "validation": {"validate_every": 3}, "end": {"steps": 3}}[due]
    made = trainer(tmp_path, task, accumulate=1, **{"steps": 30, **changes})
    with pytest.raises(UserError, match="the loss is nan in update 2"):
        with np.errstate(all="ignore"):
            made.run()
    files = {path.name for path in tmp_path.rglob("*.safetensors")}
    assert files == ({"last.safetensors"} if due == "checkpoint" else set())
    if files:
        assert mt.load(tmp_path / "checkpoints" / "last.safetensors")["position"]["step"] == 1
