"""What the attention of a captioner is on while it writes the nouns of drawn scenes.

Some heads may be idle: they rest on the empty places beside the things, and what they say changes
no noun. Then the mean of all heads says little about where a noun comes from. So one head is looked
at too, as Whisper's alignments are those of chosen heads (Radford et al. 2022, arXiv:2212.04356);
it has to be chosen on other images than those that it is reported of.

Letters: G groups of all drawings, H heads of all layers, n regions a side, S pixels a side.
"""

from __future__ import annotations

import math

import numpy as np

from toolkit.captioned import Captioned
from toolkit.captioning import ROWS, Describer
from toolkit.scene_words import noun

__all__ = ["looking_head", "on_objects"]

WHAT = (
    "attention: maximum on the named",
    "attention: maximum of one head",
    "attention: weight on the named",
    "regions on the named",
)


def on_objects(describer: Describer, images: Captioned, language: str, head: int) -> dict[str, float]:
    """Four shares, each the mean over all groups of all drawings: of the largest weights that are
    on the group that is named, while its noun is written, of the mean of all heads and of one
    ``head``; of all the weight, of the mean; and of the regions that are on the group, which is
    what attention to everything would get.
    """
    weights, on = _at_nouns(describer, images, language)
    if not len(weights):
        return dict.fromkeys(WHAT, math.nan)
    mean = weights.mean(axis=1)  # (G, n n)
    maxima = _maximum_on(mean, on), _maximum_on(weights[:, head], on)
    found = *maxima, (mean * on).sum(axis=-1), on.mean(axis=-1)  # (G,) each
    return {what: float(shares.mean()) for what, shares in zip(WHAT, found, strict=True)}


def looking_head(describer: Describer, images: Captioned) -> int:
    """The head with most of its weight on the groups that are named, over all languages."""
    found = [_at_nouns(describer, images, language) for language in describer.languages]
    on_named = sum((weights * on[:, None]).sum(axis=(0, 2)) for weights, on in found)  # (H,)
    return int(np.argmax(on_named))


def _at_nouns(describer: Describer, images: Captioned, language: str) -> tuple[np.ndarray, np.ndarray]:
    """For each group the weights (G, H, n n) while its noun is written, and the regions on it,
    True in (G, n n): those with a pixel of it.

    The right description is written, whatever the model would write itself; one that is too long
    for it is left out.
    """
    tokenizer, longest = describer.tokenizer, describer.model.config.max_length
    ids = tokenizer.encode_batch([drawing.scene.describe(language) for drawing in images.drawings])
    rows = [row for row, caption in enumerate(ids) if len(caption) <= longest]
    found, masks = [], []
    for first in range(0, len(rows), ROWS):
        part = rows[first : first + ROWS]
        seen = describer.attention(images.pixels[part], [ids[row] for row in part], language)
        for row, (words, weights) in zip(part, seen, strict=True):
            place, drawing = 0, images.drawings[row]
            for group, mask in zip(drawing.scene.groups, drawing.masks, strict=True):
                place = words.index(noun(language, group.count, group.shape), place)
                found.append(weights[place].reshape(len(weights[place]), -1))
                masks.append(_regions(mask, weights.shape[-1]).reshape(-1))
                place += 1
    if not found:
        return np.zeros((0, 1, 1)), np.zeros((0, 1), dtype=bool)
    return np.stack(found), np.stack(masks)


def _maximum_on(weights: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Whether the largest weight of each group is on it: twice (G, n n) to (G,)."""
    return np.take_along_axis(on, weights.argmax(axis=-1, keepdims=True), axis=-1)[:, 0]


def _regions(mask: np.ndarray, side: int) -> np.ndarray:
    """Which of the regions (n, n) have a True of a mask (S, S) in them."""
    pixels = len(mask) // side
    return np.any(mask.reshape(side, pixels, side, pixels), axis=(1, 3))
