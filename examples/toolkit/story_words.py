"""A vocabulary of whole words and marks, for small worlds.

>>> words = Words.of(["Where is Anna?", "garden"])
>>> words.encode("where is Anna?")
[5, 7, 4, 3]
>>> words.decode([6])
'garden'
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from toolkit.console import UserError
from toolkit.reading import composed
from toolkit.words import WrittenWords

__all__ = ["Words", "is_question", "spaced", "words_of"]

QUESTION_MARKS = ("?", "\uff1f", "\ufe56", "\u061f", "\u055e", "\u2047", "\u2048", "\u203d")
SOME = 40  # words that an error lists
BEHIND = " \t\"'\u201d\u2019\u00bb)].!\u2026"  # what may stand behind the mark of a question


def words_of(text: str) -> list[str]:
    """The words of a text, and its marks, each alone."""
    return re.findall(r"\w+|[^\w\s]", composed(text))


def spaced(text: str) -> str:
    """The words and marks of a text with one blank between any two, as `Words.decode` writes it."""
    return " ".join(words_of(text))


def is_question(text: str, where: str) -> bool:
    """Whether a line is a question: its last character is "?", blanks aside, and nothing else makes
    one. Raises UserError, with ``where``, for a line that ends in another language's question mark,
    or in one with quotes, brackets or stops behind it: read as a statement it would be believed.
    """
    if text.rstrip().endswith("?"):
        return True
    if text.rstrip(BEHIND).endswith(QUESTION_MARKS):
        raise UserError(
            f'{where} ends like a question; write "?" as its very last character, or no question mark there'
        )
    return False


class Words(WrittenWords):
    """The words and marks of stories, each a token."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """All words of texts, in the order of their code points."""
        return cls(sorted({word for text in texts for word in words_of(text)}))

    def encode(self, text: str) -> list[int]:
        """The ids of a text; a word that is known in another case only is taken for that. Raises
        UserError for one that is not known.
        """
        ids = []
        for word in words_of(text):
            id = self._id(word)
            if id is None:
                raise UserError(
                    f"the model has never read {word!r}; it knows: {self.some}; write it by these, or train on stories that"
                    " have it"
                )
            ids.append(id)
        return ids

    def unknown(self, text: str) -> list[str]:
        """The words of a text that `encode` refuses."""
        return [word for word in words_of(text) if self._id(word) is None]

    @property
    def some(self) -> str:
        """The first words, for errors; those of letters before numbers and marks."""
        words = sorted(self.words, key=lambda word: not word.isalpha())
        return ", ".join(words[:SOME]) + (", ..." if len(words) > SOME else "")

    def _id(self, word: str) -> int | None:
        forms = word, word.lower(), word.capitalize()
        return next((self.ids[form] for form in forms if form in self.ids), None)
