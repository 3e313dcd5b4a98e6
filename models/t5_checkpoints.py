"""What Hugging Face transformers calls the parts of a T5, in config.json and model.safetensors.

Reads version 1.0, version 1.1 and Flan-T5: configurations that leave out what is usual, copies of
the embedding table, the output layer tied or not, and the bias of the attention to the memory that
old files have by mistake.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from minitensor.models.pretrained import Entry, Pretrained, usual_names
from minitensor.models.published_config import check_usual, extras, fields_of, values_of
from minitensor.models.published_values import checked

__all__ = ["PRESETS", "PublishedT5", "from_hugging_face", "to_hugging_face"]

VERSION_1_1 = dict(activation="gelu_tanh", gated=True, tie_output=False, scale_output=False)
PRESETS: dict[str, dict[str, Any]] = {  # what differs from t5-small
    "t5-small": {},
    "t5-base": dict(d_model=768, d_ff=3072, n_heads=12, n_encoder_layers=12, n_decoder_layers=12),
    "t5-large": dict(d_model=1024, d_ff=4096, n_heads=16, n_encoder_layers=24, n_decoder_layers=24),
}
PRESETS |= {
    "t5-v1_1-small": VERSION_1_1 | dict(d_ff=1024, n_heads=6, n_encoder_layers=8, n_decoder_layers=8),
    "t5-v1_1-base": VERSION_1_1 | PRESETS["t5-base"] | dict(d_ff=2048),
    "t5-v1_1-large": VERSION_1_1 | PRESETS["t5-large"] | dict(d_ff=2816),
}
PRESETS |= {f"flan-t5-{size}": PRESETS[f"t5-v1_1-{size}"] for size in ("small", "base", "large")}

# Our fields and their names in config.json; the defaults are the same, t5-small's.
FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "d_head": "d_kv",
    "d_ff": "d_ff",
    "n_heads": "num_heads",
    "n_encoder_layers": "num_layers",
    "n_decoder_layers": "num_decoder_layers",
    "n_buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "dropout": "dropout_rate",
    "eps": "layer_norm_epsilon",
    "pad_id": "pad_token_id",
    "start_id": "decoder_start_token_id",
    "stop_id": "eos_token_id",
}
# feed_forward_proj: (activation, gated); a gated GELU is the one by tanh, others are exact.
FEED_FORWARD = {
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gelu_new": ("gelu_tanh", False),
    "silu": ("silu", False),
    "gated-relu": ("relu", True),
    "gated-gelu": ("gelu_tanh", True),
    "gated-silu": ("silu", True),
}
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # of shared.weight
UNUSED = "EncDecAttention.relative_attention_bias.weight"

OTHER_NAMES = {  # that transformers reads too: its usual ones
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}
SELF, CROSS, FEED = "SelfAttention", "EncDecAttention", "DenseReluDense"
DERIVED = ("dense_act_fn", "is_gated_act")  # from feed_forward_proj; transformers computes by what is said of these
USED = {
    *FIELDS.values(), *DERIVED,
    "feed_forward_proj", "tie_word_embeddings", "scale_decoder_outputs", "is_encoder_decoder",
}  # fmt: skip
STACK: dict[str, tuple[str, ...]] = {
    "positions.weight": (f"block.0.layer.0.{SELF}.relative_attention_bias.weight",),
    "norm.weight": ("final_layer_norm.weight",),
}


def from_hugging_face(values):
    """The fields of our configuration from the values of config.json.

    Raises ValueError for a feed-forward network that this T5 does not support.
    """
    values = checked(usual_names(values, OTHER_NAMES))
    fields = fields_of(values, FIELDS)
    if fields.get("n_decoder_layers") is None:
        fields["n_decoder_layers"] = fields.get("n_encoder_layers", 6)
    if fields.get("start_id") is None:
        begins = values.get("bos_token_id")
        fields["start_id"] = fields.get("pad_id", 0) if begins is None else begins
    if "eos_token_id" in values:
        stops = values["eos_token_id"]
        fields["stop_id"] = tuple(stops) if isinstance(stops, list) else () if stops is None else stops
    fields["extras"] = extras(values, USED)
    kind = values.get("feed_forward_proj", "relu")
    if kind not in FEED_FORWARD:
        raise ValueError(f"config.json: feed_forward_proj is {kind!r}; known are {', '.join(FEED_FORWARD)}")
    check_usual(values, _derived(kind), f"a T5 whose feed_forward_proj is {kind!r}")
    fields["activation"], fields["gated"] = FEED_FORWARD[kind]
    # To transformers 4, an output is scaled if it is tied; transformers 5 says both, and that all
    # are tied.
    tied = values.get("tie_word_embeddings", True)
    return fields | {"tie_output": tied, "scale_output": values.get("scale_decoder_outputs", tied)}


def _derived(kind):
    """What transformers says besides of a network of this ``feed_forward_proj``."""
    gated = kind.startswith("gated-")
    return dict(zip(DERIVED, ("gelu_new" if kind == "gated-gelu" else kind.removeprefix("gated-"), gated), strict=True))


def to_hugging_face(config):
    """The values of config.json.

    Raises ValueError for a feed-forward network that transformers does not have.
    """
    kinds = {kind: name for name, kind in FEED_FORWARD.items()}
    if (config.activation, config.gated) not in kinds:
        raise ValueError(f"transformers has no T5 with activation {config.activation!r} and gated = {config.gated}")
    values, kind = values_of(config, FIELDS), kinds[config.activation, config.gated]
    stops = config.stop_id
    return values | {
        "eos_token_id": stops if isinstance(stops, int) else list(stops or ()) or None,
        "architectures": ["T5ForConditionalGeneration"],
        "feed_forward_proj": kind,
        **_derived(kind),
        "is_encoder_decoder": True,
        "scale_decoder_outputs": config.scale_output,
        "tie_word_embeddings": config.tie_output,
    }


class PublishedT5(Pretrained):
    """What `pretrained.py` asks of a T5."""

    model_type = "t5"
    token_fields = ("pad_token_id", "decoder_start_token_id", "eos_token_id")
    generates = ("eos_token_id", "decoder_start_token_id", "pad_token_id")
    output_names = ("lm_head.weight",)

    @classmethod
    def configure(cls, values, shapes):
        """What config.json says, but an unscaled output is tied if and only if it is not stored."""
        config = super().configure(values, shapes)
        return config if config.scale_output else replace(config, tie_output="lm_head.weight" not in shapes)

    def entries(self):
        """Our parameters and theirs."""
        table = [Entry("shared.weight", ("shared.weight",))]
        if not self.config.tie_output:
            table.append(Entry("lm_head.weight", ("lm_head.weight",)))
        for stack in ("encoder", "decoder"):
            names = dict(STACK)
            for i in range(getattr(self.config, f"n_{stack}_layers")):
                for ours, theirs in self._layer(stack == "decoder").items():
                    names[f"layers.{i}.{ours}.weight"] = tuple(f"block.{i}.layer.{name}.weight" for name in theirs)
            table += [Entry(f"{stack}.{ours}", tuple(f"{stack}.{name}" for name in names[ours])) for ours in names]
        return table

    def _layer(self, decoder):
        """A layer's weights and the names of theirs, which begin with the sub-layer's number."""
        attentions = {"self_attention": f"0.{SELF}"} | ({"cross_attention": f"1.{CROSS}"} if decoder else {})
        names: dict[str, tuple[str, ...]] = {f"norm{i + 1}": (f"{i}.layer_norm",) for i in range(len(attentions))}
        for ours, theirs in attentions.items():
            names[f"{ours}.qkv"] = tuple(f"{theirs}.{part}" for part in "qkv")
            names[f"{ours}.out"] = (f"{theirs}.o",)
        last = len(attentions)
        parts = {"wi": "wi_0", "wv": "wi_1", "wo": "wo"} if self.config.gated else {"wi": "wi", "wo": "wo"}
        names |= {f"feed_forward.{ours}": (f"{last}.{FEED}.{theirs}",) for ours, theirs in parts.items()}
        return names | {"norm3": (f"{last}.layer_norm",)}

    def clean(self, name):
        """``shared.weight`` for its copies; None for a cross-attention bias: no T5 uses one."""
        tied = ("lm_head.weight",) if self.config.tie_output else ()
        return "shared.weight" if name in COPIES + tied else None if name.endswith(UNUSED) else name
