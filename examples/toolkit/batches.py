"""Batches of about equally long sentences, counted in tokens, in an order that depends on (seed,
epoch) alone.

Letters: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from toolkit.console import UserError, counted
from toolkit.samples import Epoch, cut, random_words
from toolkit.tokenizer import PAD, START, STOP

__all__ = [
    "SENTENCES",
    "Batch",
    "Batches",
    "Epoch",
    "Redrawn",
    "Side",
    "Units",
    "check_lengths",
    "cut_evenly",
    "drop_long",
    "pad_sources",
    "short_enough",
]

Ids = Sequence[int]
Source = Ids | np.ndarray  # ids, or features (S, F)
Pair = tuple[str, str]
Side = tuple[np.ndarray, np.ndarray]  # all sentences one after the other: ids, and the length of each


@dataclass(frozen=True)
class Units:
    """What a program reads, in its errors: what a line or an input of it is, of what it is made up,
    what is done with it, and what to do if it is too long.
    """

    one: str = "sentence"
    piece: str = "token"
    verb: str = "translate"
    shorter: str = "shorten it, or cut it into sentences"


SENTENCES = Units()
Redrawn = Callable[[int], tuple[Side, Side]]  # sources and targets of an epoch, by its number


@dataclass(frozen=True)
class Batch:
    """Sentence pairs, padded to rectangles; ``target_out`` is what is to follow each position of
    ``target_in``.
    """

    indices: np.ndarray  # (B,) which sentences of the corpus these are
    source: np.ndarray  # (B, S) int32: tokens, STOP, PAD...; or features (B, S, F)
    source_mask: np.ndarray  # (B, S) bool, True = a real token
    target_in: np.ndarray  # (B, T) int32: START, tokens, PAD...
    target_out: np.ndarray  # (B, T) int32: tokens, STOP, PAD...
    tokens: int  # real tokens in target_out, by which the loss is divided
    copies: int = 1  # rows that the model gets of each sentence, one beside the other

    def __len__(self) -> int:
        """B."""
        return len(self.indices)

    def split(self, parts: int) -> list[Batch]:
        """At most ``parts`` micro-batches of neighbouring sentences, for accumulating gradients.

        They keep the padding of the whole. With the loss of each summed, and divided by the tokens
        of the whole, the gradients add up to that of the whole batch.
        """
        return [self.rows(rows) for rows in cut(len(self), parts)]

    def rows(self, rows: slice) -> Batch:
        """Some of the sentences, with the padding of the whole."""
        target_out = self.target_out[rows]
        return Batch(
            self.indices[rows],
            self.source[rows],
            self.source_mask[rows],
            self.target_in[rows],
            target_out,
            int(np.count_nonzero(target_out != PAD)),
            self.copies,
        )


class Batches:
    """A corpus of ids as batches of at most ``max_tokens`` positions, padding included, on either
    side.

    ``source_ids`` and ``target_ids`` are lists of ids without special tokens; a source may also be
    features (S, F). Each epoch orders the sentences by length, equal lengths at random, cuts them
    into batches, and shuffles the batches; a batch is found again by (seed, epoch, index), which is
    all that resuming needs.
    """

    def __init__(
        self,
        source_ids: Sequence[Source],
        target_ids: Sequence[Ids],
        max_tokens: int,
        seed: int,
        copies: int = 1,
        redrawn: Redrawn | None = None,
    ) -> None:
        """Raise UserError for a sentence longer than ``max_tokens`` or a bad seed, ValueError for
        unequal sides.

        copies: of each sentence, see `Batch`. redrawn: both sides in other sub-words in each epoch;
        which sentences share a batch follows from the ids that are given, so that a batch may then
        have a few positions more than ``max_tokens``.
        """
        if len(source_ids) != len(target_ids) or not len(source_ids):
            raise ValueError(f"Batches() got {len(source_ids)} source and {len(target_ids)} target sentences")
        if not 0 <= seed < 2**64:
            raise UserError(f"the seed is {seed}; write a number from 0 to 2**64 - 1")
        self.max_tokens, self.seed, self.copies, self._redrawn = max_tokens, seed, copies, redrawn
        self._source = _Ragged.of([_whole(source) for source in source_ids])
        self._target = _Ragged.of([np.array([START, *ids, STOP], dtype=np.int32) for ids in target_ids])
        lengths = np.stack([self._source.lengths, self._target.lengths - 1])  # (2, N): S and T of each pair
        longest = int(lengths.max())
        if longest > max_tokens:
            raise UserError(f"a sentence has {longest} tokens, a batch only {max_tokens}; allow larger batches")
        # By T, within one T by S, up and down in turns: neighbours are alike also when T changes.
        self._keys = np.where(lengths[1] % 2, -lengths[0], lengths[0]), lengths[1]
        self._cuts = cut_evenly(lengths.max(axis=0)[np.lexsort(self._keys)].tolist(), max_tokens)

    def __len__(self) -> int:
        return len(self._source.lengths)

    def epoch(self, number: int) -> Epoch[Batch]:
        """The batches of epoch ``number``, made when asked for: a sequence, so ``epoch(3)[17:]``
        resumes there.

        All epochs have the same number of batches.
        """
        n = len(self)
        words = random_words(self.seed, number, 2 * n)
        groups = np.split(np.lexsort((words[:n], *self._keys)), self._cuts)
        shuffled = np.argsort(words[n : n + len(groups)], kind="stable")
        sides = self._redraw(number) if self._redrawn else (self._source, self._target)
        return Epoch(lambda indices: self._batch(indices, *sides), [groups[index] for index in shuffled])

    def _redraw(self, number: int) -> tuple[_Ragged, _Ragged]:
        """Both sides in the sub-words of an epoch."""
        assert self._redrawn is not None
        source, target = self._redrawn(number)
        return _Ragged(*source), _Ragged(*target)

    def batch(self, indices: np.ndarray) -> Batch:
        """The sentence pairs at ``indices`` (B,) as a batch."""
        return self._batch(indices, self._source, self._target)

    def _batch(self, indices: np.ndarray, sources: _Ragged, targets: _Ragged) -> Batch:
        source, source_mask = sources.pad(indices)  # (B, S)
        target, target_mask = targets.pad(indices)  # (B, T + 1)
        target_in = np.where(target_mask[:, 1:], target[:, :-1], PAD)  # without STOP, which nothing follows
        target_out = np.ascontiguousarray(target[:, 1:])
        tokens = int(target_mask[:, 1:].sum())
        return Batch(indices, source, source_mask, target_in, target_out, tokens, self.copies)


def _cut(lengths: list[int], max_tokens: int) -> list[int]:
    """Where batches begin, but the first, if each takes as many of the next sentences as the limit
    allows.
    """
    cuts, start, widest = [], 0, 0
    for position, length in enumerate(lengths):
        widest = max(widest, length)
        if widest * (position + 1 - start) > max_tokens:
            cuts.append(position)
            start, widest = position, length
    return cuts


def cut_evenly(lengths: list[int], max_tokens: int) -> list[int]:
    """`_cut` at the lowest limit that needs no more batches, so that the last is not left with a
    sentence or two.
    """
    cuts = _cut(lengths, max_tokens)
    low, high = max(lengths), max_tokens  # the limit sought is in low..high
    while low < high:
        middle = (low + high) // 2
        fewer = _cut(lengths, middle)
        if len(fewer) > len(cuts):
            low = middle + 1
        else:
            cuts, high = fewer, middle
    return cuts


def _whole(source: Source) -> np.ndarray:
    """A source as the model reads it: ids end in STOP, features are as they are."""
    return source if _is_features(source) else np.array([*source, STOP], dtype=np.int32)


def _is_features(source: Source) -> TypeGuard[np.ndarray]:
    return isinstance(source, np.ndarray) and source.ndim == 2


class _Ragged:
    """Sentences of different lengths in one array: ids (S,), or features (S, F)."""

    def __init__(self, values: np.ndarray, lengths: np.ndarray) -> None:
        self.values, self.lengths = values, lengths
        self.starts = np.cumsum(lengths) - lengths

    @classmethod
    def of(cls, sentences: list[np.ndarray]) -> _Ragged:
        """These sentences, one after the other."""
        return cls(np.concatenate(sentences), np.array([len(sentence) for sentence in sentences]))

    def pad(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(values, mask)`` of some sentences, (B, longest, ...): filled up with PAD, which is 0,
        and True where a token is.
        """
        lengths = self.lengths[indices, None]  # (B, 1)
        columns = np.arange(lengths.max())
        mask = columns < lengths
        places = self.starts[indices, None] + np.where(mask, columns, 0)
        values = self.values[places]
        values[~mask] = PAD
        return values, mask


def pad_sources(source_ids: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
    """Sentences to translate as ``(source, source_mask)`` (B, S), just as `Batches` gives them in
    training.
    """
    return _Ragged.of([_whole(source) for source in source_ids]).pad(np.arange(len(source_ids)))


def check_lengths(
    ids: Sequence[Ids], longest: int, where: str, numbers: Sequence[int] | None = None, units: Units = SENTENCES
) -> None:
    """Raise UserError for a sentence of more than ``longest`` tokens with its STOP; ``where`` and
    its number name it.
    """
    for number, sentence in zip(numbers or range(1, len(ids) + 1), ids):
        if len(sentence) + 1 > longest:
            raise UserError(
                f"{where} {number} has {len(sentence)} {units.piece}s, the model allows {longest - 1}; {units.shorter}"
            )


def drop_long(
    source_ids: Sequence[Ids], target_ids: Sequence[Ids], longest: int, units: Units = SENTENCES
) -> tuple[list[Ids], list[Ids], int]:
    """The pairs with at most ``longest`` tokens, with STOP, on both sides, and the number of pairs
    dropped.

    Raises UserError if nothing is left.
    """
    pairs = list(zip(source_ids, target_ids, strict=True))
    kept = [pair for pair in pairs if max(map(len, pair)) + 1 <= longest]
    if not kept:
        raise UserError(
            f"{counted(len(pairs), 'pair')}, each of more than the {longest - 1} {units.piece}s that the model allows; train"
            " with a larger --max-length (and --max-tokens)"
        )
    return [source for source, _ in kept], [target for _, target in kept], len(pairs) - len(kept)


def short_enough(
    pairs: Sequence[Pair], source_ids: Sequence[Ids], longest: int, name: str, units: Units = SENTENCES
) -> tuple[list[Pair], str]:
    """The pairs of a test set whose sources have at most ``longest`` tokens with their STOP, and a
    remark on the others.

    The remark is "" if none was left out. Raises UserError if nothing is left.
    """
    kept = [pair for pair, ids in zip(pairs, source_ids, strict=True) if len(ids) + 1 <= longest]
    if not kept:
        raise UserError(
            f"{name}: {counted(len(pairs), units.one)}, each of more than the {longest - 1} {units.piece}s that the model allows;"
            " train with a larger --max-length"
        )
    left_out = len(pairs) - len(kept)
    return (
        kept,
        f"; left out {left_out} of more than {longest - 1} {units.piece}s, see train --max-length" if left_out else "",
    )
