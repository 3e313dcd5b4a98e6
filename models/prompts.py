"""Prompts of a language model: lists of ids of different lengths, padded on the left so that all end at the same position.

Letters: B prompts, T positions.
"""

from __future__ import annotations

import numpy as np

import minitensor as mt

__all__ = ["as_prompts", "check_choices", "check_mask", "check_room", "left_padded"]


def as_prompts(ids, mask):
    """Each prompt as an array of its ids: of lists of ids, or of ids (B, T) the real ones."""
    if isinstance(ids, (list, tuple)) and all(isinstance(row, (list, tuple, np.ndarray)) for row in ids):
        if mask is not None:
            raise ValueError("lists of ids have no padding: give the mask with ids (B, T), or leave it out")
        return [_integers(np.asarray(row)) for row in ids]
    ids = mt.asarray(ids)
    if ids.ndim != 2:
        raise ValueError(
            f"ids must be (prompts, positions) or a list of lists, got shape {ids.shape}: [ids] is one prompt"
        )
    rows = _integers(ids.to("cpu").data)
    if mask is None:
        return list(rows)
    return [row[real] for row, real in zip(rows, check_mask(mask, ids).to("cpu").data)]


def left_padded(prompts):
    """All prompts as ids (B, T) with zeros on the left, and how many of these each has, (B,)."""
    lengths = np.array([len(prompt) for prompt in prompts])
    padding = lengths.max() - lengths
    return np.stack([np.pad(prompt, (n, 0)) for prompt, n in zip(prompts, padding)]), padding


def check_room(prompts, max_new_tokens, room):
    """Raise for an empty prompt, and where one and its new tokens (the last is not fed again) need over ``room`` positions."""
    lengths = np.array([len(prompt) for prompt in prompts])
    if not lengths.all():
        raise ValueError(
            f"prompt {lengths.argmin()} is empty: begin it with some token, such as the one that separates texts"
        )
    needed = lengths + max_new_tokens - 1
    i = needed.argmax()
    if needed[i] > room:
        new = needed[i] - lengths[i] + 1
        cure = "ask for fewer new tokens"
        if new <= room:
            cure += f", or keep the last {room + 1 - new} tokens of the prompt"
        raise ValueError(
            f"prompt {i} of {lengths[i]} tokens and {new} new ones need {needed[i]} positions, the model has {room}: {cure}"
        )


def _integers(ids):
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, got {ids.dtype}")
    return ids.astype(np.int64)


def check_mask(mask, ids):
    """``mask`` as a Tensor, boolean and of the shape of ``ids``."""
    mask = mt.asarray(mask)
    if mask.shape != ids.shape or mask.dtype != np.bool_:
        raise ValueError(
            f"the mask, {mask.shape} of {mask.dtype}, must be boolean and have the shape of the ids {ids.shape}: True = real token"
        )
    return mask


def check_choices(temperature, top_k, top_p, beam_size, generator, stream):
    """Raise for ways of choosing that exclude each other."""
    if temperature < 0:
        raise ValueError(f"temperature must be 0, for the most probable token, or above, got {temperature}")
    if temperature == 0 and not (top_k is top_p is generator is None):
        raise ValueError("top_k, top_p and generator are for sampling: give a temperature above 0, such as 1.0")
    if beam_size < 1:
        raise ValueError(f"beam_size must be at least 1, got {beam_size}")
    if beam_size > 1 and (temperature > 0 or stream is not None):
        raise ValueError("beam search neither samples nor streams: leave out beam_size, or temperature and stream")
