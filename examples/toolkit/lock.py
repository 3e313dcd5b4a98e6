"""One writer at a time: a folder that one process trains in is locked to all others, as long as it
lives.

The lock is the operating system's and on the folder itself: it leaves no file, and it is gone with
its process, however that ended. Where the system has none (Windows, some network drives), nothing
is locked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toolkit.console import UserError, system_words

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Busy", "Lock"]


class Busy(UserError):
    """A folder that another process writes to."""


class Lock:
    """Holds at most one folder, from `take` on until the end of the ``with`` block.

    >>> with Lock() as lock:
    ...     lock.take(Path("."))
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def take(self, folder: Path) -> None:
        """Lock a folder that exists; again is no error. Raises Busy if another process, or another
        `Lock`, has it.
        """
        if fcntl is None or self._descriptor is not None:
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY)  # not inherited: a child that outlives us holds nothing
        except OSError as error:
            raise UserError(f"cannot read {folder}: {system_words(error)}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Busy(
                f"another process is writing to {folder}; wait until it has ended, or name another folder"
            ) from None
        except OSError:  # a drive without locks
            os.close(descriptor)
            return
        self._descriptor = descriptor

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
