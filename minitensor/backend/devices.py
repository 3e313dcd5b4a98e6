"""Devices by name, and which namespace an array belongs to.

A device is "cpu", "cuda" (the current one) or "cuda:N". This file decides; ``cuda.py`` and its
neighbours, imported on the first request for a CUDA device, are the only files that import CuPy.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext

import numpy as np

from minitensor.backend.cpu import cpu

__all__ = [
    "as_device", "cast", "copied", "device_of", "following", "is_array", "move", "namespace", "namespace_of", "on", "wait",
]  # fmt: skip

_UNCHANGED = nullcontext()
_NO_ARRAYS = {type(None), bool, int, float}


def _cuda():
    if (cuda := sys.modules.get("minitensor.backend.cuda")) is None:
        from minitensor.backend import cuda  # type: ignore[no-redef]
    return cuda


def is_array(value):
    """Whether ``value`` is a raw NumPy or CuPy array."""
    if isinstance(value, np.ndarray):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def as_device(device):
    """``device`` in full ("cpu" or "cuda:N"), checked to be usable. ``None`` means "cpu"."""
    if device is None or device == "cpu":
        return "cpu"
    cuda = sys.modules.get("minitensor.backend.cuda")
    if cuda is not None and device.__class__ is str and device in cuda.resolved:
        return device
    if isinstance(device, str) and (device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit())):
        return _cuda().resolve(device)
    raise ValueError(f'unknown device {device!r}: write "cpu", "cuda" or "cuda:0"')


def namespace(device):
    """The array namespace of ``device``: what its functions make lies there, whichever GPU is the
    current one.
    """
    device = as_device(device)
    return cpu if device == "cpu" else _cuda().namespace(device)


def on(device):
    """A context in which ``device`` (a name, or an array that lies there) is the current GPU; "cpu"
    changes nothing.

    CUDA runs whatever is launched on the current GPU, and CuPy allocates there. So raw arrays are
    computed with, copied and cast inside this, wherever no op, gradient rule or function of their
    namespace does it.
    """
    device = as_device(device) if device is None or isinstance(device, str) else device_of(device)
    return _UNCHANGED if device == "cpu" else _cuda().on(device)


def copied(array):
    """A copy of ``array`` on its own device."""
    with on(array):
        return array.copy()


def cast(array, dtype):
    """``array`` with elements of type ``dtype``, on its own device; the same object if it has them
    already.
    """
    with on(array):
        return array.astype(dtype, copy=False)


@contextmanager
def following():
    """Gives ``follow(value)``, which makes the GPU of an array the current one, until the end; None
    if there is no choice.
    """
    cuda = sys.modules.get("minitensor.backend.cuda")
    if cuda is None or not cuda.several():
        yield None
        return
    with cuda.as_before():
        yield cuda.follow


def wait():
    """Wait until all GPUs in use have done what they were given."""
    cuda = sys.modules.get("minitensor.backend.cuda")
    if cuda is not None:
        cuda.wait()


def device_of(array):
    """The name of the device where a raw array lives."""
    return "cpu" if isinstance(array, (np.ndarray, np.generic)) else f"cuda:{array.device.id}"


def namespace_of(op_name, arrays, names):
    """The one namespace of all ``arrays`` (numbers and None may stand among them).

    Raises a TypeError that names both arguments and devices if NumPy and CuPy arrays, or two GPUs,
    meet.
    """
    cuda = sys.modules.get("minitensor.backend.cuda")
    if (
        cuda is not None
        and cuda.resolved
        and not cuda.several()
        and {a.__class__ for a in arrays} - _NO_ARRAYS == cuda.ARRAYS
    ):
        return cuda.xp  # the short way: all lie on the only GPU
    first = None
    for array, name in zip(arrays, names):
        if not is_array(array) and not isinstance(array, np.generic):
            continue
        device = device_of(array)
        if first is None:
            first = (name, device)
        elif device != first[1]:
            raise TypeError(
                f"{op_name}: {first[0]} is on {first[1]} but {name} is on {device}; arrays of two devices do not mix, "
                f'write {name}.to("{first[1]}") or {first[0]}.to("{device}")'
            )
    if first is None or first[1] == "cpu":
        return cpu
    return _cuda().namespace(first[1])


def move(array, device):
    """``array`` on ``device``; the same object if it is there already."""
    device = as_device(device)
    if device_of(array) == device:
        return array
    return _cuda().to_host(array) if device == "cpu" else _cuda().to_device(array, device)
