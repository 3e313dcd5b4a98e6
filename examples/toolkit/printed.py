"""Tables in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.console import require

__all__ = ["WIDTH", "Table", "print_table"]

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
