"""Runs that repeat one training by other seeds, for the mean of their figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from toolkit.console import UserError
from toolkit.runs import Run

__all__ = ["check_same_recipe"]

# Settings by which no figure changes but by the rounding of another device.
FREE = ("seed", "device", "save_every")


def check_same_recipe(run: Run, others: Sequence[Run]) -> None:
    """Raise UserError unless the runs have the same data and settings, and each a seed of its own;
    it names both runs and what is unlike.
    """
    seeds = {run.settings.seed: run}
    for other in others:
        if other.about["data"]["fingerprint"] != run.about["data"]["fingerprint"]:
            raise UserError(f"{other.folder} was trained on other data than {run.folder}: a mean is of one recipe")
        ours, theirs = _recipe(run), _recipe(other)
        for name, value in ours.items():
            if theirs[name] != value:
                raise UserError(
                    f"{other.folder} was trained with --{name.replace('_', '-')} {theirs[name]}, {run.folder} with {value}: a"
                    " mean is of runs that differ by their seed alone"
                )
        twin = seeds.setdefault(other.settings.seed, other)
        if twin is not other:
            raise UserError(
                f"{twin.folder} and {other.folder} have the same seed, {other.settings.seed}: give each run once, or train"
                " another by --seed"
            )


def _recipe(run: Run) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(run.settings).items() if name not in FREE}
