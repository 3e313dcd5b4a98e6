"""The parts of a run on images: settings, training task, and class probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.vit import ViT, ViTConfig
from toolkit.console import UserError
from toolkit.images import N_CLASSES, Distorted, Distortion, Images, Splits
from toolkit.program import place
from toolkit.samples import Batch, Epoch
from toolkit.settings import SCHEDULES, Training, option

__all__ = ["DIGITS", "IDX", "Settings", "Task", "accuracy", "make_model", "model_input", "probabilities"]

ROWS = 256  # images evaluated at a time


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit a thousand small images."""

    lr: float = option(2e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(100, "updates of linear warm-up", least=1)
    validate_every: int | None = option(100, "updates between validations; an epoch if not given", least=1)
    average: int = option(
        3, "the result is the mean of the weights at so many last validations; 1: the best ones", least=1
    )
    d_model: int = option(64, "features of each patch", least=1)
    heads: int = option(4, "attention heads", least=1)
    layers: int = option(4, "layers of the encoder", least=1, below=1000)
    d_ff: int = option(128, "features inside the feed-forward layers", least=1)
    patch: int = option(2, "pixels a side of a patch", least=1)
    pooling: str = option(
        "mean", "what the classifier sees: a class token, or the mean of the patches", choices=("class", "mean")
    )
    positions: str = option("learned", "positions of the patches", choices=("learned", "sinusoidal"))
    dropout: float = option(0.0, "dropout", least=0, below=1)
    label_smoothing: float = option(0.1, "label smoothing", least=0, below=1)
    batch_size: int = option(64, "images of an update", least=1)
    shift: float = option(1.0, "largest random shift of an image, in pixels", least=0, below=1000)
    turn: float = option(15.0, "largest random rotation, in degrees", least=0, below=180)
    zoom: float = option(0.2, "largest random change of height and width, as a share", least=0, below=100)
    plain: float = option(0.3, "share of the images that stay as they are, in each epoch others", least=0, below=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        if self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")
        if self.d_model % 4 and self.positions == "sinusoidal":
            raise UserError(f"--positions sinusoidal needs a --d-model that 4 divides, not {self.d_model}")


DIGITS: dict[str, Any] = dict(epochs=100)
IDX: dict[str, Any] = dict(epochs=10, patch=4, shift=2.0, validate_every=None)  # for 60 000 images of 28 x 28 pixels


def make_model(settings: Settings, images: Images, device: str) -> ViT:
    """A model for such images, its weights drawn from the seed. Raises UserError for patches that
    do not divide the images.
    """
    s = settings
    _, channels, side, _ = images.pixels.shape
    if side % s.patch:
        raise UserError(f"--patch {s.patch} does not divide the images of {side} x {side} pixels")
    mt.random.seed(s.seed)
    config = ViTConfig(
        image_size=side, patch_size=s.patch, n_channels=channels, n_classes=N_CLASSES, d_model=s.d_model, n_heads=s.heads,
        n_layers=s.layers, d_ff=s.d_ff, dropout=s.dropout, attention_dropout=s.dropout, eps=1e-6, positions=s.positions,
        position_std=1.0, pooling=s.pooling, label_smoothing=s.label_smoothing,
    )  # fmt: skip
    return place(ViT(config), device)


class Task:
    """Classification as a task for `toolkit.trainer`."""

    def __init__(self, splits: Splits, settings: Settings) -> None:
        distortion = Distortion(settings.shift, settings.turn, settings.zoom, settings.plain)
        self.samples = Distorted(splits.train, settings.batch_size, settings.seed, distortion)
        self.validation = splits.validation
        self.model = make_model(settings, splits.train, settings.device)

    def epoch(self, number: int) -> Epoch[Batch]:
        return self.samples.epoch(number)

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        device = self.model.positions.device
        labels = mt.asarray(batch["labels"], device=device)
        return self.model.loss(model_input(batch["images"], device), labels, divide_by)

    def validate(self) -> dict[str, float]:
        """The loss per image of the validation images, and how many percent of them are classified
        rightly.
        """
        found = probabilities(self.model, self.validation.pixels)
        labels = self.validation.labels
        loss = -np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-30)).mean()
        return {"validation_loss": float(loss), "accuracy": 100 * accuracy(found, labels)}


def model_input(pixels: np.ndarray, device: str) -> mt.Tensor:
    """Pixels from 0 to 1 as the model takes them, from -1 to 1."""
    return mt.asarray(2 * pixels - 1, device=device)


def probabilities(model: ViT, pixels: np.ndarray) -> np.ndarray:
    """Of the classes of images (N, C, S, S), as they are and not distorted: (N, K)."""
    device = model.positions.device
    parts = [model_input(pixels[start : start + ROWS], device) for start in range(0, len(pixels), ROWS)]
    return np.concatenate([model.predict(part).to("cpu").numpy() for part in parts])


def accuracy(found: np.ndarray, labels: np.ndarray) -> float:
    """The share of the images whose most probable class is the right one."""
    return float((found.argmax(axis=1) == labels).mean())
