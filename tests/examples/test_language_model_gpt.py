"""language_model.py --arch gpt, on a text that is learned in seconds."""

import json
import math
import re

import pytest
from language_model import main
from toolkit.console import UserError
from toolkit.language import Growing, Settings, Writer
from toolkit.runs import Run
from toolkit.tokenizer import Tokenizer

DAYS = "monday tuesday wednesday thursday friday saturday sunday "
SMALL = "--arch gpt --d-model 32 --heads 2 --layers 1 --window 24 --batch 8 --lr 0.01 --steps 300 --warmup 10"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a trained run of the days of the week, over and over, and what its training
    printed.
    """
    folder = tmp_path_factory.mktemp("gpt")
    (folder / "days.txt").write_text(DAYS * 60, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def printed(run):
    """What training printed."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["train", "--data", str(run / "days.txt"), "--out", str(run / "run"), *SMALL.split()]) == 0
    return out.getvalue()


def loss_of(text):
    return float(re.search(r"held-out loss ([\d.]+) nats per token", text).group(1))


def test_it_learns_the_text_and_goes_on_with_it(run, printed):
    assert loss_of(printed) < 0.15 < math.log(16) / 18  # of 16 characters; a window begins in the middle of a day
    written = printed.split("|", 1)[1].split("\n\n")[0]
    words = written.split()[1:-1]
    cycle = DAYS.split()
    in_order = [cycle[cycle.index(one) - 6] == next for one, next in zip(words, words[1:]) if one in cycle]
    assert len(written) == 400 and len(in_order) > 40 and sum(in_order) > 0.7 * len(words)
    settings = json.loads((run / "run" / "config.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["arch"], settings["beta2"], settings["schedule"]) == ("gpt", 0.99, "cosine")


def test_evaluate_says_what_training_said(run, printed, capsys):
    main(["evaluate", "--run", str(run / "run")])
    assert loss_of(capsys.readouterr().out) == loss_of(printed)


@pytest.mark.parametrize(
    "how", [["--temperature", "0.1"], ["--temperature", "0"], ["--beam", "3"], ["--top-k", "3", "--top-p", "0.7"]]
)
def test_it_writes_more_than_its_window(run, printed, capsys, how):
    generate = ["generate", "--run", str(run / "run"), "--prompt", "friday satur", "--length", "70", *how]
    main(generate)
    first = capsys.readouterr().out
    assert first.startswith("friday saturday sunday monday tuesday ") and len(first) == 12 + 70 + 1
    main(generate)
    assert capsys.readouterr().out == first


def test_the_seed_decides_what_is_drawn(run, printed, capsys):
    generate = ["generate", "--run", str(run / "run"), "--prompt", "m", "--temperature", "3", "--length", "40"]
    texts = []
    for seed in ("0", "1", "0"):
        main([*generate, "--seed", seed])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--arch gpt --hidden 8", "--arch gpt has no --hidden"),
        ("--arch lstm --heads 2", "--arch lstm has no --heads"),
        ("--arch gpt --heads 3", "--heads 3 must divide --d-model 128"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_made(run, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main(["train", "--data", str(run / "days.txt"), "--out", str(tmp_path / "new"), *options.split()])
    assert not (tmp_path / "new").exists()


def test_choices_that_exclude_each_other(run, printed):
    with pytest.raises(UserError, match="give a temperature above 0"):
        main(["generate", "--run", str(run / "run"), "--prompt", "m", "--temperature", "0", "--top-k", "2"])
    with pytest.raises(UserError, match="the prompt is empty"):
        main(["generate", "--run", str(run / "run"), "--prompt", ""])


def test_attention_is_drawn(run, printed, capsys, tmp_path):
    assert main(["attention", "--run", str(run / "run"), "monday tuesday", "--output", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    for text, message in (("monday tuesday wednesday thursday", "the model sees 24"), ("", "the prompt is empty")):
        with pytest.raises(UserError, match=message):
            main(["attention", "--run", str(run / "run"), text])
    with pytest.raises(UserError, match="cannot draw"):
        main(["attention", "--run", str(run / "run"), "monday", "--output", str(tmp_path / "none" / "a.png")])


def test_text_appears_while_it_is_written(run, printed):
    writer = Writer(Run.open(run / "run", "language-model", Settings))
    pieces = []
    assert writer.write("monday ", 40, pieces.append) == "".join(pieces)  # beyond the window, so in several parts
    assert len(pieces) == 40


def test_characters_of_several_bytes_appear_whole():
    tokenizer = Tokenizer.train(["ab"] * 3, 300)
    pieces, ids = [], tokenizer.encode("é☃ a")
    growing = Growing(tokenizer, tokenizer.encode("b"), pieces.append)
    for token in ids:
        growing([0], [token])
    assert "".join(pieces).strip() == "é☃ a" and len(pieces) < len(ids)
