"""A translator as a folder for onnxruntime: encoder.onnx, decoder.onnx, the tokenizer of the
`tokenizers` library, and what a search has to know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.files import write_text, write_whole
from toolkit.interchange import onnx_recurrent, onnx_transformer
from toolkit.tokenizer import PAD, START, STOP
from toolkit.translator import Translator

__all__ = ["FILES", "write"]

FILES = ("encoder.onnx", "decoder.onnx", "tokenizer.json", "translator.json")


def write(translator: Translator, folder: Path, about: dict[str, Any]) -> None:
    """Write the folder, which is there; ``about``: what else is said in translator.json.

    Both graphs are made and checked before anything is written.
    """
    s = translator.settings
    weights = {
        name: values.to("cpu").numpy().astype(np.float32) for name, values in translator.model.state_dict().items()
    }
    kind = onnx_transformer if s.arch == "transformer" else onnx_recurrent
    made = {"encoder.onnx": kind.encoder(weights, s), "decoder.onnx": kind.decoder(weights, s)}
    shape = {"layers": s.decoder_depth, "d_model": s.d_model, "max_length": s.max_length}
    own = {"heads": s.heads} if s.arch == "transformer" else {"hidden": s.hidden, "attention": s.attention}
    ids = {"pad_id": PAD, "start_id": START, "stop_id": STOP}
    described = {**about, "arch": s.arch, **shape, **own, **ids}
    for name, content in made.items():
        write_whole(folder / name, content)
    write_text(folder / "tokenizer.json", translator.tokenizer.exported_json())
    write_text(folder / "translator.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
