"""Scores of translations: BLEU in the two ways that are reported, and the share that is exactly
right.

Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002; Post, "A
call for clarity in reporting BLEU scores", 2018, arXiv:1804.08771, on why the tokenisation has to
be told.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.console import require
from toolkit.language_names import same_language
from toolkit.reading import composed

__all__ = ["Scores", "moses", "score", "tokenisation"]

# Scripts without blanks between words: kana; Han; Thai, Lao, Tibetan, Burmese; Khmer.
KANA = "\u3040-\u30ff"
HAN = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af"
OTHERS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
UNSPACED = re.compile(f"[{KANA}{HAN}{OTHERS}]")
ORDER = 4  # longest n-gram that BLEU counts


@dataclass(frozen=True)
class Scores:
    """All in per cent."""

    bleu: float  # sacrebleu's default: cased, its own tokenisation 13a; if a language has no blanks between words, another
    signature: str  # of sacrebleu, how it was computed
    bleu_tokenised: float  # as papers on Multi30k have it: lower case, Moses tokenisation
    exact: float  # translations equal to their reference
    preparation: str = "lower-cased, Moses punctuation and tokenisation"  # of ``bleu_tokenised``

    def __str__(self) -> str:
        """Three lines, for people."""
        return (
            f"BLEU {self.bleu:.2f} ({self.signature})\n"
            f"BLEU {self.bleu_tokenised:.2f} ({self.preparation})\n"
            f"exact {self.exact:.2f} %"
        )


def score(translations: Sequence[str], references: Sequence[str], language: str) -> Scores:
    """Compare translations with one reference each, in the target ``language`` ("de").

    Texts that Unicode calls equivalent are equal. A language without blanks between words is scored
    by the characters or words that its `tokenisation` gives, in both figures. If no reference has
    four tokens, the n-grams that are too long do not count ("eff:yes" in the signature): otherwise
    even what is right would have a BLEU of 0.

    Raises ValueError if the numbers differ or are zero.
    """
    if len(translations) != len(references) or not references:
        raise ValueError(f"score() got {len(translations)} translations for {len(references)} references")
    ours, theirs = [composed(text) for text in translations], [composed(text) for text in references]
    exact = 100 * sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(theirs)
    how = tokenisation(theirs, language)
    bleu, signature = _bleu(ours, theirs, tokenize=how)
    if how != "13a":
        lower, _ = _bleu(ours, theirs, tokenize=how, lowercase=True)
        return Scores(bleu, signature, lower, exact, f"lower-cased, tok:{how}")
    tokenise = moses(language)
    # force: the texts are tokenised already, and sacrebleu is not to warn of it.
    lower, _ = _bleu(
        [tokenise(text) for text in ours], [tokenise(text) for text in theirs], tokenize="none", force=True
    )
    return Scores(bleu, signature, lower, exact)


def _bleu(ours: Sequence[str], theirs: Sequence[str], **how: Any) -> tuple[float, str]:
    """Sacrebleu's figure and its signature."""
    sacrebleu = require("sacrebleu.metrics", "train")
    counted = sacrebleu.BLEU(**how).corpus_score(theirs, [theirs]).totals  # n-grams of the references, by their length
    metric = sacrebleu.BLEU(effective_order=counted[ORDER - 1] == 0, **how)
    return metric.corpus_score(ours, [theirs]).score, str(metric.get_signature())


def tokenisation(references: Sequence[str], language: str) -> str:
    """The name of sacrebleu's tokenisation for a language, by its name or by the script of most
    letters of the references.

    "13a" if words have blanks between; "zh" for Chinese; for Japanese the words that "ja-mecab"
    finds, if what that takes is installed (``pip install "sacrebleu[ja]"``), otherwise and for
    Thai, Khmer and the like each character, "char".
    """
    text = "".join(references)
    unspaced = 2 * len(UNSPACED.findall(text)) > sum(character.isalpha() for character in text)
    japanese = same_language(language, "ja") or re.search(f"[{KANA}]", text) is not None
    if any(same_language(language, code) for code in ("zh", "yue")) or (
        unspaced and not japanese and re.search(f"[{HAN}]", text)
    ):
        return "zh"
    if same_language(language, "ja") or (unspaced and japanese):
        return "ja-mecab" if _has_mecab() else "char"
    return "char" if unspaced else "13a"


@functools.cache
def _has_mecab() -> bool:
    """Whether the library that segments Japanese is installed."""
    try:
        require("sacrebleu.metrics", "train").BLEU(tokenize="ja-mecab")
    except (ImportError, RuntimeError):
        return False
    return True


@functools.cache
def moses(language: str) -> Callable[[str], str]:
    """The preparation of Multi30k's own scripts: lower case, Moses punctuation, Moses tokens with
    blanks between.
    """
    sacremoses = require("sacremoses", "train")
    normalise = sacremoses.MosesPunctNormalizer(lang=language, perl_parity=True).normalize
    tokenise = sacremoses.MosesTokenizer(lang=language).tokenize

    def prepare(text: str) -> str:
        return tokenise(normalise(text.lower()), return_str=True, escape=False)

    return prepare
