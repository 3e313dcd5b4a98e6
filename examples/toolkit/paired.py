"""Whether one system translates better than another: both on the same test set, with the
probability of such a difference between systems that are equally good.

Riezler and Maxwell, "On some pitfalls in automatic evaluation and significance testing for MT",
2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.bleu import Scores, exact_matches, measures
from toolkit.console import counted
from toolkit.printed import Table
from toolkit.reading import composed

__all__ = ["NAMES", "Comparison", "compare", "sign_test"]

NAMES = {"bleu": "BLEU", "bleu_tokenised": "BLEU, lower case", "chrf": "chrF", "exact": "exact (%)"}
LOWER = "bleu_tokenised"


@dataclass(frozen=True)
class Comparison:
    """The scores of two systems, and by the same names the probability ``p`` of a difference at
    least as large if there were none.
    """

    ours: Scores
    theirs: Scores
    p: dict[str, float]
    differing: int  # sentences that they translate differently
    cased: bool = True  # whether capitals count; otherwise "bleu_tokenised" alone compares the two

    def table(self, other: str) -> Table:
        """A row for each score that compares the two; ``other`` names the system that this one is
        compared with.
        """
        rows = []
        for field, name in NAMES.items() if self.cased else [(LOWER, NAMES[LOWER])]:
            ours, theirs = getattr(self.ours, field), getattr(self.theirs, field)
            figures = [f"{found.value:.2f} {found.interval_text}".rstrip() for found in (ours, theirs)]
            rows.append([name, *figures, f"{ours.value - theirs.value:+.2f}", f"{self.p[field]:.4f}"])
        title = f"{counted(self.differing, 'translation')} unlike those of {other}"
        title += "" if self.cased else ", in lower case, which one of the two writes alone"
        return Table(title, ["", "this one", "the other", "difference", "p"], rows)


def compare(
    ours: Sequence[str], theirs: Sequence[str], references: Sequence[str], language: str, cased: bool = True
) -> Comparison:
    """Compare two systems' translations, of the same sentences in the same order. cased: False if
    one of them writes lower case alone.

    BLEU and chrF by approximate randomisation, `resamples` times (`Measure.chance`; seed
    SACREBLEU_SEED of the environment, default: 12345); exact by `sign_test`. No test can call a
    difference of d sentences rarer than 2^(1 - d), which is how often the d differences would all
    be in favour of one system by chance: where what was drawn gives less, it is this.

    Raises ValueError if the numbers differ or are zero.
    """
    if not len(ours) == len(theirs) == len(references) or not references:
        counts = f"{len(ours)} and {len(theirs)} translations for {len(references)} references"
        raise ValueError(f"compare() got {counts}")
    ours, theirs, references = ([composed(text) for text in texts] for texts in (ours, theirs, references))
    found, scores, prepared = {}, {}, {}
    for name, measure in measures(references, language).items():
        one, other, wanted = prepared[name] = [measure.prepared(texts) for texts in (ours, theirs, references)]
        scores[name] = [measure.drawn(texts, wanted) for texts in (one, other)]
        differing = sum(a != b for a, b in zip(one, other, strict=True))
        found[name] = max(measure.chance(one, other, wanted), min(1.0, 2.0 ** (1 - differing)))
    triples = list(zip(ours, theirs, references, strict=True))
    found["exact"] = sign_test(
        sum(a == reference != b for a, b, reference in triples), sum(b == reference != a for a, b, reference in triples)
    )
    scores["exact"] = [exact_matches(texts, references, interval=True) for texts in (ours, theirs)]
    first, second = (Scores(**{name: both[n] for name, both in scores.items()}) for n in (0, 1))
    if not cased:
        ours, theirs, _ = ([text.lower() for text in texts] for texts in prepared[LOWER])
    return Comparison(first, second, found, sum(a != b for a, b in zip(ours, theirs, strict=True)), cased)


def sign_test(wins: int, losses: int) -> float:
    """The probability that ``wins + losses`` fair coins fall at least as unevenly: the exact test
    of McNemar (1947).

    >>> sign_test(5, 0), sign_test(2, 2), sign_test(0, 0)
    (0.0625, 1.0, 1.0)
    """
    n, few = wins + losses, min(wins, losses)
    ways = term = 1
    for k in range(few):
        term = term * (n - k) // (k + 1)
        ways += term
    return min(1.0, ways / 2 ** (n - 1)) if n else 1.0
