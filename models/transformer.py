"""The encoder-decoder Transformer (Vaswani et al. 2017, arXiv:1706.03762).

    source ids -> embedding * sqrt(D) + positions -> encoder -> memory
    target ids -> embedding * sqrt(D) + positions -> decoder (looks at memory) -> linear
               -> logits of the next word

What can differ from the paper, by configuration: layer norm before each sub-layer instead of after
it (``norm_first``; Xiong et al. 2020, arXiv:2002.04745), learned positions, separate embeddings.
What differs if nothing is said: dropout is on attention weights and inside the feed-forward layers
too, as in PyTorch; the paper's (section 5.4) has ``attention_dropout=0.0, ff_dropout=0.0``.
Letters: B sentences, S source and T target positions, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import check_ids, check_pairs, evaluating, key_mask
from minitensor.models.configuration import check_dropouts
from minitensor.models.encoder_decoder import EncoderDecoder, TranslationConfig

__all__ = ["DecodingState", "Transformer", "TransformerConfig"]


@dataclass(frozen=True)
class TransformerConfig(TranslationConfig):
    """Hyper-parameters; the defaults are the "tiny" Transformer of the Multi30k literature.

    Wu et al. 2021, arXiv:2105.14462.
    """

    n_heads: int = 4
    n_encoder_layers: int = 4
    n_decoder_layers: int = 4
    d_ff: int = 256
    activation: str = "relu"
    norm_first: bool = False
    positions: str = "sinusoidal"
    attention_dropout: float | None = None  # of the attention weights; default: ``dropout``
    ff_dropout: float | None = None  # inside the feed-forward layers; default: ``dropout``

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)


class Transformer(EncoderDecoder):
    """Encoder, decoder, embeddings and output layer; see the head of this file."""

    def __init__(self, config):
        c = self.config = config
        if c.positions not in ("sinusoidal", "learned"):
            raise ValueError(f'positions must be "sinusoidal" or "learned", got {c.positions!r}')
        self.scale = math.sqrt(c.d_model)  # of embeddings, before positions are added
        self.source_embedding = c.make_embedding()
        self.target_embedding = self.source_embedding if c.share_embeddings else c.make_embedding()
        self.source_positions = self._encoding()
        self.target_positions = self.source_positions if c.share_embeddings else self._encoding()
        self.dropout = nn.Dropout(c.dropout)
        inner = dict(attention_dropout=c.attention_dropout, ff_dropout=c.ff_dropout)
        shape = dict(dropout=c.dropout, activation=c.activation, norm_first=c.norm_first, **inner)
        self.encoder = nn.TransformerEncoder(c.n_encoder_layers, c.d_model, c.n_heads, c.d_ff, **shape)
        self.decoder = nn.TransformerDecoder(c.n_decoder_layers, c.d_model, c.n_heads, c.d_ff, **shape)
        self.output = nn.Linear(c.d_model, c.vocab_size, bias=False)
        for module in (self.encoder, self.decoder, self.output):
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter)
        if c.tie_output:
            self.output.weight = self.target_embedding.weight

    def _encoding(self):
        c = self.config
        learned = c.positions == "learned"
        return (
            nn.LearnedPositionalEncoding(c.max_length, c.d_model)
            if learned
            else nn.SinusoidalPositionalEncoding(c.d_model)
        )

    def _embed(self, ids, table, positions, start=0):
        """(B, T) ids to (B, T, D) vectors; ``start`` is the position of the first."""
        check_ids(ids, self.config.max_length, start)
        return self.dropout(positions(table(ids) * self.scale, start))

    def encode(self, source, mask=None):
        """Memory (B, S, D) of source ids (B, S); ``mask`` (B, S) is True at real tokens."""
        source = mt.asarray(source)
        return self._encode(source, key_mask(mask, source))

    def _encode(self, source, keys, need_weights=False):
        """Memory of ids and the mask of keys; with ``need_weights`` also what each layer saw."""
        x = self._embed(source, self.source_embedding, self.source_positions)
        return self.encoder(x, keys, need_weights=need_weights)

    def forward(self, source, target, mask=None):
        """Logits (B, T, V) of the word after each target word.

        source (B, S), target (B, T), mask (B, S) of the source.
        """
        source, target = check_pairs(source, target)
        keys = key_mask(mask, source)
        x = self._embed(target, self.target_embedding, self.target_positions)
        return self.output(self.decoder(x, self._encode(source, keys), memory_mask=keys))

    # --- decoding ---------------------------------------------------------------------------------

    @mt.no_grad
    def start(self, source, mask=None):
        """Encode the source; the state from which ``step`` goes on, one row per sentence."""
        source = mt.asarray(source)
        keys = key_mask(mask, source)
        memory = self._encode(source, keys)
        return DecodingState(self.decoder.init_cache(memory), keys, memory.device)

    @mt.no_grad
    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next word, given each row's newest, ``ids``."""
        ids = mt.asarray(ids).to(state.device).reshape((-1, 1))
        x = self._embed(ids, self.target_embedding, self.target_positions, start=state.cache.length)
        y = self.decoder(x, None, memory_mask=state.keys, cache=state.cache)
        return F.log_softmax(self.output(y[:, -1]))

    # --- looking inside ---------------------------------------------------------------------------

    def attention_maps(self, source, target, mask=None):
        """Attention probabilities by name.

        They are "encoder.0.self" (B, H, S, S), ... and "decoder.0.cross" (B, H, T, S), ...
        """
        with evaluating(self):
            source, target = check_pairs(source, target)
            keys = key_mask(mask, source)
            memory, own = self._encode(source, keys, need_weights=True)
            x = self._embed(target, self.target_embedding, self.target_positions)
            _, cross = self.decoder(x, memory, memory_mask=keys, need_weights=True)
        maps = {f"encoder.{i}.self": weights for i, weights in enumerate(own)}
        return maps | {f"decoder.{i}.cross": weights for i, weights in enumerate(cross)}


class DecodingState:
    """Keys and values of all layers, with one row per hypothesis."""

    def __init__(self, cache, keys, device):
        self.cache = cache
        self.keys = keys  # the mask of the source's real tokens (rows, 1, 1, S), or None
        self.device = device

    def reorder(self, rows):
        """Keep these rows, in this order; one may be kept several times, or dropped."""
        self.cache.reorder(rows)
        self.keys = None if self.keys is None else self.keys[rows]
