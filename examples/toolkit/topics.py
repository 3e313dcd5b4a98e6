"""From which topic does a passage come? The passages of documents with their topics, and learning
to classify them from few labels.

Letters: N passages, B those of a batch, T tokens, C topics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import minitensor as mt
from toolkit.console import UserError, counted
from toolkit.documents import Document, split_documents
from toolkit.finetuning import Plan, compare, shuffled
from toolkit.masked_language import loss_and_right
from toolkit.samples import Batch, Epoch, Samples
from toolkit.tokenizer import Tokenizer

__all__ = ["TopicTask", "choose", "compare_topics", "passages", "topics_of"]

CLASSES = 8  # topics to be told apart, at most
PASSAGE = 64  # tokens of a passage, at most
BATCH = 16  # passages in a batch
Arrays = Mapping[str, np.ndarray]
Logits = Callable[[Any, mt.Tensor, mt.Tensor], mt.Tensor]


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
    documents: Sequence[Document],
    topics: Sequence[str],
    tokenizer: Tokenizer,
    longest: int,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Passages of these topics: ids (N, T), mask (N, T) and labels (N,), places in ``topics``.

    Each is between the tokens ``before`` and ``after``, and has as many whole sentences as fit into
    ``longest`` tokens; no two share a sentence.
    """
    rows: list[list[int]] = []
    labels = []
    room = longest - len(before) - len(after)
    for document in documents:
        if document.topic not in topics:
            continue
        passage: list[int] = []
        for sentence in [*tokenizer.encode_batch(document.sentences), []]:
            if passage and (not sentence or len(passage) + len(sentence) > room):
                rows.append([*before, *passage[:room], *after])
                labels.append(topics.index(document.topic))
                passage = []
            passage += sentence
    ids = np.full((len(rows), longest), tokenizer.pad_id, np.int32)
    for target, row in zip(ids, rows):
        target[: len(row)] = row
    mask = np.arange(longest) < np.array([len(row) for row in rows]).reshape(-1, 1)
    return {"ids": ids, "mask": mask, "labels": np.array(labels, np.int32)}


def choose(arrays: Arrays, each: int, seed: int) -> dict[str, np.ndarray]:
    """``each`` passages of each label, drawn by ``seed``; every label must have so many."""
    order = shuffled(len(arrays["labels"]), seed)
    labels = arrays["labels"][order]
    rows = np.concatenate([order[labels == label][:each] for label in np.unique(labels)])
    return {name: array[rows] for name, array in arrays.items()}


class TopicTask:
    """Classification as a task for `toolkit.trainer`."""

    def __init__(self, model: Any, logits: Logits, train: Arrays, test: Arrays, seed: int) -> None:
        """``model`` has a ``loss`` of labels; ``logits(model, ids, mask)`` are (B, C). ``train``
        and ``test`` come from `passages`.
        """
        self.model, self.logits = model, logits
        self.device = next(iter(model.parameters())).device
        self.train, self.test = Samples(train, BATCH, seed), Samples(test, 64, seed)

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
            total += loss_and_right(self.logits(self.model, ids, mask), batch["labels"])
        loss, accuracy = total / len(self.test)
        return {"validation_loss": float(loss), "accuracy": float(accuracy)}


def compare_topics(
    plan: Plan,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    make: Callable[[str, int, int], Any],
    logits: Logits,
    longest: int,
    path: str | os.PathLike[str],
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> None:
    """Train classifiers of topics by the plan, and print and draw how well they do.

    ``make(start, seed, n_classes)`` is a new classifier, its weights pre-trained or from scratch,
    of passages of at most ``longest`` tokens; the others are as for `passages` and `TopicTask`.
    Raises UserError for a topic with fewer passages than the plan wants, before any training.
    """
    train, validation, test = split_documents(documents)
    topics = topics_of(train, test)
    longest = min(PASSAGE, longest)
    by, whose = (validation, "validation") if plan.validate else (test, "held-out")
    pool, held_out = (passages(part, topics, tokenizer, longest, before, after) for part in (train, by))
    labelled = np.bincount(pool["labels"], minlength=len(topics))
    if labelled.min() < max(plan.amounts):
        fewest = int(labelled.argmin())
        raise UserError(
            f"--labels {max(plan.amounts)}: the topic {topics[fewest]!r} has {counted(int(labelled[fewest]), 'passage')} to train"
            " on; give at most so many, or pre-train on more documents of it"
        )
    if not len(held_out["labels"]):
        raise UserError(f"no {whose} document is of the topics {', '.join(topics)}; pre-train on more documents")
    print(f"fine-tuning: {len(topics)} topics ({', '.join(topics)}),")
    print(f"  {counted(len(held_out['labels']), 'passage')} of {whose} documents to test by")
    share = np.bincount(held_out["labels"]).max() / len(held_out["labels"])
    print(f"  the commonest topic of these: {share:.1%}")

    def make_task(start: str, amount: int, seed: int) -> TopicTask:
        mt.random.seed(seed)
        return TopicTask(make(start, seed, len(topics)), logits, choose(pool, amount, seed), held_out, seed)

    compare(plan, make_task, "labelled passages of each topic", path, "topics found in held-out passages")
