"""Which GPUs there are, whether they work, and which of several is the current one.

CUDA launches every kernel on the current GPU, whichever holds its arguments, and CuPy allocates
there. In a process with several GPUs the functions of ``There`` and the context ``on`` see to it
that what belongs to a GPU runs on it; afterwards that one is current that was so before. In a
process with one GPU none of this costs anything.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext

from minitensor.backend.installing import CUPY, cuda_version

try:
    import cupy
except ImportError as error:
    raise ImportError(f'device "cuda" needs CuPy, which cannot be imported ({error}): {CUPY}') from error

__all__ = ["There", "as_before", "follow", "memory_in_use", "on", "resolve", "resolved", "several", "usable"]

_runtime = cupy.cuda.runtime
usable: list[int] = []  # the number of GPUs, once it is known that they work
resolved: set[str] = set()  # the full names that `resolve` has found good


# --- which there are ------------------------------------------------------------------------------


def resolve(device, trial):
    """``device`` ("cuda", the current one, or "cuda:N") as "cuda:N".

    ``trial()`` computes on a GPU, step by step; before each step it yields what is wrong if that
    one fails. Raises RuntimeError with the reason and the cure if there is no such GPU, or if CuPy
    cannot compute on it.
    """
    if not usable:
        _probe(trial)
    (count,) = usable
    index = _runtime.getDevice() if device == "cuda" else int(device[5:])
    if index >= count:
        names = '"cuda:0"' if count == 1 else f'"cuda:0" to "cuda:{count - 1}"'
        raise RuntimeError(f'there is no "{device}": CuPy sees {count} GPU{"s" * (count > 1)}, {names}{_hidden()}')
    resolved.add(f"cuda:{index}")
    return f"cuda:{index}"


def several():
    """Whether there is more than one GPU."""
    return bool(usable) and usable[0] > 1


def _probe(trial):
    """Find out, once in a process, whether the GPUs work."""
    if not cupy.is_available():
        raise RuntimeError(f'device "cuda" cannot be used: {_why_not()}; write device="cpu" to go on without a GPU')
    wrong = ""
    try:
        for wrong in trial():  # noqa: B007  the last one is read below
            pass
    except Exception as error:  # of NVRTC, the driver, cuBLAS or the loader, each of another class
        raise RuntimeError(
            f'device "cuda" cannot be used: CuPy sees a GPU, but {wrong} ({type(error).__name__}: {error}); if a library of '
            f'CUDA is missing, {CUPY}; write device="cpu" to go on without a GPU'
        ) from error
    usable.append(_runtime.getDeviceCount())


def _why_not():
    """Why CuPy, which imports without a GPU too, has none."""
    try:
        driver, built = _runtime.driverGetVersion(), _runtime.runtimeGetVersion()
        if driver == 0:
            return f"no NVIDIA driver is loaded; install one, then {CUPY}"
        if driver // 1000 < built // 1000:
            versions = f"the driver serves CUDA {cuda_version(driver)}, this CuPy is built for {cuda_version(built)}"
            return f"{versions}; update the driver, or {CUPY}"
        if _runtime.getDeviceCount() == 0:
            return f"the driver reports no GPU{_hidden()}"
    except _runtime.CUDARuntimeError as error:
        return f"{error}{_hidden()}"
    return f"CuPy reports none{_hidden()}"


def _hidden():
    """What the environment says about which GPUs a process may see, for a message."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if shown is None else f' (CUDA_VISIBLE_DEVICES is "{shown}": this process sees no others)'


def memory_in_use(index):
    """``(used, reserved, free, total, limit)`` of one GPU, in bytes."""
    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(index):
        free, total = _runtime.memGetInfo()
        return pool.used_bytes(), pool.total_bytes(), free, total, pool.get_limit() or None


# --- which is current -----------------------------------------------------------------------------


def on(device):
    """A context in which the GPU named ``device`` is the current one."""
    index = int(device[5:])
    return cupy.cuda.Device(index) if several() and index != _runtime.getDevice() else nullcontext()


@contextmanager
def as_before():
    """At the end that GPU is current again which was so at the beginning."""
    before = _runtime.getDevice()
    try:
        yield
    finally:
        _runtime.setDevice(before)


def follow(value):
    """Make the GPU of ``value``, a raw array or a Tensor, the current one; anything else changes
    nothing.
    """
    device = getattr(value, "device", None)
    if device is None or device == "cpu":
        return
    index = int(device[5:]) if isinstance(device, str) else device.id
    if index != _runtime.getDevice():
        _runtime.setDevice(index)


class There:
    """The functions of a namespace for one of several GPUs: they run on it, whichever is the
    current one.
    """

    def __init__(self, index, functions):
        self.index = index
        self._functions = functions

    def away(self):
        """Whether another GPU is the current one."""
        return self.index != _runtime.getDevice()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._functions, name)
        if name == "linalg":
            value = There(self.index, value)
        elif callable(value) and not isinstance(value, type):
            value = self._there(value)
        self.__dict__[name] = value
        return value

    def _there(self, function):
        def there(*args, **keywords):
            if not self.away():
                return function(*args, **keywords)
            with cupy.cuda.Device(self.index):
                return function(*args, **keywords)

        return there
