"""The evidence behind a Vision Transformer's decision: attention rollout, and how far a class's
logit falls without a patch.

Letters: C channels, S pixels a side, P pixels a side of a patch, n = S / P patches a side, N = n**2
patches, T positions, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minitensor.models.checks import evaluating
from minitensor.models.vit import ViT
from toolkit.plots import GREY, empty_figure, save_figure
from toolkit.vision import model_input

__all__ = ["draw_evidence", "draw_images", "looks", "occlusion", "on_patches", "rollout"]


def looks(model: ViT, image: np.ndarray) -> np.ndarray:
    """What each head of each layer looks at, (L, H, T, T), for one image (C, S, S)."""
    maps = model.attention_maps(model_input(image[None], model.positions.device))
    return np.stack([weights.to("cpu").numpy()[0] for weights in maps.values()])


def rollout(attention: np.ndarray) -> np.ndarray:
    """How much of each input position arrives at each output position: (L, H, T, T) to (T, T), rows
    that add up to 1.

    The product over the layers of (A + 1) / 2, A the mean of the heads: half of what a position
    passes on is its own, by the residual connections (Abnar and Zuidema 2020, "Quantifying
    Attention Flow in Transformers", arXiv:2005.00928, section 3).
    """
    steps = (attention.mean(axis=1) + np.eye(attention.shape[-1])) / 2  # (L, T, T)
    flow = steps[0]
    for step in steps[1:]:
        flow = step @ flow
    return flow


def on_patches(weights: np.ndarray, model: ViT) -> np.ndarray:
    """What the classifier's input takes from each patch, (..., T, T) to (..., n, n): the class
    token's row, or the mean of all.
    """
    side = model.config.image_size // model.config.patch_size
    rows = weights[..., 0, 1:] if model.class_token is not None else weights.mean(axis=-2)  # (..., N)
    return rows.reshape((*rows.shape[:-1], side, side))


def occlusion(model: ViT, image: np.ndarray, label: int) -> np.ndarray:
    """By how much the logit of class ``label`` falls when a patch is blanked: (n, n), for one image
    (C, S, S).

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901,
    section 4.2.
    """
    p = model.config.patch_size
    side = image.shape[-1] // p
    blanked = np.repeat(image[None], 1 + side * side, axis=0)  # the whole image first, (1 + N, C, S, S)
    for i in range(side * side):
        row, column = divmod(i, side)
        blanked[1 + i, :, row * p : (row + 1) * p, column * p : (column + 1) * p] = 0
    with evaluating(model):
        logits = model(model_input(blanked, model.positions.device))[:, label].to("cpu").numpy()
    return (logits[0] - logits[1:]).reshape(side, side)


# --- pictures -------------------------------------------------------------------------------------


def draw_evidence(model: ViT, image: np.ndarray, label: int, title: str, path: Path) -> Path:
    """Draw the image, the rollout, the occlusion, and what each head of each layer looks at;
    returns the path of the picture.
    """
    attention = looks(model, image)
    layers, heads = attention.shape[:2]
    figure = empty_figure(1.6 * max(heads, 3) + 0.6, 1.75 * (layers + 1) + 0.5)
    figure.suptitle(title, fontsize=10)
    top, below = figure.subfigures(2, 1, height_ratios=(1.15, layers))
    seen, decided = on_patches(rollout(attention), model), occlusion(model, image, label)
    reach = max(float(np.abs(decided).max()), 1e-6)
    overlays = [
        ("image", None, {}),
        ("attention rollout", seen, {"cmap": "Reds", "vmin": 0, "vmax": float(seen.max())}),
        ("logit lost without the patch", decided, {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}),
    ]
    for axes, (name, values, scale) in zip(top.subplots(1, 3), overlays, strict=True):
        drawn = _patches(axes, image, values, scale)
        axes.set_title(name, fontsize=8, color=GREY)
        if values is not None:
            top.colorbar(drawn, ax=axes, shrink=0.8).ax.tick_params(labelsize=6)
    grid = below.subplots(layers, heads, squeeze=False)
    maps = on_patches(attention, model)  # (L, H, n, n)
    for layer, row in enumerate(grid):
        for head, axes in enumerate(row):
            drawn = _patches(axes, image, maps[layer, head], {"cmap": "Reds", "vmin": 0, "vmax": float(maps.max())})
            axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7, color=GREY)
    below.colorbar(drawn, ax=grid, label="attention", shrink=0.4, aspect=30).ax.tick_params(labelsize=6)
    return save_figure(figure, path)


def _patches(axes, image: np.ndarray, values: np.ndarray | None, scale: dict) -> object:
    """The image in grey, and ``values`` (n, n) of its patches in colour above it; returns what has
    the colours.
    """
    _bare(axes)
    side = image.shape[-1]
    palest = 1 if values is None else 2  # the ink is to be seen through the colours, and not to darken them
    drawn = axes.imshow(image[0], cmap="Greys", vmin=0, vmax=palest, extent=(0, side, side, 0))
    if values is not None:
        drawn = axes.imshow(values, extent=(0, side, side, 0), alpha=0.65, **scale)
    return drawn


def draw_images(images: np.ndarray, titles: Sequence[str], path: Path) -> None:
    """Draw images (N, C, S, S) with a line above each, as a PNG."""
    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    figure = empty_figure(1.3 * columns, 1.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes, image, title in zip(grid, images, titles, strict=False):
        _bare(axes)
        axes.imshow(image[0], cmap="Greys", vmin=0, vmax=1)
        axes.set_title(title, fontsize=7)
    for axes in grid[len(images) :]:
        axes.set_visible(False)
    save_figure(figure, path)


def _bare(axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#cccccc")
