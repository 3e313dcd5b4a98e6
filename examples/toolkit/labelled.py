"""Labelled texts: syllables of six languages that every Python carries, or a file; and a classifier to be measured against.

Every Python has the names of all characters of Unicode. Those of syllabaries spell how a character sounds: HANGUL SYLLABLE GWAELP,
YI SYLLABLE BBUOX, BAMUM LETTER PHASE-A NTAP. What the name says of the language is left out, and so are syllables that several
languages have.

Letters: N texts, C labels, V different n-grams.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.console import UserError
from toolkit.reading import lines_of, read_text

__all__ = ["Labelled", "NaiveBayes", "read_labelled", "syllables"]

Pair = tuple[str, str]  # a text and its label

NAMES = {  # the first word of a name: the language, and where its syllable stands in the rest of the name
    "HANGUL": ("Korean", r"SYLLABLE (\w+)"),
    "YI": ("Yi", r"SYLLABLE (\w+)"),
    "BAMUM": ("Bamum", r"LETTER (?:PHASE-. )?(\w+)"),
    "CANADIAN": ("Cree", r"SYLLABICS (?:CARRIER |[A-Z]+-CREE |NASKAPI |SAYISI |NUNAVIK |NATTILIK )?([A-Z]+)"),
    "ETHIOPIC": ("Ethiopic", r"SYLLABLE (?:SEBATBEIT |GURAGE )?(\w+)"),
    "CUNEIFORM": ("Sumerian", r"SIGN ([A-Z]+?)\d*"),  # homophones are numbered
}  # Cree with its neighbours in Canada, Ethiopic with all languages of Ethiopia that are written so
MOST = 1200  # syllables of a language; Hangul has ten times as many
HELD_OUT = 0.15  # share of the texts to validate by, and as many to test


@dataclass(frozen=True)
class Labelled:
    """Texts with their labels, in three parts that share no text."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]

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


def read_labelled(path: str) -> Labelled:
    """A file of lines ``text<TAB>label``. Raises UserError for a line without its tab, an empty text, or fewer than two labels."""
    pairs = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        if not line.strip():
            continue
        text, tab, label = (part.strip() for part in line.rpartition("\t"))
        if not (text and label):
            raise UserError(f"{path} line {number} must be a text, a tab and a label")
        pairs.append((text, label))
    try:
        made = _split(list(dict.fromkeys(pairs)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if len(made.labels) < 2:
        raise UserError(f"{path} has {len(made.labels)} labels; there is nothing to tell apart")
    return made


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _split(pairs: list[Pair]) -> Labelled:
    """Hold out the texts of the smallest hashes: the same ones wherever they stand."""
    texts = sorted({text for text, _ in pairs}, key=_hash)
    count = int(len(texts) * HELD_OUT)
    if not count:
        raise UserError(
            f"{len(texts)} different texts are too few to hold some out; {math.ceil(1 / HELD_OUT)} are needed{_swapped(pairs)}"
        )
    test, validation = set(texts[:count]), set(texts[count : 2 * count])
    parts: list[list[Pair]] = [[], [], []]
    for text, label in pairs:
        parts[2 if text in test else 1 if text in validation else 0].append((text, label))
    trained = {label for _, label in parts[0]}
    for _, label in parts[1] + parts[2]:
        if label not in trained:
            count = sum(other == label for _, other in pairs)
            few = "1 text" if count == 1 else f"{count} texts"
            raise UserError(
                f"the label {label!r} has {few}, and with those held out none is left to train on; leave it out, or give"
                f" more texts{_swapped(pairs)}"
            )
    return Labelled(*parts)


def _swapped(pairs: Sequence[Pair]) -> str:
    """A likely reason for too few texts: labels are fewer than texts, unless they have changed places."""
    texts, labels = len({text for text, _ in pairs}), len({label for _, label in pairs})
    return f"; it has {labels} labels: if these are the texts, put the label behind its text" if labels > texts else ""


class NaiveBayes:
    """Multinomial naive Bayes on the n-grams of characters, n from 1 to 3, the ends of a text included.

        log P(label | text) = log P(label) + sum over n-grams of log P(n-gram | label) + constant

    with one added to every count. Cavnar and Trenkle, "N-gram-based text categorization", 1994, for the n-grams.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """Count."""
        self.labels = sorted({label for _, label in pairs})
        self._grams = {gram: i for i, gram in enumerate(sorted({gram for text, _ in pairs for gram in _ngrams(text)}))}
        counts = np.ones((len(self.labels), len(self._grams)))  # (C, V)
        texts = np.zeros(len(self.labels))
        for text, label in pairs:
            row = self.labels.index(label)
            texts[row] += 1
            for gram in _ngrams(text):
                counts[row, self._grams[gram]] += 1
        self._prior = np.log(texts / texts.sum())
        self._likelihood = np.log(counts / counts.sum(axis=1, keepdims=True))

    def classify(self, texts: Iterable[str]) -> list[str]:
        """The most probable label of each text; n-grams that were never seen tell nothing."""
        found = []
        for text in texts:
            known = [self._grams[gram] for gram in _ngrams(text) if gram in self._grams]
            found.append(self.labels[int((self._prior + self._likelihood[:, known].sum(axis=1)).argmax())])
        return found


def _ngrams(text: str) -> list[str]:
    whole = f"\n{text}\n"
    return [whole[i : i + n] for n in (1, 2, 3) for i in range(len(whole) - n + 1)]
