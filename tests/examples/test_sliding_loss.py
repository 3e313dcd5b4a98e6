"""The held-out loss of a GPT whose windows overlap, against each token's own context."""

import language_model
import numpy as np
import pytest
from scripts import caller, refuser
from toolkit.language import Settings, held_out_loss, make_model, sliding_loss

import minitensor as mt
import minitensor.nn.functional as F

WINDOW = 6
call = caller(language_model.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def model():
    settings = Settings(arch="gpt", d_model=8, heads=2, layers=1, window=WINDOW, dropout=0.0, batch=2)
    made = make_model(settings, 11, "cpu")
    for parameter in made.parameters():  # far from the start, where no context would matter
        parameter.assign(parameter.data + np.random.default_rng(3).normal(size=parameter.shape).astype("float32"))
    return made.eval()


def one_by_one(model, ids, stride):
    """By the definition: each token once, from the first window that has it as a target."""
    lost, last = [], max(len(ids) - 1 - WINDOW, 0)
    for i in range(1, len(ids)):
        start = next(s for s in [*range(0, last, stride), last] if s < i <= s + WINDOW)
        with mt.no_grad():
            logits = model(mt.asarray(np.array([ids[start:i]])))[0, -1]
        lost.append(F.cross_entropy(logits, mt.asarray(np.array(ids[i]))).item())
    return np.mean(lost)


@pytest.mark.parametrize("stride", [1, 2, 4, WINDOW])
@pytest.mark.parametrize("length", [2, 5, WINDOW + 1, WINDOW + 2, 40])
def test_every_token_counts_once_from_the_window_that_first_holds_it(model, length, stride):
    ids = np.random.default_rng(length).integers(0, 11, length)
    found = sliding_loss(model, ids, WINDOW, stride, "cpu")
    assert found == pytest.approx(one_by_one(model, ids, stride), rel=1e-5)


def test_windows_side_by_side_are_those_of_training(model):
    ids = np.random.default_rng(0).integers(0, 11, 32 * 4 * WINDOW + 1)  # whole windows for every reader
    settings = Settings(arch="gpt", window=WINDOW)
    assert sliding_loss(model, ids, WINDOW, WINDOW, "cpu") == pytest.approx(
        held_out_loss(model, ids, settings, "cpu"), rel=1e-5
    )


@pytest.mark.parametrize("stride", [0, WINDOW + 1])
def test_a_stride_that_leaves_tokens_out_or_goes_nowhere(model, stride):
    with pytest.raises(ValueError, match=f"the stride is {stride}; write a number from 1 to the window, {WINDOW}"):
        sliding_loss(model, np.arange(10), WINDOW, stride, "cpu")


def test_the_option(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("the dog sees the cat, and the cat sees the dog.\n" * 20, encoding="utf-8")
    tiny = "--d-model 8 --layers 1 --window 16 --batch 8 --steps 10 --warmup 2 --lr 0.02 --validate-every 10".split()
    for arch, more in (("gpt", ["--heads", "2"]), ("gru", ["--hidden", "4", "--dropout", "0"])):
        assert call("train", "--data", text, "--arch", arch, "--out", tmp_path / arch, *tiny, *more) == 0
    capsys.readouterr()
    said = []
    for options in ([], ["--stride", "16"], ["--stride", "4"]):
        assert call("evaluate", "--run", tmp_path / "gpt", *options) == 0
        said.append(capsys.readouterr().out)
    assert said[2] not in said[:2] and all("held-out loss" in line for line in said)
    refused(
        capsys, "--stride 17: it must be at most the window, 16", "evaluate", "--run", tmp_path / "gpt", "--stride", 17
    )
    refused(capsys, "--stride is for a gpt", "evaluate", "--run", tmp_path / "gru", "--stride", 4)
