"""The parts of a captioning run: settings, training task, and the trained describer.

Letters: N images, S pixels a side, K captions of an image, T positions, H heads of all layers, n
regions a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.captioning import Captioner, CaptionerConfig
from toolkit.captioned import Captioned, Splits
from toolkit.console import UserError
from toolkit.program import load_weights, place
from toolkit.runs import Run
from toolkit.samples import Batch, Epoch, Samples
from toolkit.settings import SCHEDULES, Training, option, refuse_options
from toolkit.tokenizer import PAD, STOP, Tokenizer

__all__ = ["Describer", "Settings", "Task", "learn_tokenizer", "make_model", "presets"]

Ids = Sequence[int]

ROWS = 128  # images described at a time
CHANNELS = 4  # of `model_input`
GRU: dict[str, Any] = {"lr": 4e-3}  # what suits it better than the defaults


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit some thousand drawings."""

    lr: float = option(3e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(50, "updates of linear warm-up", least=1)
    epochs: int | None = option(5, "stop after so many passes over the data", least=1)
    encoder: str = option("patches", "what sees: a CNN, or a Vision Transformer on patches", choices=("cnn", "patches"))
    decoder: str = option(
        "transformer", "what writes: a GRU with attention, or a Transformer", choices=("gru", "transformer")
    )
    patch: int = option(8, "pixels a side of a region of the image", least=1)
    d_model: int = option(64, "features of a region and of a word", least=1)
    layers: int = option(2, "layers of the encoder; of a CNN besides the first", least=1, below=1000)
    hidden: int = option(128, "gru: features of the states", least=1)
    attention: str = option("additive", "gru: what the states look at the image by", choices=("additive", "dot"))
    decoder_layers: int = option(1, "transformer: layers of the decoder", least=1, below=1000)
    heads: int = option(4, "patches, transformer: attention heads", least=1)
    d_ff: int = option(128, "patches, transformer: features inside the feed-forward layers", least=1)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    label_smoothing: float = option(0.0, "label smoothing", least=0, below=1)
    max_length: int = option(40, "longest caption, in tokens", least=2, below=100_000)
    vocab: int = option(1000, "sub-words, shared by all languages", least=1, below=2**20)
    batch: int = option(32, "images in a batch", least=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        attends = self.encoder == "patches" or self.decoder == "transformer"
        if attends and self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")


def presets(given: dict[str, Any]) -> dict[str, Any]:
    """Settings that suit the encoder and decoder that are ``given``, in the place of the defaults.

    Raises UserError for an option that they do not have.
    """
    encoder, decoder = given.get("encoder", Settings.encoder), given.get("decoder", Settings.decoder)
    refuse_options(
        given, ("hidden", "attention") if decoder == "transformer" else ("decoder_layers",), f"--decoder {decoder}"
    )
    if (encoder, decoder) == ("cnn", "gru"):
        refuse_options(given, ("heads", "d_ff"), f"--encoder {encoder} with --decoder {decoder}")
    return GRU if decoder == "gru" else {}


def learn_tokenizer(images: Captioned, settings: Settings) -> Tokenizer:
    """Sub-words of all captions."""
    return Tokenizer.train([text for captions in images.captions for _, text in captions], settings.vocab)


def make_model(settings: Settings, vocab_size: int, languages: int, side: int, device: str) -> Captioner:
    """A model of these settings, its weights drawn from their seed. Raises UserError for patches
    that do not suit the images, or a device that cannot be used.
    """
    mt.random.seed(settings.seed)
    try:
        config = _configuration(settings, vocab_size, languages, side)
    except ValueError:
        suited = [patch for patch in range(1, side + 1) if _suits(patch, settings, side)]
        cure = f"take --patch {' or '.join(map(str, suited))}" if suited else "no other does; take another --side"
        raise UserError(
            f"--patch {settings.patch} does not suit images of {side} pixels a side and --encoder {settings.encoder}; {cure}"
        ) from None
    return place(Captioner(config), device)


def _configuration(settings: Settings, vocab_size: int, languages: int, side: int) -> CaptionerConfig:
    """Raises ValueError for patches that do not suit the images."""
    s = settings
    return CaptionerConfig(
        vocab_size=vocab_size, n_starts=languages, image_size=side, n_channels=CHANNELS, patch_size=s.patch,
        encoder=s.encoder, decoder=s.decoder,
        d_model=s.d_model, n_encoder_layers=s.layers, n_decoder_layers=s.decoder_layers, n_heads=s.heads, d_ff=s.d_ff,
        attention=s.attention, hidden_size=s.hidden, dropout=s.dropout, label_smoothing=s.label_smoothing,
        max_length=s.max_length, pad_id=PAD, stop_id=STOP,
    )  # fmt: skip


def _suits(patch: int, settings: Settings, side: int) -> bool:
    """Whether patches of so many pixels a side are possible."""
    try:
        _configuration(replace(settings, patch=patch), 1, 1, side)
    except ValueError:
        return False
    return True


# --- training -------------------------------------------------------------------------------------


class CaptionBatch(Batch):
    """``images`` (B, 3, S, S), ``inputs`` and ``targets`` (B, K, T); the tokens of the targets
    count.
    """

    @property
    def tokens(self) -> int:
        """By what the loss is divided."""
        return int(np.count_nonzero(self["targets"] != PAD))

    def rows(self, rows: slice | np.ndarray) -> CaptionBatch:
        return CaptionBatch(super().rows(rows).arrays)


class Task:
    """All captions of each image, its languages told apart by what they start with; ``dropped``
    counts those that are too long.

    An image with fewer captions than another has rows of padding, which do not count.
    """

    def __init__(self, splits: Splits, tokenizer: Tokenizer, settings: Settings) -> None:
        self.tokenizer, self.languages, self.settings, self.dropped = tokenizer, splits.languages, settings, 0
        self.samples, self.validation = (self._samples(part) for part in (splits.train, splits.validation))
        side = splits.train.pixels.shape[-1]
        self.model = make_model(settings, tokenizer.vocab_size, len(splits.languages), side, settings.device)

    def _samples(self, images: Captioned) -> Samples:
        longest = self.settings.max_length
        starts = start_ids(self.tokenizer, self.languages)
        written = []
        for captions in images.captions:
            ids = self.tokenizer.encode_batch([text for _, text in captions])
            rows = [[starts[language], *row, STOP] for (language, _), row in zip(captions, ids, strict=True)]
            written.append([row for row in rows if len(row) <= longest + 1])
            self.dropped += len(rows) - len(written[-1])
        if not any(written):
            raise UserError(f"each caption has more than {longest - 1} tokens; train with a larger --max-length")
        table = np.full((len(written), max(map(len, written)), longest + 1), PAD, np.int32)  # (N, K, T + 1)
        for room, found in zip(table, written, strict=True):
            for row, caption in zip(room, found, strict=False):
                row[: len(caption)] = caption
        targets = table[:, :, 1:]
        inputs = np.where(targets != PAD, table[:, :, :-1], PAD)  # without STOP, which nothing follows
        arrays = {"images": images.pixels, "inputs": inputs, "targets": targets}
        return Samples(arrays, self.settings.batch, self.settings.seed)

    def epoch(self, number: int) -> Epoch[Batch]:
        return _trimmed(self.samples, self.samples.epoch(number))

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        """The cross-entropy of each token."""
        images, *ids = (
            mt.asarray(batch[name], device=self.settings.device) for name in ("images", "inputs", "targets")
        )
        inputs, targets = (array.reshape((-1, array.shape[2])) for array in ids)  # (B, K, T) to (B K, T)
        return self.model.loss(model_input(images), inputs, targets, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """The loss per token of the images to validate by."""
        batches = _trimmed(self.validation, self.validation.in_order())
        losses = [(self.loss(batch, 1).item(), batch.tokens) for batch in batches]
        return {"validation_loss": sum(loss for loss, _ in losses) / sum(tokens for _, tokens in losses)}


def _trimmed(samples: Samples, batches: Epoch[Batch]) -> Epoch[Batch]:
    """The batches, each as wide as its longest caption; parts of one stay as wide as the whole."""

    def make(group: np.ndarray) -> Batch:
        arrays = samples.whole.rows(group).arrays
        width = 1 + int((arrays["targets"] != PAD).any(axis=(0, 1)).nonzero()[0].max(initial=0))
        return CaptionBatch(arrays | {name: arrays[name][:, :, :width] for name in ("inputs", "targets")})

    return Epoch(make, batches.groups)


def start_ids(tokenizer: Tokenizer, languages: Sequence[str]) -> dict[str, int]:
    """The token that a caption in each language starts with: they come behind the sub-words."""
    return {language: tokenizer.vocab_size + number for number, language in enumerate(languages)}


def model_input(pixels: mt.Tensor) -> mt.Tensor:
    """Pixels (N, 3, S, S) from 0 to 1 as the model takes them: (N, 4, S, S) from -1 to 1, the
    largest of the three colours behind them.

    That one is the brightness (the V of HSV). In it a shape is the same in every colour, so that
    what is learned of red crosses says what a blue one looks like.
    """
    return 2 * mt.concat([pixels, mt.max(pixels, axis=1, keepdims=True)], axis=1) - 1


# --- a trained model at work ----------------------------------------------------------------------


class Describer:
    """A model with its tokenizer and the languages that it writes."""

    def __init__(self, model: Captioner, tokenizer: Tokenizer, languages: Sequence[str]) -> None:
        self.model, self.tokenizer, self.languages = model, tokenizer, tuple(languages)
        self._starts = start_ids(tokenizer, languages)

    @classmethod
    def of(cls, run: Run, languages: Sequence[str], side: int, weights: str, device: str) -> Describer:
        """That of a run; ``weights`` names the checkpoint, "" is its result."""
        tokenizer = Tokenizer.load(run.path("tokenizer.json"))
        model = make_model(run.settings, tokenizer.vocab_size, len(languages), side, device)
        load_weights(model, run, weights)
        return cls(model, tokenizer, languages)

    def write(self, pixels: np.ndarray, beam: int = 1) -> dict[str, list[Ids]]:
        """The tokens of a caption in each language for each image (N, 3, S, S); greedy for one
        beam.
        """
        starts, found = list(self._starts.values()), []
        for first in range(0, len(pixels), ROWS):
            images = self._input(pixels[first : first + ROWS])
            found += self.model.generate(images, beam_size=beam, start_ids=starts * len(images))
        return {language: found[number :: len(starts)] for number, language in enumerate(self.languages)}

    def texts(self, ids: Sequence[Ids]) -> list[str]:
        """What captions say."""
        return [self.tokenizer.decode(caption) for caption in ids]

    def attention(self, pixels: np.ndarray, ids: Sequence[Ids], language: str) -> list[tuple[list[str], np.ndarray]]:
        """The words of a caption of each image, and where each head looks while each is written:
        (words, H, n, n), the heads of all layers.

        It is what the first sub-word of a word is written by. The weights of a head sum to 1.
        """
        table = np.full((len(ids), max(1, *map(len, ids))), PAD, np.int32)  # what each token is written after
        for row, caption in zip(table, ids, strict=True):
            row[: len(caption)] = [self._starts[language], *caption][: len(caption)]
        maps = self.model.attention_maps(self._input(pixels), mt.asarray(table, device=self._device))
        seen = np.concatenate([layer.to("cpu").numpy() for layer in maps.values()], axis=1)  # (N, H, T, n n)
        side = round(seen.shape[-1] ** 0.5)
        found = []
        for weights, caption in zip(seen, ids, strict=True):
            words, numbers = self.tokenizer.words(caption)
            firsts = np.searchsorted(numbers, np.arange(len(words)))
            by_word = weights[:, firsts].swapaxes(0, 1)  # (words, H, n n)
            found.append((words, by_word.reshape((*by_word.shape[:2], side, side))))
        return found

    @property
    def _device(self) -> str:
        return self.model.output.weight.device

    def _input(self, pixels: np.ndarray) -> mt.Tensor:
        return model_input(mt.asarray(pixels, device=self._device))
