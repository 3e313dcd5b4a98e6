"""New tensors from shapes. Default: ``dtype`` float32, ``device`` "cpu"."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from minitensor.backend import as_device, as_dtype, cast, move, namespace, np
from minitensor.engine.axes import ints, one_int
from minitensor.engine.library import creators
from minitensor.engine.mode import current_mode
from minitensor.engine.settings import number
from minitensor.engine.tensor import Tensor, asarray

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    from numpy.typing import DTypeLike

    from minitensor.engine.attached import Shape, TensorLike


def _made(array, requires_grad):
    made = Tensor(array)
    return made.requires_grad_() if requires_grad else made


def _filled(name, value, shape, dtype, device):
    """An array of zeros or ones; if only shapes are asked for (``nn.init.shapes_only``), one number
    that is repeated.
    """
    xp, dtype, shape = namespace(device), as_dtype(dtype), ints(shape, name)
    if not current_mode.get().memory:
        try:
            return xp.broadcast_to(xp.full((), value, dtype), shape)
        except ValueError:
            raise ValueError(f"the shape {shape} is larger than any array") from None
    return (xp.ones if value else xp.zeros)(shape, dtype=dtype)


def _check_lengths(name, first, *behind):
    """Raise TypeError if numbers follow the first length where dtype and device belong, as if each
    length were an argument.
    """
    numbers = list(takewhile(lambda x: isinstance(x, (int, float, np.number, Tensor)), behind))
    if isinstance(first, (tuple, list)) or not numbers:
        return
    lengths, value = (numbers, "") if name != "full" else (numbers[:-1], f", {numbers[-1]}")
    shape = ", ".join(str(length) for length in (first, *lengths))
    raise TypeError(
        f"{name}: the shape is one argument, with all lengths in a tuple: write mt.{name}(({shape}){value})"
    )


def zeros(
    shape: Shape, dtype: DTypeLike = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of ``shape``."""
    _check_lengths("zeros", shape, dtype, device)
    return _made(_filled("zeros", 0, shape, dtype, device), requires_grad)


def ones(shape: Shape, dtype: DTypeLike = np.float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of ``shape``."""
    _check_lengths("ones", shape, dtype, device)
    return _made(_filled("ones", 1, shape, dtype, device), requires_grad)


def full(
    shape: Shape,
    fill_value: TensorLike,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``fill_value``, which broadcasts, everywhere; the dtype is that of ``asarray(fill_value)`` if
    not said.

    A fill value that requires a gradient gets it: the sum of the result's.
    """
    if dtype is not None:
        _check_lengths("full", shape, *((fill_value, dtype, device) if isinstance(dtype, (int, float)) else ()))
    value = asarray(fill_value, dtype)
    if value.requires_grad:
        value = value if device is None else value.to(device)
        return value.broadcast_to(ints(shape, "full"))
    made = namespace(device).full(ints(shape, "full"), move(value._array, as_device(device)), dtype=value.dtype)
    return _made(made, requires_grad)


def empty(
    shape: Shape, dtype: DTypeLike = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ``shape``; tensors are values, so that its elements are not left to chance:
    zeros.
    """
    return zeros(shape, dtype, device, requires_grad)


def empty_like(x: TensorLike, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros of x's shape, dtype and device; see ``empty``."""
    return zeros_like(x, dtype, device)


def zeros_like(x: TensorLike, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    x = asarray(x)
    return zeros(x.shape, dtype or x.dtype, device or x.device)


def ones_like(x: TensorLike, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones of x's shape, dtype and device."""
    x = asarray(x)
    return ones(x.shape, dtype or x.dtype, device or x.device)


def full_like(
    x: TensorLike, fill_value: TensorLike, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """``fill_value`` in x's shape, dtype and device."""
    x = asarray(x)
    return full(x.shape, fill_value, dtype or x.dtype, device or x.device)


def arange(
    start: SupportsFloat,
    stop: SupportsFloat | None = None,
    step: SupportsFloat = 1,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """``start, start + step, ...`` below ``stop``; int64 if all are ints, else float32."""
    start, step = number("arange", "start", start), number("arange", "step", step)
    stop = stop if stop is None else number("arange", "stop", stop)
    start, stop = (0, start) if stop is None else (start, stop)
    dtype = as_dtype(
        dtype or (np.int64 if all(isinstance(v, (int, np.integer)) for v in (start, stop, step)) else np.float32)
    )
    return Tensor(namespace(device).arange(start, stop, step, dtype=dtype))


def linspace(
    start: SupportsFloat,
    stop: SupportsFloat,
    num: SupportsIndex = 50,
    endpoint: bool = True,
    *,
    dtype: DTypeLike = np.float32,
    device: str | None = None,
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is the last one if
    ``endpoint``.
    """
    if not isinstance(endpoint, (bool, np.bool_)):
        raise TypeError(f"linspace: endpoint must be True or False, got {endpoint!r}; write dtype= by its name")
    start, stop = number("linspace", "start", start), number("linspace", "stop", stop)
    num = one_int("linspace", num, "an integer for num")
    return Tensor(cast(namespace(device).linspace(start, stop, num, endpoint=bool(endpoint)), as_dtype(dtype)))


def eye(
    n_rows: SupportsIndex,
    n_cols: SupportsIndex | None = None,
    k: SupportsIndex = 0,
    dtype: DTypeLike = np.float32,
    device: str | None = None,
) -> Tensor:
    """Ones on the k-th diagonal of an ``(n_rows, n_cols)`` matrix of zeros."""
    rows, columns, place = (n if n is None else one_int("eye", n, "an integer") for n in (n_rows, n_cols, k))
    return Tensor(namespace(device).eye(rows, columns, k=place, dtype=as_dtype(dtype)))


# What a recorded rule creates lies on the device of its gradient; of those named after another
# tensor it does by itself.
creators.update({name: globals()[name] for name in __all__ if not name.endswith("_like")})
