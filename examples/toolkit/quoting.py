"""Texts in quotes as csv writes them: Python's csv module, pandas and spreadsheets put a cell that
holds a quote into quotes, and write two for each inside.

>>> read_quoted(['"He ""said"" it."', "Hi."]), read_quoted(['"Hello."', "Hi."])
((['He "said" it.', 'Hi.'], [0], True), (['"Hello."', 'Hi.'], [], False))
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.blank import stripped
from toolkit.console import counted
from toolkit.tables import is_number

__all__ = ["in_quotes", "quotes_note", "read_cells", "read_quoted", "unquoted"]

QUOTE = '"'
MANY = 10  # texts in quotes, which are then the file's way
SHARE = 0.25
FEW = 50  # of so many texts in quotes one may be without
ADVICE = (
    "write the file without them (csv.writer: quoting=csv.QUOTE_NONE, quotechar=None; to_csv: quoting=csv.QUOTE_NONE)"
)


def read_quoted(texts: Sequence[str]) -> tuple[list[str], list[int], bool]:
    """The texts of a file as csv reads them, if plainly csv has written them, otherwise as they
    are; the places of those that are quoted as by csv, if they are more than quotations would be;
    and whether they were read so.

    A text that is one quotation, ``"Hello."``, looks like one that csv has quoted. So csv has
    written the texts if no quotes are but its own, one has doubled quotes inside or `MANY` are
    quoted, and these are

    * all, but for numbers, blank ones and one in `FEW`; or
    * just those that must be: with a quote inside, or (spreadsheets) all those with a comma too,
      which without doubled quotes are a `SHARE` of all.
    """
    inside = [text[1:-1].replace(2 * QUOTE, "") if in_quotes(text) else text for text in texts]
    quoted = [n for n, rest in enumerate(inside) if in_quotes(texts[n]) and QUOTE not in rest]
    doubled = [n for n in quoted if QUOTE in texts[n][1:-1]]
    alone = len(quoted) == sum(QUOTE in text for text in texts)
    bare = sum(bool(text) and not is_number(text) for text in texts) - len(quoted)
    throughout = bool(doubled or len(quoted) >= MANY) and bare * FEW <= len(quoted)
    whole = [texts[n] for n in quoted if QUOTE not in texts[n][1:-1] and len(texts[n]) > 2]  # "" is a blank one
    by_comma = all("," in text for text in whole) and all(QUOTE in text for text in texts if "," in text)
    usual = bool(doubled) or (len(quoted) >= MANY and len(quoted) >= SHARE * (len(quoted) + bare))
    if alone and (throughout or (usual and (by_comma or not whole))):
        return [unquoted(text) for text in texts], quoted, True
    told = doubled or len(quoted) > bare or (by_comma and len(whole) >= MANY)
    return list(texts), quoted if told else [], False


def in_quotes(text: str) -> bool:
    """Whether it begins and ends with a quote."""
    return len(text) > 1 and text[0] == text[-1] == QUOTE


def unquoted(text: str) -> str:
    """The text without quotes around it, and with one for two inside."""
    return stripped(text[1:-1].replace(2 * QUOTE, QUOTE)) if in_quotes(text) else text


def read_cells(
    path: str, rows: Sequence[tuple[int, Sequence[str]]], sure: bool = False
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The cells of all rows, equally many in each, as `read_quoted` gives them, and a note on them;
    a row comes with the number of its line. sure: that csv has written them.
    """
    width = len(rows[0][1]) if rows else 1
    cells = [stripped(cell) for _, row in rows for cell in row]
    if sure:
        cells, quoted, read = list(map(unquoted, cells)), [n for n, cell in enumerate(cells) if in_quotes(cell)], True
    else:
        cells, quoted, read = read_quoted(cells)
    notes = quotes_note(path, "cell", len(quoted), rows[quoted[0] // width][0] if quoted else 0, read)
    return list(zip(*(cells[n::width] for n in range(width)), strict=True)), notes


def quotes_note(path: str, what: str, count: int, line: int, read: bool) -> tuple[str, ...]:
    """A note on ``count`` texts quoted as csv writes them, each ``what``, the first on ``line``;
    none if there are none. ``read``: they were read so.
    """
    if not count:
        return ()
    head = f"{path}: {counted(count, what)} {'is' if count == 1 else 'are'} quoted as csv writes them, the first in line {line:,}"
    if read:
        return (f"{head}; read as csv does, without these quotes",)
    return (
        f"{head}, which does not make it sure that csv has; all are kept with their quotes: if they are its own, {ADVICE}",
    )
