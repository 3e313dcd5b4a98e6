"""The kernels of the files in ``cu/`` by name: a file is compiled on first use of one of them, the
arguments are checked against the source.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

__all__ = ["FOLDER", "Kernels", "row_threads", "signatures", "sources"]

FOLDER = Path(__file__).with_name("cu")
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
EACH = 256  # threads a block if a thread serves one element
_SCALARS = {"int": np.int32, "long long": np.int64, "word": np.uint64}
_ARRAYS = {"long long": np.dtype(np.int64), "word": np.dtype(np.uint64), "bool": np.dtype(bool)}
_NULL = np.uint64(0)


def sources():
    """``{file: CUDA text}`` of all files, each with the head that they share before it."""
    head, *files = (FOLDER / "head.cu", *sorted(path for path in FOLDER.glob("*.cu") if path.name != "head.cu"))
    shared = head.read_text(encoding="utf-8")
    return {path.stem: shared + path.read_text(encoding="utf-8") for path in files}


def signatures(source):
    """``{kernel: [(C type, whether a pointer), ...]}``, read from the text of the source."""
    kernel = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
    parameter = re.compile(r"(?:const )?([\w ]+?)\s*(\*?)\s*\w+$")
    return {
        name: [
            (kind, star == "*")
            # Our own source has no other parameters.
            for kind, star in (parameter.match(p.strip()).groups() for p in parameters.split(","))  # type: ignore[union-attr]
        ]
        for name, parameters in kernel.findall(source)
    }


def row_threads(width):
    """Threads for one row of ``width`` elements: about four elements a thread, whole warps, at most
    1024.
    """
    threads = 32
    while threads < 1024 and threads * 4 < width:
        threads *= 2
    return threads


class Kernels:
    """The compiled kernels of one CuPy."""

    def __init__(self, cupy):
        self._cupy = cupy
        self._sources = sources()
        self._files = {name: file for file, text in self._sources.items() for name in signatures(text)}
        self._signatures = {name: s for text in self._sources.values() for name, s in signatures(text).items()}
        self._modules = {}
        self._functions = {}

    def has(self, dtype):
        """Whether the kernels are compiled for elements of ``dtype``."""
        return dtype in REALS

    def rows(self, name, dtype, rows, width, *arguments):
        """Run a kernel that takes one block a row."""
        self.launch(name, dtype, (rows,), row_threads(width), arguments)

    def each(self, name, dtype, count, *arguments):
        """Run a kernel that takes one thread an element."""
        self.launch(name, dtype, (-(-count // EACH),), EACH, arguments)

    def prepared(self, name, dtype, count, *arguments):
        """A function of the last argument of a kernel, a number, that runs it with one thread an
        element; the other arguments are checked here, once for all its calls.
        """
        *first, last = self._signatures[name]
        if len(arguments) != len(first):
            raise TypeError(f"kernel {name} takes {len(first) + 1} arguments, got {len(arguments) + 1}")
        wanted = zip(first, arguments)
        values = tuple(self._argument(name, dtype, kind, pointer, value) for (kind, pointer), value in wanted)
        function, grid, number = self._function(name, dtype), (-(-count // EACH),), _SCALARS[last[0]]
        return lambda value: function(grid, (EACH,), (*values, number(value)))

    def multiplier(self, a, b, out):
        """A function of i that writes ``a[i] @ b`` to ``out``; see ``cublas.py``."""
        from minitensor.backend.cublas import multiplier

        return multiplier(a, b, out)

    def launch(self, name, dtype, grid, threads, arguments):
        """Run kernel ``name`` for REAL = ``dtype``. Arguments are contiguous arrays, numbers, and
        None for a null pointer.
        """
        if 0 in grid:
            return
        signature = self._signatures[name]
        if len(signature) != len(arguments):
            raise TypeError(f"kernel {name} takes {len(signature)} arguments, got {len(arguments)}")
        wanted = zip(signature, arguments)
        values = tuple(self._argument(name, dtype, kind, pointer, value) for (kind, pointer), value in wanted)
        self._function(name, dtype)(grid, (threads,), values)

    def _argument(self, name, dtype, kind, pointer, value):
        if not pointer:
            return dtype.type(value) if kind == "REAL" else _SCALARS[kind](value)
        if value is None:
            return _NULL
        wanted = dtype if kind == "REAL" else _ARRAYS[kind]
        if value.dtype != wanted or not value.flags.c_contiguous:
            raise TypeError(
                f"kernel {name}: needs a contiguous array of {wanted}, got {value.dtype} with strides {value.strides}"
            )
        return value

    def _function(self, name, dtype):
        function = self._functions.get((name, dtype))
        if function is None:
            file = self._files[name]
            module = self._modules.get((file, dtype))
            if module is None:
                options = ("-std=c++17", f"-DREAL={REALS[dtype]}")
                module = self._modules[file, dtype] = self._cupy.RawModule(code=self._sources[file], options=options)
            function = self._functions[name, dtype] = module.get_function(name)
        return function
