"""Stories and the dialogues about them as ids, and batches of them in which each line stands once.

Letters: N different lines of a batch, W words of a line, B stories, S statements, Q questions, A
words of an answer with its STOP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit import samples
from toolkit.stories import Line
from toolkit.story_words import Words
from toolkit.tokenizer import PAD, START, STOP

__all__ = ["Batch", "Ids", "Stream", "padded"]

Ids = tuple[int, ...]  # of the words of a line


@dataclass(frozen=True)
class Stream:
    """A story and the dialogue about it as ids: the statements, the questions, and behind each its
    answer, without STOP; that of the last question may be still to be found, ().
    """

    story: list[Ids]
    questions: list[Ids]
    answers: list[Ids]

    @classmethod
    def of(cls, words: Words, story: Sequence[Line]) -> Stream:
        """A story whose answers are known."""
        asked = [line for line in story if line.answer]
        told, questions, answers = (
            [tuple(words.encode(text)) for text in texts]
            for texts in (
                [line.text for line in story if not line.answer],
                [line.text for line in asked],
                [line.answer for line in asked],
            )
        )
        return cls(told, questions, answers)

    def __len__(self) -> int:
        """The words of the longer side, with START, and STOP behind the story and each answer."""
        said = sum(map(len, [*self.questions, *self.answers]))
        return 1 + max(sum(map(len, self.story)), said + len(self.answers))


class Batch(samples.Batch):
    """``lines`` (N, W), the different lines of these stories, none of them first; as numbers of
    such lines ``story`` (B, S), ``questions`` and ``replies`` (B, Q), the answers before; and as
    ids ``written`` and ``targets`` (B, Q, A), START and the answer, and the answer and STOP.
    """

    def __len__(self) -> int:
        """B."""
        return len(self["story"])

    @property
    def tokens(self) -> int:
        """The words to be learned."""
        return int(np.count_nonzero(self["targets"] != PAD))

    def rows(self, rows: slice | np.ndarray) -> Batch:
        return Batch({name: array if name == "lines" else array[rows] for name, array in self.arrays.items()})

    def right(self, guesses: np.ndarray) -> list[bool]:
        """For each question, story by story, whether ``guesses`` (B, Q, A) are the answer."""
        wanted = self["targets"]
        return ((guesses == wanted) | (wanted == PAD)).all(axis=-1)[self["questions"] != 0].tolist()


def padded(streams: Sequence[Stream]) -> Batch:
    """Streams as rectangles, with PAD, or no line, behind them."""
    numbers: dict[Ids, int] = {(): 0}

    def numbered(sides: Sequence[Sequence[Ids]]) -> np.ndarray:
        return _rectangle([[numbers.setdefault(line, len(numbers)) for line in lines] for lines in sides])

    story, questions = numbered([one.story for one in streams]), numbered([one.questions for one in streams])
    replies = numbered([[(), *one.answers[:-1]] for one in streams])
    count = questions.shape[1]
    filled = [[*one.answers, *[()] * (count - len(one.answers))] for one in streams]
    written = _rectangle([[START, *answer] if answer else [] for answers in filled for answer in answers])
    targets = _rectangle([[*answer, STOP] if answer else [] for answers in filled for answer in answers])
    written, targets = (table.reshape(len(streams), count, -1) for table in (written, targets))
    lines = _rectangle(list(numbers))
    return Batch(
        {"lines": lines, "story": story, "questions": questions, "replies": replies, "written": written,
         "targets": targets}
    )  # fmt: skip


def _rectangle(rows: Sequence[Sequence[int]]) -> np.ndarray:
    table = np.full((len(rows), max(1, *map(len, rows)) if rows else 1), PAD, dtype=np.int32)
    for filled, row in zip(table, rows, strict=True):
        filled[: len(row)] = row
    return table
