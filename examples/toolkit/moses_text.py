"""Texts as papers on Multi30k train on them: lower case, Moses punctuation, Moses tokens.

Koehn et al., "Moses: open source toolkit for statistical machine translation", 2007, by the library
sacremoses; the same preparation as that of the figure `bleu_tokenised` in `toolkit.bleu`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from toolkit.bleu import moses
from toolkit.console import require
from toolkit.corpus import Corpus, Pair

__all__ = ["TextForm", "in_moses_form"]


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True)
class TextForm:
    """How texts become what a model reads and writes, and back; as they are if nothing is said."""

    source: Callable[[str], str] = _as_it_is  # a source as the model reads it
    target: Callable[[str], str] = _as_it_is  # a target as the model writes it
    back: Callable[[str], str] = _as_it_is  # what the model has written, for people

    @classmethod
    def moses(cls, source: str, target: str) -> TextForm:
        """Lower-case Moses tokens with blanks between, of two languages by their codes; for people
        the blanks that no writer makes are taken out again, and all stays in lower case.
        """
        detokenise = require("sacremoses", "train").MosesDetokenizer(lang=target).detokenize
        return cls(moses(source), moses(target), lambda text: str(detokenise(text.split(), unescape=False)))

    def pairs(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Pairs as the model reads and writes them."""
        return [(self.source(source), self.target(target)) for source, target in pairs]


def in_moses_form(corpus: Corpus, source: str, target: str) -> Corpus:
    """All pairs of a corpus in the form that `TextForm.moses` gives them."""
    form = TextForm.moses(source, target)
    tests = {name: form.pairs(pairs) for name, pairs in corpus.tests.items()}
    return replace(corpus, train=form.pairs(corpus.train), validation=form.pairs(corpus.validation), tests=tests)
