"""The docstrings and help texts that every Python carries, as texts to be summarised: the first
sentence is the summary of the rest.

    summary    Return the filename associated with the payload if present.
    text       The filename is extracted from the Content-Disposition header's `filename' ...

The texts of one package, or one topic of ``help()``, are all in the same part, so that nothing to
be tested by has a sibling in training; of texts that begin alike, or have the same summary, the
first is kept. What there is differs a little between versions of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from toolkit.corpus import Corpus, Pair
from toolkit.documents import PARAGRAPH, RULE, SENTENCE, TITLE, help_topics, library_docstrings
from toolkit.rouge import rouge_words

__all__ = ["MOST_WORDS", "docstring_corpus", "first_and_rest"]

MOST_WORDS = 60  # of a text; the rest of it is not read
SUMMARY_WORDS = range(3, 26)
LEAST_WORDS = 5  # of a text
ALIKE = 12  # texts that begin with as many equal words are copies
TEST = 0.15  # of all pairs, about; half of that to validate by


def first_and_rest(docstring: str) -> Pair | None:
    r"""The text and the summary of a docstring; None if either is too short, or the summary too
    long.

    Examples of code and the rules of tables are left out.

    >>> first_and_rest("Wait a bit.\n\nThis blocks all other threads.\n\n>>> wait(3)\nTrue")
    ('This blocks all other threads.', 'Wait a bit.')
    """
    paragraphs = (part.strip() for part in PARAGRAPH.split(RULE.sub("", docstring)))
    flat = (" ".join(part.split()) for part in paragraphs if not part.startswith(">>>"))
    first, *others = [sentence for part in flat for sentence in SENTENCE.split(part) if sentence] or [""]
    text = " ".join(" ".join(others).split()[:MOST_WORDS])
    good = len(rouge_words(text)) >= LEAST_WORDS and len(rouge_words(first)) in SUMMARY_WORDS
    return (text, first) if good else None


def _all() -> Iterator[tuple[str, Pair]]:
    """Each pair of the library and of ``help()``, with its package or topic."""
    for package, found in library_docstrings().items():
        for docstring in found:
            if pair := first_and_rest(docstring):
                yield package, pair
    for topic, text in help_topics().items():
        for section in TITLE.split(text):
            if pair := first_and_rest(section):
                yield topic, pair


def docstring_corpus() -> Corpus:
    """Pairs (text, summary) in three parts; the test set is unseen_packages."""
    seen: set[str] = set()
    packages: dict[str, list[Pair]] = {}
    for package, (text, summary) in _all():
        marks = {" ".join(rouge_words(summary)), "text: " + " ".join(rouge_words(text)[:ALIKE])}
        if marks.isdisjoint(seen):
            packages.setdefault(package.lstrip("_"), []).append((text, summary))
        seen |= marks
    wanted = TEST * sum(map(len, packages.values()))
    train: list[Pair] = []
    validation: list[Pair] = []
    test: list[Pair] = []
    for package in sorted(packages, key=lambda name: hashlib.sha256(name.encode()).digest()):
        part = test if len(test) < wanted else validation if len(validation) < wanted / 2 else train
        part += packages[package]
    return Corpus(train, validation, {"unseen_packages": test})
