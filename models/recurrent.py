"""Models on recurrent layers: a class or a forecast of a whole sequence, and a language model.

    SequenceClassifier       ids or features -> layers -> last state, or mean or maximum over time
    SequenceRegressor        features        -> layers -> the same
    RecurrentLanguageModel   ids             -> layers -> every state

and then a linear map to the logits, or to the values.

Each works with any cell: "rnn" (Elman 1990), "lstm" (Hochreiter and Schmidhuber 1997), "gru"
(Cho et al. 2014). Recurrent weights start orthogonal, and an LSTM's forget gates open
(Jozefowicz et al. 2015). Dropout is on all connections that are not recurrent (Zaremba, Sutskever
and Vinyals 2014, arXiv:1409.2329). Sequences of several lengths are padded at their ends and come
with ``lengths``; values in the padding are ignored.

Letters: B sequences, T steps, F input features, E features of an embedding, H hidden features, L
layers, D directions, V vocabulary, C classes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.configuration import Config
from minitensor.models.language_model import LanguageModel
from minitensor.models.losses import IGNORED, per_target
from minitensor.nn.functional.recurrent import as_lengths

__all__ = [
    "RecurrentLanguageModel", "RecurrentLanguageModelConfig", "SequenceClassifier", "SequenceClassifierConfig", "SequenceRegressor",
    "SequenceRegressorConfig", "recurrent_layer",
]  # fmt: skip

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
POOLINGS = ("last", "mean", "max")


def recurrent_layer(cell, input_size, hidden_size, num_layers=1, **options):
    """The recurrent layer named ``cell``: "rnn" (Elman's, default: tanh), "lstm" or "gru".

    ``options`` are those of the layer: ``bidirectional``, ``dropout``, ``orthogonal``;
    ``forget_bias`` of "lstm", ``nonlinearity`` of "rnn". Raises ValueError for another name.

    >>> recurrent_layer("gru", 8, 16, bidirectional=True).weight_hh_l0.shape
    (48, 16)
    """
    if cell not in CELLS:
        raise ValueError(f"unknown recurrent cell {cell!r}; write one of: {', '.join(CELLS)}")
    return CELLS[cell](input_size, hidden_size, num_layers, **options)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(Config):
    """What the configurations of all models here share."""

    cell: str = "lstm"
    hidden_size: int = 128
    n_layers: int = 1
    dropout: float = 0.0


def _layers(config, input_size, bidirectional=False):
    """The recurrent layers of a configuration."""
    c = config
    options = dict(dropout=c.dropout, orthogonal=True, bidirectional=bidirectional)
    if c.cell == "lstm":
        options["forget_bias"] = 1.0
    return recurrent_layer(c.cell, input_size, c.hidden_size, c.n_layers, **options)


def _each(function, state):
    """``function`` of a state, or of both parts of an LSTM's pair."""
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


# --- many to one ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SequenceClassifierConfig(RecurrentConfig):
    """Either ``vocab_size``, for ids (B, T), or ``n_features``, for vectors (B, T, F)."""

    n_classes: int
    vocab_size: int | None = None
    n_features: int | None = None
    d_model: int = 64
    bidirectional: bool = False
    pooling: str = "last"


@dataclass(frozen=True, kw_only=True)
class SequenceRegressorConfig(RecurrentConfig):
    """``horizon`` values follow from a sequence of vectors (B, T, F)."""

    n_features: int = 1
    horizon: int = 1
    bidirectional: bool = False
    pooling: str = "last"


class _ManyToOne(nn.Module):
    """Recurrent layers; their states become a vector per sequence, that ``n_outputs`` numbers."""

    def __init__(self, config, input_size, n_outputs):
        c = self.config = config
        if c.pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {c.pooling!r}; write one of: {', '.join(POOLINGS)}")
        self.dropout = nn.Dropout(c.dropout)
        self.layers = _layers(c, input_size, c.bidirectional)
        self.output = nn.Linear((1 + c.bidirectional) * c.hidden_size, n_outputs)

    def _read(self, x, lengths):
        """(B, T, ...) features and lengths to (B, outputs)."""
        lengths = as_lengths(type(self).__name__, lengths, x)
        states, final = self.layers(self.dropout(x), lengths=lengths)
        return self.output(self.dropout(self._pool(states, final, lengths)))

    def _pool(self, states, final, lengths):
        """One vector per sequence, (B, D H), from the states at its true steps, (B, T, D H)."""
        if self.config.pooling == "last":
            final = final[0] if isinstance(final, tuple) else final  # (L D, B, H)
            return mt.concat(list(final[-1 - self.config.bidirectional :]), axis=-1)
        if self.config.pooling == "mean":  # the states behind the end are zero
            return (
                states.mean(axis=1) if lengths is None else states.sum(axis=1) / lengths[:, None].astype(states.dtype)
            )
        if lengths is not None:
            true = mt.arange(states.shape[1], device=states.device)[None, :, None] < lengths[:, None, None]  # (B, T, 1)
            states = mt.where(true, states, -np.inf)
        return states.max(axis=1)


class SequenceClassifier(_ManyToOne):
    """A class for each sequence.

    >>> config = SequenceClassifierConfig(cell="gru", vocab_size=100, n_classes=3)
    >>> model = SequenceClassifier(config)
    >>> model(mt.zeros((2, 7), dtype=int), lengths=[7, 4]).shape
    (2, 3)
    """

    def __init__(self, config):
        c = config
        if (c.vocab_size is None) == (c.n_features is None):
            got = f"got {c.vocab_size=}, {c.n_features=}"
            raise ValueError(f"give vocab_size for sequences of ids, or n_features for sequences of vectors; {got}")
        super().__init__(c, c.d_model if c.n_features is None else c.n_features, c.n_classes)
        self.embedding = nn.Embedding(c.vocab_size, c.d_model) if c.n_features is None else None

    def forward(self, x, lengths=None):
        """Logits (B, C) of ids (B, T), or of vectors (B, T, F) if the model is made for them."""
        x = mt.asarray(x)
        if self.embedding is not None:
            _check_ids(self, x)
            x = self.embedding(x)  # (B, T, E)
        return self._read(x, lengths)

    def loss(self, x, targets, lengths=None, divide_by=None):
        """Cross-entropy per sequence, in nats; targets (B,). divide_by: default: B."""
        logits = self(x, lengths)
        total = F.cross_entropy(logits, mt.asarray(targets), reduction="sum")
        # One target for each row of the logits.
        return per_target(total, logits.data[:, 0], divide_by)


class SequenceRegressor(_ManyToOne):
    """The values that follow a sequence.

    >>> model = SequenceRegressor(SequenceRegressorConfig(cell="gru", n_features=2, horizon=12))
    >>> model(mt.zeros((5, 48, 2))).shape
    (5, 12)
    """

    def __init__(self, config):
        super().__init__(config, config.n_features, config.horizon)

    def forward(self, x, lengths=None):
        """(B, horizon) values that follow x (B, T, F)."""
        return self._read(mt.asarray(x), lengths)

    def loss(self, x, targets, lengths=None, divide_by=None):
        """Squared error per value; targets (B, horizon). divide_by: default: B horizon."""
        targets = mt.asarray(targets)
        total = F.mse_loss(self(x, lengths), targets, reduction="sum")
        return per_target(total, targets, divide_by)


# --- many to many ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RecurrentLanguageModelConfig(RecurrentConfig):
    """Hyper-parameters; the defaults suit the characters of a megabyte of text."""

    vocab_size: int
    d_model: int = 64
    hidden_size: int = 256
    stop_id: int | None = None  # what `generate` stops at by default

    max_length: ClassVar[int] = sys.maxsize


class RecurrentLanguageModel(LanguageModel):
    """The next token of each prefix of a text.

    Its state after a text is all that the model remembers: given to the next call, the text goes
    on.

    >>> model = RecurrentLanguageModel(RecurrentLanguageModelConfig(cell="lstm", vocab_size=65))
    >>> logits, state = model(mt.zeros((2, 10), dtype=int))
    >>> logits, state = model(mt.zeros((2, 10), dtype=int), state)
    >>> logits.shape
    (2, 10, 65)
    """

    def __init__(self, config):
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        self.layers = _layers(c, c.d_model)
        self.output = nn.Linear(c.hidden_size, c.vocab_size)

    def forward(self, ids, state=None, lengths=None):
        """``(logits, state)``: (B, T, V) of the token after each id (B, T), and the last state."""
        ids = mt.asarray(ids)
        _check_ids(self, ids)
        y, state = self.layers(self.dropout(self.embedding(ids)), state, lengths)  # (B, T, H)
        return self.output(self.dropout(y)), state

    def loss(self, ids, targets, divide_by=None):
        """Cross-entropy per target token, in nats, from the empty state; see `loss_and_state`."""
        return self.loss_and_state(ids, targets, None, divide_by)[0]

    def loss_and_state(self, ids, targets, state, divide_by=None):
        """The loss of a text that goes on from ``state``, and the state that it leaves, detached.

        ids and targets (B, T); a target that is `IGNORED` does not count. divide_by: default: the
        number of targets that count, see `losses.per_target`. Carried from window to window of a
        text, the state reaches further back than the gradient does (truncated back-propagation
        through time; Williams and Peng 1990).
        """
        targets = mt.asarray(targets)
        logits, state = self(ids, state)
        total = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        return per_target(total, targets, divide_by, IGNORED), _each(lambda part: part.detach(), state)

    # --- decoding ---------------------------------------------------------------------------------

    @mt.no_grad
    def start(self, prompts):
        """The state after all but the last token of each prompt, an array; `step` takes that."""
        device = self.output.weight.device
        lengths = np.array([len(prompt) - 1 for prompt in prompts])
        if not lengths.any():
            return DecodingState(None, device)
        ids = np.stack([np.pad(prompt[:-1], (0, lengths.max() - n)) for prompt, n in zip(prompts, lengths)])
        _, state = self(mt.asarray(ids, device=device), lengths=np.maximum(lengths, 1))
        # (1, B, 1): a prompt of one token leaves no state.
        read = mt.asarray(lengths[None, :, None] > 0, device=device)
        return DecodingState(_each(lambda part: mt.where(read, part, 0.0), state), device)

    @mt.no_grad
    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next token, given each row's newest, ``ids``."""
        logits, state.state = self(mt.asarray(ids).to(state.device)[:, None], state.state)
        return F.log_softmax(logits[:, -1])


class DecodingState:
    """The recurrent state, with one row for each hypothesis; None before the first token."""

    def __init__(self, state, device):
        self.state, self.device = state, device

    def reorder(self, rows):
        """Keep these rows, in this order; one may be kept several times, or dropped."""
        if self.state is not None:
            self.state = _each(lambda part: part[:, rows], self.state)  # (L, rows, H)


def _check_ids(model, ids):
    if ids.ndim != 2:
        raise ValueError(f"{type(model).__name__}: ids must be (sequences, steps), got shape {ids.shape}")
