"""Compiled kernels for the CPU, the counterpart of ``cu/``: with them each fused op is one
pass over memory on all cores. They need numba (``pip install "minitensor-autograd[fast]"``), which
is imported on first use; without it everything runs in plain NumPy.

The kernels are in ``elements.py``, ``rows.py``, ``divergence.py``, ``attention.py``,
``recurrent.py``, ``updates.py`` and ``products.py``; ``pool.py`` has the threads, ``lowlevel.py``
and ``maths.py`` what numba's language lacks. Nothing here knows the library:
``nn/functional/compiled.py`` makes overrides of them.

    MINITENSOR_FAST       0: plain NumPy; 1: an error if numba is missing; default: if it is there
    MINITENSOR_THREADS    default: OMP_NUM_THREADS, else all cores that the process may use
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import warnings
from typing import Any

import numpy as np

from minitensor.backend.installing import FAST

__all__ = ["Kernels", "kernels", "ready"]

REALS = frozenset((np.dtype(np.float32), np.dtype(np.float64)))
STEP = 1 << 14  # elements of a part of a job, about
MODULES = "attention", "divergence", "elements", "recurrent", "rows", "updates"

_loading = threading.Lock()


def _wanted():
    """``(whether they are to be used, why not)``: what the environment says, and if
    numba is there.
    """
    said = os.environ.get("MINITENSOR_FAST", "")
    if said not in ("", "0", "1"):
        raise ValueError(f"the environment variable MINITENSOR_FAST must be 0 or 1, got {said!r}")
    found = said != "0" and sys.maxsize > 2**32 and _has_numba()
    if said == "1" and not found:
        raise ImportError(f"MINITENSOR_FAST=1 needs numba: {FAST}")
    if found:
        return True, ""
    return (
        False,
        "MINITENSOR_FAST=0 turns compiled kernels off" if said == "0" else f"compiled kernels need numba: {FAST}",
    )


def _has_numba():
    """Whether numba is installed; it is not imported."""
    try:
        return importlib.util.find_spec("numba") is not None
    except (ImportError, ValueError):  # somebody stands between us and it
        return False


class Kernels:
    """The compiled kernels by name."""

    def __init__(self):
        self.on, self.reason = _wanted()
        self._entries: Any = None

    def has(self, dtype):
        """Whether kernels are at work for numbers of this type."""
        return self.on and dtype in REALS and (self._entries is not None or self._load())

    def multiplies(self, dtype):
        """The address of the product of matrices of this type; 0 if NumPy's BLAS is not
        OpenBLAS.
        """
        return self.blas.product_functions().get(dtype, 0)

    def rows_of(self, keys, causal):
        """Queries that attention takes at once."""
        return self._rows_of(keys, causal)

    def pieces(self, size):
        """How many sums ``squares`` gives for so many elements."""
        return -(-size // STEP)

    def run(self, name, *arguments):
        """Run a kernel: numbers, and contiguous arrays as ``ready`` gives them."""
        self._entries[name](self._address(), *arguments)

    def switch(self, on):
        """Turn the kernels on or off. Raises ImportError, with what to install, if they cannot be
        used.
        """
        if on and not (self._entries is not None or self._load(insist=True)):
            raise ImportError(self.reason)
        self.on, self.reason = bool(on), "" if on else "compiled kernels are turned off"
        if self._entries is not None:
            self.blas.hold() if on else self.blas.release()

    def _load(self, insist=False):
        """Import the kernels; whether that could be done."""
        with _loading:
            if self._entries is None:
                before = set(sys.modules)
                try:
                    modules = [importlib.import_module(f"{__name__}.{name}") for name in MODULES]
                    self.pool, self.products, self.blas = (
                        importlib.import_module(f"{__name__}.{name}") for name in ("pool", "products", "blas")
                    )
                except Exception as error:  # of numba, LLVM or NumPy, each of another class
                    _forget(before)
                    kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
                    self.on, self.reason = False, f"compiled kernels need numba: {FAST} ({kind}{error})"
                    if not insist:
                        warnings.warn(f"{self.reason}; computing in plain NumPy", RuntimeWarning, stacklevel=3)
                    return False
                except BaseException:  # an interrupt
                    _forget(before)
                    raise
                self.blas.hold()
                self._address, self._rows_of = self.pool.address, modules[0].rows_of
                self._entries = {name: getattr(module, name) for module in modules for name in module.__all__}
                del self._entries["rows_of"]
        return True


def _forget(before):
    """Drop the modules of numba and of the kernels that are not among ``before``: what is half
    imported would stay so.
    """
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "numba" or name.startswith(f"{__name__}."):
            del sys.modules[name]


kernels = Kernels()


def ready(x):
    """``x``, or a copy, as kernels take it: contiguous, and of memory that may be written."""
    return x if x.flags.carray else np.array(x, order="C")
