"""What the values of a published config.json may be, each looked at by its name.

Names mean the same in all models, so that one table serves them. Raises ValueError that names the
file, the field, what it must be, and what it is.
"""

from __future__ import annotations

import json
import math

__all__ = ["checked"]

LARGEST = 2**63 - 1  # integer that an array holds


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
    return isinstance(value, list) and all(isinstance(one, list) and one and tokens(one) for one in value)


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
        add_cross_attention is_decoder is_encoder_decoder is_gated_act qkv_bias scale_embedding
        share_encoder_decoder_embeddings""",
    text: "hidden_act activation_function feed_forward_proj dense_act_fn pooler_act model_type",
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
