"""One thing that was looked at, and what came of it."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

__all__ = ["BROKEN", "NOTE", "OK", "Check", "installed"]

OK, NOTE, BROKEN = "ok", "note", "BROKEN"


class Check(NamedTuple):
    """mark: ``ok``; ``note`` for what is not there, or could be better; ``BROKEN`` for what is
    there and does not work. cure: what to do, "" if nothing.
    """

    mark: str
    what: str
    cure: str = ""

    def __str__(self) -> str:
        return f"  {self.mark:6}  {self.what}" + (f"\n          -> {self.cure}" if self.cure else "")


def installed(module):
    """Whether there is a top-level module of this name; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # somebody stands between us and it
        return False
