"""What all models share: checks of what they are given, and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np

import minitensor as mt
from minitensor import nn

__all__ = ["changed", "check_dropouts", "check_ids", "check_mask", "check_pairs", "evaluating", "key_mask"]


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


def changed(config, changes):
    """``config`` with other values of the fields that ``changes`` names. Raises TypeError for one that is no field."""
    names = [field.name for field in fields(config)]
    odd = [name for name in changes if name not in names]
    if odd:
        raise TypeError(f"{type(config).__name__} has no field {', '.join(odd)}; it has {', '.join(names)}")
    return replace(config, **changes)


def check_dropouts(config):
    """Raise ValueError for a probability of dropout, of whichever name, that is not in [0, 1]; None is another one's."""
    for name in (field.name for field in fields(config) if field.name.endswith("dropout")):
        value = getattr(config, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be in [0, 1], got {value}")


def check_ids(ids, longest, start=0):
    """Raise ValueError for ``ids`` that are not (sentences, positions), or that reach beyond position ``longest``."""
    if ids.ndim != 2:
        raise ValueError(f"ids must be (sentences, positions), got shape {ids.shape}")
    if start + ids.shape[1] > longest:
        raise ValueError(
            f"a sentence of {start + ids.shape[1]} tokens is longer than the model allows ({longest}): "
            "shorten it, or train with a larger max_length"
        )


def check_mask(mask, ids):
    """``mask`` as a boolean Tensor, or None. Raises ValueError where it has not the shape of ``ids`` (B, T), or of (B, T, ...)."""
    if mask is None:
        return None
    mask = mt.asarray(mask)
    if mask.shape != ids.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(
            f"the mask, {mask.shape} of {mask.dtype}, must be boolean and have the shape of the ids {ids.shape[:2]}: "
            "True = real token; write mask != 0 for one of 0 and 1"
        )
    return mask


def key_mask(mask, ids):
    """The mask of the real tokens of ``ids`` (B, S) as one of keys, (B, 1, 1, S); None stays None. Raises as `check_mask`."""
    mask = check_mask(mask, ids)
    return None if mask is None else mask[:, None, None]  # (B, 1, 1, S)


def check_pairs(source, target):
    """Both as Tensors. Raises ValueError where they are not (sentences, positions), equally many."""
    source, target = mt.asarray(source), mt.asarray(target)
    for ids in (source, target):
        if ids.ndim != 2:
            raise ValueError(f"ids must be (sentences, positions), got shape {ids.shape}")
    if source.shape[0] != target.shape[0]:
        raise ValueError(f"{source.shape[0]} source sentences but {target.shape[0]} target sentences")
    return source, target
