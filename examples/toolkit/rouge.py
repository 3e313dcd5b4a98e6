"""ROUGE-L: how much of a reference a summary has, and of the summary the reference, in words of the
same order.

C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, section 3, of one
reference and as one sequence of words; precision and recall count alike. Words are stretches of
letters and digits in small letters, without stemming, and of scripts without blanks between words
each character. Of English that is what the package ``rouge-score`` has, which knows a to z alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from toolkit.bleu import UNSPACED
from toolkit.reading import composed

__all__ = ["common_subsequence", "rouge_l", "rouge_words"]

WORD = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})[^\W_])+")


def rouge_words(text: str) -> list[str]:
    """The words that are compared.

    >>> rouge_words("The dog's 2 toys.")
    ['the', 'dog', 's', '2', 'toys']
    >>> rouge_words("Café, 猫です")
    ['café', '猫', 'で', 'す']
    """
    return WORD.findall(composed(text).lower())


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence: items of both, in the same order, with gaps.

    >>> common_subsequence("police killed the gunman".split(), "the gunman killed police".split())
    2
    """
    row = [0] * (len(other) + 1)  # what is common to the items so far and each beginning of ``other``
    for item in one:
        diagonal = 0
        for place, found in enumerate(other, start=1):
            above = row[place]
            row[place] = diagonal + 1 if item == found else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def rouge_l(found: str, reference: str) -> float:
    """F1 of the longest common subsequence of words, from 0 to 1: ``2 LCS / (words of both)``; 0 if
    either has no word.

    >>> rouge_l("Police kill the gunman.", "police killed the gunman")
    0.75
    """
    one, other = rouge_words(found), rouge_words(reference)
    common = common_subsequence(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0
