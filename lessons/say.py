"""What a lesson shows beside what it prints: claims and pictures."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Picture", "Record", "claim", "picture", "recording"]


@dataclass(frozen=True)
class Picture:
    """A drawn picture: what stands below it, and the file as bytes."""

    caption: str
    png: bytes


@dataclass
class Record:
    """What the lesson that runs now has shown.

    draw: whether pictures are drawn. keep: whether they are also turned into files.
    """

    draw: bool = False
    keep: bool = False
    claims: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


_current: ContextVar[Record | None] = ContextVar("record", default=None)


@contextmanager
def recording(record: Record) -> Iterator[Record]:
    """Let claims and pictures go to ``record``."""
    token = _current.set(record)
    try:
        yield record
    finally:
        _current.reset(token)


def claim(
    text: str, value: Any, *, at_most: float | None = None, at_least: float | None = None, equals: Any = None
) -> None:
    """Print that ``text`` holds, with ``value`` and the bound it keeps; AssertionError if it does
    not. Exactly one bound is given.

    >>> claim("two and two", 2 + 2, equals=4)
    claim: two and two: 4
    """
    bounds = {"at most": at_most, "at least": at_least, "equals": equals}
    given = [(word, bound) for word, bound in bounds.items() if bound is not None]
    if len(given) != 1:
        raise TypeError("claim: give one of at_most=, at_least=, equals=")
    word, bound = given[0]
    holds = value <= bound if word == "at most" else value >= bound if word == "at least" else value == bound
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    said = f"claim: {text}: {shown}" + ("" if word == "equals" else f" ({word} {bound:g})")
    if not holds:
        raise AssertionError(f"{said}: this does not hold, {word} {bound}")
    print(said)
    record = _current.get()
    if record is not None:
        record.claims.append(said)


def picture(
    caption: str, *, width: float = 6.4, height: float = 3.2, rows: int = 1, columns: int = 1
) -> Callable[[Callable[[Any], object]], None]:
    """Decorate a function that draws on matplotlib's axes (an array of them if ``rows`` or
    ``columns`` is more than 1).

    It is called at once if someone wants the picture: the pages, a notebook, or ``run --pictures``.
    """

    def show(function: Callable[[Any], object]) -> None:
        record, notebook = _current.get(), "ipykernel" in sys.modules
        if not notebook and not (record and record.draw):
            print(f"[picture: {caption}]")
            return
        try:
            from matplotlib.figure import Figure
        except ImportError:
            print(f"[picture, left out since matplotlib is not installed: {caption}]")
            return
        figure = Figure((width, height), layout="constrained")
        function(figure.subplots(rows, columns))
        if record and record.keep:
            png = io.BytesIO()
            figure.savefig(png, dpi=144, format="png", metadata={"Software": None})
            record.pictures.append(Picture(caption, png.getvalue()))
        elif notebook and record is None:
            from IPython.display import display

            display(figure)

    return show
