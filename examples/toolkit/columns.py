"""Which columns of a tab-separated file hold sentences of which language: by names in its first
line, otherwise by their contents.

>>> rows = [["s1", "a cat", "un chat", "0.98"], ["s2", "a dog", "un chien", "0.91"]]
>>> find_pair(rows, "en", "fr", "pairs.tsv")
((1, 2), False)
>>> find_pair([["id", "French", "note", "English"], *rows], "en", "fr", "pairs.tsv")
((3, 1), True)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from toolkit.console import UserError, counted
from toolkit.language_names import is_language, same_language, words_of
from toolkit.reading import composed

__all__ = ["find_pair"]

Row = Sequence[str]

SOURCES, TARGETS = (
    {"source", "src", "input", "original"},
    {"target", "tgt", "trg", "output", "translation", "reference"},
)
FILLERS = {  # what may be beside the name of a language
    "text", "texts", "sentence", "sentences", "phrase", "segment", "utterance", "content",
    "language", "lang", "side", "column",
}  # fmt: skip
MARKS = {
    "id",
    "ids",
    "no",
    "nr",
    "number",
    "index",
    "score",
    "note",
    "notes",
    "comment",
    "attribution",
    "licence",
    "license",
}

MOSTLY = 0.9  # share of the cells of a column that tell what it is
REPEATED = 10  # times that a tag is in a column at least, on average
CONSTANT = 5  # rows from which on a column that always says the same is no column of sentences


def find_pair(rows: Sequence[Row], source: str, target: str, where: str, line: int = 1) -> tuple[tuple[int, int], bool]:
    """The columns of source and target, and whether the first row names them. All rows have as many
    cells as the first.

    Names are codes and names of languages, and words such as "source" and "target". Without any,
    the first of two columns is the source; of more, those are taken that hold more than numbers,
    scores, ids, tags and codes, if they are two, and the first two of three (the last is an
    attribution). Raises UserError if that does not tell; ``line`` is the number of the first.
    """
    first = rows[0]
    where = f"{where} line {line}"
    named = _by_names(rows, source, target, where)
    if named:
        return named, True
    if len(first) == 2:
        return (0, 1), False
    texts = _texts(rows)
    if len(texts) > 2:  # "line 17", "news commentary"
        varied = [n for n in texts if not _is_repeated([row[n] for row in rows])]
        texts = varied if len(varied) == 2 else texts
    if len(texts) == 2 or len(first) == len(texts) == 3:
        return (texts[0], texts[1]), False
    advice = f"put a line of names above, such as: id<TAB>{source}<TAB>{target}"
    if len(first) < 2:
        advice = "a line must be sentence<TAB>translation"
    elif len(texts) < 2:
        advice = f"a line must be sentence and translation, and but for numbers and codes it has {len(texts)} of them; {advice}"
    else:
        advice = f"of them {len(texts)} could be sentences; {advice}"
    raise UserError(f"{where} has {counted(len(first), 'column')} separated by tabs; {advice}")


# --- names ----------------------------------------------------------------------------------------


def _by_names(rows: Sequence[Row], source: str, target: str, where: str) -> tuple[int, int] | None:
    """The columns that the first row names; None if it names no columns. Raises UserError if it
    names others.
    """
    # A cell that is also in the second row is no name: Tatoeba's "eng" in each.
    first = [cell if len(rows) == 1 or cell != rows[1][n] else "" for n, cell in enumerate(rows[0])]
    found = []
    for language, words in ((source, SOURCES), (target, TARGETS)):
        columns = [n for n, cell in enumerate(first) if _names(cell, language)]
        columns = columns or [n for n, cell in enumerate(first) if set(words_of(cell)) & words and _is_name(cell)]
        if len(columns) > 1:  # "id" is Indonesian, and a number
            columns = [n for n in columns if n in _texts(rows[1:])] or columns
        found.append(columns)
    if all(found):
        if found[0][0] != found[1][0]:
            return found[0][0], found[1][0]
        return None
    names = [cell.strip() for cell in first if _is_name(cell)]
    languages = [name for name in names if any(map(is_language, (name, *words_of(name))))]
    different = len(languages) > 1 and not same_language(languages[0], languages[1])
    if different and len(names) == len(first) or len(names) > 2 and any(found):
        missing = target if found[0] else source
        raise UserError(f"{where} names its columns: {', '.join(rows[0])}; none of them is {missing!r}")
    return None


def _names(cell: str, language: str) -> bool:
    """Whether it names a column of the language: ``fr``, ``French``, ``text_fr``, ``French
    sentence``.
    """
    if composed(cell).strip().casefold() == composed(language).strip().casefold() or same_language(cell, language):
        return True
    rest = [word for word in words_of(cell) if not same_language(word, language)]
    return len(rest) < len(words_of(cell)) and set(rest) <= FILLERS | SOURCES | TARGETS


def _is_name(cell: str) -> bool:
    """Whether it is made of words that name columns."""
    words = words_of(cell)
    known = FILLERS | SOURCES | TARGETS | MARKS
    return bool(words) and (is_language(cell) or all(word in known or is_language(word) for word in words))


# --- contents -------------------------------------------------------------------------------------


def _texts(rows: Sequence[Row]) -> list[int]:
    """The columns that hold sentences."""
    return [n for n, column in enumerate(zip(*rows, strict=True)) if not _is_marks([cell.strip() for cell in column])]


def _is_marks(column: Sequence[str]) -> bool:
    """Whether a column holds numbers, ids, tags, codes or always the same, and no sentences."""
    cells = [cell for cell in column if cell]
    if sum(map(_is_mark, cells)) >= MOSTLY * len(cells):  # also if all are empty
        return True
    different = len(set(cells))
    single = not any(len(cell.split()) > 1 for cell in cells)
    return (different == 1 and len(cells) >= CONSTANT) or (single and different * REPEATED <= len(cells))


def _is_repeated(column: Sequence[str]) -> bool:
    """Whether a column says little else than numbers: many rows, few cells that differ by more than
    those.
    """
    patterns = {re.sub(r"\d+", "0", cell) for cell in column}
    return len(patterns) * REPEATED <= len(column)


def _is_mark(cell: str) -> bool:
    """A number, ``s17``, an address or the code of a language: nothing that a person says."""
    if not any(character.isalpha() for character in cell):
        return True
    if len(cell.split()) > 1 or not cell.isascii():
        return False
    return any(character.isdigit() for character in cell) or "://" in cell or (len(cell) < 4 and is_language(cell))
