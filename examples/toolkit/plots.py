"""Pictures of a run: the loss curve, and what the attention looks at."""

from __future__ import annotations

import io
import os
import pathlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.console import UserError, require
from toolkit.files import write_whole

__all__ = ["attention_heatmap", "empty_figure", "literal", "loss_curve", "picture_path", "save_figure", "smooth"]

Path = str | os.PathLike[str]

TRAIN, VALIDATION, SCORE = "#9db8d9", "#1f4e8c", "#d1662b"
GREY = "#666666"
DPI, LAYOUT = 150, "constrained"  # of every picture; tests that do not look at it ask for less
CROWDED = 100  # points of training from which on their mean is drawn


def empty_figure(width: float, height: float) -> Any:
    """An empty figure that needs no display and leaves the settings of the process alone."""
    backend = require("matplotlib.backends.backend_agg", "train")
    figure = require("matplotlib.figure", "train").Figure(figsize=(width, height), dpi=DPI, layout=LAYOUT)
    backend.FigureCanvasAgg(figure)
    return figure


def literal(text: str) -> str:
    """A text for a picture, taken literally: dollars do not start a formula."""
    return text.replace("$", r"\$")


def picture_path(path: Path) -> pathlib.Path:
    """Where a picture named ``path`` is written: a PNG; ``.png`` is added if the name has no
    ending.

    Raises UserError for a folder, if the folder of ``path`` does not exist, and for an ending that
    is not that of a picture. Call it before the work whose result is drawn.
    """
    target = pathlib.Path(path)
    if target.is_dir():
        raise UserError(f"cannot draw {target}: it is a folder; name a file, such as {target / 'picture.png'}")
    if not target.parent.is_dir():
        raise UserError(f"cannot draw {target}: there is no folder {target.parent}")
    if not target.suffix and (target.is_file() or not target.exists()):  # a pipe keeps its name
        target = target.with_name(target.name + ".png")
    known = require("matplotlib.backends.backend_agg", "train").FigureCanvasAgg.get_supported_filetypes()
    if target.suffix and target.suffix[1:].lower() not in known:
        raise UserError(
            f"cannot draw {target}: {target.suffix} is the ending of no picture that can be drawn; {', '.join(sorted(known))} are"
        )
    return target


def save_figure(figure: Any, path: Path) -> pathlib.Path:
    """Write a picture, all of it or none, and return its `picture_path`.

    Characters that the font lacks are reported on stderr. Raises UserError if it cannot be written:
    what `picture_path` refuses, and a full disk.
    """
    target = picture_path(path)
    drawn = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph .* missing")
        try:
            if target.suffix.lower() in ("", ".png"):
                figure.canvas.print_png(drawn)  # savefig would go through it all once more before, for the layout
            else:
                figure.savefig(drawn, format=target.suffix[1:])
        except ValueError as error:  # a picture that is too large
            raise UserError(f"cannot draw {target}: {error}") from None
    write_whole(target, drawn.getvalue(), "draw")
    missing = sum("Glyph" in str(warning.message) for warning in caught)
    if missing:
        print(f"{target}: the font lacks {missing} of the characters, which show as boxes", file=sys.stderr)
    return target


def loss_curve(records: Sequence[Mapping[str, Any]], path: Path, label: str = "loss per token (nats)") -> None:
    """Draw the losses of a log as a PNG; ``label`` says what they are.

    A record with ``step`` and ``loss`` is a point of training, one with ``step`` and
    ``validation_loss`` a point of validation; with ``bleu`` too, the score gets its own axis. All
    other records are passed over.
    """
    figure = empty_figure(8, 4.5)
    axes = figure.subplots()
    axes.set_xlabel("update")
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    lines = []
    steps, losses = _points(records, "loss")
    if steps.size > CROWDED:
        axes.plot(steps, losses, color=TRAIN, alpha=0.45, linewidth=1)  # the noise, faintly; its mean goes on top
        steps, losses = smooth(steps, losses, steps.size // 50)
    if steps.size:
        lines += axes.plot(steps, losses, color=TRAIN, linewidth=2, label="training")
    steps, losses = _points(records, "validation_loss")
    if steps.size:
        name = f"validation, best {losses.min():.3f}"
        lines += axes.plot(steps, losses, color=VALIDATION, marker="o", markersize=4, linewidth=2, label=name)
    steps, scores = _points(records, "bleu")
    if steps.size:
        right = axes.twinx()
        name = f"BLEU on validation, best {scores.max():.1f}"
        lines += right.plot(steps, scores, color=SCORE, marker="s", markersize=3, linewidth=1.5, label=name)
        right.set_ylabel("BLEU", color=SCORE)
        right.set_ylim(0, max(1, 1.1 * scores.max()))
        right.tick_params(colors=SCORE)
        right.spines["top"].set_visible(False)
    if lines:
        axes.legend(handles=lines, frameon=False, loc="center right")
    save_figure(figure, path)


def _points(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the records that have both, non-finite values left out."""
    points = [(record["step"], record[name]) for record in records if "step" in record and record.get(name) is not None]
    table = np.array(points, dtype=float).reshape(-1, 2)
    table = table[np.isfinite(table[:, 1])]
    return table[:, 0], table[:, 1]


def smooth(steps: np.ndarray, values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of ``width`` neighbours."""
    kernel = np.full(width, 1 / width)
    return np.convolve(steps, kernel, "valid"), np.convolve(values, kernel, "valid")


def attention_heatmap(
    weights: np.ndarray | Mapping[str, np.ndarray],
    source_tokens: Sequence[str],
    target_tokens: Sequence[str],
    path: Path,
    labels: tuple[str, str] = ("source", "target"),
) -> pathlib.Path:
    """Draw attention: a row of pictures for each layer, one for each head; if there are several,
    their mean first.

    ``weights`` is (H, T, S), what each of T target tokens takes from each of S source tokens; or
    such arrays by the names of their layers. ``labels`` say what the tokens below and beside are.
    Returns the path of the picture (see `save_figure`). Raises ValueError for weights of another
    shape.
    """
    layers = dict(weights) if isinstance(weights, Mapping) else {"": weights}
    if not layers:
        raise ValueError("attention_heatmap() got no layer")
    shape = (len(target_tokens), len(source_tokens))
    for name, array in layers.items():
        if np.ndim(array) != 3 or np.shape(array)[1:] != shape:
            raise ValueError(
                f"attention_heatmap() got weights {name!r} of shape {np.shape(array)} for {shape[0]} target and"
                f" {shape[1]} source tokens; the shape must be (heads, {shape[0]}, {shape[1]})"
            )
    rows = {name: _pictures(array) for name, array in layers.items()}
    columns = max(len(pictures) for pictures in rows.values())
    cell = 0.2  # inches a token: room for a letter of 7 points
    width, height = max(1.8, cell * shape[1]), max(1.6, cell * shape[0])
    figure = empty_figure(columns * (width + 0.15) + 1.6, len(layers) * (height + 0.25) + 1.3)
    below, beside = ([literal(token) for token in tokens] for tokens in (source_tokens, target_tokens))
    grid = figure.subplots(len(layers), columns, squeeze=False, sharex=True, sharey=True)
    for row, (name, pictures) in zip(grid, rows.items(), strict=True):
        for axes, (title, picture) in zip(row, pictures.items(), strict=False):
            image = axes.imshow(picture, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_title(", ".join(filter(None, [name if axes is row[0] else "", title])), fontsize=8, color=GREY)
            axes.tick_params(length=0, labelsize=7)
            axes.tick_params(axis="x", labelrotation=90)
            axes.spines[:].set_color("#cccccc")
        for axes in row[len(pictures) :]:
            axes.set_visible(False)
    grid[0, 0].set_xticks(range(shape[1]), below)  # of all: they share them
    grid[0, 0].set_yticks(range(shape[0]), beside)
    figure.supxlabel(labels[0], fontsize=9, color=GREY)
    figure.supylabel(labels[1], fontsize=9, color=GREY)
    figure.colorbar(image, ax=grid, label="attention", shrink=max(0.3, 1 / len(layers)), aspect=30, pad=0.01)
    return save_figure(figure, path)


def _pictures(weights: np.ndarray) -> dict[str, np.ndarray]:
    """What is drawn of one layer (H, T, S), by its title."""
    if len(weights) == 1:
        return {"": weights[0]}
    heads = {f"head {number}": head for number, head in enumerate(weights, start=1)}
    return {"mean of the heads": np.mean(weights, axis=0), **heads}
