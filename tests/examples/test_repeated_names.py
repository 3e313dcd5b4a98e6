"""A name that stands twice in a file of JSON is an error that names it and the file, whoever reads
it.
"""

import json

import numpy as np
import pytest
from toolkit.console import UserError
from toolkit.files import read_json
from toolkit.runlog import read_log
from toolkit.runs import Run
from toolkit.sentence_modules import settings_of
from toolkit.settings import Training
from toolkit.text import Characters
from toolkit.tokenizer import Tokenizer, read_library
from toolkit.wordpieces import WordPieces

import minitensor as mt
from minitensor.files.safetensors import TensorFile, tensor_file
from minitensor.models.gpt import GPT
from minitensor.models.marian_text import _words
from minitensor.models.stored_tensors import StoredTensors

TWICE = '{"model_type": "gpt2", "inner": [{"n_layer": 2, "n_layer": 3}]}'
SAID = '"n_layer" stands twice, as 2 and as 3; leave one'
READERS = {
    "config.json": GPT.from_pretrained,
    "model.safetensors.index.json": StoredTensors,
    "vocab.json": lambda folder: _words(folder / "vocab.json"),
    "run/config.json": lambda folder: Run.open(folder / "run", "digits", Training),
    "tokenizer.json": lambda folder: Tokenizer.load(folder / "tokenizer.json"),
    "pieces.json": lambda folder: WordPieces.load(folder / "pieces.json"),
    "library.json": lambda folder: read_library(folder / "library.json", "sentences"),
    "characters.json": lambda folder: Characters.load(folder / "characters.json"),
    "any.json": lambda folder: read_json(folder / "any.json", "table"),
    "modules.json": lambda folder: settings_of(folder / "modules.json"),
    "log.jsonl": lambda folder: read_log(folder / "log.jsonl"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_repeated_name_is_named_with_its_file(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(TWICE + "\n", encoding="utf-8")
    with pytest.raises((ValueError, UserError)) as raised:
        READERS[name](tmp_path)
    assert SAID in str(raised.value) and str(path) in str(raised.value)
    path.write_text(TWICE.replace(', "n_layer": 3', ""), encoding="utf-8")
    try:
        READERS[name](tmp_path)
    except (ValueError, UserError, FileNotFoundError) as error:  # it is no such file, of other reasons
        assert "twice" not in str(error)


def test_the_header_of_saved_tensors_too(tmp_path):
    path = tmp_path / "saved.safetensors"
    mt.save(path, {"n_layer": 2})
    header = TensorFile(path).metadata["minitensor"].replace('"n_layer": 2', '"n_layer": 2, "n_layer": 3')
    assert json.loads(header)["state"] == {"n_layer": 3}  # as Python would have it
    path.write_bytes(b"".join(bytes(part) for part in tensor_file({"w": np.zeros(1)}, {"minitensor": header})))
    with pytest.raises(ValueError) as raised:
        mt.load(path)
    assert SAID in str(raised.value) and str(path) in str(raised.value)
