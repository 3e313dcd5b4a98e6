"""The digits script from the command line: what it claims, what it leaves, what it refuses; and the
evidence it draws.
"""

import json
import re

import digits
import numpy as np
import pytest
from idx_files import write_folder
from scripts import unreported
from toolkit import console
from toolkit.evidence import looks, occlusion, on_patches, rollout
from toolkit.images import load_images
from toolkit.runlog import read_log
from toolkit.vision import Settings, Task, accuracy, model_input, probabilities

import minitensor as mt
from minitensor.models.vit import ViT, ViTConfig

TINY = "--d-model 32 --layers 2 --d-ff 64 --warmup 20".split()
SMALL = dict(image_size=8, patch_size=4, n_channels=1, d_model=8, n_layers=2, n_heads=2, d_ff=12, n_classes=10)


def call(*arguments):
    """The exit code of the script."""
    return console.run(lambda: digits.main([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--out", folder, *TINY, "--batch-size", 64, "--lr", 6e-3, "--epochs", 7) == 0
    return folder


def test_the_claim_at_a_small_setting(run, capsys):
    assert call("evaluate", "--run", run) == 0
    right, share = re.search(r"held-out images: (\d+) of 360 right, ([\d.]+) %", capsys.readouterr().out).groups()
    assert float(share) == pytest.approx(100 * int(right) / 360, abs=0.01)
    assert float(share) > 90  # the default setting reaches 98.5


def test_a_run_leaves_all_that_is_promised(run):
    for name in ("loss.png", "evidence.png", "mistakes.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]["patch"] == 2
    log = read_log(run / "log.jsonl")
    assert {"validation_loss", "accuracy"} <= next(record for record in log if "validation_loss" in record).keys()


def test_help_tells_how_it_is_used(capsys):
    with pytest.raises(SystemExit):
        call("--help")
    assert "python examples/digits.py explain --run runs/digits --index 7" in capsys.readouterr().out


def test_explain_says_which_patches_decided(run, tmp_path, capsys):
    assert call("explain", "--run", run, "--index", 7, "--output", tmp_path / "a.png") == 0
    out = capsys.readouterr().out
    assert re.search(r"image 7: a \d, found \d \([\d.]+ %\) before \d", out) and "logit lost without them" in out
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "--index", "360"], "--index 360: the held-out images have the numbers 0 to 359"),
        (["explain", "--index", "-1"], "--index -1"),
        (["explain", "--index", "0", "--output", "nowhere/a.png"], "there is no folder nowhere"),
        (["evaluate", "--data", "/nowhere"], "nowhere is not a folder"),
    ],
)
def test_bad_requests_of_a_run(run, capsys, arguments, message):
    assert call(arguments[0], "--run", run, *arguments[1:]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patch", "3"], "--patch 3 does not divide the images of 8 x 8 pixels"),
        (["--heads", "5"], "--heads 5 must divide --d-model 64"),
        (
            ["--positions", "sinusoidal", "--d-model", "6", "--heads", "2"],
            "--positions sinusoidal needs a --d-model that 4 divides",
        ),
        (["--turn", "180"], "--turn 180.0: it must be below 180"),
        (["--data", "/nowhere"], "nowhere is not a folder"),
    ],
)
def test_bad_settings(tmp_path, capsys, arguments, message):
    assert call("train", "--out", tmp_path / "run", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path):
    def last(name):
        state = mt.load(tmp_path / name / "checkpoints" / "last.safetensors")
        return {key: value.numpy() for key, value in state["model"].items()}

    how = [*TINY, "--schedule", "constant", "--dropout", 0.1]
    assert unreported(call)("train", "--out", tmp_path / "whole", *how, "--steps", 30) == 0
    assert unreported(call)("train", "--out", tmp_path / "parts", *how, "--steps", 13) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--steps", 30) == 0
    whole, parts = last("whole"), last("parts")
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)


def test_training_on_idx_files(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    write_folder(tmp_path / "data", train=(40, 8, 8), test=(10, 8, 8))
    out = tmp_path / "run"
    assert call("train", "--data", tmp_path / "data", "--out", out, *TINY, "--epochs", 1, "--pooling", "mean") == 0
    assert re.search(r"held-out images: \d+ of 10 right", capsys.readouterr().out)
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["settings"]["patch"] == 4  # their own default


# --- the task -------------------------------------------------------------------------------------


def test_validation_is_of_the_images_as_they_are():
    splits = load_images(None)
    task = Task(splits, Settings(d_model=8, heads=2, layers=1, d_ff=8, label_smoothing=0.3, dropout=0.2))
    figures = task.validate()
    task.model.eval()
    images, labels = splits.validation.pixels, splits.validation.labels
    expected = task.model.loss(model_input(images, "cpu"), labels).item()
    assert figures["validation_loss"] == pytest.approx(expected, rel=1e-5)
    found = probabilities(task.model, images)
    assert figures["accuracy"] == 100 * accuracy(found, labels) == 100 * np.mean(found.argmax(axis=1) == labels)


def test_the_held_out_fifth_is_the_same_for_all_seeds_and_apart():
    splits = load_images(None)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1257, 180, 360]
    assert np.bincount(splits.test.labels).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    rows = np.concatenate([part.pixels.reshape(-1, 64) for part in (splits.train, splits.validation, splits.test)])
    assert len(np.unique(rows, axis=0)) == 1797  # the digits hold no image twice


# --- evidence -------------------------------------------------------------------------------------


def test_rollout_multiplies_the_layers_with_half_an_identity():
    attention = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 5))  # (L, H, T, T)
    first, second = (0.5 * layer.mean(axis=0) + 0.5 * np.eye(5) for layer in attention)
    np.testing.assert_allclose(rollout(attention), second @ first)
    np.testing.assert_allclose(rollout(attention).sum(axis=-1), 1)


@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_what_the_classifier_takes_from_each_patch(pooling):
    model = ViT(ViTConfig(**SMALL, pooling=pooling))
    attention = looks(model, np.random.default_rng(0).random((1, 8, 8), dtype=np.float32))
    seen = on_patches(attention, model)
    assert seen.shape == (2, 2, 2, 2)
    if pooling == "class":
        np.testing.assert_array_equal(seen[1, 0].reshape(-1), attention[1, 0, 0, 1:])
    else:
        np.testing.assert_allclose(seen[1, 0].reshape(-1), attention[1, 0].mean(axis=0), rtol=1e-6)


def test_occlusion_is_the_logit_lost():
    model = ViT(ViTConfig(**SMALL)).eval()
    image = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    image[:, 4:, :4] = 0  # a patch that is blank already
    blanked = image.copy()
    blanked[:, :4, 4:] = 0
    whole, without = (model(model_input(x[None], "cpu")).numpy()[0, 3] for x in (image, blanked))
    lost = occlusion(model, image, 3)
    assert lost.shape == (2, 2) and lost[0, 1] == pytest.approx(whole - without, abs=1e-5)
    assert lost[1, 0] == pytest.approx(0, abs=1e-5) and abs(lost[0, 1]) > 1e-3
