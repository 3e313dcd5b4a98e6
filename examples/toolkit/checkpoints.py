"""The files from which a training resumes after any end, and from which its result is made.

    checkpoints/last.safetensors      weights, optimiser, schedule, random state, position
    checkpoints/best.safetensors      the weights of the lowest validation loss
    checkpoints/00001410.safetensors  the weights at one of the latest validations, for averaging
    weights.safetensors               the result, once training is over
    start.safetensors                 the weights of another run that this one began with, if it did

Each file is replaced whole or not at all, and ``last`` is written after the weights that it names:
a kill between two files leaves weights that the resumed run writes again, bit for bit. Files that
``last`` does not name are removed after it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import minitensor as mt
from toolkit.console import UserError, system_words
from toolkit.files import writing

__all__ = ["Checkpoints", "load_file"]

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of the run in ``folder``; with ``writes=False`` they are only read."""

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.writes = writes
        self.folder = folder / "checkpoints"
        self.last = self.folder / "last.safetensors"
        self.best = self.folder / "best.safetensors"
        self.result = folder / "weights.safetensors"
        self.start = folder / "start.safetensors"

    def save(self, state: State, kept: Sequence[int]) -> None:
        """Write ``last``, then remove the weights of all steps but ``kept``."""
        self._write(self.last, state)
        if not self.writes:
            return
        names = {self._at(step).name for step in kept}
        with writing(self.folder):
            for path in self.folder.glob("[0-9]*.safetensors"):
                if path.name not in names:
                    path.unlink()

    def load(self) -> State | None:
        """The state of ``last``, None before the first checkpoint."""
        return load_file(self.last) if self.last.exists() else None

    def check_resumable(self) -> None:
        """Raise UserError if a run has a result but the checkpoint ``last`` is gone."""
        if self.result.exists() and not self.last.exists():
            raise UserError(
                f"{self.last} is gone, and the run cannot go on without it; put it back, or start a new run"
            )

    def keep(self, step: int, weights: State) -> None:
        """Write the weights at ``step``."""
        self._write(self._at(step), weights)

    def save_best(self, weights: State) -> None:
        """Write the weights that validate best so far."""
        self._write(self.best, weights)

    def save_result(self, weights: State) -> None:
        """Write the result of the run."""
        self._write(self.result, weights)

    def save_start(self, weights: State) -> None:
        """Write the weights that the run begins with."""
        self._write(self.start, weights)

    def drop_result(self) -> None:
        """Remove the result: training goes on, and the old result no longer belongs to the run."""
        if self.writes:
            with writing(self.result):
                self.result.unlink(missing_ok=True)

    def _write(self, path: Path, state: State) -> None:
        """Write a file, all of it or nothing. Raises UserError if the system refuses."""
        if not self.writes:
            return
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            mt.save(path, state)

    def average(self, steps: Sequence[int]) -> State:
        """The mean of the weights at ``steps``, summed in float64."""
        sums: State = {}
        for step in steps:
            for name, tensor in load_file(self._at(step)).items():
                array = tensor.data.astype("float64")
                sums[name] = array if name not in sums else sums[name] + array
        like = load_file(self._at(steps[-1]))
        return {name: mt.asarray((array / len(steps)).astype(like[name].dtype)) for name, array in sums.items()}

    def clear(self) -> None:
        """Remove all of them, for a run that starts anew."""
        for path in (*self.folder.glob("*.safetensors"), *self.folder.glob(".*.tmp"), self.result, self.start):
            path.unlink(missing_ok=True)

    def _at(self, step: int) -> Path:
        return self.folder / f"{step:08}.safetensors"


def load_file(path: Path) -> State:
    """What `mt.save` wrote to ``path``. Raises UserError for a file that is missing or damaged."""
    try:
        return mt.load(path)
    except (FileNotFoundError, ValueError) as error:  # the message names the file
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None
