"""What computes on the CPU: plain NumPy, or compiled kernels too."""

from __future__ import annotations

import numpy as np

from minitensor.backend.compiled import kernels

__all__ = ["describe", "use_compiled"]


def describe() -> str:
    """One line that says what computes on the CPU, with versions and threads.

    >>> import minitensor as mt
    >>> print(mt.backend.describe())        # doctest: +ELLIPSIS
    NumPy ...
    """
    from minitensor.backend.compiled import blas

    products = blas.described() or np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    plain = f"NumPy {np.__version__} with {products}"
    if kernels.on and kernels.has(np.dtype(np.float32)):
        import numba

        count = kernels.pool.threads()
        threads = f"{count} thread{'s' * (count > 1)}"
        shared = (
            "which the products share" if kernels.multiplies(np.dtype(np.float32)) else "the products not among them"
        )
        return f"{plain}; kernels compiled by numba {numba.__version__} on {threads}, {shared}"
    return f"{plain}; {kernels.reason}"


def use_compiled(on: bool = True) -> None:
    """Turn the compiled CPU kernels on or off, for the whole process.

    They are on if numba is installed, unless the environment says MINITENSOR_FAST=0. Results of the
    two ways differ in their last bits. While the kernels are on, NumPy's OpenBLAS is held to one
    thread, since it is the kernels' threads that call it; turned off, it has the threads that it
    had. Raises ImportError, with what to install, if numba is missing, and TypeError for what is
    neither True nor False.
    """
    if not isinstance(on, (bool, np.bool_)):
        raise TypeError(f"use_compiled: on must be True or False, got {on!r}")
    kernels.switch(on)
