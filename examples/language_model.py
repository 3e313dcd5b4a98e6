#!/usr/bin/env python3
"""Train a language model on a text, and let it write.

    python examples/language_model.py      train on the reference of Python, show what came of it
    python examples/language_model.py train --data input.txt --arch gru --out runs/plays
    python examples/language_model.py train --data input.txt --arch gpt --out runs/gpt
    python examples/language_model.py train --data input.txt --arch gpt --tokens bpe --vocab 2000
    python examples/language_model.py train --resume --out runs/plays
    python examples/language_model.py generate --run runs/plays --prompt "ROMEO:" --temperature 0.8
    python examples/language_model.py attention --run runs/gpt "To be, or not to be"
    python examples/language_model.py evaluate --run runs/plays
    python examples/language_model.py train --documents --out runs/documents
    python examples/language_model.py finetune --run runs/documents --labels 2 8 32

The first nine tenths of the text are trained on, and the last is held out. `finetune` asks from
which topic a passage of documents comes, given a few labelled passages of each, and compares the
trained GPT with one from scratch; its run is made by `train --documents`, which keeps documents to
test by. The run folder holds config.json, vocabulary.json, weights.safetensors, log.jsonl,
loss.png, finetune.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit import console
from toolkit.blank import is_blank
from toolkit.console import UserError, counted
from toolkit.documents import load_documents, split_documents, text_of
from toolkit.finetuning import PRETRAINED, SCRATCH, Plan, add_options, plan_of
from toolkit.language import VOCABULARY, Settings, Task, Writer, make_model, presets
from toolkit.numbers import beam_size, natural_number, positive_integer, real
from toolkit.other_data import load_to_test
from toolkit.plots import attention_heatmap, picture_path
from toolkit.program import Data, Program, digest
from toolkit.reading import composed
from toolkit.runs import Run, kept_or
from toolkit.text import learn_vocabulary, load_text, load_vocabulary, split_text
from toolkit.tokenizer import Tokenizer
from toolkit.topics import compare_topics

import minitensor as mt

HELD_OUT = "held-out loss"
ATTENTION, FINETUNE = "attention.png", "finetune.png"
PROMPT, LENGTH, TEMPERATURE = 60, 400, 0.8  # of the text that is written after training: characters, tokens
# Labelled passages of each topic, repetitions, updates, learning rates (each the best of four on
# validation documents).
FINE_TUNING = Plan((8,), 3, 100, {PRETRAINED: 2e-3, SCRATCH: 2e-3})
POOLING = "mean"  # better on these than "last", that of the paper; see GPTClassifier


class LanguageModel(Program):
    """Train on the first nine tenths of a text; report the loss on the rest, and write."""

    name, settings = "language-model", Settings
    files = (VOCABULARY, ATTENTION, FINETUNE)
    data_help = "text file, UTF-8 or gzipped (the reference of the Python language)"
    defaults_note = "; default lr, schedule and steps suit the text"

    # --- train ------------------------------------------------------------------------------------

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit the text and the architecture."""
        return presets(given, embedded=data["path"] is None, documents=data["documents"])

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        help = "cut the text into documents with topics, and keep a sixth of them to test `finetune` by (--data: {})"
        what = "a file, or a folder of files, each a topic; default: Python's help and docstrings"
        parser.add_argument("--documents", action="store_true", default=None, help=help.format(what))

    def describe(self, options: argparse.Namespace) -> Data:
        """Whether the text is cut into documents."""
        return {"documents": bool(options.documents)}

    def load(self, data: Data) -> str:
        """The text; that of the documents to train on and, at its end, to validate by."""
        if data["documents"]:
            train, validation, _ = split_documents(load_documents(data["path"]))
            return text_of([*train, *validation])
        text = load_text(data["path"])
        if is_blank(text):
            raise UserError(f"{data['path']} is empty; there is nothing to learn")
        return text

    def load_whole(self, data: Data) -> str:
        return self.load({**data, "documents": False})

    def fingerprint(self, loaded: str) -> str:
        """Of the text."""
        return digest([loaded])

    def make_task(self, loaded: str, settings: Settings, run: Run | None) -> Task:
        """The next token; a resumed run has its vocabulary already."""
        # Of characters all are known, also those that the held-out part alone has; sub-words are
        # learned from the first part.
        text = loaded if settings.tokens == "characters" else split_text(loaded)[0]
        vocabulary = kept_or(
            run, VOCABULARY, lambda path: load_vocabulary(settings.tokens, path),
            lambda: learn_vocabulary(settings.tokens, text, settings.vocab),
        )  # fmt: skip
        return Task(loaded, vocabulary, settings)

    def save(self, task: Task, run: Run) -> None:
        task.vocabulary.save(run.path(VOCABULARY))

    def sizes(self, task: Task) -> str:
        held_out, different = len(task.validation), task.vocabulary.vocab_size
        tokens = f"{counted(len(task.windows.ids), 'token')} to train on, {held_out:,} held out, {different:,} different ones"
        return f"{tokens}, {super().sizes(task)}"

    def report(self, run: Run, loaded: str, task: Task) -> None:
        """The loss, and how the held-out text could go on."""
        writer = Writer(run, device=run.settings.device)
        held_out = split_text(loaded)[1]
        _evaluate(writer, held_out)
        prompt = held_out[:PROMPT]
        text = writer.write(prompt, LENGTH, temperature=TEMPERATURE, generator=mt.random.Generator(run.settings.seed))
        print(f"the first {PROMPT} characters held out, and {LENGTH} tokens written, at temperature {TEMPERATURE}:\n")
        print("\n".join("  " + line for line in (prompt + "|" + text).split("\n")))
        print(f"\nsee {run.path('loss.png')}; write more by:")
        print(f"  {self.advice('generate', {'--run': run.folder, '--prompt': _first_word(prompt)})}")
        if run.about["data"]["documents"] and run.settings.arch == "gpt":
            print(
                f"learn the topics of the documents from few labels by:\n  {self.advice('finetune', {'--run': run.folder})}"
            )

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("generate", self.generate, "continue a text")
        made.add_argument("--prompt", required=True, type=composed, metavar="TEXT", help="what the text begins with")
        made.add_argument("--length", type=positive_integer, default=LENGTH, metavar="N", help=f"tokens ({LENGTH})")
        made.add_argument(
            "--temperature",
            type=real(0, 1e6),
            metavar="T",
            help=f"0: the most probable token each time ({TEMPERATURE})",
        )
        made.add_argument("--top-k", type=positive_integer, metavar="K", help="draw among the K most probable tokens")
        made.add_argument(
            "--top-p", type=real(0, 1), metavar="P", help="draw among the fewest tokens of this probability"
        )
        made.add_argument(
            "--beam",
            type=beam_size,
            default=1,
            metavar="K",
            help="hypotheses of a beam search, instead of drawing",
        )
        made.add_argument("--seed", type=natural_number, default=0, metavar="N", help="seed of the drawing (0)")

        made = add("attention", self.attention, "a picture of what a gpt looks at")
        made.add_argument("text", type=composed, metavar="TEXT")
        made.add_argument(
            "--output", type=console.path, metavar="PNG", help="where to write the picture; into the run if not given"
        )

        made = add("evaluate", self.evaluate, "loss and perplexity")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="another text, all of it; of the run's own the held-out part",
        )
        made.add_argument(
            "--stride", type=positive_integer, metavar="N",
            help="gpt: tokens from window to window, so that later ones see earlier text; the window if not given",
        )  # fmt: skip

        made = add(
            "finetune", self.finetune, "learn the topics of passages from few labels, pre-trained and from scratch"
        )
        made.add_argument("--data", type=console.path, metavar="PATH", help="where the documents of the run have moved")
        help = f"what is classified of a passage: the state of its last token, or the mean of its states ({POOLING})"
        made.add_argument("--pooling", choices=("last", "mean"), default=POOLING, help=help)
        add_options(made, "--labels", "labelled passages of each topic", FINE_TUNING)

    def generate(self, options: argparse.Namespace) -> None:
        """Print the prompt and its continuation."""
        run, device = self.open(options)
        writer = Writer(run, options.weights, device)
        temperature = options.temperature
        if temperature is None:
            temperature = TEMPERATURE if options.beam == 1 else 0.0
        how: dict[str, Any] = dict(
            temperature=temperature, top_k=options.top_k, top_p=options.top_p, beam_size=options.beam
        )
        if temperature > 0:
            how["generator"] = mt.random.Generator(options.seed)
        if options.beam > 1:
            print(options.prompt + writer.write(options.prompt, options.length, **how))
        else:
            begin = iter([options.prompt])  # shown with the first token: a prompt may turn out to be refused
            writer.write(
                options.prompt, options.length, lambda text: print(next(begin, "") + text, end="", flush=True), **how
            )
            print()

    def attention(self, options: argparse.Namespace) -> None:
        """Draw what each token of a text looks at."""
        run, device = self.open(options)
        path = picture_path(options.output or run.path(ATTENTION))
        maps, labels = Writer(run, options.weights, device).attention(options.text)
        print(attention_heatmap(maps, labels, labels, path))

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the loss on the held-out part of the run's text, or on another text."""
        run, device = self.open(options)
        writer = Writer(run, options.weights, device)
        text, own = load_to_test(self, run, options.data)
        what = HELD_OUT if own else f"loss on {Path(options.data).name}:"
        _evaluate(writer, split_text(text)[1] if own else text, options.stride, what)

    def finetune(self, options: argparse.Namespace) -> None:
        """Fine-tune the GPT of a run on documents."""
        run, device = self.open(options)
        data = run.about["data"]
        if not data["documents"] or run.settings.arch != "gpt" or run.settings.tokens != "bpe":
            raise UserError(f"{run.folder} is no GPT of documents and sub-words: make one by train --documents")
        if self.fingerprint(self.load_again(run, options.data)) != data["fingerprint"]:
            raise UserError("the documents are not those that the run was pre-trained on; give these by --data")
        model, tokenizer = Writer(run, options.weights, device).model, Tokenizer.load(run.path(VOCABULARY))

        def make(start: str, seed: int, n_classes: int) -> Any:
            settings = dataclasses.replace(run.settings, seed=seed)
            known: Any = model if start == PRETRAINED else make_model(settings, tokenizer.vocab_size, device)
            return known.with_classifier(n_classes, options.pooling)

        compare_topics(
            plan_of(options, FINE_TUNING), load_documents(options.data or data["path"]), tokenizer, make,
            lambda model, ids, mask: model(ids, mask), run.settings.window, run.path(FINETUNE),
        )  # fmt: skip


def _evaluate(writer: Writer, text: str, stride: int | None = None, what: str = HELD_OUT) -> None:
    nats, bits = writer.loss(text, stride)
    perplexity = math.exp(nats)
    print(f"{what} {nats:.4f} nats per token, perplexity {perplexity:.3f}, {bits:.3f} bits per character")


def _first_word(text: str) -> str:
    return next((word for word in text.split() if word.isalnum()), "The")


main = LanguageModel().main

if __name__ == "__main__":
    sys.exit(console.run(main))
