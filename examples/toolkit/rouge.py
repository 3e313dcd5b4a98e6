"""ROUGE: how much of a reference a summary has, and of the summary the reference: in words of the
same order (ROUGE-L), in single words (ROUGE-1) and in pairs of neighbours (ROUGE-2).

C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, sections 2 and 3, of one
reference and as one sequence of words; precision and recall count alike. Words are stretches of
letters and digits in small letters, without stemming, and of scripts without blanks between words
each character. Of English that is what the package ``rouge-score`` has, which knows a to z alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from toolkit.bleu import UNSPACED
from toolkit.reading import composed

__all__ = [
    "common_subsequence", "first_words", "rouge_l", "rouge_l_of_words", "rouge_n", "rouge_of_beginnings", "rouge_words",
]  # fmt: skip

WORD = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})[^\W_])+")


def rouge_words(text: str) -> list[str]:
    """The words that are compared.

    >>> rouge_words("The dog's 2 toys.")
    ['the', 'dog', 's', '2', 'toys']
    >>> rouge_words("Café, 猫です")
    ['café', '猫', 'で', 'す']
    """
    return WORD.findall(composed(text).lower())


def first_words(text: str, count: int) -> str:
    """A text up to the end of its word number ``count``; all of it if it has fewer.

    >>> first_words("The dog's toys.", 3)
    "The dog's"
    """
    text = composed(text)
    ends = [match.end() for match in WORD.finditer(text)]
    return text[: ends[count - 1]] if len(ends) >= count else text


def _common(one: Sequence[str], other: Sequence[str]) -> list[int]:
    """What `common_subsequence` gives for each beginning of ``one``, of one item and more.

    A row of the usual table rises by 0 or 1 at each item of ``other``: its rises are the zero bits
    of one integer, so that a row takes a few operations (H. Hyyrö, "Bit-Parallel LCS-length
    Computation Revisited", 2004, section 2).
    """
    places: dict[str, int] = {}  # of each item of ``other``, a bit for each place where it stands
    for place, item in enumerate(other):
        places[item] = places.get(item, 0) | 1 << place
    flat = every = (1 << len(other)) - 1
    found = []
    for item in one:
        meets = flat & places.get(item, 0)
        flat = ((flat + meets) | (flat - meets)) & every
        found.append(len(other) - flat.bit_count())
    return found


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence: items of both, in the same order, with gaps.

    >>> common_subsequence("police killed the gunman".split(), "the gunman killed police".split())
    2
    """
    return _common(one, other)[-1] if one else 0


def _f1(common: int, one: int, other: int) -> float:
    """``2 common / (one + other)``; 0 if nothing is common."""
    return 2 * common / (one + other) if common else 0.0


def rouge_l(found: str, reference: str) -> float:
    """F1 of the longest common subsequence of words, from 0 to 1: ``2 LCS / (words of both)``; 0 if
    either has no word.

    >>> rouge_l("Police kill the gunman.", "police killed the gunman")
    0.75
    """
    return rouge_l_of_words(rouge_words(found), rouge_words(reference))


def rouge_l_of_words(one: Sequence[str], other: Sequence[str]) -> float:
    """`rouge_l` of texts of which the words are known."""
    return _f1(common_subsequence(one, other), len(one), len(other))


def rouge_of_beginnings(text: str, reference: str, most: int) -> list[float]:
    """`rouge_l` of the first word of a text, of its first two, and so on up to ``most``: as many;
    what has fewer words stays as it is.

    >>> rouge_of_beginnings("Stop it.", "it", 3)
    [0.0, 0.6666666666666666, 0.6666666666666666]
    """
    one, other = rouge_words(text)[:most], rouge_words(reference)
    found = [_f1(common, count, len(other)) for count, common in enumerate(_common(one, other), start=1)]
    return found + (found or [0.0])[-1:] * (most - len(found))


def rouge_n(found: str, reference: str, n: int) -> float:
    """F1 of the n-grams of words that both have, each as often as in the poorer of them, from 0 to
    1; 0 if either has none.

    >>> rouge_n("police kill the gunman", "the gunman kill police", 1)
    1.0
    >>> rouge_n("police kill the gunman", "the gunman kill police", 2)
    0.3333333333333333
    """
    one, other = (Counter(zip(*(words[i:] for i in range(n)))) for words in map(rouge_words, (found, reference)))
    return _f1((one & other).total(), one.total(), other.total())
