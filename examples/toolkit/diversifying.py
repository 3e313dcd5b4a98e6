"""The subcommand ``diversify``: the pairs of a corpus, and beside them what trained models make of
them.

Nguyen, Joty, Kui and Aw, "Data diversification: a simple strategy for neural machine translation",
NeurIPS 2020, arXiv:1911.01986: several models of each direction translate the training pairs, and
one more model is trained on the real pairs and on all translations. It takes no other data; the
models differ by their seeds.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit import console
from toolkit.blank import stripped
from toolkit.console import UserError, counted, note
from toolkit.corpus import FILE, Corpus, Pair
from toolkit.decoding import add_decoding, add_length, search_of
from toolkit.files import check_new_folder, new_folder, write_text
from toolkit.language_names import same_language
from toolkit.numbers import positive_integer
from toolkit.pairs import ROWS
from toolkit.program import Program
from toolkit.runs import Run
from toolkit.targets import targets_of
from toolkit.translation import Settings, fingerprint
from toolkit.translator import Translator

__all__ = ["Diversifies", "Made", "translated", "write_corpus"]


class Diversifies(Program):
    """A program that translates, and makes more pairs to train on by that."""

    settings = Settings

    def commands(self, add: Any) -> None:
        """``diversify``."""
        super().commands(add)
        help = "a folder of data: the pairs, and what trained runs translate of them"
        made = add("diversify", self.diversify, help, of_a_run=False)
        made.add_argument("--data", type=console.path, metavar="PATH", required=True, help="as for train")
        self.add_data_options(made)
        for way, side, kept, other in (
            ("forward", "source to target", "sources", "targets"),
            ("backward", "target to source", "targets", "sources"),
        ):
            help = f"runs of {side}: the training {kept} are kept, and their translations are further {other}"
            made.add_argument(f"--{way}", nargs="+", type=console.path, default=[], metavar="RUN", help=help)
        made.add_argument(
            "--out", type=console.path, required=True, metavar="FOLDER", help="a new folder, for train --data"
        )
        made.add_argument("--device", help='where to translate, "cpu" or "cuda"; where a run was trained if not given')
        made.add_argument(
            "--rows",
            type=positive_integer,
            default=ROWS,
            metavar="N",
            help=f"hypotheses decoded at a time; a GPU is faster with more ({ROWS})",
        )
        add_decoding(made, beam=5)
        add_length(made)

    def diversify(self, options: argparse.Namespace) -> None:
        """Translate the training pairs by each run, and write them all, with val and tests."""
        folders = [*options.forward, *options.backward]
        if not folders:
            raise UserError("diversify needs a trained run, better several: --forward RUN ... --backward RUN ...")
        twice = next((folder for folder, count in Counter(map(os.path.realpath, folders)).items() if count > 1), None)
        if twice:
            raise UserError(f"{twice} is given twice; its translations would be the same")
        how = search_of(options) | {"rows": options.rows}
        check_new_folder(options.out)
        data = {"path": options.data, **self.describe(options)}
        languages = data["source"], data["target"]
        if len(targets_of(data)) > 1:
            raise UserError(f"--target {data['target']}: diversify makes pairs of one target language; name one")
        _check_names(languages)
        runs = [(self._fitting(folder, "--forward", languages), 0) for folder in options.forward]
        runs += [(self._fitting(folder, "--backward", languages[::-1]), 1) for folder in options.backward]
        corpus = self.load(data)[languages[1]]
        for run, side in runs:
            _tell_other_data(run, corpus, side, options.data)
            if run.settings.moses:
                note(
                    f"{run.folder} was trained with --moses: what it writes is in lower case alone, beside the pairs as they are"
                )
        # All are opened now: a run without weights is to be told before hours of translating.
        translators = [Translator(run, device=options.device or run.settings.device) for run, _ in runs]
        train = list(corpus.train)
        print(f"{options.data}: {len(train):,} pairs to train on")
        for (run, side), translator in zip(runs, translators, strict=True):
            made = translated(translator, corpus.train, side, set(train), **how)
            print(f"{run.folder}: {made}", flush=True)
            train += made.pairs
        write_corpus(options.out, replace(corpus, train=train), languages)
        print(f"{options.out}: {len(train):,} pairs to train on; train on them by")
        print(f"  {self.advice('train', {'--data': options.out, '--source': languages[0], '--target': languages[1]})}")

    def _fitting(self, folder: str, option: str, languages: Sequence[str]) -> Run:
        """The run in ``folder``. Raises UserError if it is not of these languages."""
        run = Run.open(Path(folder), self.name, self.settings, self._data_names)
        its = [run.about["data"][side] for side in ("source", "target")]
        if not all(map(same_language, its, languages)):
            raise UserError(
                f"{folder} translates {its[0]} to {its[1]}; {option} takes runs of {' to '.join(languages)}"
            )
        return run


@dataclass(frozen=True)
class Made:
    """The new pairs of one run, and how many of its translations are none."""

    pairs: list[Pair]
    known: int  # pairs that are there already
    none: int  # texts whose translation is blank, or cut off before its end
    long: int  # texts that the model cannot read

    def __str__(self) -> str:
        """One line."""
        left_out = {"there already": self.known, "without a whole translation": self.none, "too long": self.long}
        whys = [f"{count:,} {why}" for why, count in left_out.items() if count]
        return counted(len(self.pairs), "new pair") + (f"; left out {', '.join(whys)}" if whys else "")


def translated(translator: Translator, pairs: Sequence[Pair], side: int, known: set[Pair], **how: Any) -> Made:
    """Pairs of the texts of one ``side`` of ``pairs``, 0 the sources and 1 the targets, with what
    the translator makes of them on the other side, in the order of the texts, each text once.

    known: pairs that are not to be made again. ``how`` goes to `Translator.translate`. Raises
    UserError if all texts are too long for the model.
    """
    texts = list(dict.fromkeys(pair[side] for pair in pairs))
    name = ("source", "target")[side]
    short, _ = translator.short_enough([(text, "") for text in texts], f"train, {name} side")
    kept = [text for text, _ in short]
    found = [stripped(text) for text in translator.translate(kept, where=name, whole=True, **how)]
    made = [(one, other) for one, other in zip(kept, found, strict=True) if other]
    made = [_turned(pair) for pair in made] if side else made
    new = [pair for pair in made if pair not in known]
    return Made(new, len(made) - len(new), len(kept) - len(made), len(texts) - len(kept))


def write_corpus(folder: str, corpus: Corpus, languages: Sequence[str]) -> None:
    """Write a corpus as a new folder that `load_parallel` reads, whole or not at all. Raises
    UserError if the folder exists, or the system refuses.
    """
    with new_folder(folder) as scratch:
        for stem, pairs in {"train": corpus.train, "val": corpus.validation, **corpus.tests}.items():
            for language, texts in zip(languages, zip(*pairs, strict=True), strict=True):
                write_text(scratch / f"{stem}.{language}", "".join(f"{text}\n" for text in texts))


def _check_names(languages: Sequence[str]) -> None:
    """Raise UserError for a language that a file cannot be named by, which a column can."""
    for language in languages:
        if "/" in language or "\\" in language or not FILE.fullmatch(f"train.{language}"):
            raise UserError(f"a file cannot be named train.{language}; name the language by its code, such as en")


def _tell_other_data(run: Run, corpus: Corpus, side: int, path: str) -> None:
    """Say on stderr if a run was trained on other pairs, among which those to test by may be."""
    if side:
        train, validation = ([_turned(pair) for pair in pairs] for pairs in (corpus.train, corpus.validation))
        corpus = replace(corpus, train=train, validation=validation)
    if fingerprint(corpus) != run.about["data"]["fingerprint"]:
        console.note(
            f"{run.folder} was not trained on the pairs of {path}; if it has seen its tests, scores on these will be too good"
        )


def _turned(pair: Pair) -> Pair:
    return pair[1], pair[0]
