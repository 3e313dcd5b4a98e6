"""Every program that trains: an update in parts is that of the whole batch, dropout included."""

import importlib
import os
import sys

import numpy as np
import pytest
from toolkit.settings import given_options
from toolkit.trainer import Trainer

PROGRAMS = [
    ["digits"],
    ["languages"],
    ["sentiment"],
    ["sentiment", "--arch", "bert"],
    ["language_model"],
    ["language_model", "--arch", "gpt", "--dropout", "0.2"],
    ["captions"],
    ["forecast"],
    ["genes"],
    ["speech"],
    ["stories"],
    ["summaries"],
    ["text_to_text"],
    ["masked_language_model"],
    ["translate"],
    ["translate", "--arch", "gru"],
]


@pytest.mark.skipif("MINITENSOR_THOROUGH" not in os.environ, reason="some ten seconds; set MINITENSOR_THOROUGH=1")
@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words in PROGRAMS])
def test_parts_are_the_whole(words, tmp_path, monkeypatch):
    for package in ("tokenizers", "sklearn"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(os.path.join(os.path.dirname(__file__), "..", "..", "examples"))
    monkeypatch.delitem(sys.modules, words[0], raising=False)
    program = importlib.import_module(words[0]).main.__self__
    options = program._parser().parse_args(["train", *words[1:]])
    data = {"path": None, **program.describe(options)}
    given, loaded, losses = given_options(options, program.settings), program.load(data), []
    for parts in (1, 3):
        limits = {"accumulate": parts, "steps": 3, "schedule": "constant"}
        settings = program.settings(**{**program.presets(data, given), **given, **limits})
        task = program.make_task(loaded, settings, None)
        trainer = Trainer(task, settings, tmp_path)
        task.model.train()
        losses.append([trainer.update(batch) for batch in task.epoch(0)[:2]])
    assert np.allclose(*losses, rtol=1e-5, atol=0)
