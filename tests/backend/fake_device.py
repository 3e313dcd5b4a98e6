"""A CuPy without a GPU: arrays that live in host memory but refuse everything that real device arrays refuse, and some more.

``installed()`` puts these modules in CuPy's place, so that the library's own CUDA backend runs on them: its kernels as emulated by
``emulator.py``, its cuBLAS calls as simulated by ``fake_cublas.py``. A NumPy call on a device array raises, so does mixing host and
device arrays, and each read of a value by the host is counted in ``SYNCS``.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np

from tests.backend import emulator, fake_cublas

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

SYNCS = []  # what made the host wait: names of methods, in order


class ndarray:  # noqa: N801  CuPy's name
    """An array "on the device"."""

    device = SimpleNamespace(id=0)
    __hash__ = None

    def __init__(self, array, base=None):
        self.array = array
        self.base = base

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion of a device array to a NumPy array")

    def __array_function__(self, function, types, args, kwargs):
        if not all(issubclass(kind, (ndarray, np.ndarray)) for kind in types):
            return NotImplemented
        raise TypeError(f"numpy.{function.__name__} called on a device array")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if any(is_foreign(x) for x in inputs):
            return NotImplemented
        if method == "__call__" and any(
            isinstance(x, np.generic) for x in inputs
        ):  # np.float32(2) * array, as CuPy allows
            return run(ufunc, *inputs, **kwargs)
        raise TypeError(f"numpy.{ufunc.__name__} called on a device array")

    @property
    def __cuda_array_interface__(self):
        """What CuPy's arrays are told by."""
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3}

    @property
    def data(self):
        """The memory, as CuPy shows it: an object with the address."""
        return SimpleNamespace(ptr=self.array.__array_interface__["data"][0])

    @property
    def flags(self):
        """Contiguity and ownership."""
        flags = self.array.flags
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=self.base is None, writeable=True
        )

    def __getattr__(self, name):
        if name.startswith("__") or name in ("ctypes", "getfield", "setfield", "resize", "setflags", "to_device"):
            raise AttributeError(name)
        value = getattr(self.array, name)
        if not callable(value):
            return wrap(value, (self,))
        if name in ("item", "tolist", "nonzero", "tobytes"):
            SYNCS.append(name)
            return lambda *args: value(*args) if name != "nonzero" else wrap(value(), ())
        return lambda *args, **kwargs: wrap(value(*unwrap(args), **unwrap(kwargs)), (self,))

    def get(self):
        """A copy in host memory."""
        SYNCS.append("get")
        return self.array.copy()

    def __getitem__(self, index):
        note_mask(index, "read")
        return wrap(self.array[wrapped_round(unwrap(index), self.shape)], (self,))

    def __setitem__(self, index, value):
        note_mask(index, "write")
        self.array[unwrap(index)] = unwrap(value)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"device {self.array!r}"


def note_mask(index, what):
    """Reading by a mask, and writing by one, even a number, must count the true places, and waits."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, ndarray) and part.dtype == bool for part in parts):
        SYNCS.append(f"{what} by a mask")


def wrapped_round(index, shape):
    """``index`` with ids out of range brought into it in silence, as CuPy does."""
    parts = index if isinstance(index, tuple) else (index,)
    taken = [0 if p is None or p is Ellipsis or p is True or p is False else p.ndim if is_mask(p) else 1 for p in parts]
    made, axis = [], 0
    for part, count in zip(parts, taken):
        if isinstance(part, np.ndarray) and part.ndim and not is_mask(part):
            part = part % max(shape[axis], 1)
        made.append(part)
        axis += len(shape) - sum(taken) if part is Ellipsis else count
    return tuple(made) if isinstance(index, tuple) else made[0]


def is_mask(part):
    """Whether a part of an index is an array of truth values."""
    return isinstance(part, np.ndarray) and part.dtype == bool


def is_foreign(value):
    """Whether ``value`` is of a class that has ufuncs of its own, to which CuPy leaves the work."""
    return hasattr(value, "__array_ufunc__") and not isinstance(value, (ndarray, np.ndarray, np.generic))


def unwrap(value):
    """``value`` with device arrays as host arrays; a host array among them is an error."""
    if isinstance(value, ndarray):
        return value.array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return (list if isinstance(value, list) else tuple)(unwrap(item) for item in value)
    return {key: unwrap(item) for key, item in value.items()} if isinstance(value, dict) else value


def wrap(value, inputs):
    """A NumPy result as a device array; a view knows whose memory it shares."""
    if isinstance(value, (tuple, list)) and any(isinstance(item, (np.ndarray, np.generic)) for item in value):
        items = [wrap(item, inputs) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    root = root_of(value)
    for x in inputs:
        if isinstance(x, ndarray) and root is root_of(x.array):
            return x if value is x.array else ndarray(value, x if x.base is None else x.base)
    return ndarray(value)


def root_of(array):
    """The array that owns the memory of ``array``."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def run(function, *args, **kwargs):
    """``function`` of NumPy on device arrays."""
    result = function(*unwrap(args), **unwrap(kwargs))
    return wrap(result, (*flat(args), *flat(kwargs.values())))


def flat(values):
    """All items of nested tuples and lists."""
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from flat(value)
        else:
            yield value


def operator(name, truth=False):
    """A dunder method that runs NumPy's; one that gives a Python value waits."""

    def method(self, *others):
        if truth:
            SYNCS.append(name)
            return getattr(self.array, name)()
        if any(map(is_foreign, others)):
            return NotImplemented
        result = getattr(self.array, name)(*unwrap(others))
        if name.startswith("__i") and name != "__invert__":
            return self
        return result if result is NotImplemented else wrap(result, (self,))

    return method


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for _prefix in ("", "r", "i"):
        setattr(ndarray, f"__{_prefix}{_name}__", operator(f"__{_prefix}{_name}__"))
for _name in "eq ne lt le gt ge neg pos abs invert".split():
    setattr(ndarray, f"__{_name}__", operator(f"__{_name}__"))
for _name in "bool int float index".split():
    setattr(ndarray, f"__{_name}__", operator(f"__{_name}__", truth=True))


# --- the module -----------------------------------------------------------------------------------------------------------------


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


def fake_cupy():
    """A module in CuPy's place."""
    module = ModuleType("cupy")
    for name in dir(np):
        value = getattr(np, name)
        if not name.startswith("_") and name not in MISSING and not isinstance(value, ModuleType):
            keep = isinstance(value, type) or not callable(value)
            setattr(module, name, value if keep else _device_function(name))
    names = "solve inv det slogdet cholesky qr svd eigh".split()
    module.linalg = SimpleNamespace(**{name: _device_function(name, np.linalg) for name in names})
    module.ndarray = ndarray
    module.asarray = _asarray
    module.array = lambda value, dtype=None: ndarray(
        np.array(value.array if isinstance(value, ndarray) else value, dtype=dtype)
    )
    module.asnumpy = lambda array: array.get()
    module.add = _add()
    module.where = lambda condition, *choices: run(
        np.where, condition.astype(bool), *choices
    )  # an array, as CuPy wants it
    module.is_available = lambda: True
    module.RawModule = emulator.Module
    compute = SimpleNamespace(COMPUTE_TYPE_TF32=7)
    module._core = SimpleNamespace(get_compute_type=lambda dtype: 1, _routines_linalg=compute)
    stream = SimpleNamespace(synchronize=lambda: SYNCS.append("synchronize"))
    module.cuda = SimpleNamespace(
        Device=lambda index: SimpleNamespace(use=lambda: None, id=index),
        device=SimpleNamespace(get_cublas_handle=lambda: 1),
        get_current_stream=lambda: stream,
        runtime=SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 1),
    )
    return module


def _add():
    function = _device_function("add")
    function.at = lambda out, index, values: run(np.add.at, out, index, values)
    return function


def _erf_module():
    from minitensor.backend import cpu

    module = ModuleType("cupyx.scipy.special")
    module.erf = lambda x: run(cpu.erf, x)
    return module


@contextmanager
def installed():
    """Within: ``device="cuda"`` is the fake device, whatever this machine has."""
    import minitensor.nn.functional  # noqa: F401  all fused ops exist before their kernels are looked at
    from minitensor import backend
    from minitensor.fuse import FUSED
    from minitensor.fused_ops import attention

    mine = {
        "cupy": fake_cupy(), "cupyx": ModuleType("cupyx"), "cupyx.scipy": ModuleType("cupyx.scipy"),
        "cupyx.scipy.special": _erf_module(), **fake_cublas.modules(),
    }  # fmt: skip
    ours = ["minitensor.backend.cuda", "minitensor.backend.cublas", "minitensor.fused_ops.cuda"]
    before = {name: sys.modules.get(name) for name in [*mine, *ours]}
    kernels = {fused: dict(fused.kernels) for fused in FUSED.values()}
    attribute = backend.__dict__.pop("cuda", None)
    sys.modules.update(mine)
    for name in ours:
        sys.modules.pop(name, None)
    attention._causal.cache_clear()  # masks are kept by the name of their device
    SYNCS.clear()
    try:
        yield mine["cupy"]
    finally:
        attention._causal.cache_clear()
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        for fused, held in kernels.items():
            fused.kernels = held
        backend.__dict__.pop("cuda", None)
        if attribute is not None:
            backend.cuda = attribute
