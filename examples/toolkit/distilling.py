"""Training that learns from trained runs besides the references, by --teachers.

The sub-words are those of the teachers, since their probabilities mean nothing without them.
What they give and how it is learned is in `toolkit.teachers`.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError
from toolkit.files import write_text
from toolkit.loading import digest
from toolkit.program import load_weights
from toolkit.recipes import TEACHERS, in_words, kept_prints
from toolkit.runs import Run
from toolkit.starting import Start, Starts, check_decided
from toolkit.teachers import Teachers
from toolkit.tokenizer import Tokenizer
from toolkit.translation import Settings, make_model

__all__ = ["DECIDED", "Distills"]

DECIDED = ("vocab", "moses")  # settings that follow from the sub-words, which are those of the teachers


class Distills(Starts):
    """A program whose models may learn from trained runs, by --teachers."""

    settings = Settings

    def train(self, options: argparse.Namespace) -> int:
        """As ever; the teachers stay as they are. Their paths are kept whole."""
        if given := vars(options).get("teachers"):
            folders = _folders(given)
            whole = [os.path.abspath(folder) for folder in folders]
            if odd := next((folder for folder in whole if "," in folder), None):
                raise UserError(
                    f"--teachers: the path {odd} has a comma, which is between two runs; give it another name"
                )
            options.teachers = ",".join(whole)
            if options.out and os.path.realpath(options.out) in map(os.path.realpath, folders):
                raise UserError(f"--out {options.out} is one of --teachers too; name a new folder for the run")
        return super().train(options)

    def taught(self, made: dict[str, Any], data: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """The presets ``made``, with the settings that --teachers decides, if it is ``given``.
        Raises UserError if others are given too, and for teachers of other languages or texts.
        """
        if "teacher_weight" in given and "teachers" not in given:
            raise UserError(f"--teacher-weight {given['teacher_weight']:g} is that of --teachers: name them")
        runs = self.teacher_runs(given.get("teachers"))
        if not runs:
            return made
        decided = {name: getattr(runs[0].run.settings, name) for name in DECIDED}
        others = [runs[0], *([self.start(given["start_from"])] if "start_from" in given else [])]
        for one in runs:
            which = f"--teachers {one.run.folder}"
            one.check_languages(data, which)
            for name in DECIDED:
                check_decided(which, name, getattr(one.run.settings, name), given)
            for other in others:
                _check_same_texts(one.run, other.run)
        longest = min(one.run.settings.max_length for one in runs)
        return made | decided | {"max_length": min(made.get("max_length", Settings.max_length), longest)}

    def teacher_runs(self, folders: str | None) -> list[Start]:
        """The runs that --teachers names. Raises UserError if one is none, or named twice."""
        named = _folders(folders) if folders is not None else []
        for folder in named:
            if not os.path.exists(folder):
                raise UserError(
                    f"--teachers: there is no {folder}; a comma is between two runs, and may be in the path of none"
                )
        real = [os.path.realpath(folder) for folder in named]
        twice = next((folder for folder, its in zip(named, real, strict=True) if real.count(its) > 1), None)
        if twice:
            raise UserError(f"--teachers names {twice} twice")
        return [self.start(folder) for folder in named]

    def decided_tokenizer(self, settings: Any) -> Tokenizer | None:
        """The sub-words of the run that training begins with, or of its teachers; None: it is to
        learn its own. Raises UserError if they have unlike ones.
        """
        runs = [self.start(settings.start_from)] if settings.start_from else []
        runs += self.teacher_runs(settings.teachers)
        tokenizers = [one.tokenizer() for one in runs]
        first, *others = [one.run.path("tokenizer.json").read_bytes() for one in runs] or [b""]
        for one, its in zip(runs[1:], others, strict=True):
            if its != first:
                raise UserError(
                    f"{one.run.folder} and {runs[0].run.folder} have unlike sub-words: a teacher must know the same ones"
                )
        return tokenizers[0] if tokenizers else None

    def open_teachers(self, settings: Any, run: Run | None = None) -> Teachers | None:
        """The teachers of ``settings``, None if there are none. Raises UserError if one reads
        shorter sentences alone, or if the weights have changed since ``run`` was begun.
        """
        if not settings.teachers:
            return None
        models, prints = [], {}
        for one in self.teacher_runs(settings.teachers):
            its, folder = one.run.settings, one.run.folder
            longest = min(settings.max_length, settings.max_tokens)
            if its.max_length < longest:
                raise UserError(
                    f"--teachers {folder} reads up to {its.max_length} tokens, and what is trained {longest}: give"
                    f" --max-length {its.max_length}, or other teachers"
                )
            model = make_model(its, one.tokenizer().vocab_size, settings.device)
            loaded = getattr(Checkpoints(folder), load_weights(model, one.run))
            models.append(model)
            prints[str(folder)] = digest([loaded.read_bytes()])
        if run and run.path(TEACHERS).exists():
            _check_unchanged(run, prints)
        return Teachers(models, settings.teacher_weight, prints)

    def keep_teachers(self, teachers: Teachers | None, run: Run) -> None:
        """Keep fingerprints of the weights that a new run learns from."""
        if teachers and not run.path(TEACHERS).exists():
            write_text(run.path(TEACHERS), json.dumps(teachers.prints, indent=2) + "\n")

    def origins(self, run: Run) -> list[str]:
        """Also its teachers."""
        return super().origins(run) + (_folders(run.settings.teachers) if run.settings.teachers else [])


def _folders(teachers: str) -> list[str]:
    """The folders in ``runs/a,runs/b``. Raises UserError for an empty name."""
    folders = teachers.split(",")
    if not all(folders):
        raise UserError(f"--teachers {teachers} has an empty name; write runs with a comma between two: runs/1,runs/2")
    return folders


def _check_unchanged(run: Run, prints: dict[str, str]) -> None:
    """Raise UserError unless the teachers have the weights that they had when ``run`` was begun."""
    kept = kept_prints(run)
    for folder, its in prints.items():
        if kept.get(folder) != its:
            raise UserError(
                f"the weights of {folder} have changed since {run.folder} began to learn from them: start a new run"
            )


def _check_same_texts(run: Run, other: Run) -> None:
    """Raise UserError if one of the two reads and writes Moses tokens alone."""
    its, another = (in_words("moses", one.settings.moses) for one in (run, other))
    if its != another:
        raise UserError(
            f"{run.folder} was trained {its}, {other.folder} {another}: a teacher must read and write the same texts"
        )
