"""The parts of a run that answers questions about stories: settings, training task, and the trained
model that listens and answers.

A `StoryReader` is given the statements of a story, a vector for each, and then its questions, each
with the answer before. It learns the answers alone, so that one pass over a story teaches all of
them, and each is given with all that was said before.

Letters: B stories, S statements, Q questions, A words of an answer with its STOP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import minitensor as mt
from minitensor.models.story_reader import StoryReader, StoryReaderConfig
from toolkit.batches import cut_evenly
from toolkit.blank import is_blank
from toolkit.console import UserError, counted
from toolkit.program import load_weights, place
from toolkit.runs import Run
from toolkit.samples import Epoch, random_words
from toolkit.settings import SCHEDULES, Training, option
from toolkit.stories import LONGEST_ANSWER, Stories, Story
from toolkit.story_batches import Batch, Ids, Stream, padded
from toolkit.story_words import Words, is_question
from toolkit.tokenizer import PAD, START, STOP

__all__ = ["VOCABULARY", "Conversation", "Listener", "Settings", "Task", "make_model"]

VOCABULARY = "vocabulary.json"  # in the folder of a run
ROWS = 200  # stories read at a time
GIVEN = ("lines", "story", "questions", "replies")  # what the model reads of a batch


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit the embedded stories."""

    d_model: int = option(96, "features of a line", least=1)
    layers: int = option(3, "layers of the encoder: how often a line looks at others", least=1, below=1000)
    heads: int = option(4, "attention heads", least=1)
    d_ff: int = option(192, "features inside the feed-forward networks", least=1)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    max_length: int = option(256, "longest story, and longest dialogue, in words", least=2, below=100_000)
    max_lines: int = option(640, "statements in a batch, padding included, and likewise questions", least=1)
    lr: float = option(2e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(100, "updates of linear warm-up", least=1)
    steps: int | None = option(1400, "stop after so many updates", least=1)
    validate_every: int | None = option(200, "updates between validations; an epoch if not given", least=1)

    def __post_init__(self) -> None:
        """Check what can be checked before a model is made."""
        super().__post_init__()
        if self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} do not divide --d-model {self.d_model}; write a number that does")


def make_model(settings: Settings, vocab_size: int, device: str) -> StoryReader:
    """A model of these settings, its weights drawn from their seed."""
    s = settings
    mt.random.seed(s.seed)
    config = StoryReaderConfig(
        vocab_size=vocab_size, d_model=s.d_model, n_layers=s.layers, n_heads=s.heads, d_ff=s.d_ff, dropout=s.dropout,
        pad_id=PAD, start_id=START,
    )  # fmt: skip
    return place(StoryReader(config), device)


class Task:
    """The answers of dialogues; ``dropped`` counts the stories that are too long to train on."""

    def __init__(self, stories: Stories, words: Words, settings: Settings) -> None:
        self.words, self.settings = words, settings
        self.train, dropped = self._streams(stories.train, "to train on")
        self.validation, more = self._streams(stories.validation, "to validate by")
        self.dropped = dropped + more
        self.model = make_model(settings, words.vocab_size, settings.device)

    def _streams(self, stories: Sequence[Story], what: str) -> tuple[list[Stream], int]:
        """The streams that are short enough, and the number of the others."""
        s = self.settings
        found = [Stream.of(self.words, story) for story in stories]
        kept = [stream for stream in found if len(stream) <= s.max_length and max(_shape(stream)) <= s.max_lines]
        if not kept:
            raise UserError(
                f"{counted(len(found), 'story', 'stories')} {what}, each of more than {s.max_length} words or"
                f" {s.max_lines} lines; see --max-length and --max-lines"
            )
        return kept, len(found) - len(kept)

    def epoch(self, number: int) -> Epoch[Batch]:
        """Stories of as many statements and questions in an order that depends on (seed, epoch), in
        shuffled batches.
        """
        told, asked = np.array([_shape(stream) for stream in self.train]).T
        # By questions, within these by statements, up and down in turns: neighbours are alike also
        # when the questions change.
        keys = np.where(asked % 2, -told, told), asked
        cuts = cut_evenly(np.maximum(told, asked)[np.lexsort(keys)].tolist(), self.settings.max_lines)
        random = random_words(self.settings.seed, number, len(told) + len(cuts) + 1)
        groups = np.split(np.lexsort((random[: len(told)], *keys)), cuts)
        shuffled = np.argsort(random[len(told) :], kind="stable")
        return Epoch(lambda group: padded([self.train[i] for i in group]), [groups[i] for i in shuffled])

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        names = (*GIVEN, "written", "targets")
        lines, story, questions, replies, written, targets = _arrays(batch, names, self.settings.device)
        return self.model.loss(lines, story, questions, replies, written, targets, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """The loss per word of the answers, and the share of answers that are right if those before
        were.
        """
        total, count = 0.0, 0
        right: list[bool] = []
        for start in range(0, len(self.validation), ROWS):
            batch = padded(self.validation[start : start + ROWS])
            total += self.loss(batch, 1).item()
            count += batch.tokens
            arrays = _arrays(batch, (*GIVEN, "written"), self.settings.device)
            right += batch.right(self.model(*arrays).to("cpu").numpy().argmax(axis=-1))
        return {"validation_loss": total / count, "exact": float(np.mean(right))}


def _shape(stream: Stream) -> tuple[int, int]:
    """How many statements and questions."""
    return len(stream.story), len(stream.questions)


def _arrays(batch: Batch, names: Sequence[str], device: str) -> list[mt.Tensor]:
    return [mt.asarray(batch[name], device=device) for name in names]


class Listener:
    """A trained model that is told stories and answers questions."""

    def __init__(self, model: StoryReader, words: Words, settings: Settings, device: str = "cpu") -> None:
        self.model, self.words, self.settings, self.device = model, words, settings, device

    @classmethod
    def of(cls, run: Run, weights: str = "", device: str = "cpu") -> Listener:
        """The trained model of a run."""
        words = Words.load(run.path(VOCABULARY))
        model = make_model(run.settings, words.vocab_size, device)
        load_weights(model, run, weights)
        return cls(model, words, run.settings, device)

    @property
    def longest(self) -> int:
        """The words of a story, or of a dialogue that still leaves room for an answer."""
        return self.settings.max_length - LONGEST_ANSWER - 1

    def reply(self, streams: Sequence[Stream]) -> list[Ids]:
        """The ids of the answer to the last question of each. Raises UserError for what leaves no
        room.
        """
        longest = max(map(len, streams))
        if longest > self.longest:
            raise UserError(
                f"a story or its dialogue has {longest} words, the model reads {self.longest}; begin a new one"
            )
        batch = padded(streams)
        last = np.array([len(stream.questions) - 1 for stream in streams])
        answers = np.full((len(streams), 1, LONGEST_ANSWER + 2), STOP, dtype=np.int32)
        answers[..., 0] = START
        with mt.no_grad():
            found = self.model.read(*_arrays(batch, GIVEN, self.device))[np.arange(len(last)), last][:, None]
            for place in range(LONGEST_ANSWER + 1):
                written = mt.asarray(answers[..., : place + 1], device=self.device)
                best = self.model.write(found, written)[:, :, -1].to("cpu").numpy().argmax(axis=-1)
                answers[..., place + 1] = np.where((answers[..., 1 : place + 1] == STOP).any(axis=-1), STOP, best)
                if (answers[..., place + 1] == STOP).all():
                    break
        return [tuple(row[: row.index(STOP)] if STOP in row else row) for row in answers[:, 0, 1:].tolist()]

    def answers(self, stories: Sequence[Story]) -> list[list[str]]:
        """The answers to all questions of each story, every one given behind the model's own
        answers to those before.
        """
        whole = [Stream.of(self.words, story) for story in stories]
        found: list[list[Ids]] = [[] for _ in stories]
        for turn in range(max(len(stream.questions) for stream in whole)):
            asked = [number for number, stream in enumerate(whole) if turn < len(stream.questions)]
            for start in range(0, len(asked), ROWS):
                part = asked[start : start + ROWS]
                heard = [self._heard(whole[n], found[n], turn) for n in part]
                for number, answer in zip(part, self.reply(heard), strict=True):
                    found[number].append(answer)
        return [[self.words.decode(answer) for answer in answers] for answers in found]

    def _heard(self, stream: Stream, replies: Sequence[Ids], turn: int) -> Stream:
        """What is read before the answer of a ``turn``: of a model that answers at too great length
        so much of its answers as there is room for.
        """
        questions, kept = stream.questions[: turn + 1], list(replies)
        while len(made := Stream(stream.story, questions, [*kept, ()])) > self.longest and any(kept):
            longest = max(range(len(kept)), key=lambda place: len(kept[place]))
            kept[longest] = kept[longest][:-1]
        return made

    def attention(self, streams: Sequence[Stream]) -> np.ndarray:
        """What each question looks at among the statements, (B, Q, S): the mean of all heads and
        layers.
        """
        batch = padded(streams)
        maps = self.model.attention_maps(*_arrays(batch, GIVEN, self.device)).values()
        told = batch["story"].shape[1]
        return np.mean([seen[:, :, told:, :told].to("cpu").numpy().mean(axis=1) for seen in maps], axis=0)


class Conversation:
    """A story that grows line by line, and the dialogue about it, which begins anew when it
    grows.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.said = Stream([], [], [])

    def hear(self, line: str) -> str | None:
        """Take in a line; the answer if it ends in "?", otherwise None. An empty line begins a new
        story. Raises UserError for an unknown word, for a question before anything is told, and for
        a line that only looks like one, see `is_question`.
        """
        asks = is_question(line, repr(line.strip()))
        new = () if is_blank(line) else tuple(self.listener.words.encode(line))
        if not new:
            self.said = Stream([], [], [])
            return None
        story, questions, answers = self.said.story, self.said.questions, self.said.answers
        if not asks:
            self.said = Stream([*story, new], [], [])
            return None
        if not story:
            raise UserError(f"{line.strip()!r} asks before anything is told; tell something first")
        (answer,) = self.listener.reply([Stream(story, [*questions, new], [*answers, ()])])
        self.said = Stream(story, [*questions, new], [*answers, answer])
        return self.listener.words.decode(answer)
