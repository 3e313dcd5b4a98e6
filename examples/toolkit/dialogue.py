"""The parts of a run that answers questions about stories: settings, training task, and the trained
model that listens and answers.

A story is the source, the dialogue about it the target: START, and the questions, behind each its
answer and STOP. A recurrent encoder-decoder with attention (Bahdanau et al. 2015) learns the
answers alone, so that one pass over a story teaches all of them, and each is given with all that
was said before.

Letters: B stories, S words of a story, T of a dialogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import minitensor as mt
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from toolkit import samples
from toolkit.batches import cut_evenly
from toolkit.console import UserError
from toolkit.program import load_weights, place
from toolkit.runs import Run
from toolkit.samples import Epoch, random_words
from toolkit.settings import SCHEDULES, Training, option
from toolkit.stories import Line, Stories, Story
from toolkit.story_words import Words
from toolkit.tokenizer import PAD, START, STOP

__all__ = ["VOCABULARY", "Conversation", "Listener", "Settings", "Stream", "Task", "make_model", "padded"]

VOCABULARY = "vocabulary.json"  # in the folder of a run
ROWS = 200  # stories read at a time
LONGEST_ANSWER = 16  # words, STOP included


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit the embedded stories, which are not seen often enough to
    be learned by heart.
    """

    cell: str = option("gru", "recurrent layers", choices=("gru", "lstm"))
    attention: str = option("additive", "how a question finds words of the story", choices=("additive", "dot"))
    d_model: int = option(64, "features of a word", least=1)
    hidden: int = option(96, "features of the states, in each direction", least=1)
    layers: int = option(1, "recurrent layers of the encoder, and as many of the decoder", least=1, below=1000)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    max_length: int = option(256, "longest story, and longest dialogue, in words", least=2, below=100_000)
    max_tokens: int = option(1280, "words in a batch, padding included, on either side", least=2)
    lr: float = option(4e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(100, "updates of linear warm-up", least=1)
    steps: int | None = option(1600, "stop after so many updates", least=1)
    validate_every: int | None = option(200, "updates between validations; an epoch if not given", least=1)


def make_model(settings: Settings, vocab_size: int, device: str) -> Seq2Seq:
    """A model of these settings, its weights drawn from their seed."""
    s = settings
    mt.random.seed(s.seed)
    config = Seq2SeqConfig(
        vocab_size=vocab_size, d_model=s.d_model, dropout=s.dropout, max_length=s.max_length, label_smoothing=0.0,
        pad_id=PAD, start_id=START, stop_id=STOP, cell=s.cell, attention=s.attention, hidden_size=s.hidden,
        n_layers=s.layers,
    )  # fmt: skip
    return place(Seq2Seq(config), device)


@dataclass(frozen=True)
class Stream:
    """A story as ids (S,) with STOP; the dialogue as ids (T,), and which word follows at each
    place, PAD where that is not to be learned; and for each question where its last word is.
    """

    source: np.ndarray
    ids: np.ndarray
    targets: np.ndarray
    asked: list[int]

    @classmethod
    def of(cls, words: Words, story: Sequence[Line]) -> Stream:
        """A story whose answers are known."""
        source = [id for line in story if not line.answer for id in words.encode(line.text)]
        ids, targets, asked = [START], [PAD], []
        for line in story:
            if line.answer:
                said, answer = words.encode(line.text), [*words.encode(line.answer), STOP]
                asked.append(len(ids) + len(said) - 1)
                ids += [*said, *answer]
                targets += [*[PAD] * (len(said) - 1), *answer, PAD]
        story_ids, dialogue_ids, learned = (np.array(part, dtype=np.int32) for part in ([*source, STOP], ids, targets))
        return cls(story_ids, dialogue_ids, learned, asked)

    def __len__(self) -> int:
        """The words of the longer side."""
        return max(len(self.source), len(self.ids))

    def right(self, guesses: np.ndarray) -> list[bool]:
        """For each question, whether ``guesses`` (T,) of the next words are the answer."""
        learned = self.targets != PAD
        ends = [place + int(np.argmin(learned[place:])) for place in self.asked]
        return [bool((guesses[a:b] == self.targets[a:b]).all()) for a, b in zip(self.asked, ends, strict=True)]


class Batch(samples.Batch):
    """``source`` and its ``mask`` (B, S), ``ids`` and ``targets`` (B, T), padded."""

    @property
    def tokens(self) -> int:
        """The words to be learned."""
        return int(np.count_nonzero(self["targets"] != PAD))

    def rows(self, rows: slice | np.ndarray) -> Batch:
        return Batch({name: array[rows] for name, array in self.arrays.items()})


def padded(streams: Sequence[Stream]) -> Batch:
    """Streams as rectangles, with PAD behind them."""
    source, ids, targets = (
        _rectangle([getattr(one, name) for one in streams]) for name in ("source", "ids", "targets")
    )
    return Batch({"source": source, "mask": source != PAD, "ids": ids, "targets": targets})


def _rectangle(rows: Sequence[np.ndarray]) -> np.ndarray:
    table = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int32)
    for filled, row in zip(table, rows, strict=True):
        filled[: len(row)] = row
    return table


class Task:
    """The answers of dialogues; ``dropped`` counts the stories that are too long to train on."""

    def __init__(self, stories: Stories, words: Words, settings: Settings) -> None:
        self.words, self.settings = words, settings
        self.train, dropped = self._streams(stories.train, "to train on")
        self.validation, more = self._streams(stories.validation, "to validate by")
        self.dropped = dropped + more
        self.model = make_model(settings, words.vocab_size, settings.device)

    def _streams(self, stories: Sequence[Story], what: str) -> tuple[list[Stream], int]:
        """The streams that are short enough, by length, and the number of the others."""
        longest = min(self.settings.max_length, self.settings.max_tokens)
        found = [Stream.of(self.words, story) for story in stories]
        kept = sorted((stream for stream in found if len(stream) <= longest), key=len)
        if not kept:
            raise UserError(f"each of the {len(found)} stories {what} has more than {longest} words; see --max-length")
        return kept, len(found) - len(kept)

    def epoch(self, number: int) -> Epoch[Batch]:
        """Equally long stories in an order that depends on (seed, epoch), in shuffled batches."""
        lengths = [len(stream) for stream in self.train]
        cuts = cut_evenly(lengths, self.settings.max_tokens)
        random = random_words(self.settings.seed, number, len(lengths) + len(cuts) + 1)
        groups = np.split(np.lexsort((random[: len(lengths)], np.array(lengths))), cuts)
        order = np.argsort(random[len(lengths) :], kind="stable")
        return Epoch(lambda group: padded([self.train[i] for i in group]), [groups[i] for i in order])

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        arrays = (batch[name] for name in ("source", "ids", "targets", "mask"))
        source, ids, targets, mask = (mt.asarray(array, device=self.settings.device) for array in arrays)
        return self.model.loss(source, ids, targets, mask, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """The loss per word of the answers, and the share of answers that are right if those before
        were.
        """
        total, count = 0.0, 0
        right: list[bool] = []
        for start in range(0, len(self.validation), ROWS):
            streams = self.validation[start : start + ROWS]
            batch = padded(streams)
            total += self.loss(batch, 1).item()
            count += batch.tokens
            for stream, row in zip(streams, next_words(self.model, batch, self.settings.device), strict=True):
                right += stream.right(row)
        return {"validation_loss": total / count, "exact": float(np.mean(right))}


def next_words(model: Seq2Seq, batch: Batch, device: str) -> np.ndarray:
    """The most probable word after each of the dialogues, (B, T)."""
    source, ids, mask = (mt.asarray(batch[name], device=device) for name in ("source", "ids", "mask"))
    with mt.no_grad():
        return model(source, ids, mask).to("cpu").numpy().argmax(axis=-1)


class Listener:
    """A trained model that is told stories and answers questions."""

    def __init__(self, model: Seq2Seq, words: Words, device: str = "cpu") -> None:
        self.model, self.words, self.device = model, words, device

    @classmethod
    def of(cls, run: Run, weights: str = "", device: str = "cpu") -> Listener:
        """The trained model of a run."""
        words = Words.load(run.path(VOCABULARY))
        model = make_model(run.settings, words.vocab_size, device)
        load_weights(model, run, weights)
        return cls(model, words, device)

    @property
    def longest(self) -> int:
        """The words of a story, or of a dialogue that still leaves room for an answer."""
        return self.model.config.max_length - LONGEST_ANSWER

    def reply(self, sources: Sequence[Sequence[int]], dialogues: Sequence[Sequence[int]]) -> list[list[int]]:
        """The ids of the answer to the question that each dialogue ends with. Raises UserError for
        what leaves no room.
        """
        longest = max(map(len, [*sources, *dialogues]))
        if longest > self.longest:
            raise UserError(
                f"a story or its dialogue has {longest} words, the model reads {self.longest}; begin a new one"
            )
        answers: list[list[int]] = [[] for _ in sources]
        going = list(range(len(sources)))
        for _ in range(LONGEST_ANSWER):
            told = _rectangle([np.array([*sources[n], STOP]) for n in going])
            said = [np.array([*dialogues[n], *answers[n]]) for n in going]
            batch = Batch({"source": told, "mask": told != PAD, "ids": _rectangle(said)})
            guesses = next_words(self.model, batch, self.device)
            found = [int(row[len(ids) - 1]) for row, ids in zip(guesses, said, strict=True)]
            for number, id in zip(going, found, strict=True):
                answers[number] += [id] if id != STOP else []
            going = [number for number, id in zip(going, found, strict=True) if id != STOP]
            if not going:
                break
        return answers

    def answers(self, stories: Sequence[Story]) -> list[list[str]]:
        """The answers to all questions of each story, every one given behind the model's own
        answers to those before.
        """
        sources = [
            [id for line in story if not line.answer for id in self.words.encode(line.text)] for story in stories
        ]
        questions = [[self.words.encode(line.text) for line in story if line.answer] for story in stories]
        dialogues = [[START] for _ in stories]
        found: list[list[str]] = [[] for _ in stories]
        for turn in range(max(map(len, questions))):
            asked = [number for number, texts in enumerate(questions) if turn < len(texts)]
            for start in range(0, len(asked), ROWS):
                part = asked[start : start + ROWS]
                for number in part:
                    dialogues[number] += questions[number][turn]
                for number, ids in zip(
                    part, self.reply(*([side[n] for n in part] for side in (sources, dialogues))), strict=True
                ):
                    dialogues[number] += [*ids, STOP]
                    found[number].append(self.words.decode(ids))
        return found

    def attention(self, streams: Sequence[Stream]) -> np.ndarray:
        """What each word of the dialogues looks at in the stories, (B, T, S)."""
        batch = padded(streams)
        source, ids, mask = (mt.asarray(batch[name], device=self.device) for name in ("source", "ids", "mask"))
        return self.model.attention_maps(source, ids, mask)["decoder.0.cross"].to("cpu").numpy()[:, 0]


class Conversation:
    """A story that grows line by line, and the dialogue about it, which begins anew when it
    grows.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.story: list[int] = []
        self.dialogue = [START]

    def hear(self, line: str) -> str | None:
        """Take in a line; the answer if it ends in "?", otherwise None. An empty line begins a new
        story. Raises UserError for an unknown word, and for a question before anything is told.
        """
        new = self.listener.words.encode(line)
        if not new:
            self.story = []
        if not line.rstrip().endswith("?"):
            self.story += new
            self.dialogue = [START]
            return None
        if not self.story:
            raise UserError(f"{line.strip()!r} asks before anything is told; tell something first")
        (ids,) = self.listener.reply([self.story], [[*self.dialogue, *new]])
        self.dialogue += [*new, *ids, STOP]
        return self.listener.words.decode(ids)
