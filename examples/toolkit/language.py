"""The parts of a run of a language model: settings, training task, and the trained model that
continues a text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.gpt import GPT, IGNORED, GPTConfig
from minitensor.models.recurrent import RecurrentLanguageModel, RecurrentLanguageModelConfig
from toolkit.console import UserError, counted
from toolkit.program import load_weights, place
from toolkit.runs import Run
from toolkit.samples import Batch, Epoch
from toolkit.settings import Training, option, refuse_options
from toolkit.text import TOKENS, Characters, Windows, load_vocabulary, split_text, streams
from toolkit.tokenizer import Tokenizer

__all__ = ["VOCABULARY", "Settings", "Task", "Writer", "held_out_loss", "make_model", "presets", "sliding_loss"]

VOCABULARY = "vocabulary.json"  # in the folder of a run
RECURRENT = ("rnn", "lstm", "gru")
READERS = 32  # of a held-out text, side by side


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit the characters of a megabyte of text, such as
    tinyshakespeare.
    """

    arch: str = option("lstm", "architecture", choices=(*RECURRENT, "gpt"))
    tokens: str = option("characters", "what a token is", choices=TOKENS)
    vocab: int = option(2000, "sub-words, with --tokens bpe", least=1, below=2**20)
    d_model: int = option(64, "features of an embedding; gpt: of every layer", least=1)
    hidden: int = option(256, "recurrent: features of the states", least=1)
    heads: int = option(4, "gpt: attention heads", least=1)
    layers: int = option(1, "layers", least=1, below=1000)
    dropout: float = option(0.3, "dropout", least=0, below=1)
    window: int = option(128, "tokens that a gradient reaches back over; gpt: that it sees at all", least=1)
    batch: int = option(64, "windows in a batch", least=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        if self.arch == "gpt" and self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")


# What only one family of architectures has; the other refuses it.
GPT_ONLY, RECURRENT_ONLY = ("heads",), ("hidden",)

SHARED: dict[str, Any] = dict(lr=4e-3, schedule="cosine", warmup=100, beta2=0.99)
RECURRENT_SUITED: dict[str, Any] = {**SHARED, "steps": 3000, "validate_every": 250}
# Two minutes, in which the text is seen too few times to need much dropout.
RECURRENT_EMBEDDED: dict[str, Any] = {"batch": 32, "dropout": 0.1, "steps": 400, "validate_every": 100}
# The sizes by which nanoGPT trains on tinyshakespeare without a GPU; a text that is seen once or
# twice needs no dropout.
GPT_SUITED: dict[str, Any] = {
    **SHARED, "d_model": 128, "layers": 4, "window": 64, "batch": 12, "dropout": 0.0,
    "steps": 2000, "validate_every": 500,
}  # fmt: skip
GPT_EMBEDDED: dict[str, Any] = {"steps": 800, "validate_every": 200}
# Of documents whose topics are to be learned from few labels: a GPT that reads words, read four
# times.
OF_DOCUMENTS: dict[str, Any] = {"arch": "gpt", "tokens": "bpe"}
GPT_OF_DOCUMENTS: dict[str, Any] = {
    "vocab": 2000, "d_model": 96, "layers": 2, "batch": 16, "lr": 2e-3, "steps": 1900, "validate_every": 475,
}  # fmt: skip


def presets(given: dict[str, Any], embedded: bool, documents: bool = False) -> dict[str, Any]:
    """Settings that suit the text and the architecture ``given`` on the command line, in the place
    of the defaults.

    Raises UserError for one that the architecture does not have.
    """
    chosen = {"arch": Settings.arch, "tokens": Settings.tokens, **(OF_DOCUMENTS if documents else {}), **given}
    arch = chosen["arch"]
    refuse_options(given, RECURRENT_ONLY if arch == "gpt" else GPT_ONLY, f"--arch {arch}")
    if chosen["tokens"] == "characters":
        refuse_options(given, ["vocab"], "--tokens characters")
    suited, small = (GPT_SUITED, GPT_EMBEDDED) if arch == "gpt" else (RECURRENT_SUITED, RECURRENT_EMBEDDED)
    if documents:
        small = {**OF_DOCUMENTS, **(GPT_OF_DOCUMENTS if arch == "gpt" else {})}
    return {**suited, **small} if embedded or documents else suited


def make_model(settings: Settings, vocab_size: int, device: str) -> RecurrentLanguageModel | GPT:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    shape: dict[str, Any] = dict(vocab_size=vocab_size, d_model=s.d_model, n_layers=s.layers, dropout=s.dropout)
    if s.arch == "gpt":
        shape |= dict(attention_dropout=s.dropout, embedding_dropout=s.dropout)
        return place(GPT(GPTConfig(max_length=s.window, n_heads=s.heads, **shape)), device)
    return place(
        RecurrentLanguageModel(RecurrentLanguageModelConfig(cell=s.arch, hidden_size=s.hidden, **shape)), device
    )


class Task:
    """The next token of each, in windows of the first nine tenths of a text; validated
    by the last.
    """

    def __init__(self, text: str, vocabulary: Characters | Tokenizer, settings: Settings) -> None:
        s = self.settings = settings
        self.vocabulary = vocabulary
        train, validation = (vocabulary.encode(part) for part in split_text(text))
        self.windows = Windows(train, s.window, s.batch, s.seed)
        self.validation = np.array(validation, dtype=np.int32)
        Windows(validation, s.window, s.batch)  # raises for a text that is too short
        self.model = make_model(settings, vocabulary.vocab_size, settings.device)

    def epoch(self, number: int) -> Epoch[Batch]:
        return self.windows.epoch(number)

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        ids, targets = (mt.asarray(batch[name], device=self.settings.device) for name in ("inputs", "targets"))
        return self.model.loss(ids, targets, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """The loss per token of the held-out text."""
        loss = held_out_loss(self.model, self.validation, self.settings, self.settings.device)
        return {"validation_loss": loss, "perplexity": math.exp(loss)}


def held_out_loss(model: Any, ids: Sequence[int] | np.ndarray, settings: Settings, device: str) -> float:
    """Nats per token of a text that is read from its start to its end, in windows as long as those
    of training.

    A recurrent model carries its state from window to window, a GPT sees each alone; `READERS`
    begin at as many places.
    """
    total, tokens, state = 0.0, 0, None
    rows = max(1, min(READERS, (len(ids) - 1) // settings.window))
    with mt.no_grad():
        for batch in streams(ids, rows, settings.window):
            inputs, targets = (mt.asarray(batch[name], device=device) for name in ("inputs", "targets"))
            if isinstance(model, GPT):
                loss = model.loss(inputs, targets, divide_by=1)
            else:
                loss, state = model.loss_and_state(inputs, targets, state, divide_by=1)
            total, tokens = total + loss.item(), tokens + batch.tokens
    return total / tokens


def sliding_loss(model: GPT, ids: Sequence[int] | np.ndarray, window: int, stride: int, device: str) -> float:
    """Nats per token of a text that a GPT reads in windows which begin ``stride`` tokens apart.

    Each counts what the ones before it have not counted, so that all but the first window's tokens
    are predicted from at least ``window - stride`` others; at a stride of ``window`` the windows
    lie side by side, and the first of each is predicted from one alone. A text shorter than a
    window is read at once. B windows, T positions of each.

    Raises ValueError for a stride that is not from 1 to ``window``.
    """
    if not 1 <= stride <= window:
        raise ValueError(f"the stride is {stride}; write a number from 1 to the window, {window}")
    ids = np.asarray(ids, dtype=np.int32)
    length = min(window, len(ids) - 1)
    last = len(ids) - 1 - length  # where the last window begins, so that it ends with the text
    starts = np.array([*range(0, last, stride), last])  # (windows,)
    known = np.concatenate([[0], starts[:-1] + length])  # up to where the windows before it have counted
    total = 0.0
    with mt.no_grad():
        for rows in np.split(np.arange(len(starts)), range(READERS, len(starts), READERS)):
            places = starts[rows, None] + np.arange(length)  # (B, T)
            counted = np.where(places < known[rows, None], IGNORED, ids[places + 1])
            inputs, targets = (mt.asarray(x, device=device) for x in (ids[places], counted))
            total += model.loss(inputs, targets, divide_by=1).item()
    return total / (len(ids) - 1)


class Writer:
    """A trained model with its vocabulary; ``weights`` as for `toolkit.program.load_weights`."""

    def __init__(self, run: Run, weights: str = "", device: str = "cpu") -> None:
        self.settings: Settings = run.settings
        self.device = device
        self.vocabulary = load_vocabulary(self.settings.tokens, run.path(VOCABULARY))
        self.model = make_model(self.settings, self.vocabulary.vocab_size, device)
        self.weights = load_weights(self.model, run, weights)

    def loss(self, text: str, stride: int | None = None) -> tuple[float, float]:
        """Nats for each token of a text, and bits for each of its characters.

        stride: a GPT's, see `sliding_loss`; default: as `held_out_loss` reads. Raises UserError for
        one that is longer than the window, or of a model that carries its state.
        """
        ids = self.vocabulary.encode(text)
        if len(ids) < 2:
            raise UserError(f"a text of {counted(len(ids), 'token')} holds nothing to predict")
        if stride is None:
            nats = held_out_loss(self.model, ids, self.settings, self.device)
        elif not isinstance(self.model, GPT):
            raise UserError(
                f"--stride is for a gpt: a model of --arch {self.settings.arch} carries its state and reads on"
            )
        elif stride > self.settings.window:
            raise UserError(
                f"--stride {stride}: it must be at most the window, {self.settings.window}, or tokens are left out"
            )
        else:
            nats = sliding_loss(self.model, ids, self.settings.window, stride, self.device)
        return nats, nats * len(ids) / len(text) / math.log(2)

    def write(self, prompt: str, length: int, say: Callable[[str], object] | None = None, **how: Any) -> str:
        """The continuation of a prompt by ``length`` tokens; ``how`` as for the model's
        ``generate``. ``say`` gets the text as it grows.

        A GPT has no more positions than its window: when they are used up, it continues from the
        second half of them.
        """
        ids = self._encode(prompt)
        new: list[int] = []
        if say is not None:
            how["stream"] = Growing(self.vocabulary, ids, say)
        try:
            while len(new) < length:
                context, count = [*ids, *new], length - len(new)
                if isinstance(self.model, GPT) and len(context) + count > self.settings.window + 1:
                    context = context[-max(1, self.settings.window // 2) :]
                    count = min(count, self.settings.window + 1 - len(context))
                new += self.model.generate([context], count, **how)[0]
        except ValueError as error:  # choices that exclude each other
            raise UserError(str(error)) from None
        return self.vocabulary.decode([*ids, *new])[len(self.vocabulary.decode(ids)) :]

    def attention(self, text: str) -> tuple[dict[str, np.ndarray], list[str]]:
        """What each token of a text looks at, (H, T, T) by layer, and the tokens. Raises UserError
        for a recurrent model.
        """
        if not isinstance(self.model, GPT):
            raise UserError(f"--arch {self.settings.arch} has no attention to draw; a gpt has")
        ids = self._encode(text)
        if len(ids) > self.settings.window:
            raise UserError(
                f"the text has {counted(len(ids), 'token')}, the model sees {self.settings.window}: shorten it"
            )
        maps = self.model.attention_maps(mt.asarray(np.array([ids]), device=self.device))
        return {name: weights.to("cpu").numpy()[0] for name, weights in maps.items()}, self.vocabulary.labels(ids)

    def _encode(self, prompt: str) -> list[int]:
        ids = self.vocabulary.encode(prompt)
        if not ids:
            raise UserError("the prompt is empty: begin with a character or more")
        return ids


class Growing:
    """A text that is written token by token, passed on as soon as its characters are complete."""

    def __init__(self, vocabulary: Characters | Tokenizer, ids: list[int], say: Callable[[str], object]) -> None:
        """Begin after the tokens ``ids``."""
        self.vocabulary, self.ids, self.say = vocabulary, list(ids), say
        self.shown = len(vocabulary.decode(ids))

    def __call__(self, rows: Sequence[int], ids: Sequence[int]) -> None:
        """One more token."""
        self.ids.append(int(ids[0]))
        text = self.vocabulary.decode(self.ids).rstrip("\ufffd")  # a character of several bytes may not be complete
        if len(text) > self.shown:
            self.say(text[self.shown :])
            self.shown = len(text)
