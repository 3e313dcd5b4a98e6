"""Span corruption: pre-training from text alone, by filling in what was left out (Raffel et al.
2020, arXiv:1910.10683, 3.1.4).

    text     Thank you for inviting me to your party last week .
    inputs   Thank you <X> me to your party <Y> week .
    targets  <X> for inviting <Y> last <Z>

About ``density`` of the tokens go, in spans of ``mean_length`` in the mean; each span is replaced
by a sentinel, its own token. How many tokens and spans go depends on the length of the text alone,
their places on (seed, epoch, index). Unlike in the published program, which cuts long documents
anywhere, a span need not end the text: of a sentence it would always be the full stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SpanCorruption"]


@dataclass(frozen=True)
class SpanCorruption:
    """Leaves out spans of texts, given as ids.

    first_sentinel: the id of <X>; those of <Y>, <Z>, ... follow downwards, as in the published
    vocabularies. n_sentinels: how many there are in all.
    """

    first_sentinel: int
    n_sentinels: int = 100
    density: float = 0.15
    mean_length: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that leave nothing to be done."""
        if not 0 < self.density < 1 or self.mean_length < 1 or self.n_sentinels < 2:
            raise ValueError(
                "span corruption needs 0 < density < 1, mean_length >= 1 and n_sentinels >= 2, got "
                f"{self.density}, {self.mean_length} and {self.n_sentinels}"
            )

    def counts(self, length: int) -> tuple[int, int]:
        """How many tokens of a text of ``length`` tokens are left out, and in how many spans."""
        if length < 2:
            raise ValueError(f"a text of {length} tokens is too short to leave some out and some in")
        tokens = min(max(round(length * self.density), 1), length - 1)
        spans = min(max(round(tokens / self.mean_length), 1), length - tokens, self.n_sentinels - 1)
        return tokens, spans

    def __call__(self, ids: Sequence[int], epoch: int, index: int) -> tuple[list[int], list[int]]:
        """``(inputs, targets)`` of text number ``index`` in an epoch."""
        tokens, spans = self.counts(len(ids))
        words = np.random.Philox(key=_words(self.seed, epoch), counter=_words(0, index, 0, 0)).random_raw(len(ids) + 2)
        gone = _segments(tokens, spans, words[:tokens])
        kept = _segments(len(ids) - tokens + 2, spans + 1, words[tokens:])
        # The text before the first span and after the last may be empty.
        kept[0], kept[-1] = kept[0] - 1, kept[-1] - 1
        inputs: list[int] = []
        targets: list[int] = []
        place = 0
        for number, (before, span) in enumerate(zip(kept[:-1], gone, strict=True)):
            sentinel = self.first_sentinel - number
            inputs += [*ids[place : place + before], sentinel]
            targets += [sentinel, *ids[place + before : place + before + span]]
            place += before + span
        return [*inputs, *ids[place:]], [*targets, self.first_sentinel - spans]

    def restore(self, inputs: Sequence[int], targets: Sequence[int]) -> list[int]:
        """The text that inputs and targets are of. Raises ValueError if their sentinels do not
        match.
        """
        spans: dict[int, list[int]] = {}
        sentinel = -1
        for token in targets:
            if self._is_sentinel(token):
                sentinel = token
                spans[sentinel] = []
            elif sentinel < 0:
                raise ValueError(f"the targets {list(targets)} do not start with a sentinel")
            else:
                spans[sentinel].append(token)
        wanted = [token for token in inputs if self._is_sentinel(token)]
        if list(spans)[: len(wanted)] != wanted:
            raise ValueError(f"the inputs have the sentinels {wanted}, the targets {list(spans)}")
        return [piece for token in inputs for piece in spans.get(token, [token])]

    def _is_sentinel(self, token: int) -> bool:
        return self.first_sentinel - self.n_sentinels < token <= self.first_sentinel


def _words(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.uint64)


def _segments(total: int, parts: int, words: np.ndarray) -> list[int]:
    """``parts`` positive lengths that sum to ``total``, all such lists equally likely; ``words``
    (total,) are random.
    """
    cuts = np.sort(np.argsort(words[: total - 1], kind="stable")[: parts - 1]) + 1
    return np.diff([0, *cuts, total]).tolist()
