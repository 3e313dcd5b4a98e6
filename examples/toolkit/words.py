"""Texts as words: their vocabulary, and their n-grams."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.bleu import UNSPACED
from toolkit.console import UserError
from toolkit.files import read_json, write_text
from toolkit.labelled import Ngrams
from toolkit.reading import composed
from toolkit.tokenizer import SPECIAL

__all__ = ["WordList", "Words", "WrittenWords", "prefixes", "word_ngrams", "words_of"]

if TYPE_CHECKING:
    from typing_extensions import Self

# Letters and digits with what joins them, as in "don't" and "well-made", or one sign; of scripts
# without blanks between words, whose words it takes a dictionary to find, each character.
LETTERS = rf"(?:(?!{UNSPACED.pattern})\w)+"
WORD = re.compile(rf"{UNSPACED.pattern}|{LETTERS}(?:['’\-]{LETTERS})*|[^\w\s]")
STOPS = ".,:;!? \u3002\uff0c\u3001\uff1a\uff1b\uff01\uff1f"  # what may end a clause; the latter of Chinese and Japanese


def words_of(text: str) -> list[str]:
    """The words and signs of a text, in small letters; of scripts without blanks between words the
    characters.

    >>> words_of("It wasn't dull: 90 minutes!")
    ['it', "wasn't", 'dull', ':', '90', 'minutes', '!']
    >>> words_of("90分、良い")
    ['90', '分', '、', '良', 'い']
    """
    return WORD.findall(composed(text).lower())


def prefixes(text: str) -> list[tuple[str, str]]:
    """Each word or sign of a text as it is written, and the text up to there, ended by a full stop
    if it goes on, which is that of Chinese and Japanese in a text that has it.

    >>> prefixes("Dull, no?")
    [('Dull', 'Dull.'), (',', 'Dull.'), ('no', 'Dull, no.'), ('?', 'Dull, no?')]
    >>> prefixes("良い。")
    [('良', '良。'), ('い', '良い。'), ('。', '良い。')]
    """
    matches = list(WORD.finditer(text))
    stop = "\u3002" if "\u3002" in text else "."
    found = [(match[0], text[: match.end()].rstrip(STOPS) + stop) for match in matches[:-1]]
    return found + [(match[0], text) for match in matches[-1:]]


def word_ngrams(longest: int) -> Ngrams:
    """What gives the n-grams of words of a text, n from 1 to ``longest``; from 2 on, its ends are
    words too.

    >>> word_ngrams(2)("Not bad.")
    ['not', 'bad', '.', '^ not', 'not bad', 'bad .', '. $']
    """

    def ngrams(text: str) -> list[str]:
        words = words_of(text)
        whole = ["^", *words, "$"]
        rows = [whole[i : i + n] for n in range(2, longest + 1) for i in range(len(whole) - n + 1)]
        return words + [" ".join(row) for row in rows]

    return ngrams


class WordList:
    """Words in their order, and their file."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, all of it or nothing."""
        write_text(Path(path), json.dumps({"words": self.words}, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises UserError for a missing, damaged or foreign file."""
        found = read_json(path, "vocabulary of words")
        words = found.get("words") if isinstance(found, dict) else found  # a list alone: of speech, once
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise UserError(f"{path} is damaged or not a vocabulary of words")
        return cls(words)


class WrittenWords(WordList):
    """Words that a model writes, each a token: ids 0, 1 and 2 are the tokenizer's `PAD`, `START`
    and `STOP`, those of the words follow.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)
        self.ids = {word: id for id, word in enumerate(self.words, start=len(SPECIAL))}

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(SPECIAL) + len(self.words)

    def decode(self, ids: Sequence[int]) -> str:
        """The words of ids with blanks between them, without special ones."""
        return " ".join(self.words[id - len(SPECIAL)] for id in ids if id >= len(SPECIAL))

    def label(self, id: int) -> str:
        """The word of an id, or the name of a special token."""
        return self.decode([id]) or SPECIAL[id]


class Words(WordList):
    """Each word is a token; its id is its place among ``words``."""

    unit = "words"

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)
        self.numbers = {word: number for number, word in enumerate(self.words)}  # their ids

    @classmethod
    def of(cls, texts: Iterable[str], most: int) -> Words:
        """The ``most`` frequent words of texts; of those that are equally frequent the first by
        alphabet.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[:most])

    @property
    def vocab_size(self) -> int:
        """The number of words."""
        return len(self.words)

    def tokens(self, text: str) -> list[str]:
        """The words of a text, in the vocabulary or not."""
        return words_of(text)
