"""A CUDA graph under construction: what is launched while one is captured is not run, but becomes a
part of the graph.

What changes from one run of the graph to the next must lie in the memory of the GPU, at addresses
that stay: the arguments, learning rates, and where in their streams the random generators stand.
These are the *slots* of a ``Capture``, stretches of one buffer that is written before each launch.
Everything else that Python computes is fixed in the graph.

cuBLAS is called by ctypes here, with CuPy's handle and a workspace of its own, since CuPy refuses
to call it while a graph is captured.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["Capture", "capturing", "gemm_ex", "gemm_strided_batched_ex"]

WORKSPACE = 32 << 20  # bytes, what NVIDIA's manual recommends for Hopper
ALIGNMENT = 256
_local = threading.local()


def capturing() -> Any:
    """The ``Capture`` that is going on in this thread, or None."""
    return getattr(_local, "capture", None)


class Capture:
    """One graph: made by ``with capture.recording():``, run by ``launch()``."""

    def __init__(self, device):
        from minitensor.backend.gpus import cupy, on

        self._cupy, self._on, self.device = cupy, on, device
        self._size = 0
        self._shifts = {}  # key of a generator -> its slot
        # Before each launch, in order: of a slot (first byte, dtype, shape, function that gives the
        # values), and functions to call, but not for the first.
        self._before = []
        self._watched = []  # (function, what it gave)
        self._undo = []
        self.parameters: list[Any] = []  # of optimisers at work, and tensors whose gradient was looked at
        self.touched: list[Any] = []  # tensors that were written to, or read by no op
        self.modules: dict[int, Any] = {}  # that were called, by id
        self._graph: Any = None
        with on(device):
            self._pool = cupy.cuda.MemoryPool()
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._buffer: Any = None
            self._workspace = cupy.empty(WORKSPACE, dtype=np.uint8)
        self._room(1 << 16)
        self.watch(lambda: cupy._core.get_compute_type(np.dtype(np.float32)))  # whether products are in TF32

    def _room(self, size):
        with self._on(self.device):
            self._buffer = self._cupy.empty(size, dtype=np.uint8)
        self._mirror = np.zeros(size, dtype=np.uint8)

    # --- what changes -----------------------------------------------------------------------------

    def reserve(self, size):
        """Make sure, before recording, that the slots of ``size`` more bytes will fit."""
        if self._buffer.size < size + (1 << 16):
            self._room(size + (1 << 16))

    def slot(self, dtype, shape, values):
        """An array on the GPU that holds what ``values()`` gives, an array or numbers, at each
        launch.
        """
        dtype = np.dtype(dtype)
        start = -(-self._size // ALIGNMENT) * ALIGNMENT
        stop = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        if stop > self._buffer.size:
            raise RuntimeError(f"cuda_graph: more than {self._buffer.size} bytes of numbers change from run to run")
        self._size = stop
        self._before.append((start, dtype, shape, values))
        return self._buffer[start:stop].view(dtype).reshape(shape)

    def each_time(self, function, undo):
        """Call ``function()`` before each launch but the first, in order with the slots' values;
        and ``undo()`` if the step cannot be captured after all.
        """
        self._before.append(function)
        self._undo.append(undo)

    def watch(self, look):
        """The graph is right as long as ``look()`` gives what it gives now."""
        self._watched.append((look, look()))

    def holds(self):
        """Whether all that is watched is as it was when the graph was captured."""
        return all(look() == then for look, then in self._watched)

    def shift(self, key):
        """The slot that holds how far the generator of this key has moved on since the capture, in
        blocks; kernels add it to the counter that they are given.
        """
        if key not in self._shifts:
            self._shifts[key] = [self.slot(np.uint64, (1,), lambda: self._shifts[key][1]), 0]
        return self._shifts[key][0]

    @property
    def keys(self):
        """The keys of the generators that have drawn."""
        return set(self._shifts)

    def move(self, key, blocks):
        """Let the generator of this key have moved on by so many blocks."""
        self._shifts[key][1] = blocks % (1 << 64)

    # --- recording and running --------------------------------------------------------------------

    @contextmanager
    def recording(self):
        """Inside, launches become parts of the graph. Nothing is run: what they would have written
        is not there yet.
        """
        cupy = self._cupy
        with self._on(self.device):
            handle = cupy.cuda.device.get_cublas_handle()
            cupy.cuda.get_current_stream().synchronize()  # what the graph reads is there
            with self._stream, cupy.cuda.using_allocator(self._pool.malloc):
                _check(library().cublasSetStream_v2(handle, self._stream.ptr))
                _check(library().cublasSetWorkspace_v2(handle, self._workspace.data.ptr, WORKSPACE))
                self._stream.begin_capture()
                _local.capture = self
                try:
                    yield self
                except BaseException:
                    _local.capture = None
                    try:
                        self._stream.end_capture()
                    except Exception:  # the capture is void, as its own error has said
                        pass
                    raise
                _local.capture = None
                self._graph = self._stream.end_capture()

    def launch(self, first=False, fill=None):
        """Write the slots, call ``fill()``, and run the graph, after all that the current stream
        was given.
        """
        for entry in self._before:
            if not isinstance(entry, tuple):
                if not first:
                    entry()
                continue
            start, dtype, shape, values = entry
            place = self._mirror[start : start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))]
            place.view(dtype).reshape(shape)[...] = values()
        with self._on(self.device):
            if self._size:
                self._buffer[: self._size] = self._cupy.asarray(self._mirror[: self._size])
            if fill is not None:
                fill()
            self._graph.launch()

    def undo(self):
        """Take back what the parts of a step that could not be captured did on the host."""
        for function in self._undo:
            function()


# --- cuBLAS by ctypes -----------------------------------------------------------------------------

_library: Any = None


def library() -> Any:
    """The cuBLAS that CuPy has loaded."""
    global _library
    if _library is None:
        from minitensor.backend.gpus import cupy

        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        found = ctypes.CDLL(f"cublas64_{major}.dll" if os.name == "nt" else f"libcublas.so.{major}")
        whole, pointer, long = ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong
        ahead: list[Any] = [pointer, whole, whole, whole, whole, whole, pointer]  # handle, transposed, m, n, k, alpha
        found.cublasGemmEx.argtypes = [
            *ahead, pointer, whole, whole, pointer, whole, whole, pointer, pointer, whole, whole, whole, whole,
        ]  # fmt: skip
        found.cublasGemmStridedBatchedEx.argtypes = [
            *ahead, pointer, whole, whole, long, pointer, whole, whole, long, pointer,
            pointer, whole, whole, long, whole, whole, whole,
        ]  # fmt: skip
        found.cublasSetStream_v2.argtypes = [pointer, pointer]
        found.cublasSetWorkspace_v2.argtypes = [pointer, pointer, ctypes.c_size_t]
        _library = found
    return _library


def _check(status):
    if status:
        raise RuntimeError(f"cuBLAS failed with status {status}")


def gemm_ex(*arguments):
    """``cublasGemmEx``, in a graph."""
    _check(library().cublasGemmEx(*arguments))


def gemm_strided_batched_ex(*arguments):
    """``cublasGemmStridedBatchedEx``, in a graph."""
    _check(library().cublasGemmStridedBatchedEx(*arguments))
