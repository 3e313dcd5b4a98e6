"""Digits that carry their place: inside the model ``478`` is 4 hundreds, 7 tens, 8 units, as a
person reads it.

To a Transformer the 8 of ``478`` and the 5 of ``85`` are units only by the digits around them, and
aligning the places is most of what makes arithmetic hard to learn; hints of position make it easy
(Zhou et al. 2024, "What Algorithms can Transformers Learn?", arXiv:2310.16028, who call them index
hints).

>>> mark("add: 478 + 85"), unmark("5₂6₁3₀")
('add: 4₂7₁8₀ + 8₁5₀', '563')
"""

from __future__ import annotations

import re

__all__ = ["DIGIT", "mark", "unmark"]

PLACES = "₀₁₂₃₄₅₆₇₈₉"
DIGIT = f" ?[0-9][{PLACES}]?"  # what is one token: a digit, its place, and the space before it; a regular expression


def mark(text: str) -> str:
    """The text with its place behind each digit; digits before the tenth from the end have none."""
    return re.sub("[0-9]+", _mark_number, text)


def _mark_number(match: re.Match[str]) -> str:
    digits = match[0]
    places = range(len(digits) - 1, -1, -1)
    return "".join(digit + PLACES[place : place + 1] for digit, place in zip(digits, places, strict=True))


def unmark(text: str) -> str:
    """The text without places behind digits."""
    return re.sub(f"([0-9])[{PLACES}]", r"\1", text)
