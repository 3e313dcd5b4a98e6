"""What Hugging Face transformers calls the parts of a GPT-2, in config.json and model.safetensors.

Reads what GPT2LMHeadModel and GPT2Model have written, and the first published files: keys without
``transformer.``, stored causal masks, the output layer left out if it is the embedding table, or
stored a second time. Weights of layers are (in, out) there.
"""

from __future__ import annotations

import re

from minitensor.models.pretrained import (
    Entry,
    Pretrained,
    our_activation,
    their_activation,
    usual_names,
    weight_and_bias,
)
from minitensor.models.published_config import check_usual, extras, fields_of, values_of
from minitensor.models.published_values import checked

__all__ = ["PRESETS", "PublishedGPT", "from_hugging_face", "to_hugging_face"]

# Of the published vocabulary: it separates texts, and a prompt may begin with it.
END_OF_TEXT = 50256
PRESETS = {  # what differs from our defaults
    "gpt2": dict(stop_id=END_OF_TEXT),
    "gpt2-medium": dict(d_model=1024, n_layers=24, n_heads=16, stop_id=END_OF_TEXT),
    "gpt2-large": dict(d_model=1280, n_layers=36, n_heads=20, stop_id=END_OF_TEXT),
    "gpt2-xl": dict(d_model=1600, n_layers=48, n_heads=25, stop_id=END_OF_TEXT),
    "distilgpt2": dict(n_layers=6, stop_id=END_OF_TEXT),  # Sanh et al. 2019, arXiv:1910.01108
}
# Our fields and their names in config.json; the defaults are the same, gpt2's.
FIELDS = {
    "vocab_size": "vocab_size",
    "max_length": "n_positions",
    "d_model": "n_embd",
    "n_layers": "n_layer",
    "n_heads": "n_head",
    "d_ff": "n_inner",
    "dropout": "resid_pdrop",
    "attention_dropout": "attn_pdrop",
    "embedding_dropout": "embd_pdrop",
    "eps": "layer_norm_epsilon",
    "tie_output": "tie_word_embeddings",
}
OTHER_NAMES = {  # that transformers reads too: its usual ones
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
USUAL = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
USED = {*FIELDS.values(), *USUAL, "activation_function", "eos_token_id"}

LAYER = {  # of ours: the name in the file, and whether it has a matrix
    "norm1": ("ln_1", False),
    "attention.qkv": ("attn.c_attn", True),
    "attention.out": ("attn.c_proj", True),
    "norm2": ("ln_2", False),
    "feed_forward.linear1": ("mlp.c_fc", True),
    "feed_forward.linear2": ("mlp.c_proj", True),
}
STORED_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")


def from_hugging_face(values):
    """The fields of our configuration from the values of config.json.

    Raises ValueError for what published GPT-2s do not have.
    """
    values = checked(usual_names(values, OTHER_NAMES))
    check_usual(values, USUAL, "minitensor.models.gpt.GPT")
    fields = fields_of(values, FIELDS)
    fields["activation"] = our_activation(values.get("activation_function", "gelu_new"), "activation_function")
    fields["extras"] = extras(values, USED)
    # The default of transformers is 50256, which a small vocabulary does not have.
    usual = END_OF_TEXT if values.get("vocab_size", END_OF_TEXT + 1) > END_OF_TEXT else None
    stops = values.get("eos_token_id", usual)
    return fields | {"stop_id": tuple(stops) if isinstance(stops, list) else stops}


def to_hugging_face(config):
    """The values of config.json."""
    values = values_of(config, FIELDS) | USUAL
    values |= {"activation_function": their_activation(config.activation), "architectures": ["GPT2LMHeadModel"]}
    stops = list(config.stop_id) if isinstance(config.stop_id, tuple) else config.stop_id
    first = (stops[0] if stops else None) if isinstance(stops, list) else stops
    return {"bos_token_id": first} | values | {"eos_token_id": stops}


class PublishedGPT(Pretrained):
    """What `pretrained.py` asks of a GPT."""

    model_type = "gpt2"
    generates = ("eos_token_id",)
    output_names = ("lm_head.weight",)

    def entries(self):
        """Our parameters and theirs; an untied output layer is optional: a GPT2Model has none."""
        table = [
            Entry("tokens.weight", ("transformer.wte.weight",)),
            Entry("positions.weight", ("transformer.wpe.weight",)),
        ]
        for i in range(self.config.n_layers):
            for ours, (theirs, matrix) in LAYER.items():
                names = f"transformer.layers.{i}.{ours}", f"transformer.h.{i}.{theirs}"
                table += weight_and_bias(*names, transposed=matrix)
        table += weight_and_bias("transformer.norm", "transformer.ln_f")
        return table if self.config.tie_output else [*table, Entry("output.weight", ("lm_head.weight",), optional=True)]

    def clean(self, name):
        """Odd names put right; None for stored causal masks."""
        name = name.removeprefix("transformer.")
        if STORED_MASK.fullmatch(name):
            return None
        if name == "lm_head.weight":
            return "transformer.wte.weight" if self.config.tie_output else name
        return f"transformer.{name}"
