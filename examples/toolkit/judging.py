"""What a text classifier gets right, kind by kind, and what it thinks while it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from toolkit.classifier import Guesses
from toolkit.labelled import Labelled, Pair
from toolkit.plots import GREY, SCORE, TRAIN, VALIDATION, empty_figure, literal, save_figure

__all__ = ["draw_kinds", "draw_reading", "parts_by_kind", "shares_by_kind", "tell_kinds"]

COLOURS = (VALIDATION, TRAIN, SCORE, GREY)
ALL = "all"
Shares = Mapping[str, Mapping[str, float]]  # of right answers, by method, by kind


def shares_by_kind(pairs: Sequence[Pair], guesses: Guesses, kinds: Mapping[str, str]) -> Shares:
    """Which share of the texts of each kind, and of all, each method gets right."""
    found = {}
    for name, made in guesses.items():
        right = defaultdict(list)
        for (text, label), taken in zip(pairs, made, strict=True):
            for kind in (kinds[text], ALL):
                right[kind].append(label == taken)
        found[name] = {kind: float(np.mean(right[kind])) for kind in [*dict.fromkeys(kinds.values()), ALL]}
    return found


def tell_kinds(name: str, shares: Shares) -> None:
    """Print a table: a row for each kind, a column for each method."""
    widths = {method: max(10, 2 + len(method)) for method in shares}
    print(f"{name}, right in %:")
    print(f"  {'kind':12}" + "".join(f"{method:>{width}}" for method, width in widths.items()))
    for kind in next(iter(shares.values())):
        # Rounded twice, for 621 of 1200 are 51.75 % and their share times 100 a little less.
        values = {method: round(100 * shares[method][kind], 9) for method in shares}
        print(f"  {kind:12}" + "".join(f"{values[method]:{width}.1f}" for method, width in widths.items()))


def draw_kinds(parts: Mapping[str, Shares], path: Path) -> None:
    """Draw bars of the shares that are right, a panel for each part."""
    rows = list(next(iter(next(iter(parts.values())).values())))
    figure = empty_figure(4.6 * len(parts), 0.55 * len(rows) + 1.2)
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    for axes, (name, shares) in zip(panels, parts.items(), strict=True):
        thick = 0.8 / len(shares)
        for number, (method, found) in enumerate(shares.items()):
            places = np.arange(len(rows)) + (number - (len(shares) - 1) / 2) * thick
            values = [100 * found[kind] for kind in rows]
            axes.barh(places, values, thick, color=COLOURS[number % len(COLOURS)], label=method)
        axes.set(title=name, xlim=(0, 100), xlabel="right (%)")
        axes.set_yticks(range(len(rows)), rows)
        axes.axvline(50, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(labels))
    save_figure(figure, path)


def draw_reading(words: Sequence[str], shares: np.ndarray, labels: Sequence[str], path: Path) -> Path:
    """Draw how probable the labels are after each word: shares (T, C). Of two labels the last alone
    is drawn.
    """
    figure = empty_figure(max(4.0, 0.28 * len(words) + 1.2), 3.4)
    axes = figure.subplots()
    places = np.arange(len(words))
    for column in [1] if len(labels) == 2 else range(len(labels)):
        colour = COLOURS[0] if len(labels) == 2 else f"C{column % 10}"
        axes.plot(
            places, 100 * shares[:, column], color=colour, marker="o", markersize=3, label=literal(labels[column])
        )
    axes.axhline(100 / len(labels), color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set(ylim=(-3, 103), ylabel=f"{literal(labels[1])} (%)" if len(labels) == 2 else "probability (%)")
    axes.set_xticks(places, [literal(word) for word in words], rotation=90)
    axes.spines[["top", "right"]].set_visible(False)
    if len(labels) > 2:
        axes.legend(frameon=False, fontsize=8)
    return save_figure(figure, path)


def parts_by_kind(texts: Labelled, guesses: Mapping[str, Guesses], methods: Iterable[str]) -> dict[str, Shares]:
    """The shares of the texts to test by, and of the further parts, under their names, by those of
    the methods that were asked.
    """
    found = {}
    for name, part in {"": texts.test, **texts.others}.items():
        some = {method: guesses[name][method] for method in methods if method in guesses[name]}
        found[name or "unseen texts"] = shares_by_kind(part, some, texts.kinds)
    return found
