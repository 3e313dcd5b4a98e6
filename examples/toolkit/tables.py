"""Tables in CSV files: a line of names, and under it rows of as many cells. Files that would be
misread are refused.

A line ends at LF or CR LF, cells are separated by commas, and one in quotes may hold both.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolkit.blank import is_blank, stripped
from toolkit.console import UserError
from toolkit.dates import is_date
from toolkit.reading import read_text

__all__ = ["Table", "is_number", "read_table"]

WHITE = " \t\n\r\f\v"
END = "\x1a"  # put behind the last row: read as a separate row unless a quote is open
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
UNKNOWN = ("", "-", "?", "na", "n/a", "nan", "null", "none")  # marks of a missing value


@dataclass(frozen=True)
class Table:
    """``rows`` of cells under ``names``, equally many; ``lines`` says on which line of the file
    each begins.
    """

    path: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def place(self, column: str | None) -> int:
        """The place of a column, by default of the last one. Raises UserError if there is no such
        column, or several.
        """
        if column is None:
            place = len(self.names) - 1
        elif column not in self.names:
            raise UserError(f"{self.path} has no column {column!r}; there are: {', '.join(self.names)}")
        elif self.names.count(column) > 1:
            raise UserError(f"{self.path} has several columns {column!r}; give each a different name")
        else:
            place = self.names.index(column)
        if is_number(self.names[place]) and not self.names[place].isdigit():  # a year may be a name
            raise UserError(f"{self.path} begins with a row of values; put a line of names before it")
        return place

    def numbers(self, place: int) -> list[float]:
        """A column's values. Raises UserError for a cell that is no number, naming its line and a
        likely reason.
        """
        for row, cells in enumerate(self.rows):
            cell = cells[place].strip()
            if not is_number(cell):
                where = f"{self.path} line {self.lines[row]}, column {self.names[place]}"
                raise UserError(f"{where}: {cell!r} is not a number{self._likely_reason(row, place)}")
        return [float(cells[place]) for cells in self.rows]

    def _likely_reason(self, row: int, place: int) -> str:
        cell = stripped(self.rows[row][place])
        if len(self.names) > 1 and all(map(is_blank, self.rows[row])):
            return "; the line is blank: remove it, or fill it in if it stands for a step of time"
        if cell.lower() in UNKNOWN:
            return "; fill in what is missing"
        line = f"; write one there, or remove line {self.lines[row]}"
        if _size(cell) == math.inf:
            return line
        if row == 0 and len(self.rows) > 1 and is_number(self.rows[1][place]):
            return f"; if line {self.lines[0]} is the line of names, remove the lines above it"
        for separator, name in SEPARATORS.items():
            if len(cell.split(separator)) > 1 and is_number(cell.split(separator)[-1].replace(",", ".")):
                return f"; if columns are separated by {name}, separate them by commas"
        if is_number(cell.replace(",", "")):
            return "; write numbers with a point, and without commas"
        if any(is_number(cells[place]) for cells in self.rows):
            return line
        return "; name another column by --column" if len(self.names) > 1 else ""


def read_table(path: str) -> Table:
    """The table in a CSV file, packed or not, UTF-8. Raises UserError for a file that cannot be
    read, or would be misread.

    For example a quote that is not closed, a row that is longer or shorter than the line of names,
    another separator, no names.
    """
    # A lone CR is a blank; the csv module would take it for a line end.
    text = read_text(path).rstrip(WHITE + END).replace("\r", " ")
    lines = text.split("\n")
    if len(lines) < 2:
        raise UserError(f"{path} holds no values; it must have a line of names and then a line for each step of time")
    _check_separators(path, lines)
    found = list(_rows(path, text))
    if len(found) < 2:
        raise UserError(f"{path} holds no values under its line of names")
    (_, names), *body = found
    names = [name.strip() for name in names]
    _check_names(path, names, body[0][1])
    for (start, row), (after, _) in zip(body, [*body[1:], (len(lines) + 1, [])]):
        _check_length(path, start, row, names)
        if after - start > 1:
            _check_swallowed(path, start, lines[start - 1 : after - 1], body[0][1])
    return Table(str(path), names, [row or [""] * len(names) for _, row in body], [start for start, _ in body])


def is_number(text: str) -> bool:
    """Whether a cell is a finite number; 1_000 is one in Python alone."""
    return _size(text) < math.inf and "_" not in text


def _size(text: str) -> float:
    """The absolute value of what Python reads, infinite for -inf or 1e999; nan if it is no
    number.
    """
    try:
        return abs(float(text))
    except ValueError:
        return math.nan


def _rows(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its cells."""
    reader = csv.reader(io.StringIO(f"{text}\n{END}", newline="\n"))  # it cuts lines at LF alone
    last = text.count("\n") + 1
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except csv.Error:  # a cell too long for the module
            raise UserError(
                f"{path} line {start} has a cell of more than {csv.field_size_limit():,} characters; is a quote not closed?"
            ) from None
        if row == [END] and reader.line_num > last:  # elsewhere it is what DOS ended files by
            return
        if row and row[-1].endswith(END) and reader.line_num > last:
            raise UserError(f"{path} line {start} opens a quote that is never closed; close it, or leave it out")
        yield start, row


def _check_separators(path: str, lines: Sequence[str]) -> None:
    for separator, name in SEPARATORS.items():
        if separator != " " and separator in lines[0] and separator in lines[1] and "," not in lines[0]:
            raise UserError(
                f"{path} separates its columns by {name}: {lines[0][:60]!r}; separate them by commas, and write numbers with"
                " a point"
            )


def _check_names(path: str, names: Sequence[str], first: Sequence[str]) -> None:
    """Raise UserError for a first line that is a row of values, or a comment."""
    if all(map(is_number, names)):
        raise UserError(f"{path} begins with numbers; put a line of names before them, such as: value")
    if all(is_number(name) or is_date(name) for name in names):
        raise UserError(f"{path} begins with a row of values; put a line of names before it, such as: date,value")
    if names[0].startswith("#") and (len(first) != len(names) or len(names) == 1 and not is_number(first[0])):
        raise UserError(
            f"{path} line 1 is a comment, {','.join(names)[:60]!r}; remove it: the first line must be the names"
        )


def _check_length(path: str, line: int, row: Sequence[str], names: Sequence[str]) -> None:
    if len(row) == len(names) or all(map(is_blank, row)) and len(row) < len(names):
        return  # a blank line has no cell; the error comes when a value is read
    if len(row) < len(names):
        raise UserError(
            f"{path} line {line} has {_count(row)}, the line of names has {len(names)}; write a comma for each that is empty"
        )
    title = " (if that is a title, remove it)" if len(names) == 1 else ""
    raise UserError(
        f"{path} line {line} has {_count(row)}, the line of names has {len(names)}{title}; give each column its name, and write"
        " numbers with a point and without commas"
    )


def _count(row: Sequence[str]) -> str:
    return f"{len(row)} cell{'s' if len(row) > 1 else ''}"


def _check_swallowed(path: str, start: int, lines: Sequence[str], first: Sequence[str]) -> None:
    """Raise UserError if a cell of several lines holds rows: its quote was meant to be closed
    earlier.
    """
    kinds = [is_number(cell) for cell in first]
    alike = [line for line in lines if [is_number(part) for part in line.replace('"', "").split(",")] == kinds]
    if len(alike) > 1 and len(kinds) > 1:
        raise UserError(
            f"{path} line {start} opens a quote that is closed on line {start + len(lines) - 1} only, with rows between; close it"
            " where it should end, or leave it out"
        )
