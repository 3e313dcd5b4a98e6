"""The parts of a run that answers questions about stories: settings, training task, and the trained
model that listens and answers.

A story is one stream of words: START, its lines as they come, and behind each question its answer
and STOP. A GPT (Radford et al. 2019) reads it and learns the answers alone, so that one pass over a
story teaches all of them, and each is given with all that was said before, the dialogue included.

Letters: B stories, T words, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.models.gpt import GPT, IGNORED, GPTConfig
from toolkit import samples
from toolkit.batches import cut_evenly
from toolkit.console import UserError
from toolkit.program import load_weights, place
from toolkit.runs import Run
from toolkit.samples import Epoch, random_words
from toolkit.settings import SCHEDULES, Training, option
from toolkit.stories import Line, Stories, Story
from toolkit.tokenizer import PAD, START, STOP
from toolkit.words import Words

__all__ = ["VOCABULARY", "Conversation", "Listener", "Settings", "Stream", "Task", "make_model"]

VOCABULARY = "vocabulary.json"  # in the folder of a run
ROWS = 256  # stories answered at a time
LONGEST_ANSWER = 16  # words, STOP included
WAVE = 200.0  # the slowest sinusoid takes this many positions for a radian


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit the embedded stories, which are not seen often enough to
    be learned by heart.
    """

    d_model: int = option(64, "features of each position", least=1)
    heads: int = option(8, "attention heads", least=1)
    layers: int = option(4, "layers", least=1, below=1000)
    d_ff: int = option(128, "features inside the feed-forward layers", least=1)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    max_length: int = option(256, "longest story with its questions, in words", least=2, below=100_000)
    max_tokens: int = option(640, "positions in a batch, padding included", least=2)
    lr: float = option(3e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(100, "updates of linear warm-up", least=1)
    steps: int | None = option(3500, "stop after so many updates", least=1)
    validate_every: int | None = option(500, "updates between validations; an epoch if not given", least=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features, and that these come in pairs."""
        super().__post_init__()
        if self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")
        if self.d_model % 2:
            raise UserError(f"--d-model {self.d_model} must be even: positions are sines and cosines")


def make_model(settings: Settings, vocab_size: int, device: str) -> GPT:
    """A GPT of these settings, its weights drawn from their seed.

    Who said what where is found by place and by name from the first update on, so that positions
    start as sinusoids (Vaswani et al. 2017, section 3.5), and weights with a variance that keeps
    that of their inputs; GPT-2's own start, N(0, 0.02**2), has to grow first.
    """
    s = settings
    mt.random.seed(s.seed)
    dropouts = dict(dropout=s.dropout, attention_dropout=s.dropout, embedding_dropout=s.dropout)
    model = GPT(
        GPTConfig(
            vocab_size=vocab_size, max_length=s.max_length, d_model=s.d_model, n_layers=s.layers, n_heads=s.heads,
            d_ff=s.d_ff, tie_output=False, stop_id=STOP, **dropouts,
        )
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        if name == "tokens.weight":
            nn.init.normal_(parameter, std=0.5)
        elif parameter.ndim > 1:
            adds = name.endswith(("attention.out.weight", "linear2.weight"))
            nn.init.normal_(parameter, std=(parameter.shape[1] * (2 * s.layers if adds else 1)) ** -0.5)
    model.positions.weight.assign(mt.asarray(_waves(s.max_length, s.d_model)))
    return place(model, device)


def _waves(length: int, features: int) -> np.ndarray:
    """Sinusoids (T, D) of half the amplitude, as the words have half the usual deviation."""
    speeds = WAVE ** -(np.arange(0, features, 2) / features)
    angles = np.arange(length)[:, None] * speeds
    return 0.5 * np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Stream:
    """A story as ids (T,), which word follows at each place if that is to be learned, and for each
    of its questions where its last word is.
    """

    ids: np.ndarray
    targets: np.ndarray
    asked: list[int]

    @classmethod
    def of(cls, words: Words, story: Sequence[Line]) -> Stream:
        """Without what follows the last answer's last word."""
        ids, targets, asked = [START], [IGNORED], []
        for line in story:
            said = words.encode(line.text)
            ids += said
            targets += [IGNORED] * len(said)
            if line.answer:
                asked.append(len(ids) - 1)
                answer = [*words.encode(line.answer), STOP]
                targets[-1:] = [*answer, IGNORED]
                ids += answer
        return cls(np.array(ids, dtype=np.int32), np.array(targets, dtype=np.int64), asked)

    def right(self, guesses: np.ndarray) -> list[bool]:
        """For each question, whether ``guesses`` (T,) of the next words are the answer."""
        learned = self.targets != IGNORED
        ends = [place + int(np.argmin(learned[place:])) for place in self.asked]
        return [bool((guesses[a:b] == self.targets[a:b]).all()) for a, b in zip(self.asked, ends, strict=True)]


class Batch(samples.Batch):
    """Streams with padding behind them: ``ids`` (B, T) and ``targets`` (B, T)."""

    @property
    def tokens(self) -> int:
        """The words to be learned."""
        return int(np.count_nonzero(self["targets"] != IGNORED))

    def rows(self, rows: slice | np.ndarray) -> Batch:
        return Batch({name: array[rows] for name, array in self.arrays.items()})


class Task:
    """The answers of stories; ``dropped`` counts those that are too long to train on."""

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
        kept = sorted((stream for stream in found if len(stream.ids) <= longest), key=lambda stream: len(stream.ids))
        if not kept:
            raise UserError(f"each of the {len(found)} stories {what} has more than {longest} words; see --max-length")
        return kept, len(found) - len(kept)

    def epoch(self, number: int) -> Epoch[Batch]:
        """Equally long stories in an order that depends on (seed, epoch), in shuffled batches."""
        lengths = [len(stream.ids) for stream in self.train]
        cuts = cut_evenly(lengths, self.settings.max_tokens)
        random = random_words(self.settings.seed, number, len(lengths) + len(cuts) + 1)
        groups = np.split(np.lexsort((random[: len(lengths)], lengths)), cuts)
        order = np.argsort(random[len(lengths) :], kind="stable")
        return Epoch(lambda group: padded([self.train[i] for i in group]), [groups[i] for i in order])

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        device = self.settings.device
        ids, targets = (mt.asarray(batch[name], device=device) for name in ("ids", "targets"))
        return self.model.loss(ids, targets, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """The loss per word of the answers, and the share of answers that are right if those before
        were.
        """
        total, count, right = 0.0, 0, []
        for start in range(0, len(self.validation), ROWS):
            streams = self.validation[start : start + ROWS]
            batch = padded(streams)
            logits = self.model(mt.asarray(batch["ids"], device=self.settings.device))
            total += self.loss(batch, 1).item()
            count += batch.tokens
            guesses = logits.to("cpu").numpy().argmax(axis=-1)
            for stream, row in zip(streams, guesses, strict=True):
                right += stream.right(row)
        return {"validation_loss": total / count, "exact": float(np.mean(right))}


def padded(streams: Sequence[Stream]) -> Batch:
    """Streams as rectangles. No mask: nothing looks ahead, so that what is behind a stream tells
    nothing.
    """
    width = max(len(stream.ids) for stream in streams)
    ids = np.full((len(streams), width), PAD, dtype=np.int32)
    targets = np.full((len(streams), width), IGNORED, dtype=np.int64)
    for row, stream in enumerate(streams):
        ids[row, : len(stream.ids)] = stream.ids
        targets[row, : len(stream.ids)] = stream.targets
    return Batch({"ids": ids, "targets": targets})


class Listener:
    """A trained model that is told lines and answers questions."""

    def __init__(self, model: GPT, words: Words, device: str = "cpu") -> None:
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
        """The words of a story that still leaves room for an answer."""
        return self.model.config.max_length - LONGEST_ANSWER

    def answer(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """The ids of the answer to the question that each prompt ends with. Raises UserError for a
        prompt that leaves no room.
        """
        longest = max(map(len, prompts))
        if longest > self.longest:
            raise UserError(
                f"a story has {longest} words with its dialogue, the model reads {self.longest}; begin a new one"
            )
        return self.model.generate([list(prompt) for prompt in prompts], LONGEST_ANSWER)

    def answers(self, stories: Sequence[Sequence[Line]]) -> list[list[str]]:
        """The answers to all questions of each story, every one given behind the model's own
        answers to those before.
        """
        heard: list[list[int]] = [[START] for _ in stories]
        rest = [list(story) for story in stories]
        found: list[list[str]] = [[] for _ in stories]
        while True:
            asked = []
            for number, lines in enumerate(rest):
                while lines:
                    line = lines.pop(0)
                    heard[number] += self.words.encode(line.text)
                    if line.answer:
                        asked.append(number)
                        break
            if not asked:
                return found
            for start in range(0, len(asked), ROWS):
                numbers = asked[start : start + ROWS]
                for number, ids in zip(numbers, self.answer([heard[n] for n in numbers]), strict=True):
                    heard[number] += [*ids, STOP]
                    found[number].append(self.words.decode(ids))

    def attention(self, streams: Sequence[Stream]) -> np.ndarray:
        """What each word looks at, (B, layers, H, T, T)."""
        ids = mt.asarray(padded(streams)["ids"], device=self.device)
        return np.stack([maps.to("cpu").numpy() for maps in self.model.attention_maps(ids).values()], axis=1)


class Conversation:
    """A story that grows line by line, with the questions asked and the answers given."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.heard = [START]

    def hear(self, line: str) -> str | None:
        """Take in a line; the answer if it ends in "?", otherwise None. An empty line says
        nothing.
        """
        new = self.listener.words.encode(line)
        if not line.rstrip().endswith("?"):
            self.heard += new
            return None
        (ids,) = self.listener.answer([[*self.heard, *new]])
        self.heard += [*new, *ids, STOP]
        return self.listener.words.decode(ids)
