"""Where an op was called: the user's line, and the module.

``detect_anomaly`` asks at each op, and has no beginning and no end in which modules could be kept:
they are held weakly.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass

from minitensor.tracing.record import Line
from minitensor.tracing.sources import Places

__all__ = ["Site", "here"]


@dataclass(frozen=True)
class Site:
    """A place in the user's source, and the path of the module that ran there."""

    line: Line | None
    module: str

    def __str__(self) -> str:
        return "" if self.line is None else f"{self.line.path}:{self.line.number}"

    def __bool__(self) -> bool:
        return self.line is not None


class _Weak(dict):
    """Paths by the id of a module, each forgotten when its module dies."""

    def __setitem__(self, key, value):
        module, path = value
        super().__setitem__(key, (weakref.ref(module, lambda _: self.pop(key, None)), path))

    def setdefault(self, key, value):  # type: ignore[override]
        if key not in self:
            self[key] = value
        return self[key]


class _Names(list):
    """The names of outermost modules: not kept, as none of them is ever left."""

    def append(self, name):
        self[:] = [name]


class _WeakPlaces(Places):
    def __init__(self):
        super().__init__()
        self.paths, self.roots = _Weak(), _Names()

    def _call(self, frame):
        """The path alone: a frame that is held would hold the model and what it computes."""
        return self._module(frame), ()


_places = _WeakPlaces()
_sites: dict = {}  # by id of the Line and path: sites are many, and the same again in each step


def here():
    """The Site of the op that is running."""
    line, module, *_ = _places.look(sys._getframe(2))
    key = id(line), module  # a Line lives as long as _places
    found = _sites.get(key)
    if found is None:
        root, _, path = module.partition(".")
        found = _sites[key] = Site(line, path or root.partition("#")[0])
    return found
