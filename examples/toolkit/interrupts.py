"""Ctrl-C and other signals, held back so that no update is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["signals"]

INTERRUPTS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last comes when a terminal is closed; Windows has none


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or termination signal in a list, so that an update is never cut in
    two.

    A second one acts as usual: the run then resumes from its last checkpoint. Under ``nohup``
    the closing of the terminal is ignored.
    """
    caught: list[int] = []
    former: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        restore()

    def restore() -> None:
        while former:
            signal.signal(*former.popitem())

    if threading.current_thread() is threading.main_thread():
        for name in INTERRUPTS:
            number = getattr(signal, name, None)
            if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):
                former[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        restore()
