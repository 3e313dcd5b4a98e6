"""BPE-dropout: a text is cut into other sub-words each time it is read.

Provilkov, Emelianenko and Voita, "BPE-Dropout: simple and effective subword regularization", 2020,
arXiv:1910.13267, section 3.2: while a word is put together from its bytes, each merge that is
possible is left out with probability p, anew at each step; the best of the others is made.

The published method draws for each occurrence of a word. Here each word has `VARIANTS`
segmentations that are drawn once, and each occurrence in each epoch takes one of them at random: so
an epoch costs no search, and depends on (seed, epoch) alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from toolkit.batches import Redrawn, Side
from toolkit.samples import random_words
from toolkit.tokenizer import START, STOP, Tokenizer

__all__ = ["VARIANTS", "Resegmented", "redrawn", "segment"]

VARIANTS = 16  # segmentations of a word


def segment(symbols: Sequence[str], ranks: dict[tuple[str, str], int], p: float, rng: random.Random) -> list[str]:
    """The symbols of a word, put together by byte-pair merges of which each is left out with
    probability ``p`` at each step.

    ranks: the number of each merge, the best first.
    """
    parts = list(symbols)
    while True:
        possible = [
            (ranks[pair], i)
            for i, pair in enumerate(zip(parts, parts[1:]))
            if pair in ranks and not (p and rng.random() < p)
        ]
        if not possible:
            return parts
        _, i = min(possible)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


class Resegmented:
    """The sentences of one side, in other sub-words in each epoch; all end in `STOP`."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        texts: Sequence[str],
        before: Sequence[int | None],
        p: float,
        seed: int,
        longest: int,
    ) -> None:
        """Draw the segmentations of all words; ``p`` and ``seed`` say which.

        before: the token that each sentence begins with, such as `START`, or None. A sentence that
        has more than ``longest`` ids in some epoch is cut there as ``encode`` does.
        """
        self.seed, self.longest = seed, longest
        ids, ranks = tokenizer.vocabulary(), tokenizer.merges()
        words: dict[str, int] = {}
        sentences = [[words.setdefault(word, len(words)) for word in tokenizer.pieces(text)] for text in texts]
        rng = random.Random(seed)
        variants = [  # the first is that of ``encode``
            [ids[part] for part in segment(word, ranks, p if n else 0, rng)] for word in words for n in range(VARIANTS)
        ]
        alone = [token for token in dict.fromkeys([STOP, *before]) if token is not None]  # words of one token
        special = {token: len(words) + n for n, token in enumerate(alone)}
        variants += [[token] for token in alone for _ in range(VARIANTS)]
        whole = [
            [*(() if first is None else (special[first],)), *sentence, special[STOP]]
            for first, sentence in zip(before, sentences, strict=True)
        ]
        self._words = np.concatenate([np.array(sentence) for sentence in whole])  # of all sentences
        self._counts = np.array([len(sentence) for sentence in whole])  # words of each
        self._lengths = np.array([len(variant) for variant in variants])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._values = np.array([token for variant in variants for token in variant], dtype=np.int32)

    def draw(self, epoch: int) -> Side:
        """The ids of all sentences in an epoch, one after the other, and how many each has."""
        drawn = (random_words(self.seed, epoch, len(self._words)) >> np.uint64(32)) % np.uint64(VARIANTS)
        chosen = VARIANTS * self._words + drawn.astype(np.int64)
        too_long = self._sizes(chosen) > self.longest
        if too_long.any():
            chosen = np.where(np.repeat(too_long, self._counts), VARIANTS * self._words, chosen)
        lengths = self._lengths[chosen]
        places = np.arange(lengths.sum()) + np.repeat(self._starts[chosen] - (np.cumsum(lengths) - lengths), lengths)
        return self._values[places], self._sizes(chosen)

    def _sizes(self, chosen: np.ndarray) -> np.ndarray:
        """The ids of each sentence if its words take these segmentations; none has no word."""
        return np.add.reduceat(self._lengths[chosen], np.cumsum(self._counts) - self._counts)


def redrawn(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str, str]], p: float, seed: int, longest: int) -> Redrawn:
    """Both sides of pairs in the sub-words of an epoch, for `Batches`. pairs: source, target, and
    the special token that the source begins with, or "".
    """
    sources, targets, tags = zip(*pairs, strict=True)
    before = [tokenizer.special.index(tag) if tag else None for tag in tags]
    source = Resegmented(tokenizer, sources, before, p, seed, longest)
    target = Resegmented(tokenizer, targets, [START] * len(targets), p, (seed + 1) % 2**64, longest + 1)
    return lambda epoch: (source.draw(epoch), target.draw(epoch))
