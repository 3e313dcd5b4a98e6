"""A CuPy without a GPU: arrays that live in host memory but refuse everything that real device
arrays refuse, and some more.

``installed()`` puts these modules in CuPy's place, so that the library's own CUDA backend runs on
them: its kernels as emulated by ``emulator.py``, its cuBLAS calls as simulated by
``fake_cublas.py``. A NumPy call on a device array raises, so does mixing host and device arrays,
and each read of a value by the host is counted in ``SYNCS``. There may be several GPUs: what is
launched while another one than the array's is current, which CUDA would run in the wrong place,
raises.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np

from tests.backend import emulator, fake_capture, fake_cublas
from tests.backend.fake_array import CURRENT, SYNCS, launch, ndarray, noted, run

# Names of NumPy that CuPy 14 lacks, of those that array code might reach for.
MISSING = {
    "unstack",
    "vecdot",
    "vecmat",
    "matvec",
    "insert",
    "geomspace",
    "block",
    "errstate",
    "nditer",
    "ndenumerate",
    "spacing",
}


# --- the module -----------------------------------------------------------------------------------


def _device_function(name, module=np):
    def function(*args, **kwargs):
        if name in ("nonzero", "flatnonzero", "unique", "argwhere", "array_equal", "allclose"):
            SYNCS.append(name)
        return run(getattr(module, name), *args, **kwargs)

    function.__name__ = name
    return function


def _asarray(value, dtype=None, **kwargs):
    return (
        ndarray(np.asarray(value, dtype=dtype))
        if not isinstance(value, ndarray)
        else run(np.asarray, value, dtype=dtype)
    )


class Device:
    """``cupy.cuda.Device``, as a context too."""

    compute_capability = "90"

    def __init__(self, index):
        self.id, self.before = index, []

    def __enter__(self):
        self.before.append(CURRENT[0])
        CURRENT[0] = self.id

    def __exit__(self, *error):
        CURRENT[0] = self.before.pop()


class Module(emulator.Module):
    """``cupy.RawModule``: its kernels run on the current GPU."""

    def get_function(self, name):
        """The kernel ``name``."""
        function = super().get_function(name)

        def kernel(grid, block, arguments):
            launch(*arguments)
            noted(lambda: function(grid, block, arguments))

        return kernel


class Stream:
    """A stream of work: what of another GPU it has waited for."""

    def synchronize(self):
        """Wait for it."""
        SYNCS.append("synchronize")

    def record(self):
        """An event."""
        return CURRENT[0]

    def wait_event(self, event):
        """Let what follows wait for ``event``, of another GPU."""
        assert event != CURRENT[0]


def fake_cupy(gpus=1):
    """A module in CuPy's place."""
    module = ModuleType("cupy")
    for name in dir(np):
        value = getattr(np, name)
        if not name.startswith("_") and name not in MISSING and not isinstance(value, ModuleType):
            keep = isinstance(value, type) or not callable(value)
            setattr(module, name, value if keep else _device_function(name))
    names = "inv det slogdet cholesky qr".split()
    module.linalg = SimpleNamespace(
        **{name: _device_function(name, np.linalg) for name in names}, eigh=_eigh, solve=_solve, svd=_svd
    )
    module.ndarray = ndarray
    module.asarray = _asarray
    module.array = lambda value, dtype=None: ndarray(
        np.array(value.array if isinstance(value, ndarray) else value, dtype=dtype)
    )
    module.asnumpy = lambda array: array.get()
    module.add = _add()
    # an array, as CuPy wants it
    module.where = lambda condition, *choices: run(np.where, condition.astype(bool), *choices)
    module.__version__ = "14.2.0"
    module.is_available = lambda: True
    module.get_default_memory_pool = lambda: SimpleNamespace(
        used_bytes=lambda: 1 << 20, total_bytes=lambda: 2 << 20, get_limit=lambda: 0
    )
    module.RawModule = Module
    held = [1]
    compute = SimpleNamespace(
        COMPUTE_TYPE_TF32=7,
        COMPUTE_TYPE_DEFAULT=1,
        get_compute_type=lambda dtype: held[0],
        set_compute_type=lambda dtype, kind: held.__setitem__(0, kind),
    )
    module._core = SimpleNamespace(get_compute_type=compute.get_compute_type, _routines_linalg=compute)
    module.cuda = SimpleNamespace(
        Device=Device,
        device=SimpleNamespace(get_cublas_handle=lambda: 1 + CURRENT[0]),
        get_current_stream=Stream,
        runtime=SimpleNamespace(
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000,
            memGetInfo=lambda: (60 << 30, 80 << 30),
            getDeviceProperties=lambda index: {"name": b"a fake", "major": 9, "minor": 0},
            CUDARuntimeError=RuntimeError,
            getDevice=lambda: CURRENT[0],
            setDevice=lambda index: CURRENT.__setitem__(0, index),
            getDeviceCount=lambda: gpus,
        ),
    )
    fake_capture.add_to(module)
    return module


def _add():
    function = _device_function("add")

    def at(out, index, values):
        launch(out, index, values)
        run(np.add.at, out, index, values)

    function.at = at
    return function


def _turned(count):
    """A sign for each of so many vectors: the signs of a decomposition are the solver's choice, and
    cuSOLVER's are not LAPACK's.
    """
    return np.where(np.arange(count) % 2, 1, -1)


def _solve(a, b):
    """CuPy's, which cuts the right sides into columns and cannot cut none."""
    if b.size == 0 and b.ndim > 2:
        raise ZeroDivisionError("division by zero")
    return run(np.linalg.solve, a, b)


def _eigh(x):
    def eigh(x):
        values, vectors = np.linalg.eigh(x)
        return values, (vectors * _turned(x.shape[-1])).astype(x.dtype)

    return run(eigh, x)


def _svd(x, full_matrices=True):
    def svd(x):
        u, values, vh = np.linalg.svd(x, full_matrices)
        k = min(x.shape[-2:])
        u[..., :k] *= _turned(k)
        vh[..., :k, :] *= _turned(k)[:, None]
        return u, values, vh

    return run(svd, x)


def _erf_module():
    from minitensor.backend import cpu

    module = ModuleType("cupyx.scipy.special")
    module.erf = lambda x: run(cpu.erf, x)
    return module


OURS = ("cuda", "cublas", "gpus")  # modules of the backend that import CuPy: each use of the fake imports them afresh


@contextmanager
def installed(gpus=1):
    """Within: ``device="cuda"`` is the fake device, whatever this machine has, or the first of so
    many.
    """
    import minitensor.nn.functional  # noqa: F401  all fused ops exist before their kernels are looked at
    from minitensor import backend
    from minitensor.backend import capture
    from minitensor.engine.fused import FUSED
    from minitensor.nn.functional import causal

    mine = {
        "cupy": fake_cupy(gpus), "cupyx": ModuleType("cupyx"), "cupyx.scipy": ModuleType("cupyx.scipy"),
        "cupyx.scipy.special": _erf_module(), **fake_cublas.modules(),
    }  # fmt: skip
    ours = [f"minitensor.backend.{name}" for name in OURS]
    before = {name: sys.modules.get(name) for name in [*mine, *ours]}
    kernels = {fused: dict(fused.kernels) for fused in FUSED.values()}
    attributes = {name: backend.__dict__.pop(name) for name in OURS if name in backend.__dict__}
    sys.modules.update(mine)
    for name in ours:
        sys.modules.pop(name, None)
    causal.forget()  # masks are kept by the name of their device
    SYNCS.clear()
    CURRENT[0] = 0
    libraries, capture._library = capture._library, fake_capture.Library()
    try:
        yield mine["cupy"]
    finally:
        capture._library = libraries
        causal.forget()
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        for fused, held in kernels.items():
            fused.kernels = held
        for name in OURS:
            backend.__dict__.pop(name, None)
        backend.__dict__.update(attributes)
