"""T5, text to text: one encoder-decoder for every task whose input and output can be written down.

    source ids -> embedding -> encoder -> memory
    target ids -> embedding -> decoder (looks at memory) -> linear -> logits of the next token

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
Transformer", arXiv:1910.10683; version 1.1 and Flan-T5 have the gated feed-forward network of
Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202, and an output layer of their
own. What differs from Vaswani et al. 2017: positions are a bias on the scores, one number for each
head and bucket of distance, shared by all layers of a stack; every sub-layer is pre-norm, with a
norm that neither centres nor shifts; nothing has an additive bias; the scores are not divided by
sqrt(K), the initial weights of the queries are instead. There is no longest sentence: distances
beyond the last bucket share it. Reads and writes the checkpoints of Hugging Face transformers
(`t5_checkpoints.py`).

Letters: B sentences, S source and T target positions, D model width, H heads, K features of a head,
V vocabulary.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import ClassVar

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import check_ids, check_pairs, evaluating, key_mask
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.published_config import PublishedConfig
from minitensor.models.t5_checkpoints import PRESETS, PublishedT5, from_hugging_face, to_hugging_face
from minitensor.models.transformer import DecodingState
from minitensor.nn.attention import with_weights
from minitensor.nn.transformer import ACTIVATIONS

__all__ = ["T5", "T5Config"]


@dataclass(frozen=True)
class T5Config(PublishedConfig):
    """Hyper-parameters; the defaults are t5-small, and what a published config.json leaves out."""

    vocab_size: int = 32128
    d_model: int = 512
    d_head: int = 64
    d_ff: int = 2048
    n_heads: int = 8
    n_encoder_layers: int = 6
    n_decoder_layers: int = 6
    n_buckets: int = 32
    max_distance: int = 128
    dropout: float = 0.1
    eps: float = 1e-6
    activation: str = "relu"
    gated: bool = False
    tie_output: bool = True  # the output layer is the embedding table
    # Logits are multiplied by D**-0.5, as those of a tied output are in version 1.0.
    scale_output: bool = True
    pad_id: int | None = 0
    start_id: int | None = 0
    stop_id: int | tuple[int, ...] | None = 1
    label_smoothing: float = 0.0
    # What else a config.json said, for saving.
    extras: dict = field(default_factory=dict, compare=False, repr=False)

    max_length: ClassVar[int] = sys.maxsize
    presets = PRESETS
    is_encoder_decoder = True
    reads, writes = staticmethod(from_hugging_face), staticmethod(to_hugging_face)

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if min(self.n_encoder_layers, self.n_decoder_layers) < 1:
            raise ValueError(
                f"each stack needs at least one layer, got {self.n_encoder_layers} and {self.n_decoder_layers}"
            )


class FeedForward(nn.Module):
    """``y = W_o dropout(act(W_i x))``, or gated ``y = W_o dropout(act(W_i x) * W_v x)``.

    The second is equation 6 of Shazeer 2020.
    """

    def __init__(self, c):
        self.act, self.dropout = ACTIVATIONS[c.activation], nn.Dropout(c.dropout)
        self.wi = nn.Linear(c.d_model, c.d_ff, bias=False)
        self.wv = nn.Linear(c.d_model, c.d_ff, bias=False) if c.gated else None
        self.wo = nn.Linear(c.d_ff, c.d_model, bias=False)

    def forward(self, x):
        """(..., D) to (..., D)."""
        y = self.act(self.wi(x))
        return self.wo(self.dropout(y if self.wv is None else y * self.wv(x)))


class Layer(nn.Module):
    """Self-attention, in a decoder attention to the memory, and the feed-forward network.

    Each is ``x + dropout(f(norm(x)))``.
    """

    def __init__(self, c, decoder):
        def attention():
            return nn.MultiHeadAttention(c.d_model, c.n_heads, c.dropout, bias=False, d_head=c.d_head, scale=1.0)

        self.is_causal, self.dropout = decoder, nn.Dropout(c.dropout)
        self.norm1, self.self_attention = nn.RMSNorm(c.d_model, c.eps), attention()
        if decoder:
            self.norm2, self.cross_attention = nn.RMSNorm(c.d_model, c.eps), attention()
        self.norm3, self.feed_forward = nn.RMSNorm(c.d_model, c.eps), FeedForward(c)

    def admit(self, x, mask, memory, cache):
        """``(x, mask, memory)`` looked at, padding blank; see ``nn.MultiHeadAttention.admit``."""
        if not self.is_causal:
            x, mask = self.self_attention.admit(x, mask)
        elif cache is None:
            memory, mask = self.cross_attention.admit_memory(x, memory, mask)
        else:
            _, mask = self.cross_attention.admit(x, mask, cache[1])
        return x, mask, memory

    def forward(self, x, bias, mask=None, memory=None, cache=None, need_weights=False):
        """``(x, weights)``: (B, T, D), and the attention (B, H, T, S), None if it is not needed.

        It is that of an encoder to itself, of a decoder to the memory.

        mask: of the source's tokens (B, 1, 1, S), whether they are the layer's own or the memory's.
        bias: of the own positions. cache: the pair ``(own, memory)`` of a DecoderCache, in the
        place of ``memory``.
        """
        own, held = cache or (None, None)
        how = dict(is_causal=self.is_causal, bias=bias, cache=own)
        if not self.is_causal:
            y, weights = with_weights(self.self_attention, self.norm1(x), need_weights, mask=mask, **how)
            x = x + self.dropout(y)
        else:
            x = x + self.dropout(self.self_attention(self.norm1(x), **how))
            how = dict(memory=memory, mask=mask, cache=held)
            y, weights = with_weights(self.cross_attention, self.norm2(x), need_weights, **how)
            x = x + self.dropout(y)
        return x + self.dropout(self.feed_forward(self.norm3(x))), weights


class Stack(nn.Module):
    """Encoder or decoder: layers that share one bias of relative positions, and a last norm."""

    def __init__(self, c, n_layers, decoder):
        self.positions = nn.RelativePositionBias(c.n_heads, c.n_buckets, c.max_distance, bidirectional=not decoder)
        self.layers = [Layer(c, decoder) for _ in range(n_layers)]
        self.norm, self.dropout = nn.RMSNorm(c.d_model, c.eps), nn.Dropout(c.dropout)

    def forward(self, x, mask=None, memory=None, cache=None, need_weights=False):
        """``(x, weights)``: (B, T, D), and a list of what each layer saw.

        Arguments as for `Layer`, but cache is a DecoderCache.
        """
        bias = self.positions(x.shape[1], offset=0 if cache is None else cache.length)  # (1, H, T, T held and new)
        pairs = [None] * len(self.layers) if cache is None else cache.layers
        x, mask, memory = self.layers[0].admit(self.dropout(x), mask, memory, pairs[0])
        seen = []
        for layer, pair in zip(self.layers, pairs, strict=True):
            x, weights = layer(x, bias, mask, memory, pair, need_weights)
            seen.append(weights)
        return self.dropout(self.norm(x)), seen


class T5(PublishedT5, EncoderDecoder):
    """Embedding, encoder, decoder and output layer; see the head of this file."""

    config_class = T5Config

    def __init__(self, config):
        c = self.config = config
        self.shared = nn.Embedding(c.vocab_size, c.d_model)  # elements of variance 1
        self.encoder = Stack(c, c.n_encoder_layers, decoder=False)
        self.decoder = Stack(c, c.n_decoder_layers, decoder=True)
        self.lm_head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        if c.tie_output:
            self.lm_head.weight = self.shared.weight
        self._initialise()

    def _initialise(self):
        """Draw weights so that products keep the variance of their input, scores included."""
        c = self.config
        for name, parameter in self.named_parameters():
            if name.endswith("positions.weight"):
                nn.init.normal_(parameter, std=c.d_model**-0.5)
            elif parameter.ndim == 2 and name != "shared.weight":
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            if name.endswith("qkv.weight") and not nn.init.is_skipped():
                queries = mt.arange(parameter.shape[0])[:, None] < c.n_heads * c.d_head
                parameter.assign(mt.where(queries, parameter.detach() * c.d_head**-0.5, parameter.detach()))

    def _head(self, x):
        """Logits (..., V) of the decoder's output (..., D)."""
        return self.lm_head(x * self.config.d_model**-0.5 if self.config.scale_output else x)

    def encode(self, source, mask=None):
        """Memory (B, S, D) of source ids (B, S); ``mask`` (B, S) is True at real tokens."""
        source = mt.asarray(source)
        return self._encode(source, key_mask(mask, source))[0]

    def _encode(self, source, keys, need_weights=False):
        """``(memory, weights)``."""
        check_ids(source, self.config.max_length)
        if not source.shape[1]:
            raise ValueError(
                f"the source {source.shape} has no tokens: a text to be encoded ends at least in the stop token"
            )
        return self.encoder(self.shared(source), keys, need_weights=need_weights)

    def forward(self, source, target, mask=None):
        """Logits (B, T, V) of the token after each target token.

        source (B, S), target (B, T), mask (B, S) of the source.
        """
        source, target = check_pairs(source, target)
        check_ids(target, self.config.max_length)
        keys = key_mask(mask, source)
        memory, _ = self._encode(source, keys)
        return self._head(self.decoder(self.shared(target), keys, memory)[0])

    # --- decoding ---------------------------------------------------------------------------------

    @mt.no_grad
    def start(self, source, mask=None):
        """Encode the source; the state from which ``step`` goes on, one row per sentence."""
        source = mt.asarray(source)
        keys = key_mask(mask, source)
        memory, _ = self._encode(source, keys)
        pairs = [(nn.KeyValueCache(), layer.cross_attention.fill_cache(memory)) for layer in self.decoder.layers]
        return DecodingState(nn.DecoderCache(pairs, memory.shape[0]), keys, memory.device)

    @mt.no_grad
    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next token, given each row's newest, ``ids``."""
        x = self.shared(mt.asarray(ids).to(state.device).reshape((-1, 1)))  # (rows, 1, D)
        y, _ = self.decoder(x, state.keys, cache=state.cache)
        return F.log_softmax(self._head(y[:, -1]))

    # --- looking inside ---------------------------------------------------------------------------

    def attention_maps(self, source, target, mask=None):
        """Attention probabilities by name.

        They are "encoder.0.self" (B, H, S, S), ... and "decoder.0.cross" (B, H, T, S), ...
        """
        with evaluating(self):
            source, target = check_pairs(source, target)
            keys = key_mask(mask, source)
            memory, own = self._encode(source, keys, need_weights=True)
            _, cross = self.decoder(self.shared(target), keys, memory, need_weights=True)
        maps = {f"encoder.{i}.self": weights for i, weights in enumerate(own)}
        return maps | {f"decoder.{i}.cross": weights for i, weights in enumerate(cross)}
