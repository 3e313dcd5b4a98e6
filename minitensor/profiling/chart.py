"""A profile drawn by matplotlib."""

from __future__ import annotations

import io
from typing import Any

from minitensor.backend.installing import line
from minitensor.profiling.page import COLOURS, FLOOR
from minitensor.profiling.table import FLOOR_SAYS, bars, heading

__all__ = ["chart"]


def chart(rows, measured):
    """The picture as bytes of a PNG; it needs no display and leaves the settings of the process
    alone.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch
    except ImportError as error:
        raise ImportError(f"profile.save: a .png needs matplotlib: {line('train')}; a .html needs nothing") from error
    shown = bars(rows)
    figure = Figure(figsize=(9, 1.5 + 0.3 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for i, (_, parts, floor, label) in enumerate(shown):
        left = 0.0
        for colour, seconds in zip(COLOURS, parts):
            axes.barh(i, 1e3 * seconds, 0.7, left, color=colour)
            left += 1e3 * seconds
        if floor:
            axes.vlines(1e3 * floor, i - 0.45, i + 0.45, color=FLOOR, linewidth=2.5)
            left = max(left, 1e3 * floor)
        axes.annotate(label, (left, i), (5, 0), textcoords="offset points", va="center", color="#555555", fontsize=8.5)
    axes.set_yticks(range(len(shown)), [name.replace("$", r"\$") for name, *_ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.margins(x=0.25)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("ms")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    keys: list[Any] = [Patch(color=colour, label=text) for colour, text in COLOURS.items()]
    if any(floor for _, _, floor, _ in shown):
        keys.append(Line2D([], [], color=FLOOR, linewidth=2.5, label=FLOOR_SAYS))
    figure.legend(handles=keys, frameon=False, loc="outside lower center", ncols=len(keys), fontsize=8.5)
    figure.suptitle(heading(rows, measured), fontsize=10.5, x=0.01, ha="left")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()
