"""The command line of a text classifier, whatever its tokens: train, evaluate, classify."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from toolkit import console
from toolkit.classification import Model, Settings, Task, Vocabulary, guess, make_model, probabilities, refuse_foreign
from toolkit.console import UserError, counted
from toolkit.files import read_json, write_text
from toolkit.labelled import Labelled, NaiveBayes, Ngrams, Pair, alike, read_labelled
from toolkit.other_data import load_to_test, tell_seen
from toolkit.plots import GREY, empty_figure, literal, save_figure
from toolkit.program import Data, Program, digest, load_weights
from toolkit.reading import as_line
from toolkit.runs import Run
from toolkit.words import prefixes

__all__ = ["LABELS", "NETWORK", "PICTURE", "VOCABULARY", "Guesses", "TextClassifier", "Trained"]

VOCABULARY, LABELS, PICTURE = "vocabulary.json", "labels.json", "confusion.png"
NETWORK = "network"
SHOWN = 8  # mistakes printed after training

Guesses = Mapping[str, Sequence[str]]  # a label for each text, by the name of the method


class Trained:
    """A model that can be asked, with all that it takes to do so."""

    def __init__(self, run: Run, model: Model, vocabulary: Vocabulary, labels: list[str]) -> None:
        self.run, self.model, self.vocabulary, self.labels = run, model, vocabulary, labels

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Those of the labels, (N, C); see `guess`."""
        return guess(self.model, texts, self.vocabulary, self.run.settings)

    def word_by_word(self, text: str) -> tuple[list[str], np.ndarray]:
        """The words of a text that are read, and after each how probable the labels are, (T, C), as
        if the text ended there with a full stop.

        Raises UserError for an empty text.
        """
        self.probabilities([text])  # tells of what is not read
        words, starts = zip(*prefixes(text)[: self.run.settings.max_length], strict=True)
        return list(words), probabilities(self.model, starts, self.vocabulary, self.run.settings)


class TextClassifier(Program):
    """Train on labelled texts; report the accuracy on the held-out ones beside that of simpler
    methods.
    """

    settings = Settings
    files: tuple[str, ...] = (VOCABULARY, LABELS, PICTURE)
    loss_label = "loss per text (nats)"
    vocabulary: ClassVar[type[Vocabulary]]  # what its tokens are
    # Naive Bayes on these n-grams is what the network is measured against.
    baselines: ClassVar[Mapping[str, Ngrams]]

    # --- what a classifier says -------------------------------------------------------------------

    def embedded(self) -> Labelled:
        """The texts that come with it."""
        raise NotImplementedError

    def learn_vocabulary(self, loaded: Labelled, settings: Any) -> Vocabulary:
        """The tokens that the model is to know."""
        raise NotImplementedError

    def report_more(self, trained: Trained, texts: Labelled, guesses: Mapping[str, Guesses]) -> None:
        """Print and draw what else there is to say of a run; ``guesses`` for the texts to test by,
        under "", and for the further parts, under their names.
        """

    # --- train ------------------------------------------------------------------------------------

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """None, but an option that the architecture does not have is refused."""
        refuse_foreign(given)
        return {}

    def load(self, data: Data) -> Labelled:
        """The texts."""
        return self.embedded() if data["path"] is None else read_labelled(data["path"])

    def load_whole(self, data: Data) -> Labelled:
        """All texts of another file; ``data["labels"]`` are those that the model knows."""
        return read_labelled(data["path"], data["labels"], whole=True)

    def tested(self, loaded: Labelled) -> list[str]:
        return [alike(text) for text, _ in loaded.test]

    def trained(self, loaded: Labelled) -> set[str]:
        return {alike(text) for text, _ in loaded.train + loaded.validation}

    def fingerprint(self, loaded: Labelled) -> str:
        return digest(f"{text}\t{label}\n" for text, label in loaded.train + loaded.validation)

    def notes(self, loaded: Labelled) -> Sequence[str]:
        return loaded.notes

    def make_task(self, loaded: Labelled, settings: Any, run: Run | None) -> Task:
        """The label of each text."""
        return Task(loaded, self.learn_vocabulary(loaded, settings), settings)

    def save(self, task: Task, run: Run) -> None:
        task.vocabulary.save(run.path(VOCABULARY))
        write_text(run.path(LABELS), json.dumps(task.labels, ensure_ascii=False) + "\n")

    def sizes(self, task: Task) -> str:
        unit, unread = task.vocabulary.unit, len(task.unread)
        counts = f"{counted(len(task.samples), 'text')} to train on, {len(task.validation) + unread:,} to validate by"
        unread_of = f" ({unread:,} of them without any of the known {unit})" if unread else ""
        cut = f"; read {task.cut} to their first {task.settings.max_length} {unit} alone" if task.cut else ""
        left_out = f"; left out {task.left_out:,} to train on, without any of the known {unit}" if task.left_out else ""
        return f"{counts}{unread_of}, {counted(len(task.labels), 'label')}, {super().sizes(task)}{cut}{left_out}"

    def report(self, run: Run, loaded: Labelled, task: Task) -> None:
        """Accuracies, mistakes, and a confusion matrix."""
        self._report(Trained(run, task.model, task.vocabulary, task.labels), loaded, loaded.train)
        print("classify others by:")
        print(f"  {self.advice('classify', {'--run': run.folder}, loaded.test[0][0])}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "accuracy on the held-out texts, beside that of simpler methods")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other texts, all of them, or where those of the run are now",
        )
        made = add("classify", self.classify, "the most probable labels of texts")
        made.add_argument("texts", nargs="+", type=as_line, metavar="TEXT")

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the accuracies of a run."""
        trained = self.open_trained(options)
        run = trained.run
        texts, own = load_to_test(self, run, options.data, labels=trained.labels)
        shown = (
            trained if own else Trained(run.tested_on(options.data), trained.model, trained.vocabulary, trained.labels)
        )
        self._report(shown, texts, texts.train if own else self._trained_on(run))
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
        trained = self.open_trained(options)
        for text, row in zip(options.texts, trained.probabilities(options.texts), strict=True):
            best = ", ".join(f"{trained.labels[i]} {100 * row[i]:.1f} %" for i in np.argsort(-row)[:2])
            print(f"{text}: {best}")

    def open_trained(self, options: argparse.Namespace) -> Trained:
        """The model of --run."""
        run, device = self.open(options)
        vocabulary = self.vocabulary.load(run.path(VOCABULARY))
        labels = read_json(run.path(LABELS), "list of labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise UserError(f"cannot read {run.path(LABELS)}: it holds no list of labels")
        model = make_model(run.settings, vocabulary.vocab_size, len(labels), device)
        load_weights(model, run, options.weights)
        return Trained(run, model, vocabulary, labels)

    # --- the report -------------------------------------------------------------------------------

    def _report(self, trained: Trained, texts: Labelled, train: list[Pair]) -> None:
        """Print accuracies and some mistakes on the held-out texts, and draw the confusion matrix.

        ``train``: what the simpler methods learn from; none: they are left out.
        """
        labels, run = trained.labels, trained.run
        unknown = sorted({label for _, label in texts.test} - set(labels))
        if unknown:
            raise UserError(f"the model knows no label {unknown[0]!r}; it tells apart: {', '.join(labels)}")
        bayes = {name: NaiveBayes(train, ngrams) for name, ngrams in self.baselines.items() if train}
        most = Counter(label for _, label in train).most_common(1)
        guesses = {}
        for name, part in {"": texts.test, **texts.others}.items():
            inputs = [text for text, _ in part]
            found = [labels[i] for i in trained.probabilities(inputs).argmax(axis=1)]
            made = {NETWORK: found, **{name: model.classify(inputs) for name, model in bayes.items()}}
            guesses[name] = made | {f"always {label}": [label] * len(part) for label, _ in most}
            what = f"{counted(len(part), 'text')} of {run.other}" if run.other else counted(len(part), "held-out text")
            print(f"right of {what}{name and ', '}{name}:")
            _tell_right(guesses[name], [label for _, label in part])
        _tell_mistakes(texts.test, guesses[""][NETWORK])
        counts = np.zeros((len(labels), len(labels)), dtype=int)
        for (_, label), taken in zip(texts.test, guesses[""][NETWORK], strict=True):
            counts[labels.index(label), labels.index(taken)] += 1
        _draw(counts, labels, run.picture(PICTURE))
        print(f"see {run.picture(PICTURE)}")
        self.report_more(trained, texts, guesses)


def _tell_right(guesses: Guesses, truth: Sequence[str]) -> None:
    width = max(16, *(2 + len(name) for name in guesses))
    for name, made in guesses.items():
        right = sum(a == b for a, b in zip(made, truth, strict=True))
        print(f"  {name:{width}}{right:6}{100 * right / len(truth):8.1f} %")


def _tell_mistakes(pairs: Sequence[Pair], found: Sequence[str]) -> None:
    wrong = [(text, a, b) for (text, a), b in zip(pairs, found, strict=True) if a != b]
    print("mistakes:" + ("" if wrong else " none"))
    for text, label, taken in wrong[:SHOWN]:
        print(f"  {text} ({label}, taken for {taken})")


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
