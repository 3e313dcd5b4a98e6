"""A Transformer as a folder for CTranslate2, an inference engine in C++."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolkit.console import UserError, require
from toolkit.files import write_text, writing
from toolkit.interchange.onnx_transformer import position_table
from toolkit.tokenizer import PAD, START, STOP
from toolkit.translator import Translator

__all__ = ["FILES", "write"]

FILES = ("model.bin", "config.json", "shared_vocabulary.json", "tokenizer.json")


def write(translator: Translator, folder: Path, about: dict[str, Any]) -> None:
    """Write the folder, which is there. Raises UserError for a recurrent model, which CTranslate2
    does not have.
    """
    s = translator.settings
    if s.arch != "transformer":
        raise UserError(f"CTranslate2 has Transformers alone, and this is --arch {s.arch}; export it --to onnx or html")
    specs = require("ctranslate2.specs", "export")
    weights = {
        name: values.to("cpu").numpy().astype(np.float32) for name, values in translator.model.state_dict().items()
    }
    layers = (s.layers, s.decoder_depth)
    spec = specs.TransformerSpec.from_config(layers, s.heads, pre_norm=s.pre_norm, activation=specs.Activation.RELU)
    _fill_stack(spec.encoder, weights, "encoder", s.d_model, pre_norm=s.pre_norm)
    _fill_stack(spec.decoder, weights, "decoder", s.d_model, pre_norm=s.pre_norm)
    spec.encoder.embeddings[0].weight = weights["source_embedding.weight"]
    spec.decoder.embeddings.weight = weights["target_embedding.weight"]
    for side, stack in (("source", spec.encoder), ("target", spec.decoder)):
        stack.position_encodings.encodings = position_table(weights, side, s)
    spec.decoder.projection.weight = weights["output.weight"]
    tokens = translator.tokenizer.tokens()
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.bos_token = spec.config.decoder_start_token = tokens[START]
    spec.config.eos_token, spec.config.unk_token = tokens[STOP], tokens[PAD]
    spec.config.add_source_eos, spec.config.add_source_bos = True, False
    spec.validate()
    spec.optimize()
    with writing(folder):
        spec.save(str(folder))
    write_text(folder / "tokenizer.json", translator.tokenizer.exported_json())


def _fill_stack(spec: Any, weights: dict[str, np.ndarray], stack: str, width: int, *, pre_norm: bool) -> None:
    """The layers of the encoder or the decoder."""
    for n, layer in enumerate(spec.layer):
        name = f"{stack}.layers.{n}"
        own = "attention" if stack == "encoder" else "self_attention"
        linear = layer.self_attention.linear
        _fill_linear(linear[0], weights, f"{name}.{own}.qkv")
        _fill_linear(linear[1], weights, f"{name}.{own}.out")
        _fill_norm(layer.self_attention.layer_norm, weights, f"{name}.norm1")
        if stack == "decoder":
            linear = layer.attention.linear
            _fill_linear(linear[0], weights, f"{name}.cross_attention.qkv", slice(0, width))
            _fill_linear(linear[1], weights, f"{name}.cross_attention.qkv", slice(width, 3 * width))
            _fill_linear(linear[2], weights, f"{name}.cross_attention.out")
            _fill_norm(layer.attention.layer_norm, weights, f"{name}.norm2")
        _fill_linear(layer.ffn.linear_0, weights, f"{name}.feed_forward.linear1")
        _fill_linear(layer.ffn.linear_1, weights, f"{name}.feed_forward.linear2")
        _fill_norm(layer.ffn.layer_norm, weights, f"{name}.norm{3 if stack == 'decoder' else 2}")
    if pre_norm:
        _fill_norm(spec.layer_norm, weights, f"{stack}.norm")


def _fill_linear(spec: Any, weights: dict[str, np.ndarray], name: str, rows: slice = slice(None)) -> None:
    spec.weight, spec.bias = weights[f"{name}.weight"][rows], weights[f"{name}.bias"][rows]


def _fill_norm(spec: Any, weights: dict[str, np.ndarray], name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
