"""What all models share: checks of what they are given, and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.backend import is_floating

__all__ = [
    "check_features", "check_ids", "check_images", "check_mask", "check_pairs", "check_rows", "evaluating", "key_mask",
]  # fmt: skip


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without recording, and then the mode from before."""
    was_training = model.training
    model.eval()
    try:
        with mt.no_grad():
            yield
    finally:
        model.train(was_training)


def check_ids(ids, longest, start=0):
    """Raise ValueError for ids that are not (sentences, positions) or longer than ``longest``."""
    if ids.ndim != 2:
        raise ValueError(f"ids must be (sentences, positions), got shape {ids.shape}")
    if start + ids.shape[1] > longest:
        raise ValueError(
            f"a sentence of {start + ids.shape[1]} tokens is longer than the model allows ({longest}): "
            "shorten it, or train with a larger max_length"
        )


def check_features(source, n_features):
    """Raise ValueError for a source that is not (sequences, positions, ``n_features``)."""
    if source.ndim != 3 or source.shape[2] != n_features:
        raise ValueError(f"the source must be (sequences, positions, {n_features} features), got shape {source.shape}")


def check_images(images, config):
    """``images`` as a Tensor, floats.

    Raises ValueError if they are not (B, C, S, S) with the ``n_channels`` and the ``image_size`` of
    ``config``, or integers.
    """
    c, images = config, mt.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"images must be (batch, channels, height, width), got shape {images.shape}")
    if images.shape[1] != c.n_channels:
        raise ValueError(
            f"the images have {images.shape[1]} channels, the model takes {c.n_channels}: convert them, "
            "or make a model with another n_channels"
        )
    if images.shape[2:] != (c.image_size, c.image_size):
        height, width = images.shape[2:]
        raise ValueError(
            f"the images are {height} x {width} pixels, the model takes {c.image_size} x {c.image_size}: "
            "scale or crop them, or make a model with another image_size"
        )
    if not is_floating(images.dtype):
        raise ValueError(f"images must be floats, got {images.dtype}: scale them, such as images / 255.0")
    return images


def check_mask(mask, ids):
    """``mask`` as a boolean Tensor, or None.

    Raises ValueError if its shape is not that of ``ids`` (B, T), or of (B, T, ...), and for a row
    without any real token, of which no model has anything to say. On a GPU rows are not looked at,
    which would wait for it; there such a row attends to nothing, and attention gives it zeros.
    """
    if mask is None:
        return None
    mask = mt.asarray(mask)
    if mask.shape != ids.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(
            f"the mask, {mask.shape} of {mask.dtype}, must be boolean and have the shape of the ids {ids.shape[:2]}: "
            "True = real token; write mask != 0 for one of 0 and 1"
        )
    if mask.device == "cpu":
        check_rows(mask)
    return mask


def check_rows(mask):
    """Raise ValueError for a row of ``mask`` (B, T) without any real token; waits for a GPU."""
    empty = np.flatnonzero(~mask.to("cpu").data.any(axis=1)) if mask.shape[1] else np.empty(0)
    if empty.size:
        more = f" (and {empty.size - 1} more)" if empty.size > 1 else ""
        raise ValueError(
            f"the mask has no real token in row {empty[0]}{more}, it is all False: leave such rows out, or give each a token,"
            " such as that of its end"
        )


def key_mask(mask, ids):
    """The mask of the real tokens of ``ids`` (B, S) as one of keys, (B, 1, 1, S); None stays None.

    Raises as `check_mask`.
    """
    mask = check_mask(mask, ids)
    return None if mask is None else mask[:, None, None]  # (B, 1, 1, S)


def check_pairs(source, target, n_features=None):
    """Both as Tensors. Raises ValueError if they are not (sentences, positions), equally many.

    n_features: so many of each source position, (sentences, positions, features); default: the
    source is ids.
    """
    source, target = mt.asarray(source), mt.asarray(target)
    if n_features is not None:
        check_features(source, n_features)
    for ids in (source, target) if n_features is None else (target,):
        if ids.ndim != 2:
            raise ValueError(f"ids must be (sentences, positions), got shape {ids.shape}")
    if source.shape[0] != target.shape[0]:
        raise ValueError(f"{source.shape[0]} source sentences but {target.shape[0]} target sentences")
    return source, target
