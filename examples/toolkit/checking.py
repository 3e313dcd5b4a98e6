"""The subcommand ``check``: what is in a corpus of pairs, what is suspicious of it, and what
training on it takes; before hours are spent on it.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolkit import console
from toolkit.console import counted, minutes_in_words
from toolkit.corpus import Corpus
from toolkit.distilling import Distills
from toolkit.moses_text import in_moses_form
from toolkit.settings import add_options, given_options
from toolkit.suspicions import KINDS, UNSPACED, Side, find, sides_of
from toolkit.targets import Corpora, learn_shared, load_corpora, tagged, targets_of
from toolkit.teachers import Teachers
from toolkit.tokenizer import Tokenizer
from toolkit.trainer import Trainer
from toolkit.translation import Settings, Task

__all__ = ["Checks", "Expected", "expect", "report"]

SAMPLE = 20_000  # pairs from which time and memory are told
UPDATES = 4  # that are timed, after one that is not
SHOWN = 3  # examples of a kind of suspicion
WIDE = 60  # characters of a text that are shown


class Checks(Distills):
    """A program that looks at its data before it trains on them."""

    settings = Settings

    def commands(self, add: Any) -> None:
        """``check``."""
        super().commands(add)
        made = add("check", self.check, "what is suspicious in data, before training", of_a_run=False)
        made.add_argument("--data", type=console.path, metavar="PATH", required=True, help=self.data_help)
        self.add_data_options(made)
        add_options(made, self.settings, "; for the expected time and memory")

    def check(self, options: argparse.Namespace) -> None:
        """Print what is in the data, what is suspicious, and what training on them takes."""
        data = {"path": os.path.abspath(options.data), **self.describe(options)}
        given = given_options(options, self.settings)
        self.chosen(data, given)
        targets = targets_of(data)
        corpora = load_corpora(data["path"], data["source"], targets, skip_blank=True, skip_ragged=True)
        for target, corpus in corpora.items():
            if len(corpora) > 1:
                print(f"{data['source']} to {target}:")
            for line in report(corpus, data["source"], target):
                print(line)
        kept = self.load(data) if data["skip_bad"] else corpora
        settings = self.chosen(data, given, kept)
        print(self.told(data, kept, settings))
        print(expect(kept, settings, self.decided_tokenizer(settings), self.open_teachers(settings)))


def report(corpus: Corpus, source: str, target: str) -> Iterator[str]:
    """What is in a corpus, and what is suspicious of it, line by line."""
    tests = "".join(f", {len(pairs):,} in {name}" for name, pairs in corpus.tests.items())
    yield f"{counted(len(corpus.train), 'pair')} to train on, {len(corpus.validation):,} to validate by{tests}"
    columns = corpus.columns or (None, None)
    first = corpus.train[0]
    for name, column, side, text in zip((source, target), columns, sides_of(corpus.train), first, strict=True):
        where = f"column {column + 1}, " if column is not None else ""
        yield f"  {name}: {where}{_said(side)}; such as: {_shown(text)}"
    parts = {"train": corpus.train, "validation": corpus.validation, **corpus.tests}
    found = find(corpus)
    unusable = {
        "lines with more or fewer columns than the others": corpus.ragged,
        "pairs with a blank side": corpus.blank,
    }
    yield from corpus.notes
    for said, count in unusable.items():
        if count:
            yield f"{said}: {count:,}; not used"
    for kind, places in found.items():
        yield f"{KINDS[kind].said}: {len(places):,}" + ("" if KINDS[kind].left_out else " (kept by --skip-bad)")
        for place in places[:SHOWN]:
            line = corpus.line(*place)
            yield f"  {place.part}, line {line}: " + " = ".join(map(_shown, parts[place.part][place.number - 1]))
    if not (found or any(unusable.values()) or corpus.notes):
        yield "nothing suspicious"
    elif any(KINDS[kind].left_out for kind in found) or any(unusable.values()):
        yield "train --skip-bad leaves these out of training and validation; of the tests, what cannot be used"


def _said(side: Side) -> str:
    unit = "characters" if side.script in UNSPACED else "words"
    return f"{side.script}, {side.shortest} to {side.longest} {unit}, half of the texts up to {side.middle}"


def _shown(text: str) -> str:
    """The beginning of a text, as Python writes what cannot be printed."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= WIDE else text[: WIDE - 3] + "..."


# --- time and memory ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a training takes on this machine."""

    parameters: int
    updates: int | None  # None: the last one is not known before, such as that of --patience
    seconds: float  # of an update
    memory: int | None  # bytes: weights, moments, and what an update holds at most; None: not on the CPU
    too_long: int  # pairs left out
    minutes: float | None = None  # after which training ends, if it has not before

    def __str__(self) -> str:
        """Two or three lines, for people."""
        memory = (
            f"about {_bytes(self.memory)} of memory besides Python and the data" if self.memory else "memory not told"
        )
        ends = counted(self.updates, "update") if self.updates else "updates until it ends"
        spent = f", {_duration(self.updates * self.seconds)} in all" if self.updates else ""
        spent += "; validation comes to that"
        within = math.inf if self.minutes is None else 60 * self.minutes / self.seconds  # updates
        if within < (self.updates or math.inf):
            ends = f"about {int(within):,} of {ends}" if self.updates else f"about {counted(int(within), 'update')}"
            spent = f" in {minutes_in_words(self.minutes or 0)}, less what validation takes of them"
        lines = [
            f"expected: {self.parameters:,} parameters, {memory};",
            f"  {ends} of about {self.seconds:.2g} s on this machine{spent}",
        ]
        if self.too_long:
            lines.append(
                f"  about {counted(self.too_long, 'pair')} longer than --max-length or --max-tokens, to be left out"
            )
        return "\n".join(lines)


def expect(
    corpora: Corpora, settings: Settings, tokenizer: Tokenizer | None = None, teachers: Teachers | None = None
) -> Expected:
    """Train for a few updates, to see what a training takes; of large corpora, on every n-th
    pair.

    tokenizer: default: learned from the texts.
    """
    count = sum(len(corpus.train) for corpus in corpora.values())
    samples = {
        target: Corpus(corpus.train[:: -(-count // SAMPLE)], corpus.validation[:SAMPLE], {}, languages=corpus.languages)
        for target, corpus in corpora.items()
    }
    scale = count / sum(len(sample.train) for sample in samples.values())
    if settings.moses:
        samples = {target: in_moses_form(sample) for target, sample in samples.items()}
    tokenizer, sample = tokenizer or learn_shared(samples, settings), tagged(samples)
    with TemporaryDirectory() as folder:  # nothing is saved
        _first_update(Task(sample, tokenizer, settings, teachers), settings, Path(folder))
    tracemalloc.start()
    try:
        task = Task(sample, tokenizer, settings, teachers)
        with TemporaryDirectory() as folder:
            trainer = Trainer(task, settings, Path(folder))
        batches = task.epoch(0)
        chosen = [batches[n * len(batches) // UPDATES] for n in range(UPDATES)]
        chosen.append(max(batches, key=lambda batch: batch.target_in.size))
        task.model.train()
        trainer.update(chosen[-1])
        _, memory = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()  # it makes everything slower
    seconds = []
    for batch in chosen[:-1]:
        started = time.perf_counter()
        trainer.update(batch)
        trainer.read_losses()  # a GPU is waited for
        seconds.append(time.perf_counter() - started)
    ends = settings.steps, settings.epochs and round(settings.epochs * len(batches) * scale)
    return Expected(
        task.model.num_parameters(),
        min((end for end in ends if end), default=None),
        statistics.fmean(seconds),
        memory if settings.device == "cpu" else None,
        round(task.dropped * scale),
        settings.minutes,
    )


def _first_update(task: Task, settings: Settings, folder: Path) -> None:
    """What is done once on a machine, such as compiling kernels, is no part of what is measured."""
    task.model.train()
    Trainer(task, settings, folder).update(task.epoch(0)[0])


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _duration(seconds: float) -> str:
    for least, unit, name in ((5400, 3600, "hours"), (90, 60, "minutes")):
        if seconds >= least:
            return f"{seconds / unit:.1f} {name}"
    return counted(round(seconds), "second")
