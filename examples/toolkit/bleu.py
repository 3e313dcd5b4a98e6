"""Scores of translations: BLEU in the two ways that are reported, chrF, and the share that is
exactly right, each with its 95 % interval if that is asked for.

Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002; Popovic,
"chrF: character n-gram F-score for automatic MT evaluation", 2015; Post, "A call for clarity in
reporting BLEU scores", 2018, arXiv:1804.08771, on why the tokenisation has to be told; Koehn,
"Statistical significance tests for machine translation evaluation", 2004, on the bootstrap; Riezler
and Maxwell, "On some pitfalls in automatic evaluation and significance testing for MT", 2005, on
randomisation.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.chance import sacrebleu_seed
from toolkit.console import require
from toolkit.language_names import language_code, same_language
from toolkit.reading import composed

__all__ = [
    "ORDER", "SHORT", "Measure", "Score", "Scores", "exact_matches", "measures", "moses", "resamples", "score", "tokenisation",
]  # fmt: skip

# Scripts without blanks between words: kana; Han; Thai, Lao, Tibetan, Burmese; Khmer.
KANA = "\u3040-\u30ff"
HAN = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af"
OTHERS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
UNSPACED = re.compile(f"[{KANA}{HAN}{OTHERS}]")
HANGUL = re.compile("[\u1100-\u11ff\uac00-\ud7a3]")
ORDER = 4  # longest n-gram that BLEU counts
SHORT = "eff:yes"  # in a signature: n-grams that are longer than all references do not count
NORMAL = 1.959964  # the 95 % interval of a normal distribution, in standard deviations


@dataclass(frozen=True)
class Score:
    """A score of a corpus, in per cent, and how it was computed."""

    value: float
    how: str
    interval: tuple[float, float] | None = None  # where 95 % of such test sets would have it

    def __str__(self) -> str:
        return " ".join([f"{self.value:.2f}", *([self.interval_text] if self.interval else []), f"({self.how})"])

    @property
    def interval_text(self) -> str:
        """``[39.71, 42.30]``; "" if there is none."""
        return "[{:.2f}, {:.2f}]".format(*self.interval) if self.interval else ""


@dataclass(frozen=True)
class Scores:
    """All in per cent, 100 for what is right."""

    bleu: Score  # sacrebleu's default: cased, its own tokenisation 13a; if a language has no blanks between words, another
    bleu_tokenised: Score  # as papers on Multi30k have it: lower case, Moses tokenisation
    chrf: Score  # sacrebleu's default, chrF2: of character n-grams up to 6, recall twice as important
    exact: Score  # translations equal to their reference

    def __str__(self) -> str:
        """Four lines, for people."""
        exact = " ".join([f"exact {self.exact.value:.2f} %", self.exact.interval_text]).rstrip()
        return f"BLEU {self.bleu}\nBLEU {self.bleu_tokenised}\nchrF {self.chrf}\n{exact}"


@dataclass(frozen=True)
class Measure:
    """A way to score translations: each text is prepared, then sacrebleu's ``metric`` compares. All
    but ``prepared`` take texts that are, since that takes as long as to compare them.
    """

    metric: Any
    prepare: Callable[[str], str]
    said: str = ""  # how it is computed; default: the metric's signature

    def prepared(self, texts: Sequence[str]) -> list[str]:
        """The texts as the metric compares them."""
        return [self.prepare(text) for text in texts]

    def score(self, translations: Sequence[str], references: Sequence[str]) -> Score:
        """Of a corpus, without an interval."""
        value = self.metric.corpus_score(translations, [references]).score
        return Score(value, self._how(self.metric.get_signature()))

    def drawn(self, translations: Sequence[str], references: Sequence[str]) -> Score:
        """Of a corpus, with its interval: the mean of `resamples` test sets drawn from this one,
        and on either side half of what 95 % of them lie in.
        """
        test = require("sacrebleu.significance", "train").PairedTest
        systems, times = [("", translations)], resamples(len(references))
        signatures, results = test(systems, {"": self.metric}, [references], "bs", times)()
        ((name, signature),) = signatures.items()
        (found,) = results[name]
        return Score(found.score, self._how(signature), _between(float(found.mean), float(found.ci)))

    def chance(self, ours: Sequence[str], theirs: Sequence[str], references: Sequence[str]) -> float:
        """The probability, of two equally good systems, of scores that differ by at least as much.

        By approximate randomisation: of each sentence the two translations are exchanged or not, as
        a coin falls, and the scores are taken anew, `resamples` times; the share of those that
        differ by at least as much as the true ones, which are counted among them. sacrebleu's own
        (``--paired-ar``) leaves out those that differ by just as much, which are many if few
        sentences do; its bootstrap (``--paired-bs``) finds far too many differences.
        """
        statistics = self.metric._extract_corpus_statistics
        one, other = (np.array(statistics(texts, [references]), float) for texts in (ours, theirs))
        if np.array_equal(one, other):
            return 1.0

        def difference(moved: np.ndarray) -> float:
            first, second = (self.metric._compute_score_from_stats(x).score for x in (sums[0] + moved, sums[1] - moved))
            return float(abs(first - second))

        sums = one.sum(0), other.sum(0)
        draw = np.random.default_rng(sacrebleu_seed())
        times = resamples(len(references))
        exchanged = draw.integers(2, size=(times, len(references)), dtype=bool) @ (other - one)
        least = difference(np.zeros_like(sums[0])) - 1e-9  # rounding is no difference
        return (1 + sum(difference(moved) >= least for moved in exchanged)) / (times + 1)

    def _how(self, signature: Any) -> str:
        """The signature, with the normal form of Unicode in which texts are compared."""
        return self.said or f"{signature}|norm:NFC"


def score(translations: Sequence[str], references: Sequence[str], language: str, intervals: bool = False) -> Scores:
    """Compare translations with one reference each, in the target ``language`` ("de").

    Texts that Unicode calls equivalent are equal. A language without blanks between words is scored
    by the characters or words that its `tokenisation` gives, in both figures of BLEU. If no
    reference has four tokens, the n-grams that are too long do not count ("eff:yes" in the
    signature): otherwise even what is right would have a BLEU of 0.

    intervals: BLEU and chrF by sacrebleu's bootstrap (it draws as many sentences, `resamples`
    times; seed SACREBLEU_SEED of the environment, default: 12345), exact by Wilson's formula.

    Raises ValueError if the numbers differ or are zero.
    """
    if len(translations) != len(references) or not references:
        raise ValueError(f"score() got {len(translations)} translations for {len(references)} references")
    ours, theirs = [composed(text) for text in translations], [composed(text) for text in references]
    found = {}
    for name, measure in measures(theirs, language).items():
        both = measure.prepared(ours), measure.prepared(theirs)
        found[name] = measure.drawn(*both) if intervals else measure.score(*both)
    return Scores(**found, exact=exact_matches(ours, theirs, intervals))


def exact_matches(translations: Sequence[str], references: Sequence[str], interval: bool) -> Score:
    """The share of translations that are their reference, with Wilson's interval if asked."""
    right, n = sum(one == other for one, other in zip(translations, references, strict=True)), len(references)
    return Score(100 * right / n, "equal to the reference", _wilson(right, n) if interval else None)


def measures(references: Sequence[str], language: str) -> dict[str, Measure]:
    """The ways to score translations into a language, by the fields of `Scores`."""
    metrics = require("sacrebleu.metrics", "train")
    how = tokenisation(references, language)
    cased = Measure(_bleu(metrics, references, tokenize=how), str)
    if how != "13a":
        metric = _bleu(metrics, references, tokenize=how, lowercase=True)
        lower = Measure(metric, str, f"lower-cased, tok:{how}{_short(metric)}")
    else:
        prepare = moses(language)
        prepared = [prepare(text) for text in references]
        # force: the texts are tokenised already, and sacrebleu is not to warn of it.
        metric = _bleu(metrics, prepared, tokenize="none", force=True)
        lower = Measure(metric, prepare, f"lower-cased, Moses punctuation and tokenisation{_short(metric)}")
    return {"bleu": cased, "bleu_tokenised": lower, "chrf": Measure(metrics.CHRF(), str)}


def _bleu(metrics: Any, references: Sequence[str], **how: Any) -> Any:
    """The metric, with n-grams up to a length that the references have."""
    counted = metrics.BLEU(**how).corpus_score(references, [references]).totals  # n-grams, by their length
    return metrics.BLEU(effective_order=counted[ORDER - 1] == 0, **how)


def _short(metric: Any) -> str:
    """What is to be said where n-grams of `ORDER` tokens do not count, as sacrebleu says it."""
    return f", {SHORT}" if metric.effective_order else ""


def _between(mean: float, half: float) -> tuple[float, float] | None:
    """The interval; None if all drawn test sets have one score, such as those of a single sentence,
    which say nothing of others.
    """
    return (max(0.0, mean - half), min(100.0, mean + half)) if half > 1e-9 else None


def resamples(sentences: int) -> int:
    """How often a test set is drawn anew: 1 000 times; fewer for more than 5 000 sentences, since
    sacrebleu holds the counts of all drawn sentences at once; never less than 100 times.
    """
    return min(1000, max(100, 5_000_000 // sentences))


def _wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, in per cent (Wilson 1927)."""
    share, z = right / n, NORMAL**2 / n
    middle, half = share + z / 2, math.sqrt(z * (share * (1 - share) + z / 4))
    return 100 * (middle - half) / (1 + z), 100 * (middle + half) / (1 + z)


def tokenisation(references: Sequence[str], language: str) -> str:
    """The name of sacrebleu's tokenisation for a language, by its name or by the script of most
    letters of the references.

    "13a" if words have blanks between; "zh" for Chinese; for Japanese and Korean the words that
    "ja-mecab" and "ko-mecab" find, if what these take is installed (``pip install "sacrebleu[ja]"``
    or ``"sacrebleu[ko]"``), otherwise, and for Thai, Khmer and the like, each character, "char";
    Korean, which has blanks, then keeps "13a".
    """
    text = "".join(references)
    letters = sum(character.isalpha() for character in text)
    unspaced = 2 * len(UNSPACED.findall(text)) > letters
    japanese = same_language(language, "ja") or re.search(f"[{KANA}]", text) is not None
    if any(same_language(language, code) for code in ("zh", "yue")) or (
        unspaced and not japanese and re.search(f"[{HAN}]", text)
    ):
        return "zh"
    if same_language(language, "ja") or (unspaced and japanese):
        return "ja-mecab" if _has("ja-mecab") else "char"
    if same_language(language, "ko") or 2 * len(HANGUL.findall(text)) > letters:
        return "ko-mecab" if _has("ko-mecab") else "13a"
    return "char" if unspaced else "13a"


@functools.cache
def _has(tokeniser: str) -> bool:
    """Whether the library behind one of sacrebleu's tokenisers is installed."""
    try:
        require("sacrebleu.metrics", "train").BLEU(tokenize=tokeniser)
    except (ImportError, RuntimeError):
        return False
    return True


@functools.cache
def moses(language: str) -> Callable[[str], str]:
    """The preparation of Multi30k's own scripts: lower case, Moses punctuation, Moses tokens with
    blanks between, by the rules for the language, whichever of its names is given.
    """
    sacremoses = require("sacremoses", "train")
    code = language_code(language)  # of other names sacremoses takes the English rules
    normalise = sacremoses.MosesPunctNormalizer(lang=code, perl_parity=True).normalize
    tokenise = sacremoses.MosesTokenizer(lang=code).tokenize

    def prepare(text: str) -> str:
        return tokenise(normalise(text.lower()), return_str=True, escape=False)

    return prepare
