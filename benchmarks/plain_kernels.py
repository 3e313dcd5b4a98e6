"""The compiled CPU kernels as plain Python: their own text, run without numba, so that one function
of them can be changed and run at once.

What numba's language lacks and ``lowlevel.py`` makes of LLVM instructions has a stand-in here:
memory by its address, products, bits of floats. A read or write outside of an array raises.
"""

from __future__ import annotations

import ast
import ctypes
import math
from types import SimpleNamespace

import numpy as np

from minitensor.backend import compiled
from minitensor.backend.compiled.disk import PACKAGE

__all__ = ["FILES", "PlainKernels"]

FILES = ("maths", "lowlevel", "elements", "rows", "divergence", "attention", "recurrent", "updates", "products")
TAKEN = {  # of lowlevel.py and maths.py: functions of the language itself; the rest is made of LLVM instructions
    "lowlevel": ("piece",),
    "maths": ("minus", "over", "root", "_exp", "_sigmoid", "_tanh", "_upper_tail", "_ordered32", "_ordered64", "_unordered32",
              "_unordered64", "sigmoid"),
}  # fmt: skip


class PlainKernels:
    """All kernels by name; ``spaces`` has the globals of each file, in which functions may be
    replaced.
    """

    def __init__(self, record=False):
        self.spaces, self.functions, self.lines, self.called, self.record = {}, {}, {}, set(), record
        for file in FILES:
            path = PACKAGE / f"{file}.py"
            text = path.read_text(encoding="utf-8")
            tree, self.lines[file] = ast.parse(text), text.splitlines(keepends=True)
            space = self.spaces[file] = {"np": np, "math": MATHS, "STEP": compiled.STEP, "__name__": f"plain_{file}"}
            for node in tree.body:
                if isinstance(node, ast.Assign) and file != "lowlevel":
                    exec(compile(ast.Module([node], []), str(path), "exec"), space)
                elif (
                    isinstance(node, ast.FunctionDef)
                    and node.name in TAKEN.get(file, (node.name,))
                    and node.name != "_product128"
                ):
                    self.functions[file, node.name] = node
                    self.install(file, node)
        for file in FILES:
            for name, stand_in in self.stand_ins().items():
                # What the file makes itself stays; the wide ones of maths.py are chosen by type.
                if name not in self.spaces[file] or (file == "maths" and name in ("sigmoid",)):
                    self.spaces[file][name] = stand_in
            self.spaces[file]["_product128"] = _product128

    def install(self, file, node):
        """Make the function of a tree, in place of that of this name."""
        space = self.spaces[file]
        plain = ast.FunctionDef(
            name=node.name, args=node.args, body=node.body, decorator_list=[], returns=None, type_params=[]
        )
        module = ast.fix_missing_locations(ast.Module([ast.copy_location(plain, node)], []))
        name = f"_wide_{node.name}" if (file, node.name) == ("maths", "sigmoid") else node.name
        made: dict = {}
        exec(compile(module, f"<plain {file}.py>", "exec"), space, made)
        space[name] = self._recorded(file, node.name, made[node.name]) if self.record else made[node.name]

    def _recorded(self, file, name, function):
        """``function``, which notes in ``called`` that it was."""

        def noting(*arguments):
            self.called.add((file, name))
            return function(*arguments)

        return noting

    def stop_recording(self):
        """Make all functions again, without notes."""
        self.record = False
        for (file, _), node in self.functions.items():
            self.install(file, node)

    def stand_ins(self):
        """What the files import from each other, and what stands in for LLVM instructions."""
        maths, lowlevel = self.spaces["maths"], self.spaces["lowlevel"]

        def by_type(single, wide):
            return lambda x, *rest: maths[single](x, *rest) if isinstance(x, np.float32) else wide(x, *rest)

        return {
            **{name: _late(maths, name) for name in ("minus", "over", "root")},
            "exp": by_type("_exp", np.exp),
            "sigmoid": by_type("_sigmoid", lambda x: maths["_wide_sigmoid"](x)),
            "tanh": by_type("_tanh", np.tanh),
            "upper_tail": by_type("_upper_tail", lambda x, e: np.float64(0.5 * math.erfc(x * math.sqrt(0.5)))),
            "ordered": by_type("_ordered32", lambda x: maths["_ordered64"](x)),
            "unordered": lambda n: maths["_unordered32" if isinstance(n, np.int32) else "_unordered64"](n),
            "_bits": lambda x: x.view(np.int32), "_from_bits": lambda n: n.view(np.float32),
            "_bits64": lambda x: x.view(np.int64), "_from_bits64": lambda n: n.view(np.float64),
            "greatest_and_shift": _late(self.spaces["rows"], "greatest_and_shift"),
            "piece": _late(lowlevel, "piece"), "parallel": _parallel, "array_at": _array_at, "call_gemm": _gemm,
            "add_atomic": _add_atomic,
        }  # fmt: skip

    def use(self):
        """Let the library run these in place of the compiled ones, in this process."""
        kernels = compiled.kernels
        kernels.switch(True)
        for name in kernels._entries:
            kernels._entries[name] = self._entry(name)
        products = kernels.products
        products._product, products._stack = (_quiet(_late(self.spaces["products"], n)) for n in ("_product", "_stack"))

    def _entry(self, name):
        file = next(file for file in FILES if (file, name) in self.functions)
        return _quiet(_late(self.spaces[file], name))


def _late(space, name):
    """The function of this name as it is when it is called."""
    return lambda *arguments: space[name](*arguments)


def _quiet(function):
    """``function``, in which floats and integers overflow without a warning, as in numba."""

    def called(*arguments):
        with np.errstate(all="ignore"):
            return function(*arguments)

    return called


def _sqrt(x):
    return np.sqrt(x)


MATHS = SimpleNamespace(
    exp=np.exp, log1p=np.log1p, expm1=np.expm1, tanh=np.tanh, sqrt=_sqrt, erfc=lambda x: np.float64(math.erfc(x))
)


def _parallel(pool, parts, body, arguments):
    for number in range(parts):
        body(number, *arguments)


def _memory(address, count, dtype):
    if count < 0 or not address:
        raise IndexError(f"{count} elements at {address:#x}")
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype=dtype)


def _array_at(address, shape, like):
    return _memory(int(address), math.prod(shape), np.asarray(like).dtype).reshape(shape)


def _matrix(address, rows, columns, step, dtype):
    """``(rows, columns)`` whose rows lie ``step`` elements apart."""
    if rows < 1 or columns < 1 or step < columns:
        raise IndexError(f"a matrix ({rows}, {columns}) with rows {step} apart")
    line = _memory(int(address), (rows - 1) * step + columns, dtype)
    return np.lib.stride_tricks.as_strided(line, (rows, columns), (step * dtype.itemsize, dtype.itemsize))


def _gemm(gemm, first, second, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    dtype = alpha.dtype
    a = _matrix(a, k, m, lda, dtype).T if first else _matrix(a, m, k, lda, dtype)
    b = _matrix(b, n, k, ldb, dtype).T if second else _matrix(b, k, n, ldb, dtype)
    c = _matrix(c, m, n, ldc, dtype)
    c[...] = alpha * (a @ b) + (beta * c if beta else 0)


def _add_atomic(address, value):
    word = ctypes.c_int64.from_address(int(address))
    before, word.value = word.value, word.value + int(value)
    return before


def _product128(x, y):
    product = int(x) * int(y)
    return np.uint64(product >> 64), np.uint64(product & 0xFFFFFFFFFFFFFFFF)
