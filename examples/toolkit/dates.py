"""The times of a series, out of whatever a table has of dates: whether they go forward, and by equal steps.

Dates are read in ISO form and in the usual others; of day and month, which look alike, in the order by which all cells of a column
can be read and go by equal steps.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import product

__all__ = ["in_order", "is_date", "times_of"]

DAYS = ("%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y")
WORDS = (
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %Y",
    "%B %Y",
    "%b-%y",
    "%Y-%m",
    "%m/%Y",
)
HOURS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = tuple(map("".join, product((*DAYS, *WORDS), HOURS)))
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
QUARTER = re.compile(r"(\d{4})[- ]?Q([1-4])")
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
# Columns that hold times where their cells are plain numbers: years, seconds since 1970, 20200131.
TIMES = {"time", "date", "datetime", "timestamp", "year", "epoch", "unix", "ds"}
HOUR = {"hour", "hr", "h"}  # of the day, beside a column of dates
ODD = 0.1  # part of a step by which another may differ: months and years are equal steps, and so are days where clocks change

Parse = Callable[[str], datetime | None]
Time = float | None  # in seconds, or as the table counts; None where it cannot be read


def is_date(text: str) -> bool:
    """Whether a cell is a date by itself."""
    return any(parse(text.strip()) for parse in _parsers())


def times_of(names: Sequence[str], rows: Sequence[Sequence[str]], but: int) -> tuple[list[Time], bool] | None:
    """The time of each row, from whatever column but ``but`` has dates, and whether it is in seconds; None where none has.

    A column of hours beside that of dates is added to it.
    """
    columns = {place: [row[place].strip() for row in rows] for place in range(len(names)) if place != but}
    for place, cells in columns.items():
        dates = _dates(cells, names[place])
        if dates is None:
            continue
        hours = next((found for other in columns if (found := _hours(columns[other], names[other]))), None)
        return [a + b if a is not None else None for a, b in zip(dates, hours or [0.0] * len(rows))], True
    for place, cells in columns.items():
        if names[place].lower() in TIMES:
            numbers = [_number(cell) for cell in cells]
            if None not in numbers:
                return numbers, False
    return None


def in_order(times: Sequence[Time], in_seconds: bool, lines: Sequence[int]) -> tuple[list[int], list[str]]:
    """The order in which the rows go forward in time, and what a person must be told of it: nothing where all is well.

    ``lines`` are where the rows stand in their file.
    """
    order = list(range(len(times)))
    unread = [line for line, time in zip(lines, times) if time is None]
    if unread:
        return order, [f"line {unread[0]}{_others(unread)} has no date that can be read; the order is not looked at"]
    known = [time for time in times if time is not None]
    notes = []
    if any(later < earlier for earlier, later in zip(known, known[1:])):
        if all(later <= earlier for earlier, later in zip(known, known[1:])):
            order.reverse()
            notes.append("its dates go backwards; it is read from its last line to its first")
        elif in_seconds:
            order.sort(key=known.__getitem__)
            notes.append("its dates are not in order; it is read in their order")
        else:
            return order, [
                "its times are not in order; it is read as it stands"
            ]  # they may be others, such as hours of the day
    steps = [known[after] - known[before] for before, after in zip(order, order[1:])]
    twice = [lines[after] for after, step in zip(order[1:], steps) if step == 0]
    if twice:
        notes.append(
            f"the date of line {twice[0]}{_others(twice)} is there before; each step of time should have one line"
        )
    usual = statistics.median([step for step in steps if step] or [0.0])
    odd = [(lines[after], step) for after, step in zip(order[1:], steps) if step and abs(step - usual) > ODD * usual]
    if odd:
        line, step = odd[0]
        shown, instead = (str(timedelta(seconds=x)) if in_seconds else f"{x:g}" for x in (usual, step))
        notes.append(
            f"its steps of time are {shown}, but {instead} before line {line}{_others(odd)}; they are taken for equal"
        )
    return order, notes


def _others(places: Sequence[object]) -> str:
    return f" (and {len(places) - 1} more)" if len(places) > 1 else ""


def _dates(cells: Sequence[str], name: str) -> list[Time] | None:
    """The dates of a column in seconds, by the way of writing that reads most of them; None where that is less than half."""
    digits = all(cell.isdigit() for cell in cells)
    if digits and not (name.lower() in TIMES and all(len(cell) == 8 for cell in cells)):
        return None  # a number is a date only where its name says so
    first = next((cell for cell in cells if cell), "")
    best: list[Time] | None = None
    for parse in (_format("%Y%m%d"),) if digits else _parsers():
        if parse(first) is None:
            continue
        dates = [parse(cell) for cell in cells]
        found = [None if date is None else (date - datetime(1970, 1, 1)).total_seconds() for date in dates]
        if best is None or _quality(found) > _quality(best):
            best = found
    return best if best and 2 * best.count(None) <= len(best) else None


def _quality(times: Sequence[Time]) -> tuple[int, int, int]:
    """How many can be read; then whether steps go one way; then whether they are equal."""
    known = [time for time in times if time is not None]
    steps = [later - earlier for earlier, later in zip(known, known[1:])]
    usual = statistics.median(steps) if steps else 0.0
    one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return len(known), one_way, sum(abs(step - usual) <= ODD * abs(usual) for step in steps)


def _hours(cells: Sequence[str], name: str) -> list[float] | None:
    """Times of the day in seconds: 13:05, or 13 in a column named hour."""
    if name.lower() in HOUR and all(cell.isdigit() for cell in cells):
        return [3600.0 * int(cell) for cell in cells]
    found = [CLOCK.fullmatch(cell) for cell in cells]
    if not all(found):
        return None
    return [3600.0 * int(m[1]) + 60 * int(m[2]) + int(m[3] or 0) for m in found if m]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


# --- ways of writing ----------------------------------------------------------------------------------------------------------


def _parsers() -> list[Parse]:
    return [_iso, _quarter, *map(_format, FORMATS)]


def _iso(cell: str) -> datetime | None:
    """2020-01-31, 2020-01-31 13:00, 2020-01-31T13:00:00Z; with an offset in universal time."""
    if not ISO.fullmatch(cell):
        return None
    try:
        found = datetime.fromisoformat(cell.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.astimezone(timezone.utc).replace(tzinfo=None) if found.tzinfo else found


def _quarter(cell: str) -> datetime | None:
    """2020Q1, 2020-Q1."""
    match = QUARTER.fullmatch(cell)
    return datetime(int(match[1]), 3 * int(match[2]) - 2, 1) if match and int(match[1]) else None


def _format(format: str) -> Parse:
    def parse(cell: str) -> datetime | None:
        try:
            return datetime.strptime(cell, format)
        except ValueError:
            return None

    return parse
