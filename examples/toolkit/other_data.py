"""Data to test a run on: the held-out part of its own, or all of other data."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from typing import Any

from toolkit.console import UserError, counted, note, say
from toolkit.program import Program
from toolkit.runs import Run

__all__ = ["load_to_test", "tell_seen", "trained_on"]


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
    same_place = same_place and program.where({**data, "path": about["path"]}) == program.where(about)
    notes = io.StringIO()
    try:
        with redirect_stderr(notes):
            loaded = program.load(data)
        own = program.fingerprint(loaded) == about["fingerprint"]
    except UserError:
        if same_place:
            raise
        own = False  # other data may lack what training needs, or be too few
    if not own and not same_place:
        return program.load_whole(data), False  # which has notes of its own
    for line in notes.getvalue().splitlines():
        say(line)
    if not own:
        note(
            f"{program.where(data)} has changed since the training; some of what {run.folder} is tested by may have been"
            " trained on"
        )
    return loaded, True


def tell_seen(program: Program, run: Run, others: Any) -> Any:
    """Say on stderr how many of the other data the run has seen in training, if its own can still
    be read. Returns these, to which simple methods can be fitted; None if they are gone or have
    changed.
    """
    tested = program.tested(others)
    own = _own(program, run)
    if own is None:
        return None
    seen = program.trained(own)
    count = sum(text in seen for text in tested)
    if count:
        note(f"of {counted(len(tested), 'input')} to be tested by, {run.folder} was trained on {count:,}")
    return _unchanged(program, run, own)


def trained_on(program: Program, run: Run) -> Any:
    """The data that the run was trained on; None if they are gone or have changed."""
    return _unchanged(program, run, _own(program, run))


def _own(program: Program, run: Run) -> Any:
    """What is where the run's data were; None if it cannot be read."""
    try:
        with redirect_stderr(io.StringIO()):  # what its notes say was said when it was trained
            return program.load_again(run)
    except UserError:
        return None


def _unchanged(program: Program, run: Run, own: Any) -> Any:
    return own if own is not None and program.fingerprint(own) == run.about["data"]["fingerprint"] else None
