"""Names that people write above columns, of texts and what belongs to them, of images and of
recordings.

>>> find_named(["id", "sentiment", "review"], LABELLED, "reviews.tsv line 1")
[2, 1]
>>> find_named(["id", "Meinung", "review"], LABELLED, "reviews.tsv line 1") is None
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.console import UserError
from toolkit.language_names import words_of

__all__ = [
    "ASKED", "COMMENTS", "IMAGES", "LABELLED", "LABELS", "RECORDED", "SPEAKERS", "SUMMARISED", "TEXTS", "Kind", "Wanted",
    "find_named", "is_line_of_names", "is_no_file", "known_names",
]  # fmt: skip

SHORT_NAME, LONGER = 3, 3  # words of a name at most; so many times as long as that is the text below it
MOSTLY = 0.9  # share of the texts that are
ENDS = ".!?。！？।؟"  # of sentences


@dataclass(frozen=True)
class Kind:
    """What a column holds, by its name: one of ``words``, or its plural in -s, and if wanted some
    that may stand ``beside`` it.
    """

    words: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def names(self, cell: str) -> bool:
        """Whether a cell is such a name; neither case nor what joins its words counts.

        >>> [IMAGES.names(cell) for cell in ("File_Name", "images", "name", "path of it")]
        [True, True, False, False]
        """
        words = set(map(_singular, words_of(cell)))
        core = set(map(_singular, self.words))
        return bool(words & core) and words <= {*core, *self.beside}


def _singular(word: str) -> str:
    """Alike for a word and its plural in -s."""
    return word.removesuffix("s")


def _kind(words: str, beside: str = "") -> Kind:
    return Kind(tuple(words.split()), tuple(beside.split()))


TEXTS = _kind(
    "text sentence review tweet article document post message content body passage paragraph phrase segment utterance"
    " dialogue word"
)
# These may also be what is said of a text, or where it comes from.
COMMENTS = _kind("comment source src input original")
LABELS = _kind(
    "label class category sentiment polarity emotion rating stars topic genre tag intent target language lang y"
)
SUMMARIES = _kind("summary summaries highlights abstract headline tldr")
TARGETS = _kind("target tgt trg output translation reference title")
INPUTS = _kind("input source src original question prompt instruction text")
OUTPUTS = _kind("output target tgt trg reference answer response completion translation")
IMAGES = _kind("image img picture photo path file filename filepath", "name id")
RECORDINGS = _kind("path audio recording wav sound clip file filename filepath", "name id")
SPOKEN = _kind("words text sentence transcript transcription utterance")
SPEAKERS = _kind("speaker client voice reader", "id name")

# What there are columns of, and by which kinds of names they are found: by a later one if the
# earlier ones find none.
Wanted = Mapping[str, Sequence[Kind]]
LABELLED: Wanted = {"texts": (TEXTS, COMMENTS), "labels": (LABELS,)}
SUMMARISED: Wanted = {"texts": (_kind("text"), TEXTS, COMMENTS), "summaries": (_kind("summary"), SUMMARIES, TARGETS)}
ASKED: Wanted = {"inputs": (_kind("input"), INPUTS), "outputs": (_kind("output"), OUTPUTS)}
RECORDED: Wanted = {"recordings": (RECORDINGS,), "words": (SPOKEN,)}


def find_named(first: Sequence[str], wanted: Wanted, where: str) -> list[int] | None:
    """The columns that the first row of a file names as ``wanted``; None if it does not name all.

    Raises UserError if it does, and one of them by several columns.
    """
    found = {}
    for what, kinds in wanted.items():
        columns = ([n for n, cell in enumerate(first) if kind.names(cell)] for kind in kinds)
        found[what] = next((some for some in columns if some), [])
    if not all(found.values()):
        return None
    for what, some in found.items():
        if len(some) > 1:
            names = ", ".join(first[n].strip() for n in some)
            raise UserError(f"{where} names several columns that could be the {what}: {names}; keep one of them")
    return [some[0] for some in found.values()]


def known_names(wanted: Wanted) -> str:
    """For an error, the names that a first line may have: "texts (text, review) and of labels
    (label)".
    """
    each = {what: dict.fromkeys(word for kind in kinds for word in kind.words) for what, kinds in wanted.items()}
    return " and of ".join(f"{what} ({', '.join(words)})" for what, words in each.items())


def is_no_file(cell: str, folder: Path) -> bool:
    """Whether a cell where the path of a file in a folder should be is none, and does not look like
    one: it has no ending, or ends as a name does.
    """
    return bool(cell) and not Path(cell).suffix and not (folder / cell).exists()


def is_line_of_names(rows: Sequence[Sequence[str]], texts: int) -> bool:
    """Whether the first row is plainly names that are not known: a few words in each cell, no
    sentence, and almost all other cells of the column of ``texts`` are far longer.

    >>> pairs = [[f"Number {n} is a text. It says so.", "A text."] for n in range(9)]
    >>> is_line_of_names([["Quelle", "Inhalt"], *pairs], 0), is_line_of_names(pairs, 0)
    (True, False)
    """
    first, *others = rows
    if not others or any(len(words_of(cell)) > SHORT_NAME or cell.strip().endswith(tuple(ENDS)) for cell in first):
        return False
    longer = sum(len(row[texts].strip()) > LONGER * len(first[texts].strip()) for row in others)
    return longer >= MOSTLY * len(others)
