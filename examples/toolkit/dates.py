"""The times of a series, from the date columns of a table: whether they increase, and by equal
steps.

Dates are read in the forms of `toolkit.date_formats`; of day and month, which look alike, in the
order by which all cells of a column can be read and go by equal steps. A column that has dates in
another form is reported.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from toolkit.console import and_more
from toolkit.date_formats import ORDERS, read

__all__ = ["dates_of", "in_order", "is_date", "times_of"]

CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
# Forms of dates without marks between their parts, by their number of digits.
DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
CENTURIES = re.compile(r"(19|20)\d+")
# Columns that hold times if their cells are plain numbers: years, seconds since 1970, 20200131.
TIMES = {"time", "date", "datetime", "timestamp", "year", "epoch", "unix", "ds", "ts", "t"}
FIRST = 100  # cells by which a column is found to have no dates
# Names of the columns of a date in parts; that of days may be missing.
PARTS = (("year", "yr"), ("month", "mon", "mo"), ("day", "dd", "dom"))
YEAR = re.compile(r"(19|20)\d\d")
HOUR = {"hour", "hr", "h"}  # of the day, beside a column of dates
ODD = 0.1  # part of a step by which another may differ: months and years are equal steps, and so are days on which clocks change

Time = float | None  # in seconds, or as the table counts; None if it cannot be read


def is_date(text: str) -> bool:
    """Whether a cell is a date by itself."""
    return any(read(text, order) for order in ORDERS)


def times_of(names: Sequence[str], rows: Sequence[Sequence[str]], but: int) -> tuple[list[Time], bool] | None:
    """The time of each row, from the columns with dates other than ``but``, and whether it is in
    seconds; None if no column has dates.

    A column of hours beside that of dates is added to it. If a column seems to have dates and none
    can be read, all are None.
    """
    columns = {place: [row[place].strip() for row in rows] for place in range(len(names)) if place != but}
    found = [dates for place, cells in columns.items() if (dates := dates_of(cells, names[place]))]
    found = found or [dates for dates in [_from_parts(names, columns)] if dates]
    if found:
        dates = max(found, key=_quality)
        hours = next((added for other in columns if (added := _hours(columns[other], names[other]))), None)
        return [a + b if a is not None else None for a, b in zip(dates, hours or [0.0] * len(rows))], True
    for place, cells in columns.items():
        if names[place].lower() in TIMES:
            numbers = [_number(cell) for cell in cells]
            if None not in numbers:
                return numbers, False
    seems = any(_seem_dates(cells, names[place]) for place, cells in columns.items())
    return ([None] * len(rows), True) if seems else None


def in_order(times: Sequence[Time], in_seconds: bool, lines: Sequence[int]) -> tuple[list[int], list[str]]:
    """The order in which the rows go forward in time, and what to report about it: nothing if all
    is well.

    ``lines`` are the lines of the rows in their file.
    """
    order = list(range(len(times)))
    unread = [line for line, time in zip(lines, times) if time is None]
    if unread:
        return order, [f"line {unread[0]}{and_more(unread)} has no date that can be read; the order is not looked at"]
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
            # They may be other times, such as hours of the day
            return order, ["its times are not in order; it is read as it is"]
    steps = [known[after] - known[before] for before, after in zip(order, order[1:])]
    twice = [lines[after] for after, step in zip(order[1:], steps) if step == 0]
    if twice:
        notes.append(
            f"the date of line {twice[0]}{and_more(twice)} is there before; each step of time should have one line"
        )
    usual = statistics.median([step for step in steps if step] or [0.0])
    odd = [(lines[after], step) for after, step in zip(order[1:], steps) if step and abs(step - usual) > ODD * usual]
    if odd:
        line, step = odd[0]
        shown, instead = (str(timedelta(seconds=x)) if in_seconds else f"{x:g}" for x in (usual, step))
        notes.append(
            f"its steps of time are {shown}, but {instead} before line {line}{and_more(odd)}; they are taken for equal"
        )
    return order, notes


def dates_of(cells: Sequence[str], name: str) -> list[Time] | None:
    """The dates of a column in seconds, by the way of writing that reads most of them; None if that
    is less than half.
    """
    digits = all(cell.isdigit() for cell in cells)
    if digits and name.lower() not in TIMES:
        return None  # a number is a date only if its column's name says so
    orders = [order for order in ORDERS if any(read(cell, order) for cell in cells[:FIRST])]
    made = [list(map(_digits, cells))] if digits else [[read(cell, order) for cell in cells] for order in orders]
    found = [
        [None if date is None else (date - datetime(1970, 1, 1)).total_seconds() for date in dates] for dates in made
    ]
    best = max(found, key=_quality, default=None)
    return best if best and 2 * best.count(None) <= len(best) else None


def _digits(cell: str) -> datetime | None:
    """20200131, or with hours, minutes, seconds; no seconds since 1970, which begin otherwise for
    long.
    """
    try:
        return datetime.strptime(cell, DIGITS[len(cell)]) if CENTURIES.fullmatch(cell) else None
    except (KeyError, ValueError):
        return None


def _from_parts(names: Sequence[str], columns: Mapping[int, Sequence[str]]) -> list[Time] | None:
    """The dates of columns of years, months and perhaps days."""
    found = [next((columns[place] for place in columns if names[place].lower() in kind), None) for kind in PARTS]
    years, months, days = found
    if years is None or months is None:
        return None
    return dates_of(["-".join(parts) for parts in zip(years, months, days or ["1"] * len(years))], "")


def _seem_dates(cells: Sequence[str], name: str) -> bool:
    """Whether they are called so, or have a year among what is no number."""
    if all(_number(cell) is not None for cell in cells) or _hours(cells, name):
        return False  # times of no day tell nothing
    called = any(word in TIMES or word.endswith(("date", "time")) for word in re.findall(r"[^\W\d_]+", name.lower()))
    return called or all(YEAR.search(cell) and _number(cell) is None for cell in cells)


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
