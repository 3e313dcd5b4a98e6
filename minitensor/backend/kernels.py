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
_ARRAYS = {
    "long long": np.dtype(np.int64), "word": np.dtype(np.uint64), "bool": np.dtype(bool), "double": np.dtype(np.float64),
    "unsigned short": np.dtype(np.uint16),
}  # fmt: skip
_NULL = np.uint64(0)


def sources():
    """``{file: CUDA text}`` of all files, each with the head that they share before it."""
    head, *files = (FOLDER / "head.cu", *sorted(path for path in FOLDER.glob("*.cu") if path.name != "head.cu"))
    shared = head.read_text(encoding="utf-8")
    return {path.stem: shared + path.read_text(encoding="utf-8") for path in files}


def signatures(source):
    """``{kernel: [(C type, whether a pointer), ...]}``, read from the text of the source."""
    kernel = re.compile(r'extern "C" __global__ (?:__launch_bounds__\([^)]*\) )?void (\w+)\(([^)]*)\)')
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
        self._ready = {}  # (name, dtype) -> (function, number of arguments, what makes a tuple of them)

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
        function, wanted, packed = self._ready.get((name, dtype)) or self._prepare(name, dtype)
        if len(arguments) != wanted - 1:
            raise TypeError(f"kernel {name} takes {wanted} arguments, got {len(arguments) + 1}")
        values, grid, number = packed(*arguments, 0)[:-1], (-(-count // EACH),), _SCALARS[self._signatures[name][-1][0]]
        return lambda value: function(grid, (EACH,), (*values, number(value)))

    def multiplier(self, a, b, out):
        """A function of i that writes ``a[i] @ b`` to ``out``; see ``cublas.py``."""
        from minitensor.backend.cublas import multiplier

        return multiplier(a, b, out)

    def product(self, a, b, out=None):
        """``a @ b`` in float32, of numbers of 16 bits; see ``cublas.py``."""
        from minitensor.backend.cublas import product

        return product(a, b, out)

    def halves(self, x, dtype):
        """A float32 array in two of 16 bits, the first operand of a ``product``; see
        ``cublas.py``.
        """
        from minitensor.backend.cublas import halves

        return halves(self, x, dtype)

    def launch(self, name, dtype, grid, threads, arguments):
        """Run kernel ``name`` for REAL = ``dtype``. Arguments are contiguous arrays, numbers, and
        None for a null pointer.
        """
        if 0 in grid:
            return
        function, wanted, packed = self._ready.get((name, dtype)) or self._prepare(name, dtype)
        if wanted != len(arguments):
            raise TypeError(f"kernel {name} takes {wanted} arguments, got {len(arguments)}")
        function(grid, (threads,), packed(*arguments))

    def _prepare(self, name, dtype):
        """The compiled kernel, the number of its parameters, and what checks or converts
        arguments.
        """
        signature = self._signatures[name]
        ready = self._ready[name, dtype] = self._function(name, dtype), len(signature), _packer(name, signature, dtype)
        return ready

    def _function(self, name, dtype):
        file = self._files[name]
        module = self._modules.get((file, dtype))
        if module is None:
            options = ("-std=c++17", f"-DREAL={REALS[dtype]}")
            module = self._modules[file, dtype] = self._cupy.RawModule(code=self._sources[file], options=options)
        return module.get_function(name)


def _packer(name, signature, dtype):
    """A function of the arguments of kernel ``name`` that gives them as CuPy takes them, in a
    tuple; it lets contiguous arrays of the right type pass, and None as a null pointer.

    Its text is written for the kernel, line by line: hundreds of launches a step go through it.
    """
    known = {"null": _NULL, "refuse": _refuse}
    body, given = [], []
    for i, (kind, pointer) in enumerate(signature):
        a, kind_of = f"a{i}", f"t{i}"
        given.append(a)
        if pointer:
            known[kind_of] = dtype if kind == "REAL" else _ARRAYS[kind]
            body += [
                f"    if {a} is None: {a} = null",
                f"    elif ({a}.dtype is not {kind_of} and {a}.dtype != {kind_of}) or not {a}._c_contiguous:",
                f"        refuse({name!r}, {a}, {kind_of})",
            ]
        else:
            known[kind_of] = dtype.type if kind == "REAL" else _SCALARS[kind]
            exact = f" if a{i}.__class__ is not int else a{i}" if kind == "long long" else ""
            body.append(f"    {a} = {kind_of}({a}){exact}")  # a Python integer is a long long to CuPy
    text = "\n".join([f"def packed({', '.join(given)}):", *body, f"    return {', '.join(given)},"])
    exec(text, known)  # noqa: S102  of our own signatures
    return known["packed"]


def _refuse(name, value, wanted):
    raise TypeError(
        f"kernel {name}: needs a contiguous array of {wanted}, got {value.dtype} with strides {value.strides}"
    )
