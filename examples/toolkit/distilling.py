"""Training that learns from trained runs besides the references, by --teachers.

The sub-words are those of the teachers, since their probabilities mean nothing without them.
What they give and how it is learned is in `toolkit.teachers`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError
from toolkit.files import read_json, write_text
from toolkit.loading import digest
from toolkit.program import load_weights
from toolkit.runs import Run
from toolkit.starting import Start, Starts, check_decided
from toolkit.teachers import Teachers
from toolkit.tokenizer import Tokenizer
from toolkit.translation import Settings, make_model

__all__ = ["Distills"]

DECIDED = ("vocab", "moses")  # settings that follow from the sub-words, which are those of the teachers
KEPT = "teachers.json"  # in a run: a fingerprint of each teacher's weights


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
        Raises UserError if others are given too, and for teachers of other languages.
        """
        if "teacher_weight" in given and "teachers" not in given:
            raise UserError(f"--teacher-weight {given['teacher_weight']:g} is that of --teachers: name them")
        runs = self.teachers(given.get("teachers"))
        for one in runs:
            which = f"--teachers {one.run.folder}"
            one.check_languages(data, which)
            for name in DECIDED:
                check_decided(which, name, getattr(one.run.settings, name), given)
        return made | {name: getattr(runs[0].run.settings, name) for name in DECIDED if runs}

    def teachers(self, folders: str | None) -> list[Start]:
        """The runs that --teachers names. Raises UserError if one is none, or named twice."""
        named = _folders(folders) if folders is not None else []
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
        runs += self.teachers(settings.teachers)
        if not runs:
            return None
        first, *others = [one.run.path("tokenizer.json").read_bytes() for one in runs]
        for one, its in zip(runs[1:], others, strict=True):
            if its != first:
                raise UserError(
                    f"{one.run.folder} and {runs[0].run.folder} have unlike sub-words: a teacher must know the same ones"
                )
        return runs[0].tokenizer()

    def open_teachers(self, settings: Any, run: Run | None = None) -> Teachers | None:
        """The teachers of ``settings``, None if there are none. Raises UserError if one reads
        shorter sentences alone, or if the weights have changed since ``run`` was begun.
        """
        if not settings.teachers:
            return None
        models = []
        for one in self.teachers(settings.teachers):
            its, folder = one.run.settings, one.run.folder
            if its.max_length < min(settings.max_length, settings.max_tokens):
                raise UserError(
                    f"--teachers {folder} reads up to {its.max_length} tokens: give --max-length {its.max_length}"
                )
            if run and run.path(KEPT).exists():
                _check_unchanged(run, folder)
            model = make_model(its, one.tokenizer().vocab_size, settings.device)
            load_weights(model, one.run)
            models.append(model)
        return Teachers(models, settings.teacher_weight)

    def keep_teachers(self, run: Run) -> None:
        """Keep a fingerprint of the weights that a new run learns from."""
        if run.settings.teachers and not run.path(KEPT).exists():
            prints = {folder: _print(Path(folder)) for folder in _folders(run.settings.teachers)}
            write_text(run.path(KEPT), json.dumps(prints, indent=2) + "\n")

    def origins(self, run: Run) -> list[str]:
        """Also its teachers."""
        return super().origins(run) + (_folders(run.settings.teachers) if run.settings.teachers else [])


def _folders(teachers: str) -> list[str]:
    """The folders in ``runs/a,runs/b``. Raises UserError for an empty name."""
    folders = teachers.split(",")
    if not all(folders):
        raise UserError(f"--teachers {teachers} has an empty name; write runs with a comma between two: runs/1,runs/2")
    return folders


def _check_unchanged(run: Run, teacher: Path) -> None:
    """Raise UserError unless a teacher has the weights that it had when ``run`` was begun."""
    kept = read_json(run.path(KEPT), "list of teachers")
    if not (isinstance(kept, dict) and kept.get(str(teacher)) == _print(teacher)):
        raise UserError(
            f"the weights of {teacher} have changed since {run.folder} began to learn from them: start a new run"
        )


def _print(folder: Path) -> str:
    """A fingerprint of the weights that a run has now."""
    checkpoints = Checkpoints(folder)
    files = [file for file in (checkpoints.result, checkpoints.best, checkpoints.last) if file.exists()]
    return digest([files[0].read_bytes()]) if files else ""
