#!/usr/bin/env python3
"""Summarise texts in a sentence: a recurrent network that has to find what counts, and to copy it.

    python examples/summaries.py                        train on made minutes, show what came of it
    python examples/summaries.py train --docstrings     first sentences of docstrings, from the rest
    python examples/summaries.py train --data texts.tsv --out runs/mine   (text<TAB>summary lines)
    python examples/summaries.py train --resume --out runs/mine
    python examples/summaries.py evaluate --run runs/mine
    python examples/summaries.py summarize --run runs/minutes "We met about the fair. Ben leads ..."
    python examples/summaries.py summarize --run runs/mine --input FILE     (a text a line)
    python examples/summaries.py attention --run runs/minutes "We met about the fair. Ben leads ..."

The made minutes of a club have one right summary each: the day, the place and the leader of the
plan that they are about, as they were told last; what was last year, what somebody would like, and
what is said by the way of other plans does not count (examples/toolkit/plans.py). Minutes to be
tested by are in no other part; in one test set each summary brings a plan together with a day,
place or person that no sentence of training brings together with it, in one the texts are longer.

The docstrings are those of the library of this Python, with its help texts; those to be tested by
are of packages that training has none of. A file of --data is UTF-8, maybe packed; of its different
texts a twentieth each is held out to validate and to test by. Of both 32 summaries are drawn for
each text, and the one that is the most like all is taken (--samples, toolkit/consensus.py).
Summaries are compared by ROUGE, and with simple methods: the first sentence, and as many first
words as suit the texts to validate by.

The run folder holds config.json, tokenizer.json, weights.safetensors, log.jsonl, loss.png,
summaries.png, attention.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import console, plans
from toolkit.column_names import SUMMARISED
from toolkit.console import UserError, counted
from toolkit.corpus import Corpus, load_parallel
from toolkit.docstrings import docstring_corpus
from toolkit.numbers import beam_size, integer, real
from toolkit.other_data import load_to_test, tell_seen
from toolkit.plots import picture_path
from toolkit.program import Data, Program
from toolkit.reading import STDIN, as_line, read_lines
from toolkit.runs import Run, kept_or
from toolkit.summarizing import Settings, Write, presets, way_of_writing
from toolkit.summary_report import ATTENTION, PICTURE, draw_attention, report
from toolkit.tokenizer import Tokenizer
from toolkit.translation import Task, fingerprint, learn_tokenizer
from toolkit.translator import Translator

SIDES = "text", "summary"


class Summaries(Program):
    """Train on texts and their summaries; report scores beside those of simple methods, and what a
    summary looks at.
    """

    name, settings = "summaries", Settings
    files = ("tokenizer.json", PICTURE, ATTENTION)
    data_help = "file of lines text<TAB>summary, or of columns that its first line names (made minutes of a club)"
    defaults_note = "; defaults for the made minutes (docstrings and --data have their own)"

    # --- data -------------------------------------------------------------------------------------

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        help = "the docstrings and help texts of this Python: first sentences from the rest"
        parser.add_argument("--docstrings", action="store_true", default=None, help=help)

    def describe(self, options: argparse.Namespace) -> Data:
        """Whether the data are docstrings."""
        if options.docstrings and options.data:
            raise UserError("--docstrings takes those of this Python; leave out --data, or give that alone")
        return {"docstrings": bool(options.docstrings)}

    def run_name(self, data: Data) -> str:
        """The kind of the texts."""
        return self.name if data["path"] else "docstrings" if data["docstrings"] else "minutes"

    def load(self, data: Data) -> Corpus:
        """The made minutes, the docstrings, or the pairs of a file, of which a twentieth each is
        held out to validate and to test by.
        """
        if data["path"] is not None:
            return load_parallel(data["path"], *SIDES, names=SUMMARISED)
        return docstring_corpus() if data["docstrings"] else plans.corpus()

    def load_whole(self, data: Data) -> Corpus:
        loaded = load_parallel(data["path"], *SIDES, whole=True, names=SUMMARISED)
        name = f"texts of {Path(data['path']).name}"  # some of them may have been trained on
        return replace(loaded, tests={name if stem == "test" else stem: pairs for stem, pairs in loaded.tests.items()})

    def tested(self, loaded: Corpus) -> list[str]:
        return [text for pairs in loaded.tests.values() for text, _ in pairs]

    def trained(self, loaded: Corpus) -> set[str]:
        return {text for text, _ in (*loaded.train, *loaded.validation)}

    def fingerprint(self, loaded: Corpus) -> str:
        return fingerprint(loaded)

    def notes(self, loaded: Corpus) -> Sequence[str]:
        return loaded.notes

    # --- train ------------------------------------------------------------------------------------

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """What suits the data and the architecture."""
        return presets(given, _is_made(data))

    def make_task(self, loaded: Corpus, settings: Settings, run: Run | None) -> Task:
        """Writing summaries; a resumed run has its tokenizer already."""
        tokenizer = kept_or(run, "tokenizer.json", Tokenizer.load, lambda: learn_tokenizer(loaded, settings))
        return Task(loaded, tokenizer, settings)

    def save(self, task: Task, run: Run) -> None:
        task.tokenizer.save(run.path("tokenizer.json"))

    def sizes(self, task: Task) -> str:
        long = f"; left out {task.dropped:,} of more than {task.longest} tokens" if task.dropped else ""
        texts = f"{counted(len(task.batches), 'text')} to train on, {counted(task.tokenizer.vocab_size, 'sub-word')}"
        return f"{texts}, {super().sizes(task)}{long}"

    def report(self, run: Run, loaded: Corpus, task: Task) -> None:
        """Tables and pictures of a trained run."""
        translator = Translator(run, device=run.settings.device)
        shown = report(run, translator, way_of_writing(translator), loaded, loaded, _is_made(run.about["data"]))
        print("summarise by:")
        print(f"  {self.advice('summarize', {'--run': run.folder}, shown)}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "scores of held-out texts, beside those of simple methods")
        help = "file of other texts and summaries, all of which are scored, or where that of the run is now"
        made.add_argument("--data", type=console.path, metavar="PATH", help=help)
        _add_ways(made)

        made = add("summarize", self.summarize, "the summaries of texts")
        made.add_argument("texts", nargs="*", type=as_line, metavar="TEXT")
        help = "texts, one a line; - is standard input"
        made.add_argument("--input", type=console.path, metavar="FILE", help=help)
        _add_ways(made)

        made = add("attention", self.attention, "a picture of what each word of a summary looks at")
        made.add_argument("text", type=as_line, metavar="TEXT")
        help = "where to write the picture; into the run if not given"
        made.add_argument("--output", type=console.path, metavar="PNG", help=help)

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the scores of a run, and draw them."""
        run, translator, write = self._open_to_write(options)
        loaded, own = load_to_test(self, run, options.data)
        trained = loaded if own else tell_seen(self, run, loaded)
        made = own and _is_made(run.about["data"])
        report(run if own else run.tested_on(options.data), translator, write, loaded, trained, made)

    def summarize(self, options: argparse.Namespace) -> None:
        """Print a summary for each text, a line each."""
        if bool(options.texts) == bool(options.input):
            raise UserError("give texts to summarise, or a file of them by --input FILE (- is standard input)")
        where = (
            "standard input line" if options.input == STDIN else f"{options.input} line" if options.input else "text"
        )
        texts = read_lines(options.input, "remove it", what="text") if options.input else options.texts
        _, _, write = self._open_to_write(options)
        for line in write([_flat(text) for text in texts], where):
            print(line)

    def attention(self, options: argparse.Namespace) -> None:
        """Draw what the words of a summary look at."""
        run, translator = self._open(options)
        path = picture_path(options.output or run.path(ATTENTION))
        drawn = draw_attention(translator, _flat(options.text), path)
        if drawn is None:
            raise UserError(f"{run.folder} was trained with --attention none: there is nothing to draw")
        print(drawn)

    def _open(self, options: argparse.Namespace) -> tuple[Run, Translator]:
        """The run given by --run, and its network."""
        run, device = self.open(options)
        return run, Translator(run, options.weights, device)

    def _open_to_write(self, options: argparse.Namespace) -> tuple[Run, Translator, Write]:
        """As `_open`, and how summaries are written."""
        run, translator = self._open(options)
        return run, translator, way_of_writing(translator, options.beam, options.samples, options.temperature)


def _add_ways(parser: argparse.ArgumentParser) -> None:
    """--beam, --samples, --temperature."""
    help = "hypotheses of a beam search; 1: greedy (drawn ones, if the run was trained with --samples)"
    parser.add_argument("--beam", type=beam_size, metavar="K", help=help)
    help = "of so many drawn summaries, the one most like all is taken (as the run was trained)"
    parser.add_argument("--samples", type=integer(1, 9_999), metavar="N", help=help)
    help = "by which they are drawn (as the run was trained)"
    parser.add_argument("--temperature", type=real(0.01, 100), metavar="T", help=help)


def _is_made(data: Data) -> bool:
    """Whether the data are the made minutes, of which the rule is known."""
    return data["path"] is None and not data["docstrings"]


def _flat(text: str) -> str:
    """A text of several lines as one."""
    return " ".join(text.split())


main = Summaries().main

if __name__ == "__main__":
    sys.exit(console.run(main))
