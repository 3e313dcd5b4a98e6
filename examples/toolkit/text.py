"""Text to train language models on: its vocabulary of characters or sub-words, and windows of its
tokens.

Letters: B windows, T tokens of each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from toolkit.console import UserError, counted
from toolkit.files import read_json, write_text
from toolkit.reading import composed, read_text
from toolkit.samples import Batch, Epoch, random_words
from toolkit.tokenizer import Tokenizer

__all__ = [
    "TOKENS",
    "Characters",
    "Windows",
    "learn_vocabulary",
    "load_text",
    "load_vocabulary",
    "split_text",
    "streams",
]

TOKENS = ("characters", "bpe")
HELD_OUT = 0.1  # of a text, at its end: the customary split of tinyshakespeare


def load_text(path: str | os.PathLike[str] | None) -> str:
    """The text of a UTF-8 file, plain or gzipped; default: half a megabyte of English that every
    Python carries.

    That is the reference of the language, all topics of ``help()`` in alphabetical order; it
    differs a little between versions.
    """
    if path is not None:
        return read_text(path)
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def split_text(text: str) -> tuple[str, str]:
    """The first nine tenths to train on, and the last to validate by."""
    cut = round(len(text) * (1 - HELD_OUT))
    return text[:cut], text[cut:]


# --- vocabularies ---------------------------------------------------------------------------------


class Characters:
    """Each character is a token; its id is its place among ``characters``, which are in the order
    of their code points.

    Texts are composed first: what Unicode calls equivalent has the same ids.
    """

    unit = "characters"

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._codes = _codes(characters)
        self.numbers = {character: number for number, character in enumerate(characters)}  # their ids

    @classmethod
    def of(cls, text: str) -> Characters:
        """All characters of a text."""
        return cls("".join(sorted(set(composed(text)))))

    @property
    def vocab_size(self) -> int:
        """The number of characters."""
        return len(self.characters)

    def tokens(self, text: str) -> list[str]:
        """The characters of a text, in the vocabulary or not."""
        return list(composed(text))

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises UserError for a character that is not in the vocabulary."""
        text = composed(text)
        codes = _codes(text)
        ids = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = np.flatnonzero(self._codes[ids] != codes)
        if unknown.size:
            raise UserError(
                f"character {unknown[0] + 1}, {text[unknown[0]]!r}, is not in the vocabulary of the model, which has only"
                f" {''.join(self.characters)!r}"
            )
        return ids.tolist()

    def known(self, text: str) -> str:
        """The text, composed, without the characters that are not in the vocabulary."""
        return "".join(character for character in composed(text) if character in self.numbers)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return "".join(self.characters[id] for id in ids)

    def labels(self, ids: Sequence[int]) -> list[str]:
        """A readable name for each id, for pictures: blanks in quotes."""
        return [repr(character) if character.isspace() else character for character in self.decode(ids)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, all of it or nothing."""
        write_text(Path(path), json.dumps({"characters": self.characters}, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Characters:
        """Read what `save` wrote. Raises UserError for a missing, damaged or foreign file."""
        found = read_json(path, "vocabulary of characters")
        characters = found.get("characters") if isinstance(found, dict) else None
        if not isinstance(characters, str) or not characters:
            raise UserError(f"{path} is damaged or not a vocabulary of characters")
        return cls(characters)


def _codes(text: str) -> np.ndarray:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def learn_vocabulary(tokens: str, text: str, vocab_size: int) -> Characters | Tokenizer:
    """``tokens`` is "characters", all those of the text, or "bpe", at most ``vocab_size`` sub-words
    learned from it.
    """
    return Characters.of(text) if tokens == "characters" else Tokenizer.train([text], vocab_size)


def load_vocabulary(tokens: str, path: str | os.PathLike[str]) -> Characters | Tokenizer:
    """What a vocabulary's ``save`` wrote."""
    return (Characters if tokens == "characters" else Tokenizer).load(path)


# --- windows --------------------------------------------------------------------------------------


class Windows:
    """Windows of ``length`` tokens, side by side, as batches ``inputs`` (B, T) and ``targets``
    (B, T), which are one further.

    Each epoch shuffles them, and lays them from another start, so that windows do not always end at
    the same places.
    """

    def __init__(self, ids: Sequence[int] | np.ndarray, length: int, batch_size: int, seed: int = 0) -> None:
        """Raise UserError for a text shorter than a window."""
        self.ids = np.asarray(ids, dtype=np.int32)
        self.length, self.batch_size, self.seed = length, batch_size, seed
        whole = (len(self.ids) - 1) // length  # the target of the last token is one more
        if not whole:
            raise UserError(
                f"a text of {counted(len(self.ids), 'token')} is too short for a window of {length} and the next"
            )
        self._count = max(1, whole - 1)  # leaves room to move all of them by as much as a window
        self._whole = whole

    def __len__(self) -> int:
        """The number of windows in an epoch."""
        return self._count

    def epoch(self, number: int) -> Epoch[Batch]:
        """The batches of epoch ``number``."""
        room = len(self.ids) - self._count * self.length  # starts that leave the last target inside
        shift, *words = random_words(self.seed, number, 1 + self._count)
        order = np.argsort(np.array(words), kind="stable")
        return self._batches(int(shift) % room + self.length * order)

    def in_order(self) -> Epoch[Batch]:
        """All windows from the start of the text on, without what is left at its end, for
        evaluation.
        """
        return self._batches(self.length * np.arange(self._whole))

    def _batches(self, starts: np.ndarray) -> Epoch[Batch]:
        return Epoch(self._batch, np.split(starts, range(self.batch_size, len(starts), self.batch_size)))

    def _batch(self, starts: np.ndarray) -> Batch:
        found = self.ids[starts[:, None] + np.arange(self.length + 1)]  # (B, T + 1)
        return Batch({"inputs": found[:, :-1], "targets": found[:, 1:]}, self.length)


def streams(ids: Sequence[int] | np.ndarray, rows: int, length: int) -> Iterator[Batch]:
    """A text read to its end by ``rows`` readers of a part each: windows (rows, up to T) that go on
    where the last ones ended.

    For models that carry a state from window to window. Fewer than ``rows`` tokens at the end are
    left out.
    """
    ids = np.asarray(ids, dtype=np.int32)
    steps = (len(ids) - 1) // rows
    starts = steps * np.arange(rows)[:, None]
    for first in range(0, steps, length):
        places = starts + np.arange(first, min(first + length, steps))
        yield Batch({"inputs": ids[places], "targets": ids[places + 1]}, places.shape[1])
