"""Configurations that are published, and what config.json of a published model may say.

Each value is looked at once, by its name, before a model is made of it. Names mean the same in all
models, so that one table serves them. Raises ValueError that names config.json, the field, what it
must be, and what it is. Values that no model here knows are let through; they are kept and saved
again (``extras``).
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from typing import Any, ClassVar

from minitensor.files.safetensors import CURE, FileFormatError, refuse_pointer
from minitensor.models.configuration import Config

__all__ = [
    "CONFIG", "GENERATION", "GENERATION_CONFIG", "SEARCH", "PublishedConfig", "check_usual", "checked", "extras", "fields_of",
    "naming", "read_config", "read_generation", "read_json", "values_of", "with_generation", "with_labels", "written",
]  # fmt: skip


class PublishedConfig(Config):
    """The base of a configuration with published sizes, read from and written as config.json.

    A model's file for checkpoints supplies the three: ``presets``, what differs from the defaults
    by published name; ``reads``, from the values of config.json to those of the fields; ``writes``,
    from a configuration to the values of config.json.
    """

    presets: ClassVar[dict[str, dict[str, Any]]]
    # Static methods: typed as functions they would be taken for methods.
    reads: ClassVar[Any]
    writes: ClassVar[Any]

    @classmethod
    def preset(cls, name, **changes):
        """The configuration published as ``name``, with ``changes`` to it, such as ``dropout=0.0``.

        Raises ValueError for a name that is none of ``presets``.
        """
        if name not in cls.presets:
            raise ValueError(f"there is no preset {name!r}; there are: {', '.join(cls.presets)}")
        return cls(**(cls.presets[name] | changes))

    @classmethod
    def from_hugging_face(cls, values):
        """From the values of config.json.

        Raises ValueError for a variant that this model is not.
        """
        return cls(**cls.reads(values))

    def to_hugging_face(self):
        """The values of config.json.

        Raises ValueError for a model that transformers cannot express.
        """
        return type(self).writes(self)


CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"

LEFT_OUT = {"problem_type"}
# In either file.
GENERATION = ("eos_token_id", "decoder_start_token_id", "pad_token_id", "bos_token_id")
# How texts are searched for: transformers refuses to generate if config.json says it.
SEARCH = ("bad_words_ids", "length_penalty", "num_beams", "renormalize_logits")
LARGEST = 2**63 - 1  # integer that an array holds
# Said anew whenever a model is saved.
WRITTEN = {"architectures", "dtype", "torch_dtype", "model_type"}


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value):
    # NaN and infinity too, which no bound lets through.
    return _is_integer(value) or isinstance(value, float)


def size(value):
    """A positive integer."""
    return _is_integer(value) and value > 0


def sides(value):
    """A positive integer, or a list of them."""
    return size(value) or (isinstance(value, list) and len(value) > 0 and all(map(size, value)))


def probability(value):
    """A number from 0 to 1."""
    return _is_number(value) and 0 <= value <= 1


def small(value):
    """A number above 0."""
    return _is_number(value) and 0 < value < math.inf


def number(value):
    """A finite number."""
    return _is_number(value) and math.isfinite(value)


def deviation(value):
    """A number of at least 0."""
    return _is_number(value) and 0 <= value < math.inf


def token(value):
    """The number of a token, at least 0, or null."""
    return value is None or (_is_integer(value) and value >= 0)


def tokens(value):
    """The number of a token, a list of them, or null."""
    return token(value) or (isinstance(value, list) and all(_is_integer(item) and item >= 0 for item in value))


def lists_of_tokens(value):
    """A list of lists of the numbers of tokens, such as [[3], [4, 5]]."""
    return isinstance(value, list) and all(
        isinstance(one, list) and one and None not in one and tokens(one) for one in value
    )


def flag(value):
    """True or false."""
    return isinstance(value, bool)


def text(value):
    """A text."""
    return isinstance(value, str)


def texts(value):
    """A list of texts, or null."""
    return value is None or (isinstance(value, list) and all(map(text, value)))


def names_of_numbers(value):
    """A table from numbers to texts, or null."""
    return value is None or (
        isinstance(value, dict) and all(str(key).isdecimal() and text(name) for key, name in value.items())
    )


KINDS = {
    size: """vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
        type_vocab_size n_positions n_embd n_layer n_head d_model d_kv d_ff num_heads num_layers
        relative_attention_num_buckets relative_attention_max_distance num_channels encoder_layers decoder_layers
        encoder_attention_heads decoder_attention_heads encoder_ffn_dim decoder_ffn_dim""",
    sides: "image_size patch_size",
    probability: """hidden_dropout_prob attention_probs_dropout_prob resid_pdrop attn_pdrop embd_pdrop dropout_rate
        feed_forward_dropout dropout attention_dropout activation_dropout""",
    small: "layer_norm_eps layer_norm_epsilon",
    deviation: "initializer_range init_std",
    token: "pad_token_id decoder_start_token_id bos_token_id",
    tokens: "eos_token_id",
    flag: """tie_word_embeddings scale_decoder_outputs scale_attn_weights scale_attn_by_inverse_layer_idx
        add_cross_attention is_decoder qkv_bias scale_embedding share_encoder_decoder_embeddings""",
    text: "hidden_act activation_function feed_forward_proj pooler_act model_type",
    texts: "architectures",
    names_of_numbers: "id2label",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}
# The first is cut into as many parts as the second says.
HEADS = (
    ("hidden_size", "num_attention_heads"), ("n_embd", "n_head"),
    ("d_model", "encoder_attention_heads"), ("d_model", "decoder_attention_heads"),
)  # fmt: skip
MAY_BE_NULL = {  # transformers then does without, or takes another field
    "n_inner": size,
    "num_decoder_layers": size,
    "classifier_dropout": probability,
    "pooler_output_size": size,
    "problem_type": text,
    "position_embedding_type": text,
    "decoder_vocab_size": size,
    "num_beams": size,
    "length_penalty": number,
    "renormalize_logits": flag,
    "bad_words_ids": lists_of_tokens,
}


def checked(values, file="config.json"):
    """``values``, of config.json, as they are.

    Raises ValueError for one of the wrong type, or that makes no sense.
    """
    for name, value in values.items():
        kind = KIND_OF.get(name)
        if kind is not None and not kind(value):
            raise ValueError(f"{file}: {name} must be {_wish(kind)}, got {_shown(value)}")
        if name in MAY_BE_NULL and value is not None and not MAY_BE_NULL[name](value):
            raise ValueError(f"{file}: {name} must be {_wish(MAY_BE_NULL[name])}, or null, got {_shown(value)}")
    for width, heads in HEADS:
        if width in values and heads in values and values[width] % values[heads]:
            raise ValueError(f"{file}: {width}, {values[width]}, must be a multiple of {heads}, {values[heads]}")
    return values


def _wish(kind):
    words = kind.__doc__.rstrip(".")
    return words[0].lower() + words[1:]


def _shown(value):
    written = json.dumps(value)
    return written if len(written) <= 60 else f"{written[:57]}..."


def check_usual(values, usual, model, file=CONFIG):
    """Raise ValueError for a value of ``file`` that is neither null nor the ``usual`` one.

    model: what is made for that one alone, for the error.
    """
    for name, value in usual.items():
        if values.get(name) not in (None, value):
            raise ValueError(f"{file}: {name} is {values[name]!r}; {model} is made for {value!r} alone")


def fields_of(values, names):
    """Fields from the ``values`` of config.json; ``names``: of each field, the name there."""
    return {ours: values[theirs] for ours, theirs in names.items() if theirs in values}


def values_of(config, names):
    """The other way: what ``config`` says for config.json, and what it has kept of one."""
    return config.extras | {theirs: getattr(config, ours) for ours, theirs in names.items()}


def extras(values, used):
    """What ``values`` say beyond the names ``used``: kept by a configuration, for saving."""
    return {name: value for name, value in values.items() if name not in WRITTEN and name not in used}


def written(values):
    """``values`` for config.json without what transformers leaves out if it is null."""
    return {name: value for name, value in values.items() if value is not None or name not in LEFT_OUT}


def with_labels(values, n_classes, labels=()):
    """``values`` for config.json with names for as many classes: ``labels``, or those it has.

    Default: LABEL_0, LABEL_1, ...
    """
    names = values.get("id2label") or {}
    if labels or len(names) != n_classes:
        names = {str(i): label for i, label in enumerate(labels or [f"LABEL_{i}" for i in range(n_classes)])}
        values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
        if n_classes:
            values |= {"id2label": names, "label2id": {label: int(i) for i, label in names.items()}}
    return values


# --- reading --------------------------------------------------------------------------------------


def read_config(folder, model_type):
    """The values of config.json, of a model of this type."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}: it is not the folder of a pretrained model")
    values = read_json(folder / CONFIG)
    found = values.get("model_type")
    if found not in (None, model_type):  # the oldest configurations do not say it
        problem = (
            f'model_type says that this is a model of type "{found}", not "{model_type}": load it by the class for that'
        )
        raise ValueError(f"{folder / CONFIG}: {problem}")
    return checked(values)


def read_generation(folder):
    """The values of generation_config.json, or None if there is no such file."""
    path = folder / GENERATION_CONFIG
    return checked(read_json(path), GENERATION_CONFIG) if path.is_file() else None


def with_generation(values, generation, fields):
    """``values`` of config.json with what generation_config.json says of ``fields`` instead.

    As in transformers: that file alone says what texts stop at and how they are searched for, and
    if it does not they do not stop, and the search is the usual one; they start with its
    "decoder_start_token_id", or else its "bos_token_id".
    """
    if generation is None:
        return values
    start = generation.get("decoder_start_token_id")
    found = {
        "decoder_start_token_id": generation.get("bos_token_id") if start is None else start,
        "pad_token_id": generation.get("pad_token_id"),
    }
    found = {name: value for name, value in found.items() if value is not None and name in fields}
    alone = [name for name in fields if name in SEARCH]
    return values | found | {name: generation.get(name) for name in ("eos_token_id", *alone)}


@contextmanager
def naming(path):
    """Put the file at ``path`` before an error about what it asks for."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path.name}: ')}") from None


def read_json(path):
    """The JSON object in the file at ``path``."""
    refuse_pointer(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: not JSON, or cut short or damaged ({error}); {CURE}") from None
    if not isinstance(values, dict):
        raise FileFormatError(f"{path}: it must hold a JSON object {{...}}, it holds a {type(values).__name__}; {CURE}")
    return values
