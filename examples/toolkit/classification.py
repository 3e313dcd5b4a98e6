"""The parts of a run of a text classifier: settings, training task, and predictions.

A text is read as tokens: characters, or words. Letters: N texts, B those of a batch, T tokens, C
labels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.recurrent import SequenceClassifier, SequenceClassifierConfig
from toolkit.blank import is_blank
from toolkit.console import UserError, and_more, counted, note
from toolkit.labelled import Labelled
from toolkit.program import place
from toolkit.samples import Batch, Epoch, Samples
from toolkit.settings import SCHEDULES, Training, option, refuse_options
from toolkit.text import Characters
from toolkit.words import Words

__all__ = [
    "Model",
    "Settings",
    "Task",
    "TextEncoder",
    "Vocabulary",
    "guess",
    "make_model",
    "probabilities",
    "refuse_foreign",
]

ROWS = 256  # texts classified at a time
Vocabulary = Characters | Words


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit a few thousand texts."""

    lr: float = option(3e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(50, "updates of linear warm-up", least=1)
    epochs: int | None = option(30, "stop after so many passes over the data", least=1)
    arch: str = option("recurrent", "architecture", choices=("recurrent", "bert"))
    cell: str = option("lstm", "recurrent: the layer", choices=("rnn", "lstm", "gru"))
    d_model: int = option(32, "features of a token; bert: of every layer", least=1)
    hidden: int = option(64, "recurrent: features of the states, in each direction", least=1)
    heads: int = option(4, "bert: attention heads", least=1)
    layers: int = option(1, "layers", least=1, below=1000)
    bidirectional: bool = option(True, "recurrent: read from both ends")
    pooling: str = option("last", "recurrent: what of the states is judged", choices=("last", "mean", "max"))
    dropout: float = option(0.3, "dropout", least=0, below=1)
    max_length: int = option(200, "tokens of a text that are read: characters, or words", least=1)
    batch: int = option(64, "texts in a batch", least=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        if self.arch == "bert" and self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")


# What only one of the architectures has; the other refuses it.
FOREIGN = {"recurrent": ("heads",), "bert": ("cell", "hidden", "bidirectional", "pooling")}


def refuse_foreign(given: dict[str, Any]) -> str:
    """The architecture among the settings that are ``given``. Raises UserError for one that it does
    not have.
    """
    arch = given.get("arch", Settings.arch)
    refuse_options(given, FOREIGN[arch], f"--arch {arch}")
    return arch


# --- models ---------------------------------------------------------------------------------------


class TextEncoder(nn.Module):
    """BERT's encoder with a head for classes; it is called as `SequenceClassifier` is.

    Before each text it reads a token of its own, [CLS], whose id is behind those of the vocabulary.
    """

    def __init__(self, config: BERTConfig) -> None:
        self.bert = BERT(config)

    def forward(self, ids: mt.Tensor, lengths: Any) -> mt.Tensor:
        """Logits (B, C) of ids (B, T), of which ``lengths`` (B,) count."""
        ids = mt.asarray(ids)
        start = mt.full((len(ids), 1), self.bert.config.vocab_size - 1, dtype=ids.dtype, device=ids.device)
        ids = mt.concat([start, ids], axis=1)  # (B, 1 + T)
        mask = np.arange(ids.shape[1]) <= np.asarray(lengths)[:, None]
        return self.bert.class_logits(self.bert(ids, mt.asarray(mask, device=ids.device)))

    def loss(self, ids: mt.Tensor, targets: mt.Tensor, lengths: Any, divide_by: int) -> mt.Tensor:
        """The sum of the cross-entropies, in nats, over ``divide_by``; targets (B,)."""
        logits = self(ids, lengths)
        return nn.functional.cross_entropy(logits, targets, reduction="sum") / divide_by


Model = SequenceClassifier | TextEncoder


def make_model(settings: Settings, vocab_size: int, n_classes: int, device: str) -> Model:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    shape: dict[str, Any] = dict(d_model=s.d_model, n_layers=s.layers, dropout=s.dropout, n_classes=n_classes)
    if s.arch == "bert":
        shape |= dict(n_heads=s.heads, d_ff=4 * s.d_model, attention_dropout=s.dropout, pad_id=None)
        return place(TextEncoder(BERTConfig(vocab_size=vocab_size + 1, max_length=s.max_length + 1, **shape)), device)
    shape |= dict(hidden_size=s.hidden, cell=s.cell, bidirectional=s.bidirectional, pooling=s.pooling)
    return place(SequenceClassifier(SequenceClassifierConfig(vocab_size=vocab_size, **shape)), device)


# --- training -------------------------------------------------------------------------------------


def _padded(texts: Sequence[str], vocabulary: Vocabulary, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``longest`` known tokens of each text as ids (N, T), zeros behind them, and how
    many there are, (N,).
    """
    numbers = vocabulary.numbers
    ids = [[numbers[token] for token in vocabulary.tokens(text) if token in numbers][:longest] for text in texts]
    lengths = np.array([len(row) for row in ids])
    table = np.zeros((len(ids), lengths.max()), dtype=np.int32)
    for row, found in zip(table, ids, strict=True):
        row[: len(found)] = found
    return table, lengths


class Task:
    """The label of each text; ``cut`` counts those that are read in part.

    A text to train on without any known token is left out, and counted by ``left_out``. One to
    validate by is not: it counts as what the model says of no evidence, as `guess` has it.
    """

    def __init__(self, texts: Labelled, vocabulary: Vocabulary, settings: Settings) -> None:
        self.vocabulary, self.labels, self.settings = vocabulary, texts.labels, settings
        self.cut = sum(_is_cut(text, vocabulary, settings) for text, _ in texts.train + texts.validation)
        self.samples, left_out = self._samples(texts.train, "train on")
        self.validation, self.unread = self._samples(texts.validation, "validate by")
        self.left_out = len(left_out)
        self.model = make_model(settings, vocabulary.vocab_size, len(self.labels), settings.device)

    def _samples(self, pairs: Sequence[tuple[str, str]], purpose: str) -> tuple[Samples, np.ndarray]:
        """Those of the texts that have a known token, and the classes of the others. Raises
        UserError if none has one.
        """
        ids, lengths = _padded([text for text, _ in pairs], self.vocabulary, self.settings.max_length)
        classes = np.array([self.labels.index(label) for _, label in pairs])
        if not lengths.any():
            raise UserError(
                f"none of {counted(len(pairs), 'text')} to {purpose} has any of the {self.vocabulary.unit} that are known"
                " from training; give more texts"
            )
        arrays = {"ids": ids, "lengths": lengths, "classes": classes}
        read = {name: array[lengths > 0] for name, array in arrays.items()}
        return Samples(read, self.settings.batch, self.settings.seed), classes[lengths == 0]

    def epoch(self, number: int) -> Epoch[Batch]:
        return _trimmed(self.samples, self.samples.epoch(number))

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        """The cross-entropy of each text."""
        device = self.settings.device
        ids = mt.asarray(batch["ids"], device=device)  # (B, T)
        return self.model.loss(ids, mt.asarray(batch["classes"], device=device), batch["lengths"], divide_by)

    def validate(self) -> dict[str, float]:
        """The loss on the texts to validate by."""
        total = sum(self.loss(batch, 1).item() for batch in _trimmed(self.validation, self.validation.in_order()))
        if len(self.unread):
            ids, lengths = np.zeros((len(self.unread), 0), np.int32), np.zeros(len(self.unread), int)
            logits = mt.asarray(_logits(self.model, ids, lengths))  # (N, C), all rows the same
            total += nn.functional.cross_entropy(logits, mt.asarray(self.unread), reduction="sum").item()
        return {"validation_loss": total / (len(self.validation) + len(self.unread))}


def _trimmed(samples: Samples, batches: Epoch[Batch]) -> Epoch[Batch]:
    """The batches, each as wide as its longest text; parts of one stay as wide as the whole."""

    def make(group: np.ndarray) -> Batch:
        batch = samples.whole.rows(group)
        return Batch({**batch.arrays, "ids": batch["ids"][:, : batch["lengths"].max()]}, batch.tokens_each)

    return Epoch(make, batches.groups)


# --- predictions ----------------------------------------------------------------------------------


def guess(model: Model, texts: Sequence[str], vocabulary: Vocabulary, settings: Settings) -> np.ndarray:
    """Probabilities (N, C) of the labels of texts. Raises UserError for an empty text.

    Tokens that the model has never seen are passed over, and so is what comes after ``max_length``;
    both are reported on stderr. A text without any known token gets what the model says of no
    evidence.
    """
    for number, text in enumerate(texts, start=1):
        if is_blank(text) or not vocabulary.tokens(text):
            raise UserError(f"text {number} is empty; there is nothing to judge")
    _tell_unknown(texts, vocabulary)
    _tell_cut(texts, vocabulary, settings)
    return probabilities(model, texts, vocabulary, settings)


def probabilities(model: Model, texts: Sequence[str], vocabulary: Vocabulary, settings: Settings) -> np.ndarray:
    """What `guess` gives, without a word on stderr."""
    found = []
    for start in range(0, len(texts), ROWS):
        ids, lengths = _padded(texts[start : start + ROWS], vocabulary, settings.max_length)
        with mt.no_grad():
            found.append(mt.nn.functional.softmax(mt.asarray(_logits(model, ids, lengths))).numpy())
    return np.concatenate(found)


def _logits(model: Model, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Logits (B, C) of ids (B, T), also of rows without any token."""
    device = next(iter(model.parameters())).device
    if isinstance(model, TextEncoder):  # which reads [CLS] at least
        return model(mt.asarray(ids, device=device), lengths).to("cpu").numpy()
    bias = model.output.bias.to("cpu").numpy()
    logits = np.tile(bias, (len(lengths), 1))
    if lengths.any():
        read = mt.asarray(ids[lengths > 0], device=device)
        logits[lengths > 0] = model(read, lengths[lengths > 0]).to("cpu").numpy()
    return logits


def _is_cut(text: str, vocabulary: Vocabulary, settings: Settings) -> bool:
    return len(vocabulary.tokens(text)) > settings.max_length


def _tell_cut(texts: Sequence[str], vocabulary: Vocabulary, settings: Settings) -> None:
    """Say on stderr which texts are read in part."""
    cut = [number for number, text in enumerate(texts, start=1) if _is_cut(text, vocabulary, settings)]
    if cut:
        note(
            f"{settings.max_length} {vocabulary.unit} are read of text {cut[0]}{and_more(cut)}, and no more (see train"
            " --max-length)"
        )


def _tell_unknown(texts: Sequence[str], vocabulary: Vocabulary) -> None:
    """Say on stderr which tokens are not known, and in how many texts."""
    rest = [set(vocabulary.tokens(text)) - vocabulary.numbers.keys() for text in texts]
    unknown = sorted(set().union(*rest))
    if unknown:
        shown = " ".join(map(repr, unknown[:10])) + and_more(unknown, 10)
        numbers = [number for number, found in enumerate(rest, start=1) if found]
        note(f"the model has never seen {shown}; passed over in text {numbers[0]}{and_more(numbers)}")
