"""What Hugging Face transformers calls the parts of a Marian, in config.json and model.safetensors.

Reads the folders of OPUS-MT as the converters of all times have written them: copies of the
embedding table under up to four names, the waves of the positions stored or not, the settings of
the search in config.json or in generation_config.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minitensor.models.pretrained import (
    Entry,
    Pretrained,
    our_activation,
    their_activation,
    usual_names,
    weight_and_bias,
)
from minitensor.models.published_config import check_usual, extras, fields_of, values_of
from minitensor.models.published_search import refuse_search
from minitensor.models.published_values import checked

__all__ = ["PRESETS", "WORDS", "PublishedMarian", "from_hugging_face", "to_hugging_face"]

WORDS = 58101  # of a vocabulary that config.json does not tell of

PRESETS: dict[str, dict[str, Any]] = {  # sizes; each pair of languages has a vocabulary of its own
    "opus-mt": dict(
        max_length=512, d_model=512, n_encoder_layers=6, n_decoder_layers=6, n_encoder_heads=8, n_decoder_heads=8,
        d_encoder_ff=2048, d_decoder_ff=2048, activation="silu", scale_embedding=True,
    ),
    "opus-mt-tc-big": dict(n_encoder_layers=6, n_decoder_layers=6, activation="relu", scale_embedding=True),
}  # fmt: skip

# Our fields and their names in config.json; the defaults are the same.
FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "max_length": "max_position_embeddings",
    "n_encoder_layers": "encoder_layers",
    "n_decoder_layers": "decoder_layers",
    "n_encoder_heads": "encoder_attention_heads",
    "n_decoder_heads": "decoder_attention_heads",
    "d_encoder_ff": "encoder_ffn_dim",
    "d_decoder_ff": "decoder_ffn_dim",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "ff_dropout": "activation_dropout",
    "init_std": "init_std",
    "scale_embedding": "scale_embedding",
    "share_embeddings": "share_encoder_decoder_embeddings",
    "tie_output": "tie_word_embeddings",
    "pad_id": "pad_token_id",
    "start_id": "decoder_start_token_id",
}
OTHER_NAMES = {  # that transformers reads too: its usual ones
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
}
SEARCHED = ("bad_words_ids", "num_beams", "length_penalty", "renormalize_logits")
USED = {*FIELDS.values(), *SEARCHED, "decoder_vocab_size", "activation_function", "eos_token_id", "is_encoder_decoder"}
USUAL = {  # what old files say, and no model of transformers obeys or Marian is
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "is_decoder": False,
}

SHARED, BIAS = "model.shared.weight", "final_logits_bias"
TABLES = {stack: f"model.{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")}
POSITIONS = {stack: f"model.{stack}.embed_positions.weight" for stack in ("encoder", "decoder")}
FARTHEST = 0.01  # that stored waves may be from computed ones: they are rounded to 16 bits at most
OUTPUT = "lm_head.weight"
FEED = {"feed_forward.linear1": "fc1", "feed_forward.linear2": "fc2"}
LAYERS = {  # of each stack, our parts and theirs
    "encoder": {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"} | FEED,
    "decoder": {"norm1": "self_attn_layer_norm", "norm2": "encoder_attn_layer_norm", "norm3": "final_layer_norm"}
    | FEED,
}
ATTENTIONS = {
    "encoder": {"attention": "self_attn"},
    "decoder": {"self_attention": "self_attn", "cross_attention": "encoder_attn"},
}


def from_hugging_face(values):
    """The fields of our configuration from the values of config.json.

    Raises ValueError for what this Marian does not support.
    """
    values = checked(usual_names(values, OTHER_NAMES))
    check_usual(values, USUAL, "minitensor.models.marian.Marian")
    fields = fields_of(values, FIELDS)
    fields["activation"] = our_activation(values.get("activation_function", "gelu"), "activation_function")
    # To transformers an output layer of its own means that no tables are shared, whatever is said.
    fields["share_embeddings"] = fields.get("share_embeddings", True) and fields.get("tie_output", True)
    target = values.get("decoder_vocab_size")
    if target not in (None, fields.get("vocab_size", WORDS)):
        fields["target_vocab_size"] = target
    if "eos_token_id" in values:
        stops = values["eos_token_id"]
        fields["stop_id"] = tuple(stops) if isinstance(stops, list) else () if stops is None else stops
    stops = np.atleast_1d(fields.get("stop_id", 0))
    fields["forbidden_ids"] = tuple(one for (one,) in values.get("bad_words_ids") or () if one not in stops)
    defaults = {"num_beams": ("beam_size", 1), "length_penalty": ("length_penalty", 1.0)}
    for name, (ours, usual) in (defaults | {"renormalize_logits": ("renormalize", False)}).items():
        fields[ours] = usual if values.get(name) is None else values[name]
    return fields | {"extras": extras(values, USED)}


def to_hugging_face(config):
    """The values of config.json and generation_config.json.

    Raises ValueError for shared embeddings with an output layer of its own.
    """
    if config.share_embeddings and not config.tie_output:
        raise ValueError(
            "transformers has no Marian of shared embeddings with an output layer of its own: set share_embeddings to "
            "False, or tie_output to True"
        )
    stops = config.stop_id
    return values_of(config, FIELDS) | {
        "activation_function": their_activation(config.activation),
        "architectures": ["MarianMTModel"],
        "decoder_vocab_size": config.n_target_words,
        "eos_token_id": stops if isinstance(stops, int) else list(stops or ()) or None,
        "is_encoder_decoder": True,
        "bad_words_ids": [[one] for one in config.forbidden_ids] or None,
        "num_beams": config.beam_size,
        "length_penalty": config.length_penalty,
        "renormalize_logits": config.renormalize,
    }


class PublishedMarian(Pretrained):
    """What `pretrained.py` asks of a Marian."""

    model_type = "marian"
    token_fields = ("pad_token_id", "decoder_start_token_id", "eos_token_id", "bad_words_ids")
    generates = ("eos_token_id", "decoder_start_token_id", "pad_token_id", *SEARCHED)

    @classmethod
    def check_search(cls, values, file):
        """Raise ValueError for a search in the ``values`` of ``file`` that Marian does not have."""
        refuse_search(values, file, "Marian.generate")
        odd = [words for words in values.get("bad_words_ids") or () if len(words) > 1]
        if odd:
            raise ValueError(
                f"{file}: bad_words_ids has {odd[0]}; Marian.generate forbids tokens, not sequences of them: leave it out"
            )

    def entries(self):
        """Our parameters and theirs."""
        c = self.config
        table = [Entry("source_embedding.weight", (SHARED if c.share_embeddings else TABLES["encoder"],))]
        if not c.share_embeddings:
            table.append(Entry("target_embedding.weight", (TABLES["decoder"],)))
        if not c.tie_output:
            table.append(Entry("output.weight", (OUTPUT,)))
        table.append(Entry("output.offset", (BIAS,), optional=True))
        for stack in ("encoder", "decoder"):
            for i in range(getattr(c, f"n_{stack}_layers")):
                ours, theirs = f"{stack}.layers.{i}.", f"model.{stack}.layers.{i}."
                for own, other in ATTENTIONS[stack].items():
                    parts = [f"{theirs}{other}.{part}_proj" for part in "qkv"]
                    table += weight_and_bias(f"{ours}{own}.qkv", *parts)
                    table += weight_and_bias(f"{ours}{own}.out", f"{theirs}{other}.out_proj")
                for own, other in LAYERS[stack].items():
                    table += weight_and_bias(ours + own, theirs + other)
        return table

    def clean(self, name):
        """One name for the copies of a table; None for one that is not used, and for positions.

        These are looked at.
        """
        c = self.config
        if name in POSITIONS.values() or (name == SHARED and not c.share_embeddings):
            return None
        if name == OUTPUT and c.tie_output:
            return SHARED if c.share_embeddings else TABLES["decoder"]
        return SHARED if c.share_embeddings and name in TABLES.values() else name

    def check_stored(self, stored):
        """Raise ValueError if positions are stored that are not the waves computed here."""
        c = self.config
        for name in POSITIONS.values():
            if name not in stored.files:
                continue
            shape = stored.shape(name)
            if shape != (c.max_length, c.d_model):
                raise ValueError(f"{name} has shape {shape}, the configuration asks for {(c.max_length, c.d_model)}")
            waves = self.source_positions.encoding(c.max_length, dtype=np.float64).numpy()
            if not np.abs(stored.read(name) - waves).max() < FARTHEST:
                raise ValueError(
                    f"{name} are not the waves of a Marian, sines in the first half and cosines in the second: no other "
                    "positions are supported"
                )
