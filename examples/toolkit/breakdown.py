"""Where a translator fails: its scores by the length of the sentences and by their rarest word,
the words that it finds by how often training had them, and its worst sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from toolkit.bleu import ORDER, SHORT, score, tokenisation
from toolkit.console import require
from toolkit.corpus import Pair
from toolkit.printed import Table
from toolkit.reading import composed

__all__ = ["Line", "Words", "by_length", "by_rarest_word", "lines_of", "words_found", "worst"]

LENGTHS = (5, 10, 15, 20, 30, 50)  # the longest sentence of each group, in words, but the last
COUNTS = (0, 1, 9, 99, 999)  # the same for how often training has a word
MARK = "*"  # behind BLEU of a group that is not computed as that of the others


@dataclass(frozen=True)
class Line:
    """A sentence with its reference and its translation, and what chrF says of this one (%)."""

    number: int  # of the pair, as a person finds it
    source: str
    reference: str
    translation: str
    chrf: float
    cased: bool = True  # whether capitals count

    @property
    def compared(self) -> tuple[str, str]:
        """The translation and the reference in the form in which they are judged."""
        both = composed(self.translation), composed(self.reference)
        return both if self.cased else (both[0].lower(), both[1].lower())


@dataclass(frozen=True)
class Words:
    """What ``split`` cuts texts into, lower-cased, and how often the training texts have each."""

    split: Callable[[str], list[str]]
    counts: Counter[str]

    @classmethod
    def of(cls, texts: Sequence[str], language: str) -> Words:
        """Count the words of ``texts``, as BLEU has them."""
        split = _splitter(texts, language)
        return cls(split, Counter(word for text in texts for word in split(text)))

    def group(self, word: str) -> int:
        """The place in `COUNTS` of a word; one more for those that are more frequent."""
        return _place(self.counts[word], COUNTS)


def lines_of(
    pairs: Sequence[Pair], translations: Sequence[str], cased: bool = True, numbers: Sequence[int] | None = None
) -> list[Line]:
    """Each sentence by itself. cased: False for a system that writes lower case alone. numbers:
    default: from 1.
    """
    chrf = require("sacrebleu.metrics", "train").CHRF()
    lines = [
        Line(n, source, reference, ours, 0.0, cased)
        for n, (source, reference), ours in zip(numbers or range(1, len(pairs) + 1), pairs, translations, strict=True)
    ]
    return [replace(x, chrf=chrf.sentence_score(x.compared[0], [x.compared[1]]).score) for x in lines]


def worst(lines: Sequence[Line], count: int) -> list[Line]:
    """The ``count`` lines of the lowest chrF that are not right, the worst first."""
    return sorted((x for x in lines if x.compared[0] != x.compared[1]), key=lambda x: x.chrf)[:count]


def by_length(lines: Sequence[Line], source: str, target: str) -> Table:
    """The scores by the number of words of the source sentence, in the languages ``source`` and
    ``target``.
    """
    split = _splitter([x.source for x in lines], source)
    groups = [_place(len(split(x.source)), LENGTHS) for x in lines]
    return _scored("by length of the sentence", "words", lines, groups, _ranges(LENGTHS, least=1), target)


def by_rarest_word(lines: Sequence[Line], words: Words, target: str) -> Table:
    """The scores by how often the training sentences have the rarest word of the source."""
    groups = [min((words.group(word) for word in words.split(x.source)), default=0) for x in lines]
    return _scored("by the rarest word of the sentence", "in training", lines, groups, _ranges(COUNTS), target)


def words_found(lines: Sequence[Line], words: Words) -> Table:
    """Which share of the references' words the translations have, and the other way round, by how
    often the training translations have the word. A word counts as often in a sentence as both have
    it.
    """
    said, wanted, both = Counter[int](), Counter[int](), Counter[int]()
    for x in lines:
        ours, theirs = Counter(words.split(x.translation)), Counter(words.split(x.reference))
        for total, found in ((said, ours), (wanted, theirs), (both, ours & theirs)):
            for word, times in found.items():
                total[words.group(word)] += times
    rows = [
        [name, f"{wanted[k]:,}", _per_cent(both[k], wanted[k]), f"{said[k]:,}", _per_cent(both[k], said[k])]
        for k, name in enumerate(_ranges(COUNTS))
        if wanted[k] or said[k]
    ]
    columns = ["in training", "in references", "of these found (%)", "in translations", "of these right (%)"]
    return Table("words, by how often training has them", columns, rows)


def _scored(
    title: str, unit: str, lines: Sequence[Line], groups: Sequence[int], names: Sequence[str], language: str
) -> Table:
    """A row for each group that has sentences."""
    rows, cased = [], all(x.cased for x in lines)
    for k, name in enumerate(names):
        chosen = [x.compared for x, group in zip(lines, groups, strict=True) if group == k]
        if chosen:
            ours, theirs = zip(*chosen, strict=True)
            found = score(ours, theirs, language)
            bleu = found.bleu if cased else found.bleu_tokenised
            values = [f"{figure.value:.1f}" for figure in (bleu, found.chrf, found.exact)]
            values[0] += MARK * (SHORT in bleu.how)
            rows.append([name, f"{len(chosen):,}", *values])
    title += ", in lower case" * (not cased)
    title += f" ({MARK}: no reference has {ORDER} tokens, {SHORT})" * any(row[2].endswith(MARK) for row in rows)
    return Table(title, [unit, "sentences", "BLEU" if cased else "BLEU, Moses tokens", "chrF", "exact (%)"], rows)


def _splitter(texts: Sequence[str], language: str) -> Callable[[str], list[str]]:
    """Cuts a text of the language into words as its BLEU counts them, lower-cased."""
    how = tokenisation(texts, language)
    tokenise = require("sacrebleu.metrics", "train").BLEU(tokenize=how).tokenizer
    return lambda text: tokenise(composed(text).lower()).split()


def _place(value: int, bounds: Sequence[int]) -> int:
    """The first of the ascending ``bounds`` that is not below ``value``; their number if none."""
    return sum(value > bound for bound in bounds)


def _ranges(bounds: Sequence[int], least: int = 0) -> list[str]:
    """``["1 to 5", "6 to 10", "more than 10"]`` of (5, 10) and least 1."""
    lows = [least, *(bound + 1 for bound in bounds[:-1])]
    named = [f"{low}" if low == high else f"{low:,} to {high:,}" for low, high in zip(lows, bounds, strict=True)]
    return [*named, f"more than {bounds[-1]:,}"]


def _per_cent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""
