#!/usr/bin/env python3
"""Tell languages apart by their spelling: a recurrent network beside naive Bayes.

    python examples/languages.py                       train on six languages, show what came of it
    python examples/languages.py train --data sentences.tsv --out runs/tsv    (text<TAB>label)
    python examples/languages.py train --resume --out runs/sentences
    python examples/languages.py evaluate --run runs/languages
    python examples/languages.py classify --run runs/languages ggwelp bbuox

The syllables are those of the Unicode names of Korean, Yi, Bamum, Cree, Ethiopic and Sumerian
characters, which every Python carries (HANGUL SYLLABLE GWAELP is "gwaelp", Korean). Each syllable
is in one part of the data only: to train on, to choose the best weights by, or to report on. The
run folder holds config.json, vocabulary.json, labels.json, weights.safetensors, log.jsonl,
loss.png, confusion.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from toolkit import console
from toolkit.classification import Settings, Task, guess, make_model
from toolkit.console import UserError
from toolkit.files import read_json, write_text
from toolkit.labelled import Labelled, NaiveBayes, Pair, read_labelled, syllables
from toolkit.other_data import load_to_test, tell_seen
from toolkit.plots import GREY, empty_figure, literal, save_figure
from toolkit.program import Data, Program, digest, load_weights
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.text import Characters

from minitensor.models.recurrent import SequenceClassifier

VOCABULARY, LABELS, PICTURE = "vocabulary.json", "labels.json", "confusion.png"
SHOWN = 8  # mistakes printed after training


class Languages(Program):
    """Train on labelled texts; report the accuracy on the held-out ones beside that of simpler
    methods.
    """

    name, settings = "languages", Settings
    files = (VOCABULARY, LABELS, PICTURE)
    data_help = "file of lines text<TAB>label, or of columns that its first line names (syllables of six languages)"
    loss_label = "loss per text (nats)"

    def load(self, data: Data) -> Labelled:
        """The texts."""
        return syllables() if data["path"] is None else read_labelled(data["path"])

    def load_whole(self, data: Data) -> Labelled:
        """All texts of another file; ``data["labels"]`` are those that the model knows."""
        return read_labelled(data["path"], data["labels"], whole=True)

    def tested(self, loaded: Labelled) -> list[str]:
        return [text for text, _ in loaded.test]

    def trained(self, loaded: Labelled) -> set[str]:
        return {text for text, _ in loaded.train + loaded.validation}

    def fingerprint(self, loaded: Labelled) -> str:
        return digest(f"{text}\t{label}\n" for text, label in loaded.train + loaded.validation)

    def make_task(self, loaded: Labelled, settings: Settings, run: Run | None) -> Task:
        """The label of each text; all characters are known, those of held-out texts too."""
        texts = loaded.train + loaded.validation + loaded.test
        return Task(loaded, Characters.of("".join(text for text, _ in texts)), settings)

    def save(self, task: Task, run: Run) -> None:
        task.vocabulary.save(run.path(VOCABULARY))
        write_text(run.path(LABELS), json.dumps(task.labels, ensure_ascii=False) + "\n")

    def sizes(self, task: Task) -> str:
        counts = f"{len(task.samples):,} texts to train on, {len(task.validation):,} to validate by"
        cut = f"; read {task.cut} to their first {task.settings.max_length} characters alone" if task.cut else ""
        return f"{counts}, {len(task.labels)} labels, {super().sizes(task)}{cut}"

    def report(self, run: Run, loaded: Labelled, task: Task) -> None:
        """Accuracies, mistakes, and a confusion matrix."""
        _report(run, loaded, loaded.train, task.model, task.vocabulary, task.labels)
        print("classify others by:")
        print(f"  {self.advice('classify', {'--run': run.folder}, loaded.test[0][0])}")

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "accuracy on the held-out texts, beside that of simpler methods")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other texts, all of them, or where those of the run are now",
        )
        made = add("classify", self.classify, "the most probable labels of texts")
        made.add_argument("texts", nargs="+", type=composed, metavar="TEXT")

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the accuracies of a run."""
        run, model, vocabulary, labels = self._trained(options)
        texts, own = load_to_test(self, run, options.data, labels=labels)
        _report(run, texts, texts.train if own else self._trained_on(run), model, vocabulary, labels)
        if not own:
            tell_seen(self, run, texts)

    def _trained_on(self, run: Run) -> list[Pair]:
        """The training texts of a run, for the simpler methods; none if they are gone."""
        try:
            loaded = self.load_again(run)
        except UserError:
            return []
        return loaded.train if self.fingerprint(loaded) == run.about["data"]["fingerprint"] else []

    def classify(self, options: argparse.Namespace) -> None:
        """Print the label of each text, and how probable it and the next are."""
        run, model, vocabulary, labels = self._trained(options)
        for text, row in zip(options.texts, guess(model, options.texts, vocabulary, run.settings), strict=True):
            best = ", ".join(f"{labels[i]} {100 * row[i]:.1f} %" for i in np.argsort(-row)[:2])
            print(f"{text}: {best}")

    def _trained(self, options: argparse.Namespace) -> tuple[Run, SequenceClassifier, Characters, list[str]]:
        run, device = self.open(options)
        vocabulary = Characters.load(run.path(VOCABULARY))
        labels = read_json(run.path(LABELS), "list of labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise UserError(f"cannot read {run.path(LABELS)}: it holds no list of labels")
        model = make_model(run.settings, vocabulary.vocab_size, len(labels), device)
        load_weights(model, run, options.weights)
        return run, model, vocabulary, labels


def _report(
    run: Run,
    texts: Labelled,
    train: list[Pair],
    model: SequenceClassifier,
    vocabulary: Characters,
    labels: list[str],
) -> None:
    """Print accuracies and some mistakes on the held-out texts, and draw the confusion matrix."""
    found = guess(model, [text for text, _ in texts.test], vocabulary, run.settings).argmax(axis=1)
    truth = [label for _, label in texts.test]
    guesses = {"network": [labels[i] for i in found]}
    if train:
        most = Counter(label for _, label in train).most_common(1)[0][0]
        guesses["naive Bayes"] = NaiveBayes(train).classify(text for text, _ in texts.test)
        guesses[f"always {most}"] = [most] * len(truth)
    unknown = sorted(set(truth) - set(labels))
    if unknown:
        raise UserError(f"the model knows no label {unknown[0]!r}; it tells apart: {', '.join(labels)}")
    print(f"right of {len(truth)} held-out texts:")
    for name, made in guesses.items():
        right = sum(a == b for a, b in zip(made, truth, strict=True))
        print(f"  {name:16}{right:6}{100 * right / len(truth):8.1f} %")
    wrong = [(text, a, b) for (text, a), b in zip(texts.test, guesses["network"], strict=True) if a != b]
    print("mistakes: " + (", ".join(f"{text} ({a}, taken for {b})" for text, a, b in wrong[:SHOWN]) or "none"))
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    for label, column in zip(truth, found, strict=True):
        counts[labels.index(label), column] += 1
    _draw(counts, labels, run.path(PICTURE))
    print(f"see {run.path(PICTURE)}")


def _draw(counts: np.ndarray, labels: list[str], path: Path) -> None:
    """Draw a confusion matrix (C, C): rows are true labels, columns what they are taken for."""
    size = 2.2 + 0.55 * len(labels)
    figure = empty_figure(size + 0.6, size)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else GREY
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    names = [literal(label) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=90)
    axes.set_yticks(range(len(labels)), names)
    axes.set(xlabel="taken for", ylabel="is")
    axes.tick_params(length=0)
    figure.colorbar(image, label="share of the row", shrink=0.8)
    save_figure(figure, path)


main = Languages().main

if __name__ == "__main__":
    sys.exit(console.run(main))
