"""How a claim is reported: tables in the terminal, axes of the pictures, numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.plots import GREY
from toolkit.printed import WIDTH, Table, print_table

__all__ = ["ENOUGH", "WIDTH", "Table", "axes_of", "listed", "magnitude", "print_table", "reach"]

ENOUGH = 0.9  # share of right answers above which a network counts as able


def axes_of(axes: Any, title: str, x_label: str, y_label: str) -> Any:
    """``axes`` in the style of the toolkit's pictures."""
    axes.set_title(title, fontsize=10, color=GREY)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def listed(names: Sequence[str], none: str = "none") -> str:
    """``"a"``, ``"a and b"``, ``"a, b and c"``; ``none`` if there are no names.

    >>> listed(["RNN", "LSTM", "GRU"])
    'RNN, LSTM and GRU'
    """
    *others, last = names or [none]
    return f"{', '.join(others)} and {last}" if others else last


def magnitude(value: float) -> str:
    """A number that is not negative in a few characters, as a power of ten if it is very small or
    large.

    >>> magnitude(0.25), magnitude(3.1e-12), magnitude(4.2e9)
    ('0.25', '3e-12', '4e+09')
    """
    return f"{value:.2f}" if value == 0 or 0.01 <= value < 1000 else f"{value:.0e}"


def reach(values: Sequence[float], lengths: Sequence[int]) -> int:
    """The longest of ``lengths`` up to which all ``values`` are `ENOUGH`; 0 if the first is not.

    >>> reach([1.0, 0.95, 0.4, 0.9], [10, 25, 50, 100])
    25
    """
    longest = 0
    for length, value in zip(lengths, values, strict=True):
        if value < ENOUGH:
            break
        longest = length
    return longest
