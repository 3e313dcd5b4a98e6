"""Numbers of the command line, each checked when it is parsed: ``parser.add_argument("--beam",
type=positive_integer)``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

__all__ = ["beam_size", "integer", "natural_number", "positive_integer", "real"]


LARGEST = 2**31 - 1


def integer(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """A type of options: whole numbers from ``least`` to ``most``.

    >>> integer(1, 9)("4")
    4
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least and most <= LARGEST:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return value

    return parse


def real(least: float, most: float) -> Callable[[str], float]:
    """A type of options: numbers from ``least`` to ``most``, and never nan.

    >>> real(0, 1)("0.5")
    0.5
    """

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least:g} to {most:g}")
        return value

    return parse


positive_integer = integer(1)
beam_size = integer(1, 10_000)  # by which memory grows
natural_number = integer(0, 2**64 - 1)  # such as a seed
