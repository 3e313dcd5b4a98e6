"""The parts of a run of speech recognition: settings, training task, and the trained model that
writes down what it hears.

Letters: N utterances, S moments of a sound, F features of each, T words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.speech import Listener, ListenerConfig
from toolkit.batches import Batches, pad_sources
from toolkit.console import UserError
from toolkit.mel import BANDS
from toolkit.pairs import PairTask, decode, tell_cut_off
from toolkit.program import load_weights, place
from toolkit.runs import Run
from toolkit.settings import SCHEDULES, Training, option
from toolkit.tokenizer import START, STOP
from toolkit.utterances import Spoken, Utterance, features
from toolkit.words import WrittenWords

__all__ = ["VOCABULARY", "Settings", "Task", "Transcriber", "Words", "make_model"]

VOCABULARY = "words.json"  # in the folder of a run


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit the made utterances."""

    lr: float = option(3e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(100, "updates of linear warm-up", least=1)
    epochs: int | None = option(9, "stop after so many passes over the data", least=1)
    cell: str = option("gru", "recurrent layers", choices=("rnn", "lstm", "gru"))
    stack: int = option(4, "moments of 10 ms that are read together", least=1, below=1000)
    d_model: int = option(64, "features of such a group of moments, and of a word", least=1)
    hidden: int = option(96, "features of the states, in each direction", least=1)
    layers: int = option(1, "layers that listen, and as many that write", least=1, below=1000)
    attention: str = option("additive", "what the writer looks back by", choices=("none", "additive", "dot"))
    dropout: float = option(0.2, "dropout", least=0, below=1)
    max_length: int = option(24, "most words of an utterance, with the stop", least=2, below=100_000)
    max_frames: int = option(3000, "moments of 10 ms in a batch, padding included", least=3000)


class Words(WrittenWords):
    """The words that are said, each a token."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """All words of texts, in order."""
        return cls(sorted({word for text in texts for word in text.split()}))

    def encode(self, text: str) -> list[int]:
        """The ids of a text of known words."""
        return [self.ids[word] for word in text.split()]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not here."""
        return [word for word in text.split() if word not in self.ids]


def make_model(settings: Settings, vocab_size: int, device: str) -> Listener:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    shape: dict[str, Any] = dict(d_model=s.d_model, hidden_size=s.hidden, n_layers=s.layers, dropout=s.dropout)
    kinds: dict[str, Any] = dict(cell=s.cell, attention=s.attention, stack=s.stack, max_length=s.max_length)
    return place(Listener(ListenerConfig(vocab_size=vocab_size, n_features=BANDS, **shape, **kinds)), device)


class Task(PairTask):
    """Write down what is heard, word by word."""

    model: Listener

    def __init__(self, spoken: Spoken, words: Words, settings: Settings) -> None:
        """Hear all utterances; ``dropped`` counts those that are too long, or have
        words to validate by that nobody says in training. Raises UserError if nothing is left.
        """
        self.words, self.settings = words, settings
        train, validation = (self._fitting(part) for part in (spoken.train, spoken.validation))
        for what, kept in (("to train on", train), ("to validate by", validation)):
            if not kept:
                raise UserError(
                    f"no utterance {what} has at most {settings.max_length - 1} words, all of them said in training;"
                    " give more recordings, or train with a larger --max-length"
                )
        self.dropped = len(spoken.train) + len(spoken.validation) - len(train) - len(validation)
        self.batches, self.validation = self._batches(train), self._batches(validation)
        self.model = make_model(settings, words.vocab_size, settings.device)

    def _fitting(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """Those that can be learned from: not too long, and of known words."""
        longest = self.settings.max_length
        return [u for u in utterances if len(u.words.split()) < longest and not self.words.unknown(u.words)]

    def _batches(self, utterances: Sequence[Utterance]) -> Batches:
        ids = [self.words.encode(utterance.words) for utterance in utterances]
        return Batches(features(utterances), ids, self.settings.max_frames, self.settings.seed)


class Transcriber:
    """A trained model with its words."""

    def __init__(self, model: Listener, words: Words, settings: Settings) -> None:
        self.model, self.words, self.settings = model, words, settings

    @classmethod
    def of(cls, run: Run, weights: str = "", device: str = "cpu") -> Transcriber:
        """The trained model of a run."""
        words = Words.load(run.path(VOCABULARY))
        model = make_model(run.settings, words.vocab_size, device)
        load_weights(model, run, weights)
        return cls(model, words, run.settings)

    def transcribe(self, sounds: Sequence[np.ndarray], beam: int = 1, where: str = "recording") -> list[str]:
        """What is heard in sounds, features (S, F); greedy if ``beam`` is 1.

        Transcripts that are cut off at the most words that the model was trained for are reported
        on stderr, by ``where`` and number.
        """
        longest = self.settings.max_length
        found = decode(self.model, sounds, self.model.output.weight.device, longest, beam)
        tell_cut_off(found, longest, where)
        return [self.words.decode(best) for (best,) in found]

    def attention(self, sound: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The words heard in a sound (S, F), with the stop, and what each looks at, (T, S).

        A moment has what its group gets. There is no row if the model has no attention.
        """
        source = mt.asarray(pad_sources([sound])[0], device=self.model.output.weight.device)
        longest = self.settings.max_length
        ids = [*self.model.generate(source, longest)[0], STOP][:longest]
        maps = self.model.attention_maps(source, np.array([[START, *ids[:-1]]]))
        groups = maps["decoder.0.cross"].to("cpu").numpy()[0, 0] if maps else np.zeros((0, 0))
        return [self.words.label(i) for i in ids], np.repeat(groups, self.settings.stack, axis=1)[:, : len(sound)]
