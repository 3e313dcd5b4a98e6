"""What the two sides of a file of pairs are called, and in which of its columns they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from toolkit.blank import stripped
from toolkit.column_names import Wanted, find_named, is_line_of_names, known_names
from toolkit.columns import find_pair
from toolkit.console import UserError, counted
from toolkit.reading import check_filled

__all__ = ["Pairs"]

CURE = "write it, or remove the line"


@dataclass(frozen=True)
class Pairs:
    """What the two sides of pairs are called in the file and in errors: two languages, or two kinds
    of text.
    """

    source: str
    target: str
    names: Wanted | None = None  # None: languages

    @property
    def languages(self) -> bool:
        """Whether the two sides are languages."""
        return self.names is None

    @property
    def one(self) -> str:
        """What there are pairs of."""
        return "sentence" if self.languages else self.source

    @property
    def line(self) -> str:
        """A line without names for its columns."""
        return "sentence<TAB>translation" if self.languages else f"{self.source}<TAB>{self.target}"

    def check_side(self, path: Path, numbers: Iterable[int], side: int) -> None:
        """Raise UserError for the numbers of lines with a blank side, 0 or 1."""
        if self.languages:
            check_filled(str(path), numbers, f"empty on the {('source', 'target')[side]} side")
        else:
            check_filled(str(path), numbers, f"without {('a', 'its')[side]} {(self.source, self.target)[side]}", CURE)

    def columns(self, rows: list[list[str]], path: str, line: int) -> tuple[tuple[int, int], bool, tuple[str, ...]]:
        """The columns of both sides, whether the first row names them, and notes on that. ``line``
        is its number. Raises UserError if that cannot be told.
        """
        if self.names is None:
            return *find_pair(rows, self.source, self.target, path, line), ()
        where = f"{path} line {line}"
        first = [cell if cell not in {row[n] for row in rows[1:2]} else "" for n, cell in enumerate(rows[0])]
        named = find_named(first, self.names, where)
        if named:
            return (named[0], named[1]), True, ()
        if len(first) != 2:
            raise UserError(
                f"{where} has {counted(len(first), 'column')} separated by tabs; it must be {self.line} (or begin with a line"
                f" of names, such as: id<TAB>{self.line}; known are names of {known_names(self.names)})"
            )
        if not is_line_of_names(rows, 0):
            return (0, 1), False, ()
        shown = ": ".join(map(stripped, rows[0]))
        told = f"{where}, {shown}, is taken for names of the columns; almost all other lines are far longer"
        return (0, 1), True, (told,)
