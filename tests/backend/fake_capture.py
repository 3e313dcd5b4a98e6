"""CUDA graphs of the fake device: what is launched while a stream captures is noted, and undone at
the end; a launch of the graph does it again, at the same addresses.

What a real capture refuses raises: reading a value, copying from the host, and calling cuBLAS by
CuPy.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from tests.backend import fake_array, fake_cublas
from tests.backend.fake_array import ndarray, root_of

LAUNCHES = []  # of graphs


class Graph:
    """A captured graph."""

    def __init__(self, notes):
        self.notes = notes

    def launch(self, stream=None):
        """Do all that was noted again."""
        LAUNCHES.append(len(self.notes))
        for again in self.notes:
            again()


class Stream:
    """``cupy.cuda.Stream``, one that can capture."""

    def __init__(self, non_blocking=False):
        self.ptr = 77
        self._there: dict = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def begin_capture(self):
        """From here on launches are noted."""
        assert fake_array.NOTES[0] is None
        gc.collect()
        roots = {id(root): root for root in map(_root, _all())}
        self._there = {key: (root, root.copy()) for key, root in roots.items()}
        fake_array.NOTES[0] = []
        self._errors = np.seterr(all="ignore")  # what is computed now is of no meaning

    def end_capture(self):
        """The graph; nothing of it has run."""
        notes, fake_array.NOTES[0] = fake_array.NOTES[0], None
        np.seterr(**self._errors)
        for root in map(_root, _all()):
            if id(root) not in self._there and root.flags.writeable:
                root[...] = 77 if root.dtype.kind in "iub" else np.nan  # not computed yet
        for root, copy in self._there.values():
            if root.flags.writeable:
                root[...] = copy
        self._there = {}
        return Graph(notes)


def _all():
    return [one for one in gc.get_objects() if type(one) is ndarray]


def _root(array):
    return root_of(array.array)


def capturing():
    """Whether launches are noted."""
    return fake_array.NOTES[0] is not None


def refused(function, error):
    """``function``, which raises ``error`` while a graph is captured."""

    def call(*args, **keywords):
        if capturing():
            raise error
        return function(*args, **keywords)

    return call


class Library:
    """The cuBLAS that is called by ctypes."""

    def __getattr__(self, name):
        return lambda *arguments: 0  # sets the stream or the workspace

    def cublasGemmEx(self, *arguments):  # noqa: N802
        """One product."""
        fake_array.noted(lambda: fake_cublas.gemmEx(*arguments))
        return 0

    def cublasGemmStridedBatchedEx(self, *arguments):  # noqa: N802
        """A stack of products."""
        fake_array.noted(lambda: fake_cublas.gemmStridedBatchedEx(*arguments))
        return 0


@contextmanager
def _allocator(allocator):
    yield


def add_to(module):
    """Give the fake CuPy what captures need, and take what they refuse."""
    module.cuda.Stream = Stream
    module.cuda.MemoryPool = lambda: SimpleNamespace(malloc=None)
    module.cuda.using_allocator = _allocator
    blas = NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    for name in ("matmul", "dot", "tensordot", "einsum", "inner", "outer", "vdot"):
        setattr(module, name, refused(getattr(module, name), blas))
    for name, function in vars(module.linalg).items():
        setattr(module.linalg, name, refused(function, NotImplementedError("cuSOLVER during stream capture")))
    copying = RuntimeError("the current stream is capturing, so H2D transfers are disallowed")
    for name in ("asarray", "array"):
        function = getattr(module, name)

        def made(value, *args, function=function, **keywords):
            if capturing() and not isinstance(value, ndarray):
                raise copying
            return function(value, *args, **keywords)

        setattr(module, name, made)
