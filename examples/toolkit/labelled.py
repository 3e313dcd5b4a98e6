"""Labelled texts: syllables of six languages that every Python carries, or a file; and a classifier
to be measured against.

Every Python has the names of all characters of Unicode. Those of syllabaries spell how a character
sounds: HANGUL SYLLABLE GWAELP, YI SYLLABLE BBUOX, BAMUM LETTER PHASE-A NTAP. What the name says of
the language is left out, and so are syllables that several languages have.

Letters: N texts, C labels, V different n-grams.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from toolkit.blank import is_blank
from toolkit.column_names import COMMENTS, LABELLED, LABELS, TEXTS, find_named, known_names
from toolkit.console import UserError, counted
from toolkit.copies import copies_note
from toolkit.quoting import read_cells
from toolkit.reading import lines_of, read_text

__all__ = ["Labelled", "NaiveBayes", "Ngrams", "Pair", "alike", "character_ngrams", "read_labelled", "syllables"]

Pair = tuple[str, str]  # a text and its label
Ngrams = Callable[[str], list[str]]

# The first word of a character's name: the language, and where its syllable is in the rest of the
# name. Cree includes its neighbours in Canada, Ethiopic all languages of Ethiopia in this script.
NAMES = {
    "HANGUL": ("Korean", r"SYLLABLE (\w+)"),
    "YI": ("Yi", r"SYLLABLE (\w+)"),
    "BAMUM": ("Bamum", r"LETTER (?:PHASE-. )?(\w+)"),
    "CANADIAN": ("Cree", r"SYLLABICS (?:CARRIER |[A-Z]+-CREE |NASKAPI |SAYISI |NUNAVIK |NATTILIK )?([A-Z]+)"),
    "ETHIOPIC": ("Ethiopic", r"SYLLABLE (?:SEBATBEIT |GURAGE )?(\w+)"),
    "CUNEIFORM": ("Sumerian", r"SIGN ([A-Z]+?)\d*"),  # homophones are numbered
}
MOST = 1200  # syllables of a language; Hangul has ten times as many
HELD_OUT = 0.15  # share of the texts to validate by, and as many to test


@dataclass(frozen=True)
class Labelled:
    """Texts with their labels, in three parts that share no text.

    ``others``: further parts to test by, of the same labels, by name. ``kinds``: what kind of text
    some of those to test by are, to be reported by itself. ``notes``: what became of the lines of a
    file.
    """

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    others: dict[str, list[Pair]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """All labels in order."""
        return sorted({label for part in (self.train, self.validation, self.test) for _, label in part})


def syllables() -> Labelled:
    """Some 3 000 syllables of six languages, spelled in Latin letters."""
    languages = defaultdict(set)
    for code in range(sys.maxunicode + 1):
        first, _, rest = unicodedata.name(chr(code), "").partition(" ")
        if first in NAMES:
            language, pattern = NAMES[first]
            match = re.fullmatch(pattern, rest)
            if match:
                languages[match[1].lower()].add(language)
    found = defaultdict(list)
    for syllable, names in languages.items():
        if len(names) == 1:
            found[names.pop()].append(syllable)
    some = {name: sorted(found[name], key=lambda text: _hash(f"{text} chosen"))[:MOST] for name, _ in NAMES.values()}
    return _split([(syllable, name) for name in some for syllable in some[name]])


def read_labelled(path: str, known: Collection[str] = (), whole: bool = False) -> Labelled:
    """A file of lines ``text<TAB>label``, or of any columns if its first line names those of texts
    and labels.

    A first line that looks like names is left out, and a note says so: one whose label no other
    line has, and that is not ``known``. So are lines of a text and its label that were there
    before. whole: all is there to be tested by. Raises UserError for a line without its tab, an
    empty text, fewer than two labels, or several columns of texts.
    """
    rows = [
        (number, line.split("\t"))
        for number, line in enumerate(lines_of(read_text(path)), start=1)
        if not is_blank(line)
    ]
    if not rows:
        raise UserError(f"{path} holds no text")
    line, first = rows[0]
    named = find_named(first, LABELLED, f"{path} line {line}")
    place, label_place = named or (0, 1)
    width = len(first) if named else 2
    for number, row in rows:
        if len(row) != width or is_blank(row[place]) or is_blank(row[label_place]):
            raise UserError(_unlike(path, number, row, width, bool(named)))
    below = [(number, (row[place], row[label_place])) for number, row in rows[bool(named) :]]
    cells, quotes = read_cells(path, below)
    found = [(text.strip(), label.strip()) for text, label in cells]
    for (number, _), pair in zip(below, found, strict=True):
        if not all(pair):  # of a blank cell in quotes
            raise UserError(_unlike(path, number, list(pair), 2, bool(named)))
    told = not named and _is_header(found, known)
    found = found[1:] if told else found
    pairs = list(dict.fromkeys(found))
    made = Labelled([], [], pairs) if whole else _parts(path, pairs)
    names = ": ".join(cell.strip() for cell in first)
    taken = f"{path} line {line}, {names}, is taken for names of the columns; no other line has its label"
    different = len({alike(text) for text, _ in found})
    copies = copies_note(path, "text", len(found), different, "text and label", len(found) - len(pairs), whole)
    return replace(made, notes=quotes + ((taken,) if told else ()) + copies)


def _parts(path: str, pairs: list[Pair]) -> Labelled:
    """The parts to train on, to validate by and to test by."""
    try:
        made = _split(pairs)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if len(made.labels) < 2:
        raise UserError(f"{path} has {counted(len(made.labels), 'label')}; there is nothing to tell apart")
    return made


def _unlike(path: str, number: int, row: list[str], width: int, named: bool) -> str:
    """The error for a bad row."""
    if len(row) == width or len(row) < 2:
        return f"{path} line {number} must be a text, a tab and a label"
    columns = f"{path} line {number} has {counted(len(row), 'column')} separated by tabs"
    if named:
        return f"{columns}, the line of names has {width}"
    return (
        f"{columns}; it must be a text, a tab and a label (or begin with a line of names, such as: id<TAB>text<TAB>label;"
        f" known are names of {known_names(LABELLED)})"
    )


def _is_header(pairs: Sequence[Pair], known: Collection[str]) -> bool:
    """Whether the first pair names the columns: no other has its label, though labels are on
    several lines.
    """
    (text, label), *others = pairs
    counts = Counter(other for _, other in others)
    if label in known or label in counts or not others:
        return False
    rare = sum(count == 1 for count in counts.values())
    named = TEXTS.names(text) or COMMENTS.names(text) or LABELS.names(label)
    return named or (not known and 2 * rare < len(counts))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def alike(text: str) -> str:
    """What texts that differ in case and blanks alone have in common.

    >>> alike("Not  bad") == alike("not bad")
    True
    """
    return " ".join(text.casefold().split())


def _split(pairs: list[Pair]) -> Labelled:
    """Hold out the texts of the smallest hashes: the same ones wherever they are. Those that are
    `alike` stay together, by the hash of one of them.
    """
    one = {alike(text): text for text in sorted({text for text, _ in pairs}, reverse=True)}
    texts = sorted(one.values(), key=_hash)
    count = int(len(texts) * HELD_OUT)
    if not count:
        raise UserError(
            f"{counted(len(texts), 'different text')}, too few to hold some out;"
            f" {math.ceil(1 / HELD_OUT)} are needed{_swapped(pairs)}"
        )
    test, validation = set(texts[:count]), set(texts[count : 2 * count])
    parts: list[list[Pair]] = [[], [], []]
    for text, label in pairs:
        part = one[alike(text)]
        parts[2 if part in test else 1 if part in validation else 0].append((text, label))
    trained = {label for _, label in parts[0]}
    for _, label in parts[1] + parts[2]:
        if label not in trained:
            count = sum(other == label for _, other in pairs)
            raise UserError(
                f"the label {label!r} has {counted(count, 'text')}, and with those held out none is left to train on;"
                f" leave it out, or give more texts{_swapped(pairs)}"
            )
    return Labelled(parts[0], parts[1], parts[2])


def _swapped(pairs: Sequence[Pair]) -> str:
    """A likely reason for too few texts: normally labels are fewer than texts, otherwise the
    columns may be swapped.
    """
    texts, labels = len({text for text, _ in pairs}), len({label for _, label in pairs})
    return f"; it has {labels} labels: if these are the texts, put the label behind its text" if labels > texts else ""


def character_ngrams(text: str) -> list[str]:
    """One to three characters in a row, the ends of the text included."""
    whole = f"\n{text}\n"
    return [whole[i : i + n] for n in (1, 2, 3) for i in range(len(whole) - n + 1)]


class NaiveBayes:
    """Multinomial naive Bayes on the n-grams of texts.

        log P(label | text) = log P(label) + sum over n-grams of log P(n-gram | label) + constant

    with one added to every count. Cavnar and Trenkle, "N-gram-based text categorization", 1994, for
    the n-grams.
    """

    def __init__(self, pairs: Sequence[Pair], ngrams: Ngrams = character_ngrams) -> None:
        """Count. ``ngrams`` gives those of a text."""
        self.labels, self._ngrams = sorted({label for _, label in pairs}), ngrams
        self._grams = {gram: i for i, gram in enumerate(sorted({gram for text, _ in pairs for gram in ngrams(text)}))}
        counts = np.ones((len(self.labels), len(self._grams)))  # (C, V)
        texts = np.zeros(len(self.labels))
        for text, label in pairs:
            row = self.labels.index(label)
            texts[row] += 1
            for gram in ngrams(text):
                counts[row, self._grams[gram]] += 1
        self._prior = np.log(texts / texts.sum())
        self._likelihood = np.log(counts / counts.sum(axis=1, keepdims=True))

    def classify(self, texts: Iterable[str]) -> list[str]:
        """The most probable label of each text; n-grams that were never seen tell nothing."""
        found = []
        for text in texts:
            known = [self._grams[gram] for gram in self._ngrams(text) if gram in self._grams]
            found.append(self.labels[int((self._prior + self._likelihood[:, known].sum(axis=1)).argmax())])
        return found
