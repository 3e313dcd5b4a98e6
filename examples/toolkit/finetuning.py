"""Fine-tuning on few labels: from which topic does a passage come? Pre-trained and from scratch,
side by side.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import minitensor as mt
from minitensor.models.bert import BERT
from toolkit.console import UserError
from toolkit.documents import Document
from toolkit.masked_language import loss_and_right
from toolkit.plots import SCORE, VALIDATION, empty_figure, save_figure
from toolkit.runlog import read_log
from toolkit.samples import Batch, Epoch, Samples, random_words
from toolkit.settings import Training
from toolkit.trainer import Trainer
from toolkit.wordpieces import CLS, PAD, SEP, WordPieces

__all__ = ["FineTuning", "choose", "draw_curves", "fine_tune", "passages", "topics_of"]

CLASSES = 8  # topics to be told apart, at most
PASSAGE = 64  # tokens of a passage, at most
BATCH = 16  # passages in a batch
TESTS = 5  # times that a fine-tuning is tested
Arrays = Mapping[str, np.ndarray]


def topics_of(train: Sequence[Document], test: Sequence[Document]) -> list[str]:
    """At most `CLASSES` topics, those with the most sentences in the smaller of both parts. Raises
    UserError for less than two.
    """
    sizes = [{document.topic: 0 for document in (*train, *test)} for _ in range(2)]
    for size, part in zip(sizes, (train, test)):
        for document in part:
            size[document.topic] += len(document.sentences)
    # The training part has four times as many.
    amounts = {topic: min(4 * sizes[1][topic], sizes[0][topic]) for topic in sizes[0]}
    topics = sorted((topic for topic in amounts if amounts[topic]), key=lambda topic: (-amounts[topic], topic))[
        :CLASSES
    ]
    if len(topics) < 2:
        raise UserError(
            "classification needs documents of two topics: pre-train on a folder of text files, each a topic"
        )
    return topics


def passages(
    documents: Sequence[Document], topics: Sequence[str], tokenizer: WordPieces, longest: int
) -> dict[str, np.ndarray]:
    """Passages of these topics as ``[CLS] passage [SEP]``: ids (N, T), mask (N, T) and labels (N,),
    places in ``topics``.

    A passage has as many whole sentences as fit into ``longest`` tokens; no two share a sentence.
    """
    rows: list[list[int]] = []
    labels = []
    for document in documents:
        if document.topic not in topics:
            continue
        passage: list[int] = []
        for sentence in [*tokenizer.encode_batch(document.sentences), []]:
            if passage and (not sentence or len(passage) + len(sentence) + 2 > longest):
                rows.append([CLS, *passage[: longest - 2], SEP])
                labels.append(topics.index(document.topic))
                passage = []
            passage += sentence
    ids = np.full((len(rows), longest), PAD, np.int32)
    for target, row in zip(ids, rows):
        target[: len(row)] = row
    return {"ids": ids, "mask": ids != PAD, "labels": np.array(labels, np.int32)}


def choose(arrays: Arrays, each: int, seed: int) -> dict[str, np.ndarray]:
    """``each`` passages of each label, drawn by ``seed``; all of a label that has fewer."""
    order = np.argsort(random_words(seed, 0, len(arrays["labels"])), kind="stable")
    labels = arrays["labels"][order]
    rows = np.concatenate([order[labels == label][:each] for label in np.unique(labels)])
    return {name: array[rows] for name, array in arrays.items()}


class FineTuning:
    """Classification as a task for `toolkit.trainer`."""

    def __init__(self, model: BERT, train: Arrays, test: Arrays, batch: int, seed: int) -> None:
        """``model`` has a head for the classes; ``train`` and ``test`` come from `passages`."""
        self.model, self.device = model, model.words.weight.device
        self.train, self.test = Samples(train, batch, seed), Samples(test, 64, seed)

    def epoch(self, number: int) -> Epoch[Batch]:
        return self.train.epoch(number)

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        """Cross-entropy per passage."""
        arrays = {name: mt.asarray(array, device=self.device) for name, array in batch.arrays.items()}
        return self.model.loss(**arrays, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """Loss of the test passages, and the share whose topic is found."""
        total = np.zeros(2)
        for batch in self.test.in_order():
            ids, mask = (mt.asarray(batch[name], device=self.device) for name in ("ids", "mask"))
            total += loss_and_right(self.model.class_logits(self.model(ids, mask)), batch["labels"])
        loss, accuracy = total / len(self.test)
        return {"validation_loss": float(loss), "accuracy": float(accuracy)}


def fine_tune(model: BERT, train: Arrays, test: Arrays, steps: int, lr: float, seed: int) -> list[tuple[int, float]]:
    """Train all of ``model`` for ``steps`` updates; after each fifth part of them how many there
    were, and the accuracy.
    """
    part = max(1, steps // TESTS)
    settings = Training(lr=lr, schedule="cosine", warmup=part, steps=steps, validate_every=part, seed=seed)
    mt.random.seed(seed)
    # The progress of the trainer is not shown.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        outcome = Trainer(FineTuning(model, train, test, BATCH, seed), settings, Path(folder)).run()
        log = read_log(Path(folder) / "log.jsonl")
    if outcome.signal:
        raise KeyboardInterrupt
    return [(record["step"], record["accuracy"]) for record in log if "accuracy" in record]


def draw_curves(curves: Mapping[str, list[list[tuple[int, float]]]], path: str | os.PathLike[str]) -> None:
    """Draw the accuracies by the number of updates, each repetition faintly and their
    mean on top.
    """
    figure = empty_figure(6, 4)
    axes = figure.subplots()
    for color, (name, runs) in zip((VALIDATION, SCORE), curves.items()):
        points = np.array(runs)  # (repetitions, tests, 2)
        axes.plot(points[:, :, 0].T, points[:, :, 1].T, color=color, alpha=0.25, linewidth=1)
        mean = points.mean(axis=0)
        axes.plot(mean[:, 0], mean[:, 1], color=color, linewidth=2, marker="o", markersize=4, label=name)
    axes.set_xlabel("update of fine-tuning")
    axes.set_ylabel("topics found in held-out passages")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path)
