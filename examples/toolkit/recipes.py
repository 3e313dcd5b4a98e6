"""Runs that repeat one training by other seeds, for the mean of their figures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError, note
from toolkit.files import read_json
from toolkit.runlog import read_log
from toolkit.runs import Run
from toolkit.translation import RECURRENT_ONLY, TRANSFORMER_ONLY

__all__ = ["TEACHERS", "check_same_recipe", "in_words", "kept_prints"]

# Settings by which no figure changes but by the rounding of another device.
FREE = ("seed", "device", "save_every")
TEACHERS = "teachers.json"  # in a run: a fingerprint of the weights of each of --teachers, by its folder


def check_same_recipe(run: Run, others: Sequence[Run]) -> None:
    """Raise UserError unless all came to their end and have the same data and settings, and each a
    seed of its own; it names both runs and what is unlike.

    Notes tell of runs that ended after other numbers of updates, by --minutes or --patience, and of
    runs that began with the same weights, by --start-from, or learned from the same --teachers:
    their figures differ by less than those of whole trainings do.
    """
    seeds = {run.settings.seed: run}
    for other in others:
        _check_like(run, other)
        twin = seeds.setdefault(other.settings.seed, other)
        if twin is not other:
            raise UserError(
                f"{twin.folder} and {other.folder} have the same seed, {other.settings.seed}: give each run once, or train"
                " another by --seed"
            )
    if others:
        for one in (run, *others):
            if not Checkpoints(one.folder).result.exists():
                raise UserError(
                    f"{one.folder} has no result, weights.safetensors, since its training was interrupted: go on by train"
                    f" --resume --out {one.folder}, or leave it out"
                )
        _tell_updates([run, *others])
        _tell_starts([run, *others])


def _check_like(run: Run, other: Run) -> None:
    """Raise UserError for other languages, data or settings."""
    ours, theirs = run.about["data"], other.about["data"]
    for name in ("source", "target"):
        if ours[name] != theirs[name]:
            raise UserError(
                f"{other.folder} was trained with --{name} {theirs[name]}, {run.folder} with --{name} {ours[name]}: a mean is"
                " of one recipe"
            )
    if ours["fingerprint"] != theirs["fingerprint"]:
        raise UserError(f"{other.folder} was trained on other data than {run.folder}: a mean is of one recipe")
    its, another = _recipe(run), _recipe(other)
    for name in {"arch": "", **its, **another}:  # first that from which others follow
        one, two = its.get(name), another.get(name)
        if one != two:
            raise UserError(
                f"{other.folder} was trained {in_words(name, two)}, {run.folder} {in_words(name, one)}: a mean is of runs that"
                " differ by their seed alone"
            )
    if sorted(kept_prints(run).values()) != sorted(kept_prints(other).values()):
        raise UserError(
            f"{other.folder} has learned from other teachers than {run.folder}, or from other weights of theirs: a mean is of one"
            " recipe"
        )
    if run.settings.start_from != other.settings.start_from:
        _check_starts(run, other)


def _check_starts(run: Run, other: Run) -> None:
    """Raise UserError for runs that began with unlike ones; a note tells if these are gone."""
    starts = []
    for one in (run, other):
        try:
            starts.append(Run.open(Path(one.settings.start_from), run.program, type(run.settings)))
        except UserError:
            note(
                f"{one.settings.start_from}, which {one.folder} began with, is gone: whether the recipe is one is not known"
            )
            return
    _check_like(*starts)


def _recipe(run: Run) -> dict[str, Any]:
    """The settings that count, without those that the architecture does not have; of a run that
    began with another, that it did, and of one with teachers, that it had some.
    """
    lacking = RECURRENT_ONLY if run.settings.arch == "transformer" else TRANSFORMER_ONLY
    recipe = {
        name: value
        for name, value in dataclasses.asdict(run.settings).items()
        if name not in FREE and name not in lacking
    }
    return recipe | {name: "a run" if getattr(run.settings, name) else None for name in ("start_from", "teachers")}


def kept_prints(run: Run) -> dict[str, str]:
    """The fingerprints of the weights that a run has learned from, by folder; empty without
    --teachers.
    """
    kept = read_json(run.path(TEACHERS), "list of teachers") if run.path(TEACHERS).exists() else {}
    if not isinstance(kept, dict):
        raise UserError(f"{run.path(TEACHERS)} has been changed: it is no table of fingerprints")
    return kept


def in_words(name: str, value: Any) -> str:
    """A setting as it was given: ``with --lr 0.005``, ``with --no-moses``, ``without --steps``."""
    flag = name.replace("_", "-")
    if value is None:
        return f"without --{flag}"
    if isinstance(value, bool):
        return f"with --{flag}" if value else f"with --no-{flag}"
    return f"with --{flag} {value}"


def _tell_updates(runs: Sequence[Run]) -> None:
    updates = [max((record.get("step", 0) for record in read_log(run.path("log.jsonl"))), default=0) for run in runs]
    if len(set(updates)) > 1:
        listed = ", ".join(f"{run.folder} after {count:,}" for run, count in zip(runs, updates, strict=True))
        note(f"these runs ended after unlike numbers of updates, which the mean is of: {listed}")


def _tell_starts(runs: Sequence[Run]) -> None:
    starts = Counter(run.settings.start_from for run in runs if run.settings.start_from)
    for start, count in starts.items():
        if count > 1:
            note(
                f"{count} of these runs began with {start}: the interval says how far fine-tuning varies, not how far whole"
                " trainings do"
            )
    if runs[0].settings.teachers:
        note(
            "these runs learned from the same teachers: the interval says nothing of how far other teachers' pupils are"
        )
