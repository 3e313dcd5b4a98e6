"""Training that begins with the weights of a trained run instead of random ones (fine-tuning).

The sub-words and the architecture are those of that run, since its weights mean nothing without
them; dropout and label smoothing are too, unless others are given. What is learned from is new: the
data, the rate, the optimiser's moments, the order of the batches.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from minitensor import nn
from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError
from toolkit.language_names import same_language
from toolkit.program import Program, load_weights
from toolkit.runs import Run
from toolkit.targets import targets_of
from toolkit.tokenizer import Tokenizer
from toolkit.translation import RECURRENT_ONLY, TRANSFORMER_ONLY, Settings

__all__ = ["Start", "Starts"]

REGULARISED = ("dropout", "attention_dropout", "ff_dropout", "label_smoothing")
ARCHITECTURE = tuple(name for name in (*RECURRENT_ONLY, *TRANSFORMER_ONLY) if name not in REGULARISED)
SHAPE = ("arch", "d_model", "layers", *ARCHITECTURE, "max_length", "vocab", "moses")  # what the weights are for
# A rate at which good weights are not lost: a fifth of that of a new Transformer.
FALLING: dict[str, Any] = dict(lr=1e-3, schedule="cosine", warmup=100, epochs=10)


class Start:
    """The trained run in ``folder``, of program ``program``, that another one begins with."""

    def __init__(self, folder: str, program: str, data_names: list[str]) -> None:
        """Raises UserError if there is none, or one of another program."""
        self.run = Run.open(Path(folder), program, Settings, data_names)

    def presets(self, data: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Settings in the place of the defaults. Raises UserError for a ``given`` one that the
        weights decide, and for ``data`` of other languages.
        """
        its = self.run.about["data"]
        ours, theirs = ([one["source"], *targets_of(one)] for one in (data, its))
        if len(ours) != len(theirs) or not all(map(same_language, ours, theirs)):
            names = [f"{source} to {','.join(targets)}" for source, *targets in (theirs, ours)]
            raise UserError(f"--start-from {self.run.folder}: that run translates {names[0]}, not {names[1]}")
        kept = {name: getattr(self.run.settings, name) for name in (*SHAPE, *REGULARISED)}
        unlike = next((name for name in SHAPE if given.get(name, kept[name]) != kept[name]), None)
        if unlike:
            flag = "--" + unlike.replace("_", "-")
            raise UserError(
                f"--start-from {self.run.folder}: its weights are for {flag} {kept[unlike]}, not {given[unlike]};"
                f" leave out {flag}, or --start-from"
            )
        return kept | FALLING

    def tokenizer(self) -> Tokenizer:
        """Its sub-words."""
        return Tokenizer.load(self.run.path("tokenizer.json"))

    def load_into(self, model: nn.Module) -> None:
        """Give the model its weights."""
        load_weights(model, self.run)


class Starts(Program):
    """A program whose runs may begin with trained ones, by --start-from."""

    settings = Settings

    def train(self, options: argparse.Namespace) -> int:
        """As ever; the run that another begins with stays as it is."""
        start = vars(options).get("start_from")
        if start and options.out and os.path.realpath(start) == os.path.realpath(options.out):
            raise UserError(f"--start-from {start} is the folder of --out too; name a new one for the run")
        return super().train(options)

    def chosen(self, data: dict[str, Any], given: dict[str, Any], loaded: Any = None) -> Any:
        """With the whole path of --start-from: the run may be resumed from another folder."""
        if "start_from" in given:
            given = {**given, "start_from": os.path.abspath(given["start_from"])}
        return super().chosen(data, given, loaded)

    def start(self, folder: str) -> Start:
        """The run in the folder that --start-from names."""
        return Start(folder, self.name, self._data_names)

    def start_of(self, settings: Settings, run: Run | None) -> Start | None:
        """What a new run begins with, and one that is resumed before it has a checkpoint; None if
        that is random weights, or the checkpoint.
        """
        begun = run is not None and Checkpoints(run.folder).last.exists()
        return self.start(settings.start_from) if settings.start_from and not begun else None
