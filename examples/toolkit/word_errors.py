"""The word error rate: how many words must be changed, put in or left out to mend a transcript.

What counts is what is said: neither case nor punctuation, as recognisers of speech are usually
scored (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, appendix
C). In scripts without blanks between words each character is a word, and the rate is the character
error rate.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from toolkit.bleu import UNSPACED

__all__ = ["as_written", "edit_distance", "spoken_words", "word_error_rate"]

PIECE = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")
GAP = re.compile(rf"(?<={UNSPACED.pattern}) (?={UNSPACED.pattern})")
SAID = "%&@#"  # punctuation by Unicode that is said


def spoken_words(text: str) -> list[str]:
    """The words of a transcript that are said: in small letters, without punctuation at their
    edges.

    >>> spoken_words('"Stop!" she said - it’s 5%, not -5.')
    ['stop', 'she', 'said', "it's", '5%', 'not', '-5']
    >>> spoken_words("猫です。")
    ['猫', 'で', 'す']
    """
    pieces = PIECE.findall(text.casefold().replace("\u2019", "'"))
    return [word for piece in pieces if (word := _bare(piece))]


def _bare(word: str) -> str:
    """The word without punctuation at its edges; a minus or a point before a digit stays."""
    kept = [n for n, letter in enumerate(word) if letter in SAID or unicodedata.category(letter)[0] != "P"]
    if not kept:
        return ""
    start = kept[0]
    if start and word[start].isdigit() and word[start - 1] in "-.":
        start -= 1
    return word[start : kept[-1] + 1]


def as_written(words: str) -> str:
    """Words with blanks between them as a text: without those between characters of scripts that
    write none.

    >>> as_written("猫 で す ok go")
    '猫です ok go'
    """
    return GAP.sub("", words)


def edit_distance(found: Sequence[str], wanted: Sequence[str]) -> int:
    """The fewest substitutions, insertions and deletions that turn one sequence into the other
    (Levenshtein 1966).

    >>> edit_distance("turn left forty".split(), "turn left four two".split())
    2
    """
    row = np.arange(len(wanted) + 1)  # distances of the beginnings of ``wanted`` from nothing
    for number, word in enumerate(found, start=1):
        above, row = row, np.empty_like(row)
        row[0] = number
        for place, other in enumerate(wanted, start=1):
            row[place] = min(above[place] + 1, row[place - 1] + 1, above[place - 1] + (word != other))
    return int(row[-1])


def word_error_rate(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Edits of all transcripts over the number of words that were said: 0 if none are needed, and
    it may exceed 1.

    Raises ValueError if nothing was said, or for unequal numbers of texts.
    """
    pairs = [(a.split(), b.split()) for a, b in zip(found, wanted, strict=True)]
    count = sum(len(said) for _, said in pairs)
    if not count:
        raise ValueError("word_error_rate() needs at least one word that was said")
    return sum(edit_distance(made, said) for made, said in pairs) / count
