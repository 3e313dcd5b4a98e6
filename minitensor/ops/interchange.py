"""Memory of other libraries' arrays, by the DLPack protocol: ``mt.from_dlpack(x)``, and what
``from_dlpack(tensor)`` asks for.

Tensors are values, and a graph keeps them: memory that somebody else can write to is copied on its
way in, and our own on its way out, since not every library heeds the protocol's flag for read-only
memory (PyTorch writes to it).
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import as_device, copied, device_of, is_array, memory, namespace, np
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["dlpack", "dlpack_device", "from_dlpack", "to_device"]

_ON_HOST, _ON_CUDA = (1, 3), (2, 13)  # DLDeviceType: CPU and pinned memory; CUDA and managed memory


def from_dlpack(x: Any, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor of the values of ``x``, an array of any library that has DLPack (NumPy, PyTorch,
    CuPy, JAX, ...).

    device: where to; default: the array's own. copy: None copies all but memory that nobody can
    write to, True everything, and False raises ValueError if a copy would be needed. A tensor of
    another library that wants a gradient is refused by it.
    """
    if isinstance(x, Tensor):
        x.check_constant("DLPack")
    elif not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: needs an array with __dlpack__, got {type(x).__name__}: write mt.asarray(...)")
    array = x._array if isinstance(x, Tensor) else x if is_array(x) else _taken(x)
    if device is not None and as_device(device) != device_of(array):
        if copy is False:
            raise ValueError(f"from_dlpack: copy=False, but the array is on {device_of(array)}, not on {device}")
        return asarray(array, device=device)
    made = Tensor(array) if isinstance(x, Tensor) else asarray(array)
    if copy is False and made._array is not array:
        raise ValueError(
            "from_dlpack: copy=False, but the array's owner can write to it, and tensors are values: let it be copied"
        )
    return Tensor(copied(made._array)) if copy and made._array is array else made


def _taken(x):
    """The memory of ``x`` as an array of NumPy or CuPy, not copied yet."""
    kind, number = (int(part) for part in x.__dlpack_device__())
    if kind not in _ON_HOST + _ON_CUDA:
        raise TypeError(
            f"from_dlpack: the array is on a device that is neither a CPU nor a CUDA GPU (DLPack's number {kind})"
        )
    xp = namespace("cpu" if kind in _ON_HOST else f"cuda:{number}")
    try:
        return xp.from_dlpack(x)
    except RuntimeError as error:  # NumPy's for a type that it lacks
        raise TypeError(f"from_dlpack: {error} {getattr(x, 'dtype', '')} cannot be taken: convert it first") from error


def dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of a copy of the values, or with ``copy=False`` of the memory itself,
    flagged as read-only.

    Raises BufferError if that cannot be: CuPy and consumers before version 1.0 of the protocol know
    no such flag.
    """
    self.check_constant("DLPack")
    array = self._array
    arguments = {"stream": stream, "max_version": max_version, "dl_device": dl_device}
    if copy is not False:
        return copied(array).__dlpack__(**arguments)
    if not isinstance(array, np.ndarray):
        raise BufferError("DLPack, copy=False: memory of a GPU cannot be exported read-only: let it be copied")
    return memory.read_only(array).__dlpack__(**arguments, copy=False)


def dlpack_device(self: Tensor) -> tuple[int, int]:
    """DLPack's ``(device type, number)``."""
    return self._array.__dlpack_device__()


def to_device(self: Tensor, device: str, /, *, stream: None = None) -> Tensor:
    """The array API standard's name for ``to``."""
    if stream is not None:
        raise ValueError("to_device: stream is left to the library: write None")
    return self.to(device)
