"""ViT: an image is a sentence of patches (Dosovitskiy et al. 2021, arXiv:2010.11929).

    image -> patches of P x P pixels -> linear
    [class token, patch 1, ..., patch N] + positions -> encoder -> hidden
    hidden of the class token -> linear -> logits of the classes

The encoder is pre-norm with GELUs, and dropout acts where the paper has it (appendix B.1). What can
differ from it, by configuration: the mean of all patches in the place of the class token, and fixed
2-D sinusoidal positions in the place of learned ones (Beyer, Zhai and Kolesnikov 2022, "Better
plain ViT baselines for ImageNet-1k", arXiv:2205.01580). Reads and writes the checkpoints of Hugging
Face transformers (see `vit_checkpoints.py`).

Letters: B images, C channels, S pixels a side, P pixels a side of a patch, N = (S / P)**2 patches,
T positions (N + 1 with a class token, else N), D model width, H heads, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import check_images, evaluating
from minitensor.models.classification import MULTI_LABEL, REGRESSION, check_problem, classifier_loss, problem_of
from minitensor.models.configuration import check_dropouts
from minitensor.models.published_config import PublishedConfig
from minitensor.models.vit_checkpoints import PRESETS, PublishedViT, from_hugging_face, to_hugging_face

__all__ = ["PatchEmbedding", "ViT", "ViTConfig"]

# What a loss may ignore: no image's label, so that each one out of range is an error, -100 too.
NO_LABEL = -(2**31)


@dataclass(frozen=True)
class ViTConfig(PublishedConfig):
    """Hyper-parameters; the defaults are vit-base-patch16-224 without its classes."""

    image_size: int = 224
    patch_size: int = 16
    n_channels: int = 3
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_ff: int = 3072
    dropout: float = 0.0
    attention_dropout: float = 0.0
    # Inside the feed-forward networks; default: ``dropout``.
    feed_forward_dropout: float | None = None
    activation: str = "gelu"
    eps: float = 1e-12
    positions: str = "learned"
    # Of learned positions at the start; short trainings want 1, about that of the patches.
    position_std: float = 0.02
    pooling: str = "class"
    pooler: bool = False
    n_classes: int = 0  # 0: no classification head
    labels: tuple[str, ...] = ()  # the names of the classes, if they have some
    problem_type: str | None = None  # what the classes are, see `classification.py`
    label_smoothing: float = 0.0
    # What else a config.json said, for saving.
    extras: dict = field(default_factory=dict, compare=False, repr=False)

    presets = PRESETS
    reads, writes = staticmethod(from_hugging_face), staticmethod(to_hugging_face)

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)
        check_problem(self)
        if self.image_size % self.patch_size:
            raise ValueError(f"patches of {self.patch_size} pixels a side do not divide images of {self.image_size}")
        if self.positions not in ("learned", "sinusoidal"):
            raise ValueError(f'positions must be "learned" or "sinusoidal", got {self.positions!r}')
        if self.positions == "sinusoidal" and self.d_model % 4:
            raise ValueError(f"2-D sinusoidal positions need a d_model that 4 divides, got {self.d_model}")
        if self.pooling not in ("class", "mean"):
            raise ValueError(f'pooling must be "class" or "mean", got {self.pooling!r}')
        if self.pooler and self.n_classes:
            raise ValueError(
                f"no published ViT has classes behind a pooler: set pooler=False for {self.n_classes} classes, or n_classes=0"
            )
        # The way to set a field of a frozen instance.
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.labels and len(self.labels) != self.n_classes:
            raise ValueError(f"{len(self.labels)} labels cannot name {self.n_classes} classes")

    @property
    def n_positions(self):
        """T: the patches, and the class token if there is one."""
        return (self.image_size // self.patch_size) ** 2 + (self.pooling == "class")


class PatchEmbedding(nn.Module):
    """Each square of P x P pixels through one linear map, row by row: (B, C, S, S) to (B, N, D).

    This is a convolution whose kernel and stride are both P, and ``weight`` has the form of its
    kernels: (D, C, P, P). Cut like this the image is copied once; a general convolution would
    collect P * P shifted copies.
    """

    def __init__(self, n_channels, patch_size, d_model):
        self.weight = nn.Parameter(mt.zeros((d_model, n_channels, patch_size, patch_size)))
        self.bias = nn.Parameter(mt.zeros(d_model))
        nn.init.normal_(self.weight, std=(n_channels * patch_size**2) ** -0.5)

    def forward(self, images):
        """(B, C, S, S) to (B, N, D)."""
        d_model, channels, p, _ = self.weight.shape
        batch, n = images.shape[0], images.shape[2] // p  # n patches a side
        squares = images.reshape((batch, channels, n, p, n, p)).transpose((0, 2, 4, 1, 3, 5))  # (B, n, n, C, P, P)
        rows = squares.reshape((batch, n * n, channels * p * p))  # (B, N, C P P)
        return F.linear(rows, mt.reshape(self.weight, (d_model, -1)), self.bias)


class ViT(PublishedViT):
    """Patches, positions, encoder and classification head; see the head of this file."""

    config_class = ViTConfig

    def __init__(self, config):
        c = self.config = config
        self.patches = PatchEmbedding(c.n_channels, c.patch_size, c.d_model)
        self.class_token = _normal((1, 1, c.d_model), 0.02) if c.pooling == "class" else None
        if c.positions == "learned":
            self.positions = _normal((1, c.n_positions, c.d_model), c.position_std)
        else:
            # Saved and moved like learned ones, but not trained.
            self.positions = nn.Buffer(sinusoidal_positions(c))
        self.dropout = nn.Dropout(c.dropout)
        shape = (c.n_layers, c.d_model, c.n_heads, c.d_ff, c.dropout, c.activation)
        dropouts = dict(attention_dropout=c.attention_dropout, ff_dropout=c.feed_forward_dropout)
        self.encoder = nn.TransformerEncoder(*shape, norm_first=True, eps=c.eps, **dropouts)
        self.pooler = nn.Linear(c.d_model, c.d_model) if c.pooler else None
        self.classifier = nn.Linear(c.d_model, c.n_classes) if c.n_classes else None
        self._draw()

    def _draw(self):
        """Matrices after Xavier (the paper's code); patches and positions are drawn already."""
        for module in filter(None, (self.encoder, self.pooler, self.classifier)):
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter)

    # --- what it computes -------------------------------------------------------------------------

    def forward(self, images):
        """Logits (B, K) of the classes of ``images`` (B, C, S, S).

        Raises ValueError for images of another size.
        """
        if self.classifier is None:
            raise ValueError("this model has no classification head (n_classes = 0): use encode(...) or features(...)")
        return self.classifier(self.features(images))

    def features(self, images):
        """A vector per image (B, D): its class token's, pooled if so made, or the patches' mean."""
        hidden = self.encode(images)
        vector = hidden[:, 0] if self.class_token is not None else hidden.mean(axis=1)
        return vector if self.pooler is None else F.tanh(self.pooler(vector))

    def encode(self, images):
        """Normalised hidden states (B, T, D) of images (B, C, S, S), the class token's first."""
        return self.encoder(self._embed(images))

    def _embed(self, images):
        """(B, C, S, S) to (B, T, D), the input of the encoder."""
        images = check_images(images, self.config).astype(self.patches.weight.dtype)
        x = self.patches(images)  # (B, N, D)
        if self.class_token is not None:
            first = mt.broadcast_to(self.class_token, (x.shape[0], 1, x.shape[2]))
            x = mt.concat([first, x], axis=1)  # (B, N + 1, D)
        return self.dropout(x + self.positions)

    def loss(self, images, labels, divide_by=None):
        """The loss per image: label-smoothed cross-entropy in nats, but for another `problem_type`.

        images (B, C, S, S); labels (B,) integers, or what else `classification.py` takes.
        divide_by: default: B, see `losses.per_target`. Smoothing is for training; a validation loss
        is the plain cross-entropy. Raises IndexError for a label that is not one of 0 to K - 1.
        """
        smoothing = self.config.label_smoothing if self.training else 0.0
        how = dict(divide_by=divide_by, ignore_index=NO_LABEL, label_smoothing=smoothing)
        return classifier_loss(self(images), labels, self.config.problem_type, "images", **how)

    # --- using it, and looking inside -------------------------------------------------------------

    def predict(self, images):
        """Probabilities (B, K) of the classes, in evaluation mode and without recording.

        They add up to 1 if one class is right; of several labels each has its own. Raises
        ValueError for a regression.
        """
        problem = problem_of(self.config.problem_type, self.config.n_classes)
        if problem == REGRESSION:
            raise ValueError("the outputs of a regression are numbers without probabilities: call the model itself")
        with evaluating(self):
            return (F.sigmoid if problem == MULTI_LABEL else F.softmax)(self(images))

    def attention_maps(self, images):
        """Attention probabilities (B, H, T, T) by name: "encoder.0.self", "encoder.1.self", ..."""
        with evaluating(self):
            _, seen = self.encoder(self._embed(images), need_weights=True)
        return {f"encoder.{i}.self": weights for i, weights in enumerate(seen)}


def _normal(shape, std):
    return nn.init.normal_(nn.Parameter(mt.zeros(shape)), std=std)


def sinusoidal_positions(config):
    """Positions (1, T, D) of a grid of patches, 0 for a class token.

    Half of the features are waves of the row, half of the column.

    These are Vaswani's waves for each axis; the order of the features and the spacing of the wave
    lengths are not those of Beyer et al. 2022, which makes no difference to the linear maps that
    read them.
    """
    side = config.image_size // config.patch_size
    waves = nn.SinusoidalPositionalEncoding(config.d_model // 2).encoding(side).data  # (side, D / 2)
    rows, columns = waves.repeat(side, axis=0), np.tile(waves, (side, 1))  # (N, D / 2) each
    table = np.concatenate([rows, columns], axis=1)  # (N, D)
    if config.pooling == "class":
        table = np.concatenate([np.zeros_like(table[:1]), table])  # (N + 1, D)
    return mt.tensor(table[None])
