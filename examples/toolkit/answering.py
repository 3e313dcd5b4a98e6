"""The parts of a text-to-text run: settings, training task, and the trained model that answers.

Letters: B texts, S source and T target positions, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import minitensor as mt
from minitensor.models.t5 import T5, T5Config
from toolkit.batches import Batch, Batches, Units, check_lengths, drop_long, pad_sources, short_enough
from toolkit.console import UserError
from toolkit.corpus import Corpus, Pair
from toolkit.pairs import batch_loss, decode, loss_per_token, tell_cut_off
from toolkit.places import DIGIT, mark, unmark
from toolkit.program import load_weights, place
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.samples import Epoch
from toolkit.settings import Training, option
from toolkit.spans import SpanCorruption
from toolkit.text_tasks import task_of
from toolkit.tokenizer import START, STOP, Tokenizer

__all__ = ["Answerer", "Settings", "Task", "encode", "exact_match", "learn_tokenizer", "make_model"]

UNITS = Units("text", verb="answer", shorter="shorten it")
SENTINELS = 16  # ids behind those of the tokenizer
LEAST = 8  # tokens of a text to be corrupted
WATCHED = 100  # inputs of each task that are answered at a validation


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit the embedded tasks, which are free of noise: nothing is
    to be regularised.

    Many narrow heads, since each is one more thing to look for and to point at: sorting alone,
    after 640 updates of 512 tokens, reached 93 % exact match with 16 heads of 8 features, 37 % with
    8 of 16, 28 % with 4 of 32.
    """

    d_model: int = option(128, "features of each position", least=1)
    heads: int = option(16, "attention heads", least=1)
    layers: int = option(2, "layers of the encoder, and as many of the decoder", least=1, below=1000)
    d_ff: int = option(256, "features inside the feed-forward layers", least=1)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    max_length: int = option(64, "longest text, in tokens", least=2, below=100_000)
    vocab: int = option(1000, "sub-words of all tasks", least=1, below=2**20)
    max_tokens: int = option(1024, "positions in a batch, padding included, on either side", least=2)
    pretrain_steps: int = option(0, "updates of span corruption before the tasks, counted in --steps", least=0)
    lr: float = option(2e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=("inverse-sqrt", "cosine", "constant"))
    warmup: int = option(200, "updates of linear warm-up", least=1)
    steps: int | None = option(4000, "stop after so many updates", least=1)
    validate_every: int | None = option(500, "updates between validations; an epoch if not given", least=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        if self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")


def learn_tokenizer(corpus: Corpus, settings: Settings) -> Tokenizer:
    """Sub-words of inputs and outputs; a digit with its place is one of them."""
    return Tokenizer.train([mark(text) for pair in corpus.train for text in pair], settings.vocab, isolated=DIGIT)


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts, whose digits carry their place."""
    return tokenizer.encode_batch([mark(text) for text in texts])


def make_model(settings: Settings, vocab_size: int, device: str) -> T5:
    """A T5 of version 1.1, its weights drawn from the seed; the sentinels' ids follow those of the
    tokenizer.
    """
    s = settings
    mt.random.seed(s.seed)
    config = T5Config(
        vocab_size=vocab_size + SENTINELS, d_model=s.d_model, d_head=s.d_model // s.heads, d_ff=s.d_ff, n_heads=s.heads,
        n_encoder_layers=s.layers, n_decoder_layers=s.layers, dropout=s.dropout, activation="gelu_tanh", gated=True,
        tie_output=False, scale_output=False, start_id=START, stop_id=STOP,
    )  # fmt: skip
    return place(T5(config), device)


class Task:
    """The training task for `toolkit.trainer`: all tasks at once, after span corruption of their
    texts.
    """

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, settings: Settings) -> None:
        """Tokenise and batch the pairs; ``dropped`` counts those that are too long to train on."""
        self.tokenizer, self.settings = tokenizer, settings
        self.longest = min(settings.max_length, settings.max_tokens)
        self.tests = corpus.tests
        for name, pairs in corpus.tests.items():  # checked now, not when training is over
            short_enough(pairs, encode(tokenizer, [text for text, _ in pairs]), settings.max_length, name, UNITS)
        self.batches, dropped = self._batch(corpus.train)
        self.validation, more = self._batch(corpus.validation)
        self.dropped = dropped + more
        self.model = make_model(settings, tokenizer.vocab_size, settings.device)
        self.answerer = Answerer(self.model, tokenizer, settings.max_length, settings.device)
        watched = [pair for pair, ids in self._encoded(corpus.validation) if len(ids) < settings.max_length]
        self.watched = _first_of_each(watched, WATCHED)
        self.corrupt = SpanCorruption(tokenizer.vocab_size + SENTINELS - 1, SENTINELS, seed=settings.seed)
        self.texts = self._texts(corpus.train) if settings.pretrain_steps else []
        # Corrupted texts are no longer than the texts, so that batches of these are those of them
        # too.
        self.spans = Batches(self.texts, self.texts, settings.max_tokens, settings.seed) if self.texts else None

    def _batch(self, pairs: Sequence[Pair]) -> tuple[Batches, int]:
        source_ids, target_ids = (encode(self.tokenizer, texts) for texts in zip(*pairs, strict=True))
        sources, targets, dropped = drop_long(source_ids, target_ids, self.longest, UNITS)
        return Batches(sources, targets, self.settings.max_tokens, self.settings.seed), dropped

    def _encoded(self, pairs: Sequence[Pair]) -> list[tuple[Pair, list[int]]]:
        """The pairs with the ids of their inputs."""
        return list(zip(pairs, encode(self.tokenizer, [source for source, _ in pairs]), strict=True))

    def _texts(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """The ids of all different texts to be corrupted: inputs without the names of tasks, and
        outputs.
        """
        found = dict.fromkeys(text for source, target in pairs for text in (source.partition(": ")[2], target))
        texts = [text for text in encode(self.tokenizer, list(found)) if LEAST <= len(text) < self.longest]
        if not texts:
            raise UserError(f"--pretrain-steps: no text has the {LEAST} tokens that span corruption is worth while for")
        return texts

    def epoch(self, number: int) -> Epoch[Batch]:
        """The batches of an epoch; while there is pre-training, corrupted texts take
        their place.
        """
        tasks = self.batches.epoch(number)
        first = number * len(tasks)
        groups = [np.array([first + index]) for index in range(len(tasks))]  # the update that a batch is for
        return Epoch(lambda step: self._at(int(step[0]), tasks), groups)

    def _at(self, step: int, tasks: Epoch[Batch]) -> Batch:
        """The batch of an update."""
        if self.spans is None or step >= self.settings.pretrain_steps:
            return tasks[step % len(tasks)]
        epoch, index = divmod(step, len(self.spans.epoch(0)))
        indices = self.spans.epoch(epoch).groups[index]
        pairs = [self.corrupt(self.texts[i], epoch, int(i)) for i in indices]
        inputs, targets = zip(*pairs, strict=True)
        return Batches(inputs, targets, self.settings.max_tokens + 2, self.settings.seed).batch(np.arange(len(pairs)))

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        return batch_loss(self.model, batch, divide_by, self.settings.device)

    def validate(self) -> dict[str, float]:
        """The loss per token of the validation pairs, and each task's share of exact matches among
        the first of them.
        """
        loss = loss_per_token(self.model, self.validation, self.settings.device)
        matches = {name: exact_match(self.answerer, pairs, tell=False)[0] for name, pairs in self.watched.items()}
        return {"validation_loss": loss, **matches}


class Answerer:
    """Answers texts that start with the name of a task."""

    def __init__(self, model: T5, tokenizer: Tokenizer, max_length: int, device: str = "cpu") -> None:
        self.model, self.tokenizer, self.max_length, self.device = model, tokenizer, max_length, device

    @classmethod
    def of(cls, run: Run, weights: str = "", device: str = "cpu") -> Answerer:
        """The trained model of a run."""
        tokenizer = Tokenizer.load(run.path("tokenizer.json"))
        model = make_model(run.settings, tokenizer.vocab_size, device)
        load_weights(model, run, weights)
        return cls(model, tokenizer, run.settings.max_length, device)

    def short_enough(self, pairs: Sequence[Pair], name: str) -> tuple[list[Pair], str]:
        """The pairs whose inputs the model can read, and a remark on the others. Raises UserError
        if nothing is left.
        """
        return short_enough(
            pairs, encode(self.tokenizer, [source for source, _ in pairs]), self.max_length, name, UNITS
        )

    def answer(self, texts: Sequence[str], beam: int = 1, where: str = "text", tell: bool = True) -> list[str]:
        """Outputs in the order of ``texts``. Raises UserError for a text too long for the model,
        before any is answered.

        Outputs cut off at the longest length that the model was trained for are reported on stderr,
        unless ``tell`` is False.
        """
        ids = encode(self.tokenizer, texts)
        check_lengths(ids, self.max_length, where, units=UNITS)
        found = decode(self.model, ids, self.device, self.max_length, beam)
        if tell:
            tell_cut_off(found, self.max_length, where)
        return [composed(unmark(self.tokenizer.decode(self._words(best)))) for (best,) in found]

    def attention(self, text: str) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
        """What the answer to a text looks at, in the mean of the heads: (1, T, S) by decoder layer,
        source and target tokens.
        """
        ids = encode(self.tokenizer, [text])[0]
        check_lengths([ids], self.max_length, "text", units=UNITS)
        source = mt.asarray(pad_sources([ids])[0], device=self.device)
        made = self.model.generate(source, self.max_length)[0]
        tell_cut_off([[made]], self.max_length, "text")
        found = self._words(made)
        maps = self.model.attention_maps(source, mt.asarray(np.array([[START, *found]]), device=self.device))
        cross = {name: maps[name][0].mean(axis=0, keepdims=True) for name in maps if name.endswith("cross")}
        pictures = {
            f"{name}, mean of {self.model.config.n_heads} heads": cross[name].to("cpu").numpy() for name in cross
        }
        labels = [[_label(label) for label in self.tokenizer.labels([*side, STOP])] for side in (ids, found)]
        return pictures, labels[0], labels[1]

    def _words(self, tokens: Sequence[int]) -> list[int]:
        """The tokens without sentinels, which have no text; only a barely trained model outputs
        them.
        """
        return [token for token in tokens if token < self.tokenizer.vocab_size]


def _label(label: str) -> str:
    """A token's label; a digit, whose place says it, needs no hyphen to be known as the inside of a
    number.
    """
    return label[1:] if label[0] == "-" and label[1:2].isdigit() else label


def exact_match(
    answerer: Answerer, pairs: Sequence[Pair], beam: int = 1, name: str = "text", tell: bool = True
) -> tuple[float, list[str]]:
    """The share of exactly right answers, and the answers; ``name`` is that of the pairs."""
    answers = answerer.answer([source for source, _ in pairs], beam, name, tell)
    hits = [answer == target for answer, (_, target) in zip(answers, pairs, strict=True)]
    return sum(hits) / len(hits), answers


def _first_of_each(pairs: Sequence[Pair], count: int) -> dict[str, list[Pair]]:
    """The first ``count`` pairs of each task."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(task_of(pair[0]), []).append(pair)
    return {name: those[:count] for name, those in found.items()}
