"""The CuPy namespace: CuPy's functions under NumPy's names, and what CuPy lacks or does badly.

Imported on the first request for a CUDA device. Only this file and its neighbours ``gpus.py``,
``cublas.py`` and ``kernels.py`` know CuPy.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np

from minitensor.backend import cuda_sums, gpus
from minitensor.backend.capture import capturing
from minitensor.backend.gpus import There, as_before, cupy, follow, on, resolved, several
from minitensor.backend.kernels import Kernels

__all__ = [
    "ARRAYS",
    "as_before",
    "follow",
    "kernels",
    "namespace",
    "on",
    "precision",
    "resolve",
    "resolved",
    "set_precision",
    "several",
    "to_device",
    "to_host",
    "wait",
    "xp",
]

kernels = Kernels(cupy)
ARRAYS = {cupy.ndarray}
_INT64 = np.dtype(np.int64)
_FLOAT32 = np.dtype(np.float32)


# --- devices --------------------------------------------------------------------------------------

_namespaces: dict = {}  # device number -> the namespace of that GPU, if there are several


def resolve(device):
    """``device`` ("cuda" or "cuda:N") as "cuda:N"; see ``gpus.resolve``."""
    return gpus.resolve(device, _trial)


def _trial():
    """Compute on the current GPU, a kernel and a product; before each step say what is wrong if it
    fails.
    """
    yield "a kernel cannot be compiled and run"
    check_ids("", cupy.zeros(1, dtype="int64"), 0, 1)
    yield "matrices cannot be multiplied"
    pair = cupy.ones((2, 2, 2), dtype="float32")
    matmul(pair, pair)
    synchronize()


def namespace(device):
    """The namespace of the GPU named ``device``."""
    if not gpus.usable:
        resolve(device)
    if not several():
        return xp
    index = int(device[5:])
    return _namespaces.get(index) or _namespaces.setdefault(index, There(index, xp))


def to_host(array):
    """A NumPy copy of ``array``; waits for the GPU, and raises what its checks have found since."""
    with on(f"cuda:{array.device.id}"):
        copy = cupy.asnumpy(array)
    raise_faults()
    return copy


def to_device(array, device):
    """``array``, of the host or another GPU, copied to ``device``."""
    device = resolve(device)
    if isinstance(array, cupy.ndarray):
        return _between(array, f"cuda:{array.device.id}", device)
    with on(device):
        return cupy.array(array)


def _between(array, source, target):
    """``array`` copied from one GPU to another, which know nothing of each other's order of work:
    each waits for the other.
    """
    shape = array.shape
    with on(source):
        array = cupy.ascontiguousarray(array)  # of a 0-d array it makes a vector
        ready = cupy.cuda.get_current_stream().record()
    with on(target):
        made, stream = cupy.empty(shape, dtype=array.dtype), cupy.cuda.get_current_stream()
        stream.wait_event(ready)
        if array.size:
            made.data.copy_from_device_async(array.data, array.nbytes)
        copied = stream.record()
    with on(source):
        cupy.cuda.get_current_stream().wait_event(copied)  # before this memory is used for something else
    return made


def synchronize():
    """Wait until the current GPU has done all that it was given, and raise what its checks have
    found.
    """
    cupy.cuda.get_current_stream().synchronize()
    raise_faults()


def wait():
    """Wait until each GPU in use has done all that it was given; ask nothing of its checks."""
    for index in range(gpus.usable[0] if gpus.usable else 0):
        with on(f"cuda:{index}"):
            cupy.cuda.get_current_stream().synchronize()


# --- ids out of range -----------------------------------------------------------------------------

_faults: dict = {}  # device number -> (whether any, label, id), an int64 array on that GPU
MOST_LABELS = 10_000
_labels: dict = {}  # message of a check, with {id} in it -> the number under which the kernel notes it


def check_ids(message, ids, low, high):
    """Raise IndexError(message), its ``{id}`` filled in, for an id outside ``[low, high)``: when a
    value is next read from the GPU.

    Raising at once would make every lookup wait for the GPU. CuPy itself silently wraps such an id
    round.
    """
    ids = cupy.ascontiguousarray(ids, dtype=np.int64)
    if len(_labels) >= MOST_LABELS and message not in _labels:  # messages name shapes: there is no end of them
        raise_faults()
        _labels.clear()
    label = _labels.setdefault(message, len(_labels))
    index = cupy.cuda.runtime.getDevice()
    if index not in _faults:
        _faults[index] = cupy.zeros(3, dtype=np.int64)
    kernels.each("check_ids", _FLOAT32, ids.size, ids, ids.size, low, high, label, _faults[index])


def raise_faults():
    """Raise the IndexError of the first check that has failed on any GPU, and forget it."""
    for fault in _faults.values():
        with on(f"cuda:{fault.device.id}"):
            found, label, wrong = cupy.asnumpy(fault).tolist()
            if found:
                fault.fill(0)
                raise IndexError(list(_labels)[label].format(id=wrong))


# --- what NumPy spells otherwise ------------------------------------------------------------------


def add_at(out, index, values):
    """``out[index] += values`` in place, adding up if an index repeats, in a fixed order (CuPy's
    own uses atomics).
    """
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, cupy.ndarray) and part.dtype.kind in "iu" and part.ndim for part in parts):
        out[index] += values
    elif (
        out.dtype.kind in "iu"
    ):  # sums of integers do not depend on the order; CuPy adds unsigned ones alone in all widths
        wide = cupy.zeros(out.shape, dtype=np.uint64)
        cupy.add.at(wide, index, cupy.asarray(values, dtype=np.int64).view(np.uint64))
        out += wide.view(np.int64).astype(out.dtype)
    elif not kernels.has(out.dtype):
        wide = cupy.zeros(out.shape, dtype=np.float32)
        add_at(wide, index, values)
        out += wide.astype(out.dtype)
    elif len(parts) == 1:
        _add_rows(out, parts[0], values)
    else:
        places = cupy.arange(out.size).reshape(out.shape)[index]  # where in memory each value goes
        flat = out.reshape(-1)
        _add_rows(flat, places, values)
        if not out.flags.c_contiguous:  # flat is a copy
            out[...] = flat.reshape(out.shape)


def _add_rows(out, ids, values):
    """``out[ids] += values`` for one array of ids into the first axis: sort the ids, sum each run
    from its first to its last.
    """
    if ids.size == 0:
        return
    target, shape = cupy.ascontiguousarray(out), ids.shape
    ids = ids.reshape(-1).astype(_INT64)
    ids = cupy.where(ids < 0, ids + len(out), ids)
    order = cupy.argsort(ids, kind="stable")
    values = cupy.broadcast_to(cupy.asarray(values, dtype=out.dtype), (*shape, *out.shape[1:]))
    cuda_sums.add_runs(xp, target, ids[order], order, cupy.ascontiguousarray(values))
    if target is not out:
        out[...] = target


def sum(x, axis=None, dtype=None, keepdims=False, out=None):
    """NumPy's ``sum``; over leading axes by kernels that fill the GPU."""
    suits = out is None or out.dtype == x.dtype and out.flags.c_contiguous
    if suits and (dtype is None or dtype == x.dtype):
        leading = cuda_sums.leading(x, axis)
        if leading and kernels.has(x.dtype):
            return cuda_sums.over_leading(xp, x, leading, keepdims, out)
    made = x.sum(axis=axis, dtype=dtype, keepdims=keepdims, out=out)
    return made if out is None else out  # of which CuPy returns a view


def random_bits(key, counter, count):
    """``count`` 64-bit words of Philox4x64-10, equal to those of ``cpu.random_bits``."""
    words = cupy.empty(count, dtype=np.uint64)
    counter = int(counter)
    low, high = counter & 0xFFFFFFFFFFFFFFFF, counter >> 64
    capture = capturing()
    shift = None if capture is None else capture.shift(key)
    kernels.each("philox", _FLOAT32, -(-count // 4), words, count, int(key[0]), int(key[1]), low, high, shift)
    return words


# CuPy's is a function around this, which a step calls hundreds of times. No class, so that
# ``There`` takes it too.
empty = functools.partial(cupy.ndarray)


def empty_like(x, dtype=None):
    """NumPy's ``empty_like``; of an array in C order by the short way."""
    if dtype is None and x._c_contiguous:
        return cupy.ndarray(x.shape, x.dtype)
    return cupy.empty_like(x, dtype)


def where(condition, *choices):
    """NumPy's ``where``; CuPy's wants an array for the condition."""
    return cupy.where(cupy.asarray(condition), *choices)


def floor_divide(x, y):
    """NumPy's ``floor_divide``; CuPy rounds ``x / y``, which is one too many if that was rounded
    up.
    """
    return _divided("floor_divide", cupy.floor_divide, x, y)


def remainder(x, y):
    """NumPy's ``remainder``, exact."""
    return _divided("remainder_of", cupy.remainder, x, y)


def _divided(kernel, of_integers, x, y):
    dtype = np.dtype(cupy.result_type(x, y))
    if dtype.kind in "iub":
        return of_integers(x, y)
    wide = dtype if kernels.has(dtype) else _FLOAT32
    x, y = cupy.broadcast_arrays(cupy.asarray(x, dtype=wide), cupy.asarray(y, dtype=wide))
    out = cupy.empty(x.shape, dtype=wide)
    kernels.each(kernel, wide, out.size, cupy.ascontiguousarray(x), cupy.ascontiguousarray(y), out, out.size)
    return out.astype(dtype, copy=False)


def erf(x):
    """The error function, elementwise."""
    from cupyx.scipy.special import erf

    return erf(x)


def logaddexp(x, y):
    """``log(exp(x) + exp(y))``; CuPy's own gives NaN if both are the same infinity."""
    return cupy.where(x == y, x + math.log(2.0), cupy.logaddexp(x, y))


def surely_moderate(*arrays):
    """Whether it is known without looking that no element is NaN or infinite: on a GPU, where
    looking means waiting, never.
    """
    return False


def dot(x, y):
    """The product of two vectors; of more axes CuPy's ``dot``."""
    return matmul(x, y) if x.ndim == y.ndim == 1 else cupy.dot(x, y)


def matmul(a, b, out=None):
    """The product of the last two axes; see ``cublas.py``."""
    return _products().matmul(a, b, out)


def einsum(subscripts, *operands, optimize=False):
    """NumPy's ``einsum`` of an explicit equation; see ``cublas.py``."""
    return _products().einsum(subscripts, *operands, optimize=optimize)


@functools.cache
def _products():
    from minitensor.backend import cublas  # a trial tells of a cuBLAS that cannot be loaded

    return cublas


def precision():
    """How products of float32 matrices are computed: "tf32" or "float32"."""
    routines = cupy._core._routines_linalg
    return "tf32" if routines.get_compute_type(_FLOAT32) == routines.COMPUTE_TYPE_TF32 else "float32"


def set_precision(name):
    """Compute products of float32 matrices as ``name`` says; CuPy's own follow, and ``cublas.py``.
    Raises RuntimeError if the GPU has no TF32.
    """
    routines, tf32 = cupy._core._routines_linalg, name == "tf32"
    version = cupy.cuda.Device(cupy.cuda.runtime.getDevice()).compute_capability  # "90" is 9.0
    if tf32 and int(version) < 80:
        raise RuntimeError(
            f'matmul_precision: this GPU has no "tf32", which takes compute capability 8.0; it has {int(version) / 10}'
        )
    routines.set_compute_type(_FLOAT32, routines.COMPUTE_TYPE_TF32 if tf32 else routines.COMPUTE_TYPE_DEFAULT)


def adam(p, g, m, v, *, beta1=0, beta2=0, keep=0, coupled=0, eps=0, size=0, live=None, unless=None):
    """One step of Adam on flat arrays, in place and in one pass (the formula stands at the kernel).

    live: the six numbers, in this order, as an array of the GPU, for a step that is captured in a
    CUDA graph. unless: an array of a float64 there; nothing is done if that is not 0.
    """
    kernels.each("adam", p.dtype, p.size, p, g, m, v, p.size, beta1, beta2, keep, coupled, eps, size, live, unless)


def note(value, told, place):
    """Write an array of one number to ``told[place]``, of float64; ``told[0]`` becomes the place of
    the first that is not finite, and stays it.
    """
    if not kernels.has(value.dtype):
        value = value.astype(np.float64)
    kernels.launch("note", value.dtype, (1,), 1, (value, told, place))


def norm_and_scale(arrays, most):
    """``(unit, root, norm, scale)`` for clipping; see ``cuda_sums.norm_and_scale``."""
    return cuda_sums.norm_and_scale(xp, arrays, most)


def solve(a, b):
    """NumPy's ``linalg.solve`` of matrices of equal leading axes; CuPy divides by the number of
    columns, which may be 0.
    """
    return cupy.linalg.solve(a, b) if b.size else cupy.zeros_like(b)


def _public(module, names):
    return SimpleNamespace(**{n: getattr(module, n) for n in names if not n.startswith("_") and hasattr(module, n)})


xp = _public(cupy, dir(np))
xp.linalg = _public(cupy.linalg, dir(np.linalg))
xp.linalg.solve = solve
xp.name = "cuda"
xp.module = cupy
xp.away = lambda: False  # the only GPU is always the current one; see ``gpus.There``
xp.kernels = kernels
for _function in (
    adam, add_at, check_ids, dot, einsum, erf, floor_divide, logaddexp, matmul, norm_and_scale, note, random_bits, remainder,
    sum, surely_moderate, synchronize, where,
):  # fmt: skip
    setattr(xp, _function.__name__, _function)
xp.empty, xp.empty_like = empty, empty_like
# The same for functions and rules that do nothing but multiply matrices, of operands of 16 bits:
# products are float32, and of what goes into them nothing is rounded.
xp.narrow = SimpleNamespace(**vars(xp))
xp.narrow.matmul = lambda a, b: _products().product(a, b)
xp.narrow.einsum = lambda *given, **options: _products().einsum_product(*given, **options)
