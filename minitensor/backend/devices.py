"""Devices by name, and which namespace an array belongs to.

A device is "cpu", "cuda" (the current one) or "cuda:N". This file decides; ``cuda.py``, imported on the first request for a CUDA
device, is the only file that imports CuPy.
"""

from __future__ import annotations

import sys

import numpy as np

from minitensor.backend.cpu import cpu

__all__ = ["as_device", "device_of", "is_array", "move", "namespace", "namespace_of"]


def _cuda():
    from minitensor.backend import cuda

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
    if isinstance(device, str) and (device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit())):
        return _cuda().resolve(device)
    raise ValueError(f'unknown device {device!r}: write "cpu", "cuda" or "cuda:0"')


def namespace(device):
    """The array namespace of ``device``."""
    return cpu if as_device(device) == "cpu" else _cuda().xp


def device_of(array):
    """The name of the device where a raw array lives."""
    return "cpu" if isinstance(array, (np.ndarray, np.generic)) else f"cuda:{array.device.id}"


def namespace_of(op_name, arrays, names):
    """The one namespace of all ``arrays`` (numbers and None may stand among them).

    Raises a TypeError that names both arguments and devices where NumPy and CuPy arrays, or two GPUs, meet.
    """
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
    return _cuda().xp


def move(array, device):
    """``array`` on ``device``; the same object where it is there already."""
    device = as_device(device)
    if device_of(array) == device:
        return array
    return _cuda().to_host(array) if device == "cpu" else _cuda().to_device(array, device)
