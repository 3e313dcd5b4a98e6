"""Recurrent encoder-decoders: with a fixed context, or with attention.

    source ids -> embedding -> recurrent layers in both directions -> memory, and their last states
    target ids -> embedding -> recurrent layer -> h -> context(h)
    h, context, embedding -> tanh(W [h, context, embedding]) -> linear -> logits

What differs is the context alone:

    "none"       the encoder's last states, the same at every step
                 (Cho et al. 2014, arXiv:1406.1078)
    "additive"   attention whose scores come from a small network
                 (Bahdanau et al. 2015, arXiv:1409.0473)
    "dot"        attention whose scores are products, the "general" form
                 (Luong et al. 2015, arXiv:1508.04025)

As with Luong et al., the query is the step's new state h, so that under teacher forcing all steps
of a layer are one call; Bahdanau et al. ask with the state before. With ``input_feeding`` each step
also gets the last step's readout as an input (Luong et al., section 3.3), and the steps are
computed one after the other. Further layers come after the attention and get ``[h, context]`` as
their inputs (Wu et al. 2016, arXiv:1609.08144).

With ``copy`` a step either writes a word of the vocabulary, or copies one that it looks at (a
pointer-generator, See et al. 2017, arXiv:1704.04368, section 2.2, without words that the vocabulary
lacks, since sub-words spell all):

    P(word) = g softmax(logits)[word] + (1 - g) sum of the attention to the word's places
    g = sigmoid(w . readout + b)

Letters: B sentences, S source and T target positions, E features of an embedding, H hidden
features, M = 2 H those of the memory, L decoder layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import check_ids, check_mask, check_pairs, evaluating, key_mask
from minitensor.models.encoder_decoder import EncoderDecoder, TranslationConfig
from minitensor.models.recurrent import recurrent_layer

__all__ = ["Seq2Seq", "Seq2SeqConfig"]

ATTENTIONS = ("none", "additive", "dot")
TINY = 1e-9  # added to probabilities before their logarithm


@dataclass(frozen=True)
class Seq2SeqConfig(TranslationConfig):
    """Hyper-parameters; the defaults have 2.6 million parameters with 10 000 sub-words.

    `TransformerConfig`'s have about as many.
    """

    cell: str = "gru"
    attention: str = "additive"
    hidden_size: int = 256
    n_layers: int = 1
    input_feeding: bool = False
    copy: bool = False


class Seq2Seq(EncoderDecoder):
    """Encoder, decoder, attention, embeddings and output layer; see the head of this file."""

    n_features: int | None = None  # of each source position; None: the source is ids

    def __init__(self, config):
        c = self.config = config
        if c.attention not in ATTENTIONS:
            raise ValueError(f"unknown attention {c.attention!r}; write one of: {', '.join(ATTENTIONS)}")
        if c.copy and (c.attention == "none" or self.n_features is not None):
            raise ValueError("copy needs an attention to words of the source: set attention to 'additive' or 'dot'")
        hidden, memory = c.hidden_size, 2 * c.hidden_size
        self.source_embedding = self._make_reader()
        self.target_embedding = self.source_embedding if c.share_embeddings else c.make_embedding()
        self.dropout = nn.Dropout(c.dropout)
        stacked = dict(dropout=c.dropout, orthogonal=True)
        self.encoder = recurrent_layer(c.cell, c.d_model, hidden, c.n_layers, bidirectional=True, **stacked)
        self.bridge = nn.Linear(memory, c.n_layers * hidden)
        self.lower = recurrent_layer(c.cell, c.d_model * (1 + c.input_feeding), hidden, orthogonal=True)
        self.upper = (
            recurrent_layer(c.cell, hidden + memory, hidden, c.n_layers - 1, **stacked) if c.n_layers > 1 else None
        )
        self.attention: nn.AdditiveAttention | nn.DotAttention | None = None
        if c.attention == "additive":
            self.attention = nn.AdditiveAttention(hidden, memory, hidden)
        elif c.attention == "dot":
            self.attention = nn.DotAttention(hidden, memory)
        self.readout = nn.Linear(hidden + memory + c.d_model, c.d_model)
        self.output = nn.Linear(c.d_model, c.vocab_size, bias=False)
        if c.tie_output:
            self.output.weight = self.target_embedding.weight
        self.gate = nn.Linear(c.d_model, 1) if c.copy else None

    def _make_reader(self):
        """What `_read` begins with."""
        return self.config.make_embedding()

    def _read(self, source, mask):
        """What the encoder gets of a source: vectors (B, S, E), and which of them are real."""
        return self._embed(source, self.source_embedding), mask

    def _embed(self, ids, table):
        """(B, T) ids to (B, T, E) vectors, of elements with variance 1 at the start of training."""
        check_ids(ids, self.config.max_length)
        return self.dropout(table(ids) * self.config.d_model**0.5)

    # --- the encoder ------------------------------------------------------------------------------

    def encode(self, source, mask=None):
        """The state from which decoding starts.

        source (B, S); mask (B, S), True at real tokens, which come first.
        """
        source = mt.asarray(source)
        mask = check_mask(mask, source)
        if mask is not None and mask.device == "cpu" and bool((mask.data[:, 1:] > mask.data[:, :-1]).any()):
            raise ValueError(
                "the mask of a source must be True at its first tokens and False behind them: pad to the right"
            )
        x, mask = self._read(source, mask)
        lengths = None if mask is None else mask.sum(axis=1)
        memory, final = self.encoder(x, lengths=lengths)  # (B, S, M)
        # (2 L, B, H): of an LSTM's pair the part that is seen.
        final = final[0] if isinstance(final, tuple) else final
        # (B, M): the last layer's, both directions.
        final = mt.concat([final[-2], final[-1]], axis=-1)
        lower, upper = self._bridge(final)
        feed = None
        if self.config.input_feeding:
            feed = mt.zeros((len(final), 1, self.config.d_model), dtype=memory.dtype, device=memory.device)
        if self.attention is None:
            return DecodingState(final[:, None], None, None, lower, upper, feed, source)
        memory = self.dropout(memory)
        keys = self.attention.key(memory) if self.config.attention == "additive" else None  # (B, S, H)
        return DecodingState(memory, keys, key_mask(mask, x), lower, upper, feed, source)

    def _bridge(self, final):
        """First states by ``final`` (B, M): lower layer (1, B, H), upper ones (L - 1, B, H)."""
        c = self.config
        start = self.bridge(final).reshape((len(final), c.n_layers, c.hidden_size)).swapaxes(0, 1)  # (L, B, H)
        shown = mt.tanh(start)
        if c.cell == "lstm":  # h = tanh(c), as with an open output gate
            return (shown[:1], start[:1]), (shown[1:], start[1:])
        return shown[:1], shown[1:]

    # --- the decoder ------------------------------------------------------------------------------

    def _decode(self, x, state, need_weights=False):
        """Readouts (B, T, E) of embedded targets (B, T, E), and the attention (B, T, S) or None.

        ``state`` moves on.
        """
        if not self.config.input_feeding:
            return self._advance(x, state, need_weights)
        parts = []
        for t in range(x.shape[1]):
            new = x[:, t : t + 1]
            parts.append(self._advance(mt.concat([new, state.feed], axis=-1), state, need_weights))
            state.feed = parts[-1][0]
        readouts, weights = zip(*parts)
        return mt.concat(readouts, axis=1), mt.concat(weights, axis=1) if weights[0] is not None else None

    def _advance(self, x, state, need_weights):
        """As `_decode`, for complete inputs: (B, T, E), or (B, 1, 2 E) with input feeding."""
        h, state.lower = self.lower(x, state.lower)  # (B, T, H)
        context, weights = self._context(h, state, need_weights)  # (B, T, M)
        if self.upper is not None:
            h, state.upper = self.upper(mt.concat([self.dropout(h), context], axis=-1), state.upper)
        seen = mt.concat([h, context, x[..., : self.config.d_model]], axis=-1)  # (B, T, H + M + E)
        return self.dropout(mt.tanh(self.readout(seen))), weights

    def _context(self, h, state, need_weights):
        """What states ``h`` (B, T, H) get of the source: (B, T, M), and the attention or None."""
        if self.attention is None:
            return mt.broadcast_to(state.memory, (*h.shape[:2], state.memory.shape[-1])), None
        known = {} if state.keys is None else {"keys": state.keys}
        found = self.attention(h, state.memory, state.mask, need_weights=need_weights, **known)
        return (found[0], found[1][:, 0]) if need_weights else (found, None)

    def _write(self, readouts, weights, state):
        """Logits (B, T, V) of readouts (B, T, E) and, with ``copy``, of the attention (B, T, S)."""
        logits = self.output(readouts)
        if self.gate is None:
            return logits
        rows, steps = (mt.arange(count, device=logits.device) for count in logits.shape[:2])
        places = rows[:, None, None], steps[None, :, None], state.source[:, None]
        # (B, T, V): what goes to the same word adds up.
        copied = weights.put(tuple(place.data for place in places), logits.shape)
        written = F.sigmoid(self.gate(readouts))  # (B, T, 1)
        return mt.log(written * F.softmax(logits) + (1.0 - written) * copied + TINY)

    def forward(self, source, target, mask=None):
        """Logits (B, T, V) of the word after each target word; with ``copy`` log-probabilities.

        source (B, S), target (B, T), mask (B, S) of the source.
        """
        source, target = check_pairs(source, target, self.n_features)
        state = self.encode(source, mask)
        readouts, weights = self._decode(self._embed(target, self.target_embedding), state, self.config.copy)
        return self._write(readouts, weights, state)

    @mt.no_grad
    def start(self, source, mask=None):
        """Encode the source; the state from which ``step`` goes on, one row per sentence."""
        return self.encode(source, mask)

    @mt.no_grad
    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next word, given each row's newest, ``ids``."""
        ids = mt.asarray(ids).to(state.memory.device).reshape((-1, 1))  # (rows, 1)
        readouts, weights = self._decode(self._embed(ids, self.target_embedding), state, self.config.copy)
        return F.log_softmax(self._write(readouts, weights, state)[:, 0])

    def attention_maps(self, source, target, mask=None):
        """``{"decoder.0.cross": (B, 1, T, S)}``, the attention to the source; empty without one."""
        if self.attention is None:
            return {}
        with evaluating(self):
            source, target = check_pairs(source, target, self.n_features)
            state = self.encode(source, mask)
            _, weights = self._decode(self._embed(target, self.target_embedding), state, need_weights=True)
            return {"decoder.0.cross": weights[:, None]}


class DecodingState:
    """What is known of the source, and how far the target has come, with one row per hypothesis."""

    def __init__(self, memory, keys, mask, lower, upper, feed, source):
        self.memory = memory  # (rows, S, M), or the fixed context (rows, 1, M)
        self.keys = keys  # (rows, S, H) of additive attention, otherwise None
        self.mask = mask  # (rows, 1, 1, S), or None
        self.lower, self.upper = lower, upper  # (layers, rows, H), pairs of them for an LSTM
        self.feed = feed  # (rows, 1, E) the last readout, or None if it is not fed
        self.source = source  # (rows, S) ids, or what else the source is

    def reorder(self, rows):
        """Keep these rows, in this order; one may be kept several times, or dropped."""
        self.memory, self.source = self.memory[rows], self.source[rows]
        self.keys, self.mask, self.feed = (None if x is None else x[rows] for x in (self.keys, self.mask, self.feed))
        self.lower, self.upper = _rows(self.lower, rows), _rows(self.upper, rows)


def _rows(state, rows):
    """A recurrent state (layers, B, H), or a pair of them, with other rows."""
    return tuple(part[:, rows] for part in state) if isinstance(state, tuple) else state[:, rows]
