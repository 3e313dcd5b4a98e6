"""What may change when a run is resumed: how long it trains, how often it saves, where it computes.

Nothing that affects learning may.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from toolkit.console import UserError
from toolkit.runs import Run
from toolkit.settings import given_options

__all__ = ["ENDS", "RESUME_HELP", "resumed_settings"]

ENDS = {"epochs", "steps"}  # of which a given one takes the place of the others, preset or default
LIMITS = (*sorted(ENDS), "minutes", "patience")  # of which those given to --resume take the place of all former ones
FREE = {*LIMITS, "save_every", "device"}  # what --resume may change
RESUME_HELP = "go on with the run in --out; limits that are given, such as --steps, take the place of all former ones"


def resumed_settings(options: argparse.Namespace, run: Run, data_names: Sequence[str]) -> Any:
    """The settings of a resumed run. Raises UserError if those given, or other data, would make it
    another run.

    Limits that are given take the place of all former ones, except the last update if the learning
    rate depends on it. ``data_names``: the options that say what the data are; the run has the
    same.
    """
    data = {name: run.about["data"][name] for name in data_names}
    if options.force or any(getattr(options, name) not in (None, value) for name, value in data.items()):
        flags = _listed(["force", *data], " and ")
        raise UserError(f"--resume goes on with the run as it is: leave out {flags}")
    given = given_options(options, type(run.settings))
    free = FREE - ENDS if run.settings.schedule == "cosine" else FREE
    fixed = sorted(name for name, value in given.items() if name not in free and value != getattr(run.settings, name))
    if fixed:
        why = ""
        if ENDS & set(fixed):
            why = " (the learning rate of --schedule cosine ends with them; --minutes and --patience can)"
        raise UserError(
            f"a resumed run keeps its settings, {_listed(fixed)} cannot change{why}; start a new run for that"
        )
    limits = free.intersection(LIMITS)
    former = limits if limits & given.keys() else set()
    return dataclasses.replace(run.settings, **{**dict.fromkeys(former), **given})


def _listed(names: list[str], last: str = ", ") -> str:
    """``--force, --source and --target``."""
    flags = ["--" + name.replace("_", "-") for name in names]
    return last.join([", ".join(flags[:-1]), flags[-1]] if flags[1:] else flags)
