"""How a claim is reported: tables in the terminal, axes of the pictures, numbers in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.console import require
from toolkit.plots import GREY

__all__ = ["ENOUGH", "Table", "axes_of", "listed", "magnitude", "print_table", "reach"]

ENOUGH = 0.9  # share of right answers above which a network counts as able
WIDTH = 100  # of a table if there is no terminal


@dataclass(frozen=True)
class Table:
    """A heading and rows of cells; the first column is aligned to the left."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_table(table: Table) -> None:
    """Print with `rich`, as wide as the terminal."""
    rich = require("rich.table", "train")
    text = require("rich.text", "train").Text  # as it is: brackets are no markup
    made = rich.Table(title=text(table.title), title_justify="left", box=require("rich.box", "train").SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        made.add_column(text(column), justify="right" if number else "left")
    for row in table.rows:
        made.add_row(*map(text, row))
    require("rich.console", "train").Console(width=None if sys.stdout.isatty() else WIDTH).print(made)


def axes_of(axes: Any, title: str, x_label: str, y_label: str) -> Any:
    """``axes`` in the style of the toolkit's pictures."""
    axes.set_title(title, fontsize=10, color=GREY)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def listed(names: Sequence[str], none: str = "none") -> str:
    """``"a"``, ``"a and b"``, ``"a, b and c"``; ``none`` if there are no names.

    >>> listed(["RNN", "LSTM", "GRU"])
    'RNN, LSTM and GRU'
    """
    *others, last = names or [none]
    return f"{', '.join(others)} and {last}" if others else last


def magnitude(value: float) -> str:
    """A number that is not negative in a few characters, as a power of ten if it is very small or
    large.

    >>> magnitude(0.25), magnitude(3.1e-12), magnitude(4.2e9)
    ('0.25', '3e-12', '4e+09')
    """
    return f"{value:.2f}" if value == 0 or 0.01 <= value < 1000 else f"{value:.0e}"


def reach(values: Sequence[float], lengths: Sequence[int]) -> int:
    """The longest of ``lengths`` up to which all ``values`` are `ENOUGH`; 0 if the first is not.

    >>> reach([1.0, 0.95, 0.4, 0.9], [10, 25, 50, 100])
    25
    """
    longest = 0
    for length, value in zip(lengths, values, strict=True):
        if value < ENOUGH:
            break
        longest = length
    return longest
