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
from toolkit.language_names import language_code

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
        """Lower-case Moses tokens with blanks between, of two languages; for people
        the blanks that no writer makes are taken out again, and all stays in lower case.
        """
        return cls(source=moses(source)).into(target, always=True)

    def into(self, language: str, always: bool = False) -> TextForm:
        """The same with another target language; texts that are left as they are stay so."""
        if self.target is _as_it_is and not always:
            return self
        detokenise = require("sacremoses", "train").MosesDetokenizer(lang=language_code(language)).detokenize
        return TextForm(self.source, moses(language), lambda text: str(detokenise(text.split(), unescape=False)))


def in_moses_form(corpus: Corpus) -> Corpus:
    """All pairs of a corpus in the form that `TextForm.moses` gives them."""
    form = TextForm.moses(*corpus.languages)

    def pairs(given: Sequence[Pair]) -> list[Pair]:
        return [(form.source(source), form.target(target)) for source, target in given]

    tests = {name: pairs(given) for name, given in corpus.tests.items()}
    return replace(corpus, train=pairs(corpus.train), validation=pairs(corpus.validation), tests=tests)
