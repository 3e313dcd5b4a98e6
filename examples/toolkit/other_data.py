"""Data to test a run on: the held-out part of its own, or all of other data."""

from __future__ import annotations

import os
from typing import Any

from toolkit.console import UserError, counted, note
from toolkit.program import Program
from toolkit.runs import Run

__all__ = ["load_to_test", "tell_seen"]


def load_to_test(program: Program, run: Run, path: str | None = None, **how: Any) -> tuple[Any, bool]:
    """The data of ``path``, if given, and whether they are the run's own, moved or not. ``how``:
    other entries of ``data``.

    stderr tells the `Example.notes` on them, and if the data at the place of the run's own have
    changed.
    """
    loaded, own = _load(program, run, path, how)
    for line in program.notes(loaded):
        note(line)
    return loaded, own


def _load(program: Program, run: Run, path: str | None, how: dict[str, Any]) -> tuple[Any, bool]:
    """As `load_to_test`, without the notes."""
    about = run.about["data"]
    data = {**about, **how, "path": path or about["path"]}
    same_place = not path or (about["path"] and os.path.realpath(path) == os.path.realpath(about["path"]))
    try:
        loaded = program.load(data)
        own = program.fingerprint(loaded) == about["fingerprint"]
    except UserError:
        if same_place:
            raise
        own = False  # other data may lack what training needs, or be too few
    if not own and not same_place:
        return program.load_whole(data), False
    if not own:
        what = data["path"] or "what is embedded"
        note(f"{what} has changed since the training; some of what {run.folder} is tested by may have been trained on")
    return loaded, True


def tell_seen(program: Program, run: Run, others: Any) -> Any:
    """Say on stderr how many of the other data the run has seen in training, if its own can still
    be read. Returns these, to which simple methods can be fitted; None if they are gone or have
    changed.
    """
    tested = program.tested(others)
    try:
        own = program.load_again(run)
    except UserError:
        return None
    seen = program.trained(own)
    count = sum(text in seen for text in tested)
    if count:
        note(f"of {counted(len(tested), 'input')} to be tested by, {run.folder} was trained on {count:,}")
    return own if program.fingerprint(own) == run.about["data"]["fingerprint"] else None
