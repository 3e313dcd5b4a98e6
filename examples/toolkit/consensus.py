"""Of many texts that a model draws for one source, the one that is the most like all of them.

    argmax over y of  (1 / N) sum over n of  ROUGE-L(y, y_n)        y_1 .. y_N drawn, y one of them

That is minimum Bayes risk decoding (Kumar and Byrne, "Minimum Bayes-Risk Decoding for Statistical
Machine Translation", 2004), the risk estimated by drawn texts (Eikema and Aziz 2020,
arXiv:2005.10283, section 6). The most probable text of an unsure model is like few that may be
right; this one has what many of them share.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from toolkit.rouge import rouge_l_of_words, rouge_words

__all__ = ["most_alike"]


def most_alike(drawn: Sequence[str]) -> int:
    """The place of the text whose mean ROUGE-L with all of ``drawn``, which are at least one, is
    the largest; of equals the first.

    >>> most_alike(["a dog", "read the file", "read this file", "read the old file"])
    1
    """
    made = [" ".join(rouge_words(text)) for text in drawn]
    counts = Counter(made)  # equal words are compared once
    words = {text: text.split() for text in counts}
    values = {text: float(count) if words[text] else 0.0 for text, count in counts.items()}  # like itself
    for one, other in itertools.combinations(counts, 2):
        alike = rouge_l_of_words(words[one], words[other])
        values[one] += counts[other] * alike
        values[other] += counts[one] * alike
    return made.index(max(values, key=lambda text: values[text]))
