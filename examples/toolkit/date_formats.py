"""Dates as people and programs write them: a day with any marks, its month in digits or in English,
a time before or behind it.

>>> read("Fri, 31 Jan 2020 1:05 PM", "dmy")
datetime.datetime(2020, 1, 31, 13, 5)
>>> read("2020-01-31T13:05:00+01:00", "ymd"), read("31.01.2020", "ymd")
(datetime.datetime(2020, 1, 31, 12, 5), None)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

__all__ = ["ORDERS", "read"]

# Of year, month, day, quarter and week: the orders in which they are written.
ORDERS = ("ymd", "dmy", "mdy", "ym", "my", "yq", "qy", "yw")
MONTHS = "january february march april may june july august september october november december".split()
NUMBER = re.compile(r"[-+]?\d*\.?\d*(e[-+]?\d+)?")
WEEKDAY = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]*\s+")
CLOCK = r"(?P<h>\d{1,2}):(?P<m>\d{2})(:(?P<s>\d{2}(\.\d+)?))?( ?(?P<half>[ap])\.?m\.?)?"
ZONE = r"( ?(?P<zone>[-+]\d{2}):?(?P<minutes>\d{2})| ?[a-z]{1,5})?"  # names of zones are taken for the place's own time
AT_END = re.compile(rf"(t|[ ,:]+){CLOCK}{ZONE}$")
AT_START = re.compile(rf"^{CLOCK}[ ,]+")
BARE = re.compile(
    r"(t(?P<h>\d{2})(?P<m>\d{2})(?P<s>\d{2})?z?|(?<=\d[-/.]\d\d) (?P<hour>\d{1,2})|(?<=\d{4}) (?P<late>\d{1,2}))$"
)
DAY = re.compile(r"[\w\s./,-]+")
FILLING = {"st", "nd", "rd", "th", "年", "月", "日"}  # beside the numbers


def read(cell: str, order: str) -> datetime | None:
    """The date, and the time if there is one, in universal time if it has an offset; None if it is
    not written in that order.
    """
    text = WEEKDAY.sub("", " ".join(cell.split()).casefold())
    if NUMBER.fullmatch(text):
        return None
    for pattern in (AT_END, AT_START, BARE):
        found = pattern.search(text)
        if found:
            day = _day(text[: found.start()] + text[found.end() :], order)
            time = _time(found.groupdict())
            return day + time if day and time is not None and 1 < day.year < 9999 else None
    return _day(text, order)


def _day(text: str, order: str) -> datetime | None:
    """The day; if no day is given, the first of the month, the quarter or the week."""
    words = [word for word in re.findall(r"\d+|[^\W\d_]+", text) if word not in FILLING]
    for mark in "qw":
        if mark in order and mark in words:
            words.remove(mark)
        elif mark in order:
            return None
    if order == "ymd" and len(words) == 1 and len(words[0]) == 8:  # 20200131T1305
        words = [words[0][:4], words[0][4:6], words[0][6:]]
    if not DAY.fullmatch(text) or len(words) != len(order):
        return None
    parts = {kind: _part(word, kind) for kind, word in zip(order, words)}
    if None in parts.values():
        return None
    if len(order) == 2 and len(words[order.index("y")]) != 4 and all(map(str.isdigit, words)):
        return None  # 5-20 may be anything, and so may 20Q1
    year, month = parts["y"] or 0, parts.get("m") or 3 * (parts.get("q") or 1) - 2
    try:
        return (
            datetime.fromisocalendar(year, parts["w"] or 0, 1)
            if "w" in parts
            else datetime(year, month, parts.get("d") or 1)
        )
    except ValueError:
        return None


def _part(word: str, kind: str) -> int | None:
    """A number of the day, or None: years have two digits or four, and those of two are from 1969
    to 2068.
    """
    if kind == "m" and len(word) > 2 and word.isalpha():
        return next((number for number, name in enumerate(MONTHS, start=1) if name.startswith(word)), None)
    if not (word.isascii() and word.isdigit()) or len(word) not in ((2, 4) if kind == "y" else (1, 2)):
        return None
    number = int(word)
    if kind == "y" and len(word) == 2:
        return number + (2000 if number < 69 else 1900)
    return number or None


def _time(parts: Mapping[str, str | None]) -> timedelta | None:
    """The time of the day, its offset subtracted; 24:00 is the end of the day."""
    hours, minutes, seconds = (float(parts.get(name) or 0) for name in "hms")
    hours += float(parts.get("hour") or parts.get("late") or 0)
    if parts.get("half"):
        hours = hours % 12 + (12 if parts["half"] == "p" else 0)
    if hours > 24 or minutes >= 60 or seconds >= 61:
        return None
    offset = timedelta(0)
    if parts.get("zone"):
        sign = -1 if str(parts["zone"]).startswith("-") else 1
        offset = sign * timedelta(hours=abs(int(str(parts["zone"]))), minutes=int(parts["minutes"] or 0))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds) - offset
