"""A reader of stories: lines are told, and questions about them answered one after the other.

    words of a line, times vectors of their places, summed -> feed-forward -> a vector of the line
    statements, then questions, each with the answer before -> GRU over lines (who is "she"?)
    lines with their states -> Transformer encoder (what follows from what?)
    what it makes of a question -> GRU -> the words of its answer

A vector for a line, made of its words and where they stand, is that of memory networks (Sukhbaatar
et al. 2015, "End-To-End Memory Networks", arXiv:1503.08895), whose hops over the memory are the
encoder's layers here; the places' vectors are a linear map of sinusoids, so that a line may be as
long as it likes. Sequences of lines are several times shorter than those of words, and a line that
stands in several stories of a batch is read once.

The statements of a story see one another; a question sees them, itself and the questions before it.
So a whole dialogue is one pass, and nothing that comes later has a say in an answer.

Letters: N different lines, W words of a line, B stories, S statements, Q questions, A words of an
answer, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import evaluating
from minitensor.models.configuration import Config, check_dropouts
from minitensor.models.losses import per_target

__all__ = ["StoryReader", "StoryReaderConfig"]


@dataclass(frozen=True)
class StoryReaderConfig(Config):
    """Hyper-parameters; the defaults suit stories of a few lines."""

    vocab_size: int
    d_model: int = 96
    n_layers: int = 3
    n_heads: int = 4
    d_ff: int = 192
    dropout: float = 0.0
    pad_id: int = 0
    start_id: int = 1

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)


class StoryReader(nn.Module):
    """Vectors of lines, GRU over them, encoder and writer; see the head of this file.

    Lines are a table of ids (N, W), padded behind, whose row 0 is all padding: no line. ``story``
    (B, S), ``questions`` (B, Q) and ``replies`` (B, Q), the answers before these, are numbers of
    its rows; 0 stands behind the last statement and question, and as the reply before the first.

    >>> model = StoryReader(StoryReaderConfig(vocab_size=9))
    >>> lines = [[0, 0], [3, 4], [5, 4], [6, 7], [8, 0]]
    >>> written = [[[1], [1]]]  # the start token of two answers
    >>> model(lines, [[1, 2]], [[3, 3]], [[0, 4]], written).shape
    (1, 2, 1, 9)
    """

    def __init__(self, config):
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model, padding_idx=c.pad_id)
        self.waves = nn.SinusoidalPositionalEncoding(c.d_model)
        self.place = nn.Linear(c.d_model, c.d_model)
        self.combine = nn.Sequential(nn.Linear(c.d_model, c.d_ff), nn.ReLU(), nn.Linear(c.d_ff, c.d_model))
        self.norm = nn.LayerNorm(c.d_model)
        self.reply = nn.Linear(c.d_model, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        self.listener = nn.GRU(c.d_model, c.d_model, orthogonal=True)
        self.encoder = nn.TransformerEncoder(c.n_layers, c.d_model, c.n_heads, c.d_ff, c.dropout, norm_first=True)
        self.start = nn.Linear(c.d_model, c.d_model)
        self.writer = nn.GRU(c.d_model, c.d_model, orthogonal=True)
        self.readout = nn.Linear(2 * c.d_model, c.d_model)
        self.output = nn.Linear(c.d_model, c.vocab_size)

    def read_lines(self, lines):
        """A vector for each line: ids (N, W) to (N, D)."""
        words = self.embedding(lines)  # (N, W, D), zero at padding
        summed = (words * (1 + self.place(self._waves(words)))).sum(axis=1)
        return self.dropout(self.norm(summed + self.combine(summed)))

    def read(self, lines, story, questions, replies, need_weights=False):
        """What the model makes of each question, (B, Q, D); see the class for what it is given.

        With ``need_weights`` also what every line looks at, a list of (B, H, S + Q, S + Q) by
        layer.
        """
        lines, story, questions, replies = map(mt.asarray, (lines, story, questions, replies))
        _check(lines, story, questions, replies)
        told, asked = story.shape[1], questions.shape[1]
        vectors = self.read_lines(lines)
        facts = vectors[story]  # (B, S, D)
        turns = vectors[questions] + self.reply(vectors)[replies]  # (B, Q, D)
        real = story != 0
        heard, state = self.listener(facts, lengths=real.sum(axis=1))
        turned, _ = self.listener(turns, state)
        facts, turns = (x + y + self._waves(x) for x, y in ((facts, heard), (turns, turned)))
        before = mt.asarray(np.tri(told + asked, dtype=bool), device=story.device)  # (S + Q, S + Q)
        fact = mt.concat([real, mt.zeros_like(questions, dtype=bool)], axis=1)  # (B, S + Q)
        turn = mt.concat([mt.zeros_like(real), mt.ones_like(questions, dtype=bool)], axis=1)
        mask = fact[:, None, None] | (turn[:, None, None] & before)  # (B, 1, S + Q, S + Q)
        found = self.encoder(mt.concat([facts, turns], axis=1), mask, need_weights=need_weights)
        return (found[0][:, told:], found[1]) if need_weights else found[:, told:]

    def write(self, found, written):
        """Logits (B, Q, A, V) of the word after each of ``written`` (B, Q, A), which begins with
        the start token; ``found`` (B, Q, D) is from `read`.
        """
        written = mt.asarray(written)
        rows, (length, width) = found.shape[0] * found.shape[1], (written.shape[2], self.config.d_model)
        found = found.reshape((rows, width))
        words = self.embedding(written.reshape((rows, length)))  # (B Q, A, D)
        states, _ = self.writer(words, mt.tanh(self.start(found))[None])
        seen = mt.concat([states, mt.broadcast_to(found[:, None], (rows, length, width))], axis=-1)  # (B Q, A, 2 D)
        logits = self.output(self.dropout(F.relu(self.readout(seen))))
        return logits.reshape((*written.shape, self.config.vocab_size))

    def forward(self, lines, story, questions, replies, written):
        """Logits (B, Q, A, V) of the word after each of ``written`` (B, Q, A); see `write`."""
        return self.write(self.read(lines, story, questions, replies), written)

    def loss(self, lines, story, questions, replies, written, targets, divide_by=None):
        """Cross-entropy per word of the answers, in nats; targets (B, Q, A), padding left out.

        divide_by: default: the number of such words, see `losses.per_target`.
        """
        logits, targets = self(lines, story, questions, replies, written), mt.asarray(targets)
        total = F.cross_entropy(logits, targets, ignore_index=self.config.pad_id, reduction="sum")
        return per_target(total, targets, divide_by, self.config.pad_id)

    def attention_maps(self, lines, story, questions, replies):
        """``{"encoder.0.self": (B, H, S + Q, S + Q)}``: what each line looks at, by layer."""
        with evaluating(self):
            _, seen = self.read(lines, story, questions, replies, need_weights=True)
        return {f"encoder.{i}.self": weights for i, weights in enumerate(seen)}

    def _waves(self, x):
        """The sinusoids of the positions of ``x`` (B, T, D), (T, D)."""
        return self.waves.encoding(x.shape[1], 0, x.dtype, x.device)


def _check(lines, story, questions, replies):
    """Raise ValueError for shapes that do not belong together, and a story without statements."""
    if lines.ndim != 2:
        raise ValueError(f"lines must be a table of ids (lines, words), got shape {lines.shape}")
    if story.ndim != 2 or questions.ndim != 2 or len(story) != len(questions) or replies.shape != questions.shape:
        raise ValueError(
            "story must be (stories, statements), questions and replies (stories, questions) alike, got shapes "
            f"{story.shape}, {questions.shape}, {replies.shape}"
        )
