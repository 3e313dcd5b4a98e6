"""Compiled kernels are kept on disk, and the first compilation says so.

The folder's name has a digest of all files of this package: numba looks only at the file that a
kernel stands in, and would go on with a stale one after a change to what it calls. numba itself
tells processors and its own versions apart.

    MINITENSOR_CACHE      the folder; default: the user's folder for caches

Where nothing can be written each process compiles for itself. What lies damaged on disk, or finds
no room there, costs a compilation and no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
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


def _usable(folder):
    """Whether files can be made in the folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


class _Kept:
    """numba's way to a function on disk, past whatever may be wrong there."""

    def __init__(self, cache):
        self._cache = cache

    def __getattr__(self, name):
        return getattr(self._cache, name)

    def load_overload(self, *key):
        """The compiled function, or None, upon which it is compiled."""
        try:
            return self._cache.load_overload(*key)
        except Exception:  # unpickling what is damaged may raise anything
            with contextlib.suppress(Exception):
                self._cache.flush()
            return None

    def save_overload(self, *key):
        """Keep the compiled function if there is room."""
        with contextlib.suppress(Exception):
            self._cache.save_overload(*key)


def compiled_on_disk(decorator, function, *signature, **options):
    """``function`` compiled by a decorator of numba, and kept on disk if that can be done."""
    if not USABLE:
        return decorator(*signature, **options)(function)
    given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(FOLDER)
    try:
        made = decorator(*signature, cache=True, **options)(function)
    except Exception:  # what a decorator with a signature, which compiles at once, found on disk
        return decorator(*signature, **options)(function)
    finally:
        numba.config.CACHE_DIR = given
    made._cache = _Kept(made._cache)
    return made


FOLDER = folder()
USABLE = _usable(FOLDER)


class _Notice(event.Listener):
    """Says in one line that kernels are being compiled, the first time that one is."""

    said = False

    def on_start(self, event):
        if not self.said and (event.data["dispatcher"].py_func.__module__ or "").startswith(__package__):
            type(self).said = True
            kept = f"later runs find in {FOLDER}" if USABLE else f"cannot be kept in {FOLDER}"
            print(f"minitensor: compiling CPU kernels, which {kept}", file=sys.stderr, flush=True)

    def on_end(self, event):
        pass


event.register("numba:compile", _Notice())
