"""Scores of translations: BLEU in the two ways that are reported, and the share that is exactly right.

Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002; Post, "A call for clarity in
reporting BLEU scores", 2018, arXiv:1804.08771, on why the tokenisation has to be told.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.console import require

__all__ = ["Scores", "moses", "score"]


@dataclass(frozen=True)
class Scores:
    """All in per cent."""

    bleu: float  # sacrebleu's default: cased, its own tokenisation 13a
    signature: str  # what sacrebleu says of that
    bleu_tokenised: float  # as papers on Multi30k have it: lower case, Moses tokenisation
    exact: float  # translations equal to their reference

    def __str__(self) -> str:
        """Three lines, for people."""
        return (
            f"BLEU {self.bleu:.2f} ({self.signature})\n"
            f"BLEU {self.bleu_tokenised:.2f} (lower-cased, Moses punctuation and tokenisation)\n"
            f"exact {self.exact:.2f} %"
        )


def score(translations: Sequence[str], references: Sequence[str], language: str) -> Scores:
    """Compare translations with one reference each, in the target ``language`` ("de").

    Raises ValueError if the numbers differ or are zero.
    """
    if len(translations) != len(references) or not references:
        raise ValueError(f"score() got {len(translations)} translations for {len(references)} references")
    sacrebleu = require("sacrebleu.metrics", "train")
    default = sacrebleu.BLEU()
    bleu = default.corpus_score(translations, [references]).score
    tokenise = moses(language)
    # force: the texts are tokenised already, and sacrebleu is not to warn of it.
    tokenised = sacrebleu.BLEU(tokenize="none", force=True).corpus_score(
        [tokenise(text) for text in translations], [[tokenise(text) for text in references]]
    )
    exact = sum(ours == theirs for ours, theirs in zip(translations, references, strict=True))
    return Scores(bleu, str(default.get_signature()), tokenised.score, 100 * exact / len(references))


@functools.cache
def moses(language: str) -> Callable[[str], str]:
    """The preparation of Multi30k's own scripts: lower case, Moses punctuation, Moses tokens with blanks between."""
    sacremoses = require("sacremoses", "train")
    normalise = sacremoses.MosesPunctNormalizer(lang=language, perl_parity=True).normalize
    tokenise = sacremoses.MosesTokenizer(lang=language).tokenize

    def prepare(text: str) -> str:
        return tokenise(normalise(text.lower()), return_str=True, escape=False)

    return prepare
