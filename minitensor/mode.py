"""The switches around an op: whether it is recorded, and whether its result is looked at.

They belong to the context (of a thread, or of a task), not to the process.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from dataclasses import dataclass, replace

__all__ = ["current_mode", "detect_anomaly", "enable_grad", "no_grad", "switched"]


@dataclass(frozen=True)
class Mode:
    """What ops do besides computing: record the graph, and look for the first non-finite value."""

    grad: bool = True
    anomaly: bool = False


current_mode = ContextVar("minitensor_mode", default=Mode())


class switched:
    """The current mode with some fields changed: for a ``with`` block, or for every call of a decorated function."""

    def __init__(self, **changes):
        self._changes = changes
        self._tokens = []  # one per block entered, so that one object may be used again, and within itself

    def __enter__(self):
        self._tokens.append(current_mode.set(replace(current_mode.get(), **self._changes)))

    def __exit__(self, *error):
        current_mode.reset(self._tokens.pop())

    def __call__(self, function):
        """``function``, every call of it in the changed mode."""

        @functools.wraps(function)
        def called(*args, **kwargs):
            with switched(**self._changes):
                return function(*args, **kwargs)

        return called


def no_grad():
    """Context manager and decorator: ops inside record nothing. Values are bit-identical to those outside."""
    return switched(grad=False)


def enable_grad():
    """Context manager and decorator: ops inside record again, within ``no_grad``."""
    return switched(grad=True)


def detect_anomaly():
    """Context manager: raise FloatingPointError at the first non-finite value, in forward or backward.

    The message names the op, the line that called it and the statistics of its operands. Every op is checked, which costs a pass
    over its result; use it to find a fault, not in production.
    """
    return switched(anomaly=True)
