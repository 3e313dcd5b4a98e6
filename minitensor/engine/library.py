"""The package as its own parts see it: ``face`` is the module ``minitensor``, which imports all of
them and is imported by none.

A recorded gradient rule computes with it (its ``xp`` is minitensor), NumPy's functions find their
equals in it, and error messages the names that exist. The face puts itself here at the end of its
import; and so do ``doctor``, who tells under
detect_anomaly why a value is NaN or infinite, and ``largest``, which tells who holds the memory.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

__all__ = ["creators", "doctor", "face", "largest", "namespace_on"]

face: Any = None
doctor: Any = None  # a ``diagnosis.doctor.Doctor``; without one errors name the op, and no cause
largest: Any = None  # ``holdings.largest``: words for the error of an op that found no memory
creators: dict[str, Any] = {}  # functions that make tensors of a shape, by name; ``ops/creation.py`` puts them here


@functools.cache
def namespace_on(device):
    """Minitensor as the ``xp`` of a recorded rule; what the rule creates is on ``device``."""
    if device == "cpu":
        return face
    there = {name: functools.partial(function, device=device) for name, function in creators.items()}
    return SimpleNamespace(**{**vars(face), **there})
