"""Where an op was called: the user's line, and the module.

``detect_anomaly`` asks at each op, and has no beginning and no end in which modules could be kept:
they are held weakly.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from types import FrameType

from minitensor.tracing.record import Line
from minitensor.tracing.sources import PLAIN, Places

__all__ = ["Site", "here", "site_of"]


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

    def line_of(self, frame, lines):
        """The Line of the instruction that runs in a frame, entered in the ``lines`` of its
        code.
        """
        found = lines[frame.f_lasti] = self._line(frame.f_code, frame.f_lineno)
        return found


_places = _WeakPlaces()
_sites: dict = {}  # by id of the Line and path: sites are many, and the same again in each step


def site_of(traceback):
    """``(Site, name)`` of an error: the innermost line of the user's in its traceback with the
    module, and the function of the library that was called there; "" if none was.
    """
    line, module, name = None, None, ""
    while traceback is not None:
        frame = traceback.tb_frame
        lines, method = _places._kind(frame)
        if lines is not None:
            line, name = _places._line(frame.f_code, traceback.tb_lineno), ""
        elif not name and not f"{frame.f_globals.get('__name__')}.".startswith("minitensor.engine."):
            name = frame.f_code.co_name.strip("_")
        if method:
            module = _places._module(frame) or module
        traceback = traceback.tb_next
    return _site(line, module), name


def here(above=2):
    """The Site of the op that is running. above: how many frames are the engine's for certain: they
    are skipped, as Python makes an object of each frame that is looked at.
    """
    frame: FrameType | None = sys._getframe(above)
    line, module, kinds = None, None, _places.kinds
    while frame is not None:
        kind = kinds.get(id(frame.f_code)) or _places._kind(frame)
        if kind is not PLAIN:  # as ``Places.look`` does
            lines, method = kind
            if line is None and lines is not None:
                line = lines.get(frame.f_lasti) or _places.line_of(frame, lines)
            if method and module is None:
                module = _places._module(frame)
            if line is not None and (module is not None or frame.f_code.co_name == "<module>"):
                break  # around a script or a cell of a notebook stands what runs it, and no module
        frame = frame.f_back
    return _site(line, module)


def _site(line, module):
    key = id(line), module  # a Line lives as long as _places
    found = _sites.get(key)
    if found is None:
        root, _, path = (module or "").partition(".")
        found = _sites[key] = Site(line, path or root.partition("#")[0])
    return found
