"""Training that begins with the weights of a trained run instead of random ones (fine-tuning).

The sub-words and the architecture are those of that run, since its weights mean nothing without
them. Its batches, dropout, losses and Adam's constants are kept unless others are given; the data,
the rate, how long it takes and the order of the batches are new.

The new run keeps what it began with in ``start.safetensors``: what becomes of the other folder is
nothing to it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minitensor import nn
from toolkit.checkpoints import Checkpoints, load_file
from toolkit.console import UserError
from toolkit.language_names import same_language
from toolkit.other_data import tell_seen
from toolkit.program import Program, load_weights
from toolkit.recipes import in_words
from toolkit.runs import Run
from toolkit.settings import refuse_options
from toolkit.targets import targets_of
from toolkit.tokenizer import Tokenizer
from toolkit.translation import RECURRENT_ONLY, TRANSFORMER_ONLY, Settings

__all__ = ["FALLING", "Start", "Starts", "check_decided"]

REGULARISED = ("dropout", "attention_dropout", "ff_dropout", "label_smoothing", "r_drop", "bpe_dropout")
KEPT = (*REGULARISED, "max_length", "max_tokens", "accumulate", "beta1", "beta2", "eps", "clip")
ARCHITECTURE = tuple(name for name in (*RECURRENT_ONLY, *TRANSFORMER_ONLY) if name not in REGULARISED)
SHAPE = ("arch", "d_model", "layers", *ARCHITECTURE, "vocab", "moses")  # what the weights are for
# A rate at which good weights are not lost: about a fifth of that of a new Transformer.
FALLING: dict[str, Any] = dict(lr=1e-3, schedule="cosine", warmup=100, epochs=10)
RECURRENT_RATE = 3e-4  # and of a new recurrent network


class Start:
    """The trained run in ``folder``, of program ``program``, that another one begins with."""

    def __init__(self, folder: str, program: str, data_names: list[str]) -> None:
        """Raises UserError if there is none, or one of another program."""
        if not folder:
            raise UserError("--start-from needs the folder of a trained run")
        self.run = Run.open(Path(folder), program, Settings, data_names)

    def presets(self, data: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Settings in the place of the defaults. Raises UserError for a ``given`` one that the
        weights decide or the architecture lacks, and for ``data`` of other languages.
        """
        which = f"--start-from {self.run.folder}"
        self.check_languages(data, which)
        its = self.run.settings
        recurrent = its.arch != "transformer"
        if given.get("arch", its.arch) == its.arch:
            lacking = TRANSFORMER_ONLY if recurrent else RECURRENT_ONLY
            refuse_options(given, lacking, f"{which}, a run of --arch {its.arch},")
        kept = {name: getattr(its, name) for name in (*SHAPE, *KEPT)}
        # Learned positions have a weight for each; no depth of its own is that of the encoder.
        decided = (*SHAPE, *(("max_length",) if its.positions == "learned" else ()))
        same = {**kept, "decoder_layers": its.decoder_depth}
        for name in decided:
            check_decided(which, name, same[name], given)
        return kept | FALLING | ({"lr": RECURRENT_RATE} if recurrent else {})

    def check_languages(self, data: dict[str, Any], which: str) -> None:
        """Raise UserError, which names the option ``which``, for ``data`` of other languages."""
        its = self.run.about["data"]
        ours, theirs = targets_of(data), targets_of(its)
        alike = same_language(data["source"], its["source"])
        if len(theirs) > 1:  # each has a token of its own, by its name
            alike = alike and sorted(ours) == sorted(theirs)
        else:
            alike = alike and len(ours) == 1 and same_language(ours[0], theirs[0])
        if not alike:
            names = [f"--source {one['source']} --target {one['target']}" for one in (its, data)]
            raise UserError(f"{which}: that run was trained with {names[0]}, and its weights are not for {names[1]}")

    def tokenizer(self) -> Tokenizer:
        """Its sub-words."""
        return Tokenizer.load(self.run.path("tokenizer.json"))

    def load_into(self, model: nn.Module) -> None:
        """Give the model its weights."""
        load_weights(model, self.run)


def check_decided(which: str, name: str, value: Any, given: dict[str, Any]) -> None:
    """Raise UserError if a setting is ``given`` another value than that of the option ``which``."""
    if given.get(name, value) != value:
        flag = name.replace("_", "-")
        flag = f"no-{flag}" if given[name] is False else flag
        raise UserError(f"{which}: its weights are of a training {in_words(name, value)}; leave out --{flag}")


class Starts(Program):
    """A program whose runs may begin with trained ones, by --start-from."""

    settings = Settings

    def train(self, options: argparse.Namespace) -> int:
        """As ever; the run that another begins with stays as it is. Its path is kept whole."""
        if start := vars(options).get("start_from"):
            options.start_from = os.path.abspath(start)
            if not options.resume and options.out and os.path.exists(options.out) and os.path.exists(start):
                if os.path.samefile(start, options.out):
                    raise UserError(f"--start-from {start} is the folder of --out too; name a new one for the run")
        return super().train(options)

    def start(self, folder: str) -> Start:
        """The run in the folder that --start-from names."""
        return Start(folder, self.name, self._data_names)

    def load_beginning(self, model: nn.Module, run: Run) -> None:
        """Give a resumed run that has no checkpoint yet what it began with."""
        checkpoints = Checkpoints(run.folder)
        if run.settings.start_from and not checkpoints.last.exists():
            if not checkpoints.start.exists():
                raise UserError(
                    f"{run.folder} was stopped before it had kept the weights that it began with; start it again by --force"
                )
            model.load_state_dict(load_file(checkpoints.start))

    def keep_beginning(self, model: nn.Module, run: Run) -> None:
        """Keep the weights of a new run, if it begins with trained ones."""
        checkpoints = Checkpoints(run.folder)
        if run.settings.start_from and not checkpoints.start.exists() and not checkpoints.last.exists():
            checkpoints.save_start(model.state_dict())

    def origins(self, run: Run) -> list[str]:
        """The folders of the runs that this one has learned from."""
        return [run.settings.start_from] if run.settings.start_from else []

    def tell_seen_before(self, runs: Sequence[Run], tested: Any) -> None:
        """Say on stderr how many of the inputs to be ``tested`` by those that the ``runs`` have
        learned from were trained on, and those before these, if they can still be read.
        """
        known = {os.path.realpath(run.folder) for run in runs}
        waiting = [folder for run in runs for folder in self.origins(run)]
        while waiting:
            folder = waiting.pop(0)
            if os.path.realpath(folder) in known:
                continue
            known.add(os.path.realpath(folder))
            try:
                run = self.start(folder).run
            except UserError:
                continue
            tell_seen(self, run, tested)
            waiting += self.origins(run)
