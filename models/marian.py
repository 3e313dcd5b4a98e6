"""Marian, the Transformer of the translators of OPUS-MT, more than a thousand pairs of languages.

    source ids -> embedding (times sqrt(D)) + waves -> encoder -> memory
    target ids -> embedding (times sqrt(D)) + waves -> decoder (looks at memory) -> linear + offset
               -> logits of the next word

Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++", arXiv:1804.00344;
Tiedemann and Thottingal 2020, "OPUS-MT - Building open translation services for the World". It is
the post-norm model of `transformer.py` with other parts: all sines of a position stand before all
cosines, the logits have an offset that is not trained, source and target may have vocabularies of
their own, and a target starts with the token for padding, which is never written. A hypothesis is
judged by log P divided by a power of its length. Reads and writes the checkpoints of Hugging Face
transformers (`marian_checkpoints.py`).

Letters: B sentences, S source and T target positions, D model width, V target vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.configuration import check_dropouts
from minitensor.models.initial import draw_normal
from minitensor.models.marian_checkpoints import PRESETS, WORDS, PublishedMarian, from_hugging_face, to_hugging_face
from minitensor.models.published_config import PublishedConfig
from minitensor.models.search import power
from minitensor.models.transformer import Transformer

__all__ = ["Marian", "MarianConfig"]


@dataclass(frozen=True)
class MarianConfig(PublishedConfig):
    """Hyper-parameters; the defaults are what a published config.json leaves out."""

    vocab_size: int = WORDS
    target_vocab_size: int | None = None  # default: ``vocab_size``
    max_length: int = 1024
    d_model: int = 1024
    n_encoder_layers: int = 12
    n_decoder_layers: int = 12
    n_encoder_heads: int = 16
    n_decoder_heads: int = 16
    d_encoder_ff: int = 4096
    d_decoder_ff: int = 4096
    dropout: float = 0.1
    attention_dropout: float = 0.0
    ff_dropout: float = 0.0
    activation: str = "gelu"
    init_std: float = 0.02
    scale_embedding: bool = False  # embeddings are multiplied by sqrt(D)
    share_embeddings: bool = True
    tie_output: bool = True  # the output layer is the embedding table of the target
    pad_id: int | None = WORDS - 1
    start_id: int | None = WORDS - 1
    stop_id: int | tuple[int, ...] | None = 0
    forbidden_ids: tuple[int, ...] = ()  # never written; of published models the padding
    renormalize: bool = False  # the others' probabilities then add up to 1
    beam_size: int = 1
    length_penalty: float = 1.0
    label_smoothing: float = 0.0
    # What else a config.json said, for saving.
    extras: dict = field(default_factory=dict, compare=False, repr=False)

    presets = PRESETS
    is_encoder_decoder = True
    reads, writes = staticmethod(from_hugging_face), staticmethod(to_hugging_face)

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)
        if self.share_embeddings and self.n_target_words != self.vocab_size:
            raise ValueError(
                f"target_vocab_size (decoder_vocab_size), {self.n_target_words}, must be vocab_size, {self.vocab_size}, if "
                "share_embeddings (share_encoder_decoder_embeddings): set that to False for vocabularies of their own"
            )
        odd = [one for one in self.forbidden_ids if not 0 <= one < self.n_target_words]
        if odd:
            last = self.n_target_words - 1
            raise ValueError(f"forbidden_ids (bad_words_ids) are tokens from 0 to {last}, got {odd[0]}")

    @property
    def n_target_words(self):
        """V, the size of the target's vocabulary."""
        return self.vocab_size if self.target_vocab_size is None else self.target_vocab_size


class Marian(PublishedMarian, Transformer):
    """Encoder, decoder, embeddings and output layer; see the head of this file."""

    config_class = MarianConfig
    penalty = staticmethod(power)

    def __init__(self, config):
        c = self.config = config
        self.scale = math.sqrt(c.d_model) if c.scale_embedding else 1.0
        self.source_embedding = self.target_embedding = nn.Embedding(c.vocab_size, c.d_model, padding_idx=c.pad_id)
        if not c.share_embeddings:
            self.target_embedding = nn.Embedding(c.n_target_words, c.d_model, padding_idx=c.pad_id)
        self.source_positions = self.target_positions = Waves(c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        how = dict(activation=c.activation, attention_dropout=c.attention_dropout, ff_dropout=c.ff_dropout)
        encoder = (c.n_encoder_layers, c.d_model, c.n_encoder_heads, c.d_encoder_ff, c.dropout)
        decoder = (c.n_decoder_layers, c.d_model, c.n_decoder_heads, c.d_decoder_ff, c.dropout)
        self.encoder, self.decoder = nn.TransformerEncoder(*encoder, **how), nn.TransformerDecoder(*decoder, **how)
        self.output = OffsetLinear(c.d_model, c.n_target_words)
        if c.tie_output:
            self.output.weight = self.target_embedding.weight
        draw_normal(self, c.init_std)

    def generate(
        self, source, max_new_tokens=None, beam_size=None, length_penalty=None, mask=None, n_best=None, start_ids=None,
        temperature=0.0, top_k=None, top_p=None, generator=None, length_reward=0.0, patience=None, penalty=None,
    ) -> Any:  # fmt: skip
        """As of any `EncoderDecoder`, but ``beam_size`` and ``length_penalty`` are by default the
        configuration's, unless a ``temperature`` above 0 draws; with a ``length_reward`` the
        penalty is 0 by default.

        A hypothesis is worth ``log P / length ** length_penalty``, its stop token counted: a beam
        finds what transformers finds with ``early_stopping="never"``, and with ``patience=1`` what
        it finds with ``early_stopping=True``, unless a text reaches ``max_new_tokens``.
        """
        c = self.config
        if beam_size is None:
            beam_size = c.beam_size if temperature == 0 else 1
        if length_penalty is None and not length_reward:
            length_penalty = c.length_penalty
        drawing = (temperature, top_k, top_p, generator)
        how = (beam_size, length_penalty, mask, n_best, start_ids, *drawing, length_reward, patience, penalty)
        return super().generate(source, max_new_tokens, *how)

    @mt.no_grad
    def search_step(self, ids, state):
        """``step`` with minus infinity for what is never written; the others' may be made to add up
        to a probability of 1 again.
        """
        c, y = self.config, self.step(ids, state)  # (rows, V)
        if c.forbidden_ids:
            places = mt.asarray(np.tile(np.unique(c.forbidden_ids), (len(y), 1)), device=y.device)
            never = mt.full((1, 1), -math.inf, dtype=y.dtype, device=y.device)
            y = mt.put_along_axis(y, places, never, axis=1)
        return F.log_softmax(y) if c.renormalize else y


class OffsetLinear(nn.Linear):
    """``y = x W^T + offset``; the offset (1, V) is not trained."""

    def __init__(self, d_model, words):
        super().__init__(d_model, words, bias=False)
        self.offset = nn.Buffer(mt.zeros((1, words)))

    def forward(self, x):
        """(..., D) to (..., V)."""
        return super().forward(x) + self.offset


class Waves(nn.SinusoidalPositionalEncoding):
    """Positions whose sines all stand before their cosines, in 32 bits whatever they are added to.

    PE[t, i] = sin(t / 10000**(2 i / D))        PE[t, ceil(D / 2) + i] = cos(t / 10000**(2 i / D))
    """

    def rows(self, length):
        """The table (length, D)."""
        table = super().rows(length)
        return np.concatenate([table[:, 0::2], table[:, 1::2]], axis=1).astype(np.float32)
