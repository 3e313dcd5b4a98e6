"""An op with other rules or another kernel, in one block of one thread.

Nothing of the op itself is changed: within the block the mode's observer runs a changed copy in its
place, so that other threads and tasks see the op as it is, and nothing is left behind if the block
ends by an error.
"""

from __future__ import annotations

from contextlib import contextmanager

from minitensor.engine.mode import current_mode, switched
from minitensor.engine.observer import Observer

__all__ = ["changed", "planted", "standing_for"]


class _Planted(Observer):
    """Runs ``copy`` wherever ``op`` is called."""

    def __init__(self, op, copy, outer):
        super().__init__(outer)
        self.op, self.copy = op, copy

    def forward(self, op, args, params):
        return super().forward(self.copy if op is self.op else op, args, params)


def changed(op, **fields):
    """A copy of ``op`` with other ``fields`` (rules, kernels, definition) and pullbacks of its
    own.
    """
    copy = object.__new__(type(op))
    copy.__dict__.update(op.__dict__, pullbacks={}, **fields)
    return copy


def standing_for(op):
    """What runs where ``op`` is called, in this thread or task."""
    observer = current_mode.get().observer
    while observer is not None:
        if isinstance(observer, _Planted) and observer.op is op:
            return observer.copy
        observer = observer.outer
    return op


@contextmanager
def planted(op, copy):
    """Within, calls of ``op`` in this thread or task run ``copy``."""
    with switched(observer=_Planted(op, copy, current_mode.get().observer), watched=True):
        yield
