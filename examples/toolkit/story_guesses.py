"""Simple answers to questions about stories, to measure a model against: each learns from the
stories to train on, and sees the true answers before.

The first two are told the relation of a question, which the model is not: of "not told" that is the
answer already, so that they give none there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from toolkit.labelled import NaiveBayes
from toolkit.stories import Line, Story
from toolkit.story_questions import NOT_TOLD
from toolkit.story_words import words_of

__all__ = ["commonest", "guesses", "naive_bayes", "named_last", "questions"]

READ = 3000  # stories that naive Bayes counts


def questions(stories: Sequence[Story]) -> Iterator[tuple[Line, Sequence[Line]]]:
    """Each question, and the lines before it."""
    for story in stories:
        for place, line in enumerate(story):
            if line.answer:
                yield line, story[:place]


def guesses(train: Sequence[Story], stories: Sequence[Story]) -> dict[str, list[str]]:
    """The answers of all of them to all questions, by their names."""
    makers = {"named last": named_last, "commonest": commonest, "naive Bayes": naive_bayes}
    return {name: make(train, stories) for name, make in makers.items()}


def commonest(train: Sequence[Story], stories: Sequence[Story]) -> list[str]:
    """The most frequent answer of the relation."""
    counts = _counts(train)
    return [_most(counts[line.relation]) for line, _ in questions(stories)]


def named_last(train: Sequence[Story], stories: Sequence[Story]) -> list[str]:
    """The last word before the question that has answered the relation in training, otherwise its
    most frequent answer.
    """
    counts = _counts(train)
    found = []
    for line, before in questions(stories):
        words = [word for earlier in before for word in words_of(f"{earlier.text} {earlier.answer}")]
        fitting = (word for word in reversed(words) if word in counts[line.relation])
        found.append(next(fitting, _most(counts[line.relation])))
    return found


def naive_bayes(train: Sequence[Story], stories: Sequence[Story]) -> list[str]:
    """The most probable answer by which words are in the question and which before it."""
    pairs = [(_text(line, before), line.answer) for line, before in questions(train[:READ])]
    return NaiveBayes(pairs, _bag).classify(_text(line, before) for line, before in questions(stories))


def _text(line: Line, before: Sequence[Line]) -> str:
    return "\n".join([line.text, *(f"{earlier.text} {earlier.answer}" for earlier in before)])


def _bag(text: str) -> list[str]:
    """The words, those of the question marked as such."""
    question, _, before = text.partition("\n")
    return [f"{word}?" for word in words_of(question)] + words_of(before)


def _counts(stories: Sequence[Story]) -> defaultdict[str, Counter[str]]:
    """How often each answer is given, by relation; none to what is not told, see the head of this
    file.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line, _ in questions(stories):
        if line.relation != NOT_TOLD:
            found[line.relation][line.answer] += 1
    return found


def _most(counts: Counter[str]) -> str:
    return counts.most_common(1)[0][0] if counts else ""
