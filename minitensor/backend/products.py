"""How exact the products of matrices are on a GPU."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, overload

from minitensor.backend.devices import as_device

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["matmul_precision"]

PRECISIONS = "float32", "tf32"


@overload
def matmul_precision() -> str: ...
@overload
def matmul_precision(precision: str) -> AbstractContextManager[None]: ...
def matmul_precision(precision: str | None = None) -> Any:
    """Compute products of float32 matrices on GPUs in "tf32" or, the default, in "float32"; without
    an argument: which of the two is at work.

    TF32 rounds the factors to 10 bits behind the point, where float32 has 23, multiplies them on
    the tensor cores of GPUs from compute capability 8.0 on, and adds in float32. Weights, sums and
    all else stay float32; products of other types, and those on a CPU, are what they were.

    It holds from the call on, for the whole process, or within a ``with``:

        mt.backend.matmul_precision("tf32")
        with mt.backend.matmul_precision("float32"):
            ...

    CuPy's own ``CUPY_TF32=1`` in the environment is "tf32" from the start. Raises RuntimeError for
    "tf32" where there is no GPU that has it, ImportError without CuPy: nothing would change; and
    ValueError for other names.
    """
    cuda = sys.modules.get("minitensor.backend.cuda")
    if precision is None:
        return "float32" if cuda is None else cuda.precision()
    if precision not in PRECISIONS:
        raise ValueError(f'matmul_precision: must be "float32" or "tf32", got {precision!r}')
    if precision == "float32" and cuda is None and not _wants_tf32():
        return _Until("float32")  # it is so already
    as_device("cuda")
    cuda = sys.modules["minitensor.backend.cuda"]
    before = cuda.precision()
    cuda.set_precision(precision)
    return _Until(before)


def _wants_tf32():
    """Whether the first use of a GPU would find "tf32" at work: CuPy was told so."""
    import importlib.util

    return os.environ.get("CUPY_TF32", "0") not in ("", "0") and importlib.util.find_spec("cupy") is not None


class _Until:
    """A context at whose end ``before`` is at work again."""

    def __init__(self, before):
        self.before = before

    def __enter__(self):
        return None

    def __exit__(self, *error):
        matmul_precision(self.before)
