"""What is no text: blanks, and characters of which nobody sees anything.

A blank of no width (U+200B), a byte-order mark inside a file, a mark of direction and their like
come along when texts are copied from pages. Inside a text they stay, where some languages need
them; a text of nothing else is empty.
"""

from __future__ import annotations

import re

__all__ = ["is_blank", "stripped"]

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), the anchors of annotations
# (U+FFF9 to U+FFFB) and Braille's cell without dots.
IGNORED = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
CONTROL = "\x00-\x1f\x7f-\x9f"
BLANK = re.compile(rf"[\s{CONTROL}{IGNORED}]*")


def is_blank(text: str) -> bool:
    r"""Whether there is nothing to see in a text: the one question for emptiness of all programs.

    >>> is_blank(" \t"), is_blank("\u200b\ufeff"), is_blank("a\u200b")
    (True, True, False)
    """
    return BLANK.fullmatch(text) is not None


def stripped(text: str) -> str:
    """The text without blanks at either end, "" if it `is_blank`."""
    return "" if is_blank(text) else text.strip()
