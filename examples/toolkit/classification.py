"""The parts of a run of a text classifier: settings, training task, and predictions.

Letters: N texts, B those of a batch, T characters, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.recurrent import SequenceClassifier, SequenceClassifierConfig
from toolkit.console import UserError, and_more, note
from toolkit.labelled import Labelled
from toolkit.program import place
from toolkit.reading import composed
from toolkit.samples import Batch, Epoch, Samples
from toolkit.settings import SCHEDULES, Training, option
from toolkit.text import Characters

__all__ = ["Settings", "Task", "guess", "make_model"]

ROWS = 256  # texts classified at a time


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit a few thousand words."""

    lr: float = option(3e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(50, "updates of linear warm-up", least=1)
    epochs: int | None = option(30, "stop after so many passes over the data", least=1)
    cell: str = option("lstm", "recurrent layer", choices=("rnn", "lstm", "gru"))
    d_model: int = option(32, "features of a character", least=1)
    hidden: int = option(64, "features of the states, in each direction", least=1)
    layers: int = option(1, "recurrent layers", least=1, below=1000)
    bidirectional: bool = option(True, "read from both ends")
    pooling: str = option("last", "what of the states is judged", choices=("last", "mean", "max"))
    dropout: float = option(0.3, "dropout", least=0, below=1)
    max_length: int = option(200, "characters of a text that are read", least=1)
    batch: int = option(64, "texts in a batch", least=1)


def make_model(settings: Settings, vocab_size: int, n_classes: int, device: str) -> SequenceClassifier:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    shape: dict[str, Any] = dict(d_model=s.d_model, hidden_size=s.hidden, n_layers=s.layers, dropout=s.dropout)
    reading: dict[str, Any] = dict(cell=s.cell, bidirectional=s.bidirectional, pooling=s.pooling)
    config = SequenceClassifierConfig(vocab_size=vocab_size, n_classes=n_classes, **shape, **reading)
    return place(SequenceClassifier(config), device)


def _padded(texts: Sequence[str], vocabulary: Characters, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``longest`` known characters of each text as ids (N, T), zeros behind them, and how
    many there are, (N,).
    """
    ids = [vocabulary.encode(vocabulary.known(text)[:longest]) for text in texts]
    lengths = np.array([len(row) for row in ids])
    table = np.zeros((len(ids), lengths.max()), dtype=np.int32)
    for row, found in zip(table, ids, strict=True):
        row[: len(found)] = found
    return table, lengths


class Task:
    """The label of each text; ``cut`` counts those that are read in part."""

    def __init__(self, texts: Labelled, vocabulary: Characters, settings: Settings) -> None:
        self.vocabulary, self.labels, self.settings = vocabulary, texts.labels, settings
        self.cut = sum(_is_cut(text, settings) for text, _ in texts.train + texts.validation)
        self.samples = self._samples(texts.train)
        self.validation = self._samples(texts.validation)
        self.model = make_model(settings, vocabulary.vocab_size, len(self.labels), settings.device)

    def _samples(self, pairs: Sequence[tuple[str, str]]) -> Samples:
        ids, lengths = _padded([text for text, _ in pairs], self.vocabulary, self.settings.max_length)
        classes = np.array([self.labels.index(label) for _, label in pairs])
        return Samples({"ids": ids, "lengths": lengths, "classes": classes}, self.settings.batch, self.settings.seed)

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
        return {"validation_loss": total / len(self.validation)}


def _trimmed(samples: Samples, batches: Epoch[Batch]) -> Epoch[Batch]:
    """The batches, each as wide as its longest text; parts of one stay as wide as the whole."""

    def make(group: np.ndarray) -> Batch:
        batch = samples.whole.rows(group)
        return Batch({**batch.arrays, "ids": batch["ids"][:, : batch["lengths"].max()]}, batch.tokens_each)

    return Epoch(make, batches.groups)


def guess(model: SequenceClassifier, texts: Sequence[str], vocabulary: Characters, settings: Settings) -> np.ndarray:
    """Probabilities (N, C) of the labels of texts. Raises UserError for an empty text.

    Characters that the model has never seen are passed over, and so is what comes after
    ``max_length``; both are reported on stderr. A text without any known character gets what the
    model says of no evidence.
    """
    if not all(texts):
        raise UserError(f"text {1 + list(texts).index('')} is empty; there is nothing to judge")
    _tell_unknown(texts, vocabulary)
    _tell_cut(texts, settings)
    device, found = model.output.weight.device, []
    for start in range(0, len(texts), ROWS):
        ids, lengths = _padded(texts[start : start + ROWS], vocabulary, settings.max_length)
        with mt.no_grad():
            logits = np.broadcast_to(
                model.output.bias.to("cpu").numpy(), (len(lengths), model.output.bias.shape[0])
            ).copy()
            if lengths.any():
                read = mt.asarray(ids[lengths > 0], device=device)
                logits[lengths > 0] = model(read, lengths[lengths > 0]).to("cpu").numpy()
            found.append(mt.nn.functional.softmax(mt.asarray(logits)).numpy())
    return np.concatenate(found)


def _is_cut(text: str, settings: Settings) -> bool:
    return len(composed(text)) > settings.max_length


def _tell_cut(texts: Sequence[str], settings: Settings) -> None:
    """Say on stderr which texts are read in part."""
    cut = [number for number, text in enumerate(texts, start=1) if _is_cut(text, settings)]
    if cut:
        note(
            f"{settings.max_length} characters are read of text {cut[0]}{and_more(cut)}, and no more (see train --max-length)"
        )


def _tell_unknown(texts: Sequence[str], vocabulary: Characters) -> None:
    """Say on stderr which characters are not known, and in how many texts."""
    rest = [set(composed(text)) - set(vocabulary.characters) for text in texts]
    unknown = sorted(set().union(*rest))
    if unknown:
        shown = " ".join(map(repr, unknown[:10])) + and_more(unknown, 10)
        numbers = [number for number, found in enumerate(rest, start=1) if found]
        note(f"the model has never seen {shown}; passed over in text {numbers[0]}{and_more(numbers)}")
