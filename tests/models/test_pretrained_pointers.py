"""Folders that were cloned without git-lfs: small text files stand in the place of large ones, and
are named as what they are.
"""

import pytest

import minitensor as mt
from minitensor.models.bert import BERT, BERTConfig

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 548105171\n"


@pytest.fixture
def folder(tmp_path):
    """A model in two files, and what is in which."""
    model = BERT(BERTConfig(vocab_size=9, d_model=4, n_layers=1, n_heads=1, d_ff=4, max_length=4))
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "part.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"all of them": "part.safetensors"}}', encoding="utf-8"
    )
    return tmp_path


@pytest.mark.parametrize(
    "name", ["config.json", "part.safetensors", "model.safetensors", "model.safetensors.index.json"]
)
def test_a_pointer_is_named(folder, name):
    BERT.from_pretrained(folder)
    (folder / name).write_text(POINTER, encoding="utf-8")
    with pytest.raises(mt.FileFormatError, match=f"{name}: a pointer of git-lfs, .*: run `git lfs pull`"):
        BERT.from_pretrained(folder)
