"""The training loop: exact resume after any end, accumulation, limits, and what is kept
of a run.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tiny_training import SETTINGS, Task, traces, train
from toolkit import training_state, updates
from toolkit.console import UserError
from toolkit.settings import Training
from toolkit.trainer import Trainer

import minitensor as mt
from minitensor import optim

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("kills", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_resumed_is_bit_identical(tmp_path, kills):
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "examples"))),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, str(ROOT / "tests/examples/tiny_training.py"), str(tmp_path), str(kills)]
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{kills} runs, all alike" in done.stdout


@pytest.fixture
def clock(monkeypatch):
    """A second passes each time the trainer looks at the clock."""
    ticks = count()
    monkeypatch.setattr(training_state.time, "monotonic", lambda: float(next(ticks)))


def test_time_limits_change_nothing_but_where_a_run_rests(tmp_path, clock):
    train(tmp_path / "whole")
    for minutes in (0.1, 0.3, 0.5, 100.0):
        outcome = train(tmp_path / "parts", minutes=minutes)
        assert outcome.signal == 0
        assert (tmp_path / "parts" / "weights.safetensors").exists()
    assert "updates are done" in outcome.reason
    assert traces(tmp_path / "parts") == traces(tmp_path / "whole")


def test_seconds_add_up_over_parts(tmp_path, clock):
    first = train(tmp_path, minutes=0.2)
    assert "0.2 minutes are over" == first.reason
    before, step = first.position.seconds, first.position.step
    second = train(tmp_path, minutes=0.5)
    assert second.position.seconds > before and second.position.step > step
    assert second.position.seconds >= 30
    seconds = [
        json.loads(line)["seconds"]
        for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
        if "seconds" in line
    ]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_after_the_update_and_goes_on_exactly(tmp_path, number):
    train(tmp_path / "whole")
    task = Task()
    loss, calls = task.loss, count()

    def interrupting(batch, divide_by):
        if next(calls) == 7:  # in the midst of an update of two parts
            signal.raise_signal(number)
        return loss(batch, divide_by)

    task.loss = interrupting
    (tmp_path / "parts").mkdir()
    outcome = Trainer(task, Training(**{**SETTINGS, "save_every": 1e9}), tmp_path / "parts").run()
    assert outcome.signal == number and outcome.reason == "interrupted after update 4"
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    train(tmp_path / "parts")
    assert traces(tmp_path / "parts") == traces(tmp_path / "whole")


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also if the tests run in the background of a shell, which
    ignores it there.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_a_second_interrupt_acts_at_once(tmp_path, interruptible):
    task = Task()

    def impatient(batch, divide_by):
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):  # two at once may be delivered as one
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                break
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)
        raise AssertionError("the second interrupt was not noticed")

    task.loss = impatient
    with pytest.raises(KeyboardInterrupt):
        Trainer(task, Training(**SETTINGS), tmp_path).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_accumulation_equals_the_big_batch(tmp_path):
    after = []
    for parts in (1, 2, 5):
        task = Task()
        task.model.astype(np.float64).dropout.p = 0.0
        made = Trainer(task, Training(**{**SETTINGS, "accumulate": parts, "clip": 0.1}), tmp_path)
        losses = [made.update(batch) for batch in task.epoch(0)]
        after.append((losses, task.model.state_dict()))
    for losses, weights in after[1:]:
        np.testing.assert_allclose(losses, after[0][0], rtol=1e-12)
        for name, value in weights.items():
            np.testing.assert_allclose(value.data, after[0][1][name].data, rtol=1e-9, atol=1e-12)


def test_the_result_is_the_mean_of_the_last_weights(tmp_path):
    outcome = train(tmp_path, average=2)
    kept = outcome.position.kept
    assert len(kept) == 2
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert files == sorted([f"{step:08}.safetensors" for step in kept] + ["best.safetensors", "last.safetensors"])
    one, other = (mt.load(tmp_path / "checkpoints" / f"{step:08}.safetensors") for step in kept)
    for name, value in mt.load(tmp_path / "weights.safetensors").items():
        np.testing.assert_allclose(value.data, (one[name].data + other[name].data) / 2, rtol=1e-6)


def test_without_averaging_the_result_is_the_best(tmp_path):
    task = Task()
    losses = iter([3.0, 1.0, 2.0, 2.5, 9.9])
    task.validate = lambda: {"validation_loss": next(losses)}
    made = Trainer(task, Training(**{**SETTINGS, "average": 1, "epochs": 9, "patience": 2}), tmp_path)
    outcome = made.run()
    assert outcome.reason == "no better validation loss in 2 validations"
    assert (outcome.position.best_loss, outcome.position.best_step) == (1.0, 2 * made.per_epoch)
    assert (tmp_path / "weights.safetensors").read_bytes() == (
        tmp_path / "checkpoints" / "best.safetensors"
    ).read_bytes()


def test_a_finished_run_is_finished_and_can_be_prolonged(tmp_path):
    train(tmp_path, epochs=2)
    before = traces(tmp_path)
    assert train(tmp_path, epochs=2).position.epoch == 2
    assert traces(tmp_path) == before
    train(tmp_path, epochs=3)
    train(tmp_path.with_name("whole"), epochs=3)
    assert traces(tmp_path) == traces(tmp_path.with_name("whole"))


def test_divergence_is_told_and_leaves_the_checkpoint(tmp_path):
    train(tmp_path, steps=2, epochs=None)
    task = Task()
    task.loss = lambda batch, divide_by: task.model.output.bias.sum() * float("nan")
    with pytest.raises(
        UserError, match="the loss is nan in update 3: training has diverged; start again with a lower --lr"
    ):
        Trainer(task, Training(**{**SETTINGS, "accumulate": 1}), tmp_path).run()
    assert mt.load(tmp_path / "checkpoints" / "last.safetensors")["position"]["step"] == 2


def test_a_damaged_checkpoint_is_told(tmp_path):
    train(tmp_path, steps=2, epochs=None)
    path = tmp_path / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"last\.safetensors.*damaged"):
        train(tmp_path)


def test_schedules(tmp_path):
    def rates(**settings):
        made = Trainer(Task(), Training(**{**SETTINGS, "lr": 1.0, "warmup": 4, **settings}), tmp_path)
        found = []
        for _ in range(12):
            found.append(made.schedule.get_last_lr()[0])
            made.schedule.step()
        return found

    assert rates(schedule="constant") == [0.25, 0.5, 0.75] + [1.0] * 9
    assert rates(schedule="inverse-sqrt")[3:] == pytest.approx([(4 / t) ** 0.5 for t in range(4, 13)])
    cosine = rates(schedule="cosine", steps=12, epochs=None)
    assert max(cosine) == 1.0 and cosine[-1] < 0.1


def test_a_diverged_step_runs_again_and_is_explained(tmp_path, capsys):
    task = Task()
    loss, seen = task.loss, []

    def rooted(batch, divide_by):
        """In the third update a root of 0: a finite loss, an infinite gradient."""
        seen.append(mt.random.default.state)
        spoilt = len(seen) > 4
        weight = task.model.output.bias
        return loss(batch, divide_by) + (mt.sqrt((weight - weight) ** 2).sum() if spoilt else 0.0)

    task.loss = rooted
    before = None
    trainer = Trainer(task, Training(**{**SETTINGS, "clip": 0.0}), tmp_path)
    update = trainer.update

    def watched(batch):
        nonlocal before
        before = task.model.state_dict()
        return update(batch)

    trainer.update = watched
    with pytest.raises(UserError, match="the norm of the gradient is nan in update 3: training has diverged"):
        with np.errstate(all="ignore"):
            trainer.run()
    assert seen[6:] == seen[4:5]  # the same random numbers; the first part shows it
    after = task.model.state_dict()
    assert all(np.array_equal(after[name].data, value.data) for name, value in before.items())
    text = "".join(capsys.readouterr())
    assert "Why NaN: slope of a root at 0" in text and "mt.sqrt((weight - weight) ** 2)" in text


def test_a_spoilt_weight_is_named_by_its_path(tmp_path, capsys):
    task = Task()
    task.model.output.weight.assign(np.full(task.model.output.weight.shape, np.nan))
    with pytest.raises(UserError, match="the loss is nan in update 1"):
        Trainer(task, Training(**SETTINGS), tmp_path).run()
    text = "".join(capsys.readouterr())
    assert "Why NaN: NaN or infinity in a parameter" in text and "the parameter output.weight is nan at [0, 0]" in text


# --- 16 bits --------------------------------------------------------------------------------------


def test_a_run_in_float16_that_skips_steps_goes_on_exactly(tmp_path, clock, capsys, monkeypatch):
    """The scale of the loss and the count of skipped steps are part of a checkpoint."""
    scale = 2.0**26  # too much for the first updates
    made = functools.partial(optim.GradScaler, scale, growth_interval=4)
    monkeypatch.setattr(updates.optim, "GradScaler", made)
    train(tmp_path / "whole", precision="float16")
    told = capsys.readouterr().err
    assert f"update 1: a gradient overflows float16 at the loss scale {scale:g}; the step is skipped" in told
    for minutes in (0.1, 0.3, 0.5, 100.0):
        train(tmp_path / "parts", precision="float16", minutes=minutes)
    assert traces(tmp_path / "parts") == traces(tmp_path / "whole")
    scaler = mt.load(tmp_path / "whole" / "checkpoints" / "last.safetensors")["scaler"]
    assert scaler["skipped"] >= 3 and scaler["scale"] < scale


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_run_in_16_bits_follows_one_in_float32(tmp_path, precision):
    def losses(folder):
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return np.array([record["loss"] for record in map(json.loads, lines) if "loss" in record])

    exact, narrow = tmp_path / "float32", tmp_path / precision
    train(exact)
    train(narrow, precision=precision)
    assert len(losses(exact)) and np.abs(losses(narrow) / losses(exact) - 1).max() < 0.01
    weights = mt.load(narrow / "weights.safetensors")
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}


def test_a_gradient_that_no_scale_helps_is_divergence(tmp_path, capsys):
    task = Task()
    loss = task.loss
    task.loss = lambda batch, divide_by: loss(batch, divide_by) * 1e30
    trainer = Trainer(task, Training(**{**SETTINGS, "precision": "float16", "epochs": 3}), tmp_path)
    with pytest.raises(UserError, match="the norm of the gradient is inf in update 17: training has diverged"):
        trainer.run()
    told = capsys.readouterr().err
    assert trainer.scaler.skipped == 16 and told.count("skipped") >= 16 and "16-bit overflow" in told
