"""The pre-training data of BERT, made from raw text: masked words and pairs of passages (Devlin et
al. 2019, arXiv:1810.04805).

A pair is ``[CLS] first [SEP] second [SEP]``. The first passage starts at any sentence of a
document; the second is what follows it, or half of the time the second passage of a pair from
another document. Of the words a share is to be predicted, 15 % in the paper: 80 % of these are
replaced by [MASK], 10 % by a random word, and 10 % stay (section 3.1 and appendix A.1).

Nothing is stored or drawn in advance: an example is a function of (seed, epoch, index), by the
counter-based generator of `minitensor`, so every epoch masks anew and a resumed run goes on as it
would have. Letters: B pairs, T positions, N examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from minitensor.models.bert import IGNORED
from minitensor.random import Generator
from toolkit.console import UserError
from toolkit.samples import Batch, Epoch, random_words
from toolkit.wordpieces import CLS, MASK, PAD, SEP, SPECIAL

__all__ = ["PairBatch", "Pairs", "mask_words"]

# Of the words to predict, as a share: up to the first become [MASK], up to the second a random
# word.
REPLACED = (0.8, 0.9)
# The first of the generator's streams used here, one for each epoch; 0 is the one of weights and
# dropout.
STREAM = 2**32


class PairBatch(Batch):
    """Pairs of passages, masked and padded to a rectangle.

    ids         (B, T) int32: [CLS] first [SEP] second [SEP] [PAD]...
    mask        (B, T) bool: True = a real token
    segments    (B, T) int32: 0 up to the first [SEP], then 1
    words       (B, T) int32: the original id at each masked position, `IGNORED` at the others
    unrelated   (B,) int32: 1 if the second passage is from another document
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], pairs: int) -> None:
        """``pairs``: of the whole batch that this may be a part of; the loss of the second passage
        is divided by them.
        """
        super().__init__(arrays)
        self.pairs = pairs

    @property
    def tokens(self) -> int:
        """The masked words, by which their loss is divided."""
        return int((self["words"] != IGNORED).sum())

    def rows(self, rows: slice | np.ndarray) -> PairBatch:
        """Some of the pairs."""
        return PairBatch({name: array[rows] for name, array in self.arrays.items()}, self.pairs)


class Pairs:
    """All pairs of ``documents``, lists of sentences, which are lists of ids without special
    tokens.
    """

    def __init__(
        self,
        documents: Sequence[Sequence[Sequence[int]]],
        vocab_size: int,
        longest: int,
        share: float,
        batch_size: int,
        seed: int,
    ) -> None:
        """``longest`` counts all tokens of a pair, special ones included; ``share`` of the words
        are to be predicted.

        Raises UserError if fewer than two documents are long enough.
        """
        self.vocab_size, self.longest, self.share = vocab_size, longest, share
        self.batch_size, self.seed = batch_size, seed
        documents = [[sentence for sentence in document if sentence] for document in documents]
        self._ids = np.array([token for document in documents for sentence in document for token in sentence], np.int32)
        self._spans, self._document = _spans(documents, (longest - 3) // 2)
        if len(np.unique(self._document)) < 2:
            raise UserError(f"two documents of {longest} tokens or more are needed for pairs: give more text")
        self._blocks = -(-(2 + 2 * longest) // 4)  # of random words for each example

    def __len__(self) -> int:
        """N, the number of examples in an epoch."""
        return len(self._spans)

    def epoch(self, number: int) -> Epoch[PairBatch]:
        """The batches of epoch ``number``, made when asked for."""
        order = np.argsort(random_words(self.seed, number, len(self)), kind="stable")
        groups = np.split(order, range(self.batch_size, len(order), self.batch_size))
        return Epoch(partial(self.batch, number), groups)

    def batch(self, epoch: int, indices: np.ndarray) -> PairBatch:
        """The examples ``indices`` (B,) of an epoch."""
        examples = [self.example(epoch, index) for index in indices.tolist()]
        width = max(len(example[0]) for example in examples)
        shape = (len(examples), width)
        ids, segments = np.full(shape, PAD, np.int32), np.zeros(shape, np.int32)
        words = np.full(shape, IGNORED, np.int32)
        for row, (tokens, second, targets, _) in enumerate(examples):
            ids[row, : len(tokens)], words[row, : len(tokens)] = tokens, targets
            segments[row, second : len(tokens)] = 1
        unrelated = np.array([example[3] for example in examples], np.int32)
        arrays = {"ids": ids, "mask": ids != PAD, "segments": segments, "words": words, "unrelated": unrelated}
        return PairBatch(arrays, len(examples))

    def example(self, epoch: int, index: int) -> tuple[np.ndarray, int, np.ndarray, bool]:
        """Tokens of a pair after masking, where its second passage starts, the words to predict,
        and whether it is unrelated.
        """
        words = Generator(self.seed, STREAM + epoch, index * self._blocks).words(2 + 2 * self.longest)
        unrelated = bool(words[0] >> np.uint64(63))
        first, second = self._spans[index, :2], self._spans[index, 2:]
        if unrelated:
            others = np.flatnonzero(self._document != self._document[index])
            second = self._spans[others[words[1] % np.uint64(len(others))], 2:]
        parts: list[Any] = [[CLS], self._ids[slice(*first)], [SEP], self._ids[slice(*second)], [SEP]]
        tokens = np.concatenate(parts, dtype=np.int32)
        masked, targets = mask_words(tokens, words[2:], self.vocab_size, self.share)
        return masked, len(parts[1]) + 2, targets, unrelated


def mask_words(tokens: np.ndarray, random: np.ndarray, vocab_size: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """``tokens`` (T,) with a ``share`` of the words masked, and the original ids (IGNORED
    elsewhere).

    ``random``: two words of 64 random bits for each token. Special tokens are never masked; one
    word at least is.
    """
    which, what = random[: 2 * len(tokens)].reshape(2, -1)  # (T,) each
    words = np.flatnonzero(tokens >= len(SPECIAL))
    count = max(1, round(share * len(words)))
    places = words[np.argsort(which[words], kind="stable")[:count]]
    targets = np.full(len(tokens), IGNORED, np.int32)
    targets[places] = tokens[places]
    chance = (what[places] >> np.uint64(11)) * 2.0**-53  # uniform on [0, 1)
    anything = len(SPECIAL) + (what[places] % np.uint64(vocab_size - len(SPECIAL))).astype(np.int32)
    masked = tokens.copy()
    masked[places] = np.where(chance < REPLACED[0], MASK, np.where(chance < REPLACED[1], anything, tokens[places]))
    return masked, targets


def _spans(documents: Any, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Where both passages of each pair start and stop in the concatenated tokens, (N, 4), and the
    document of each, (N,).

    A passage has as many whole sentences as ``most`` tokens allow, the first of them cut if it is
    longer by itself (then of the first passage the end is kept, next to what follows). A pair of
    which one passage has less than half of them is left out: a few words do not tell where they
    come from.
    """
    spans, owners, position = [], [], 0
    for number, document in enumerate(documents):
        stops = position + np.cumsum([len(sentence) for sentence in document])
        starts = [position, *stops[:-1].tolist()]
        for index, start in enumerate(starts[:-1]):
            last = max(index, int(np.searchsorted(stops[:-1], start + most, side="right")) - 1)
            middle = int(stops[last])
            end = max(last + 1, int(np.searchsorted(stops, middle + most, side="right")) - 1)
            span = max(start, middle - most), middle, middle, min(int(stops[end]), middle + most)
            if 2 * min(span[1] - span[0], span[3] - span[2]) >= most:
                spans.append(span)
                owners.append(number)
        position = int(stops[-1])
    return np.array(spans), np.array(owners)
