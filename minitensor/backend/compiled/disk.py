"""Compiled kernels are kept on disk, and the first compilation says so.

The folder's name has a digest of all files of this package: numba looks only at the file that a
kernel stands in, and would go on with a stale one after a change to what it calls. numba itself
tells processors and its own versions apart.

    MINITENSOR_CACHE      the folder; default: the user's folder for caches, or numba's own, if
                          neither can be written, kernels are compiled by every process
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numba
from numba.core import event

__all__ = ["compiled_on_disk", "folder"]

PACKAGE = Path(__file__).parent


def folder():
    """Where the compiled kernels of these sources lie."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.glob("*.py")):
        digest.update(path.read_bytes())
    return _root() / f"kernels-{digest.hexdigest()[:16]}"


def _root():
    given = os.environ.get("MINITENSOR_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        start = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        start = Path.home() / "Library" / "Caches"
    else:
        start = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return start / "minitensor"


def compiled_on_disk(decorator, function, *signature, **options):
    """``function`` compiled by a decorator of numba, and kept on disk."""
    given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(FOLDER)
    try:
        return decorator(*signature, cache=True, **options)(function)
    except RuntimeError:  # no folder can be written
        return decorator(*signature, **options)(function)
    finally:
        numba.config.CACHE_DIR = given


FOLDER = folder()


class _Notice(event.Listener):
    """Says in one line that kernels are being compiled, the first time that one is."""

    said = False

    def on_start(self, event):
        if not self.said and (event.data["dispatcher"].py_func.__module__ or "").startswith(__package__):
            type(self).said = True
            print(f"minitensor: compiling CPU kernels, which later runs find in {FOLDER}", file=sys.stderr, flush=True)

    def on_end(self, event):
        pass


event.register("numba:compile", _Notice())
