#!/usr/bin/env python3
"""Pre-train a BERT on raw text, let it fill in words, and fine-tune it on few labels.

    python examples/masked_language_model.py    pre-train on the docs inside Python, then the rest
    python examples/masked_language_model.py train --data FOLDER_OF_TEXTS --out runs/bert
    python examples/masked_language_model.py fill --run runs/bert "The [MASK] statement ends."
    python examples/masked_language_model.py finetune --run runs/bert --labels 16

Documents are held out: all figures are of text that was not trained on, beside what a guess without
the text would reach. `finetune` asks from which topic (which text of the folder) a passage comes,
given a few labelled passages of each, and compares with the same model trained from scratch on the
same passages. The run folder holds config.json, tokenizer.json, weights.safetensors, log.jsonl,
loss.png, attention.png, finetune.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from toolkit import console
from toolkit import masked_language as ml
from toolkit.console import UserError, counted
from toolkit.documents import Document, load_documents, split_documents
from toolkit.finetuning import PRETRAINED, SCRATCH, Plan, add_options, plan_of
from toolkit.plots import attention_heatmap
from toolkit.program import Program, digest, load_weights, positive_integer
from toolkit.reading import as_line
from toolkit.runs import Run, kept_or
from toolkit.topics import compare_topics
from toolkit.wordpieces import CLS, SEP, WordPieces

# Labelled passages of each topic, repetitions, updates, learning rates.
FINE_TUNING = Plan((8,), 3, 100, {PRETRAINED: 5e-4, SCRATCH: 5e-4})
EPOCHS = 3  # of the test pairs: each with other masks, and other passages that do not follow
SHOWN = 4  # sentences of held-out documents in which a word is filled in
EXAMPLE = "The [MASK] statement raises an exception."


class MaskedLanguageModel(Program):
    """Pre-train; report accuracies on held-out documents, words filled in, and what fine-tuning
    gains.
    """

    name, settings = "masked-language-model", ml.Settings
    files = ("tokenizer.json", "attention.png", "finetune.png")
    data_help = "file of text, or folder of such files, each a topic (Python's help and docstrings)"
    loss_label = "loss: per masked word and per next passage (nats)"

    # --- train ------------------------------------------------------------------------------------

    def presets(self, data: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit some hundred thousand words."""
        return ml.PRESETS

    def load(self, data: dict[str, Any]) -> list[Document]:
        return load_documents(data["path"])

    def fingerprint(self, loaded: list[Document]) -> str:
        return digest(text + "\n" for document in loaded for text in (document.topic, *document.sentences))

    def make_task(self, loaded: list[Document], settings: ml.Settings, run: Run | None) -> ml.Task:
        """Pre-training; a resumed run has its tokenizer already."""
        return ml.Task(loaded, kept_or(run, "tokenizer.json", WordPieces.load, lambda: None), settings)

    def save(self, task: ml.Task, run: Run) -> None:
        task.tokenizer.save(run.path("tokenizer.json"))

    def sizes(self, task: ml.Task) -> str:
        return f"{counted(len(task.train), 'pair')}, {counted(task.tokenizer.vocab_size, 'word piece')}, {super().sizes(task)}"

    def report(self, run: Run, loaded: list[Document], task: ml.Task) -> None:
        """Accuracies on the test documents, words filled in, a picture of attention, and
        fine-tuning.
        """
        figures = task.figures(task.test, EPOCHS)
        majority = max(figures["unrelated_share"], 1 - figures["unrelated_share"])
        print(f"on {counted(len(task.test), 'pair')} of held-out documents:")
        print(
            f"  masked words   {figures['word_accuracy']:6.1%} right; the commonest word: {figures['unigram_accuracy']:.1%}"
        )
        print(f"  next passage   {figures['next_accuracy']:6.1%} right; the commoner answer: {majority:.1%}")
        sentences = ml.sentences_to_fill(split_documents(loaded)[2], task.tokenizer, run.settings.longest)[:SHOWN]
        for text, word in sentences:
            show_words(text, ml.fill(task.model, task.tokenizer, text, 3), word)
        pictures = [run.path("loss.png")]
        if sentences:
            maps, words = ml.attention(task.model, task.tokenizer, sentences[0][0])
            attention_heatmap(maps, words, words, run.path("attention.png"), ("what is looked at", "who looks"))
            pictures.append(run.path("attention.png"))
        print(f"see {' and '.join(map(str, pictures))}; fill in words by:")
        print(f"  {self.advice('fill', {'--run': run.folder}, sentences[0][0] if sentences else EXAMPLE)}")
        if len({document.topic for document in loaded}) > 1:
            try:
                compare(run, loaded, task.model, task.tokenizer, FINE_TUNING)
            except UserError as error:  # too few documents: no fault of the training, which is done
                console.note(f"fine-tuning is left out: {error}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Any) -> None:
        made = add("fill", self.fill, "the most probable words for each [MASK] of a text")
        made.add_argument("text", type=as_line, metavar="TEXT", help=f'such as "{EXAMPLE}"')
        made.add_argument("--top", type=positive_integer, default=5, metavar="K", help="words shown for each (5)")
        made = add(
            "finetune", self.finetune, "learn the topics of passages from few labels, pre-trained and from scratch"
        )
        made.add_argument("--data", type=console.path, metavar="PATH", help="where the documents of the run have moved")
        add_options(made, "--labels", "labelled passages of each topic", FINE_TUNING)

    def fill(self, options: argparse.Namespace) -> None:
        """Fill in a text of the command line."""
        _, model, tokenizer = self._model(options)
        show_words(options.text, ml.fill(model, tokenizer, options.text, options.top))

    def finetune(self, options: argparse.Namespace) -> None:
        """Fine-tune the model of a run."""
        run, model, tokenizer = self._model(options)
        documents = self.load_again(run, options.data)
        if self.fingerprint(documents) != run.about["data"]["fingerprint"]:  # other passages would be held out
            raise UserError("the documents are not those that the run was pre-trained on; give these by --data")
        compare(run, documents, model, tokenizer, plan_of(options, FINE_TUNING))

    def _model(self, options: argparse.Namespace) -> tuple[Run, Any, WordPieces]:
        run, device = self.open(options)
        tokenizer = WordPieces.load(run.path("tokenizer.json"))
        model = ml.make_model(dataclasses.replace(run.settings, device=device), tokenizer.vocab_size)
        load_weights(model, run, options.weights)
        return run, model, tokenizer


def show_words(text: str, found: list[list[tuple[str, float]]], word: str = "") -> None:
    """Print a text, what was found for each of its masks, and the ``word`` that was there, if it is
    known.
    """
    print(text)
    for words in found:
        shown = "  ".join(f"{piece} {probability:.1%}" for piece, probability in words)
        print(f"    {shown}" + (f"    (it was: {word})" if word else ""))


def compare(run: Run, documents: list[Document], model: Any, tokenizer: WordPieces, plan: Plan) -> None:
    """Fine-tune the pre-trained model and new ones on topics; print and draw what comes of it."""
    device = model.words.weight.device

    def make(start: str, seed: int, n_classes: int) -> Any:
        settings = dataclasses.replace(run.settings, seed=seed, device=device)
        known = model if start == PRETRAINED else ml.make_model(settings, tokenizer.vocab_size)
        return known.with_classifier(n_classes)

    compare_topics(
        plan, documents, tokenizer, make, lambda model, ids, mask: model.class_logits(model(ids, mask)),
        model.config.max_length, run.path("finetune.png"), (CLS,), (SEP,),
    )  # fmt: skip


main = MaskedLanguageModel().main

if __name__ == "__main__":
    sys.exit(console.run(main))
