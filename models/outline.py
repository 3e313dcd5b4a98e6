"""Whether a configuration asks for a model of about the size that its weights have, before any memory is taken for it.

A model says by its ``outline`` which of its matrices tell all of its sizes. One that is to hold far more numbers than the file is
refused at once; smaller differences are found, and listed name by name, when the weights are read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Part", "check_outline"]

FAR = 2  # times as many numbers as the file has


class Part(NamedTuple):
    """A matrix: how its name in the file ends, its shape by the configuration, and in how many layers there is one.

    Of a matrix of layers the name is that in layer 0, with ``.0.`` for the number.
    """

    name: str
    shape: tuple[int, ...]
    layers: int = 1


def check_outline(outline, shapes, owner):
    """Raise ValueError, beginning with ``owner``, if the parts of ``outline`` hold far more than the file of these ``shapes``."""
    asked = sum(math.prod(part.shape) * part.layers for part in outline)
    if asked <= FAR * sum(map(math.prod, shapes.values())):
        return
    problems = []
    for part in outline:
        found = [name for name in shapes if name == part.name or name.endswith(f".{part.name}")]
        problems += [
            f"{name} has shape {shapes[name]}, the configuration asks for {part.shape}"
            for name in found
            if shapes[name] != part.shape
        ]
        before, number, behind = part.name.partition(".0.")
        held = sum(name.endswith(f".{behind}") and before in name for name in shapes) if number else 1
        if number and part.layers > held:
            problems.append(f"the configuration asks for {part.layers} layers, the file has {held} of {part.name}")
        elif not found:
            problems.append(f"missing: {part.name}")
    if problems:
        raise ValueError(f"{owner}:\n  " + "\n  ".join(problems))
