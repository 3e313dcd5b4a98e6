"""A profile drawn by matplotlib."""

from __future__ import annotations

import io

from minitensor.profiling.page import BACKWARD, FLOOR, FORWARD, OTHER, label
from minitensor.profiling.table import FLOOR_SAYS, bars, heading, shortened

__all__ = ["chart"]


def chart(rows, measured):
    """The picture as bytes of a PNG; it needs no display and leaves the settings of the process
    alone.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'profile.save: a .png needs matplotlib: pip install "minitensor-autograd[train]"; a .html needs nothing'
        ) from error
    shown = bars(rows)
    figure = Figure(figsize=(9, 1.3 + 0.3 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    named = set()
    for i, (_, row, *lengths) in enumerate(shown):
        left = 0.0
        for seconds, colour, name in zip(lengths, (FORWARD, BACKWARD, OTHER), ("forward", "backward", "no op")):
            width = 1e3 * max(seconds, 0.0)
            if width:
                axes.barh(i, width, 0.7, left, color=colour, label="" if name in named else name)
                named.add(name)
            left += width
        if row is not None and row.floor:
            floor = 1e3 * row.floor
            axes.vlines(floor, i - 0.45, i + 0.45, color=FLOOR, linewidth=2.5, label="" if "f" in named else FLOOR_SAYS)
            named.add("f")
            left = max(left, floor)
        axes.annotate(
            label(row, sum(lengths)), (left, i), (5, 0), textcoords="offset points", va="center", color="#555555", fontsize=8.5
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [shortened(name, 34).replace("$", r"\$") for name, *_ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.margins(x=0.25)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("ms")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if named:
        axes.legend(frameon=False, loc="lower right", fontsize=8.5)
    figure.suptitle(heading(rows, measured), fontsize=10.5, x=0.01, ha="left")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()
