"""The kernels of ``backend/cu`` on the CPU: the CUDA text itself, compiled by the C++ compiler
against ``emulator.h`` and run thread by thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from minitensor.backend.kernels import FOLDER, REALS, signatures, sources

if sys.platform.startswith("linux"):
    import fcntl

HEADER = Path(__file__).with_name("emulator.h")
KEPT = Path(__file__).resolve().parents[2] / ".pytest_cache" / "emulated-kernels"
NUMBERS = {"int": ctypes.c_int, "long long": ctypes.c_longlong, "word": ctypes.c_ulonglong}


def compiler():
    """The C++ compiler's path, or None: also if the fibers of ``emulator.h`` are not reliable,
    outside Linux.
    """
    if not sys.platform.startswith("linux"):
        return None
    return shutil.which("g++") or shutil.which("clang++")


def _launcher(name, signature):
    """C text of a function that runs the kernel ``name`` on a grid."""
    parameters = [f"{kind}{'*' if pointer else ''} a{i}" for i, (kind, pointer) in enumerate(signature)]
    names = ", ".join(f"a{i}" for i in range(len(signature)))
    return (
        f'extern "C" void run_{name}(unsigned gx, unsigned gy, unsigned threads, {", ".join(parameters)}) '
        f"{{ emulate(gx, gy, threads, [&] {{ {name}({names}); }}); }}"
    )


APART = {"attention_tiles"}  # files that are compiled by themselves: they take long, and few tests run them


@cache
def files_with(name):
    """The files that are compiled together with the kernel ``name``."""
    file = next(file for file, text in sources().items() if name in signatures(text))
    return (file,) if file in APART else tuple(file for file in sources() if file not in APART)


@cache
def library(dtype, files):
    """The kernels of ``files`` for elements of ``dtype`` as a ctypes library."""
    paths = [FOLDER / "head.cu", *(FOLDER / f"{file}.cu" for file in files)]
    included = "\n".join(f'#include "{path}"' for path in (HEADER, *paths))
    found = {name: signature for file in files for name, signature in signatures(sources()[file]).items()}
    launchers = "\n".join(_launcher(name, signature) for name, signature in found.items())
    command = [compiler(), "-std=c++17", "-O1", "-w", "-shared", "-fPIC", f"-DREAL={REALS[dtype]}"]
    return ctypes.CDLL(str(_built(command, f"{included}\n{launchers}\n", [HEADER, *paths])))


def _built(command, text, included):
    """What ``command`` makes of a text in C++ and the files that it includes: kept, and made once
    for all the processes of the suite.
    """
    read = [" ".join(command), text, *(path.read_text(encoding="utf-8") for path in included)]
    made = KEPT / f"{hashlib.sha256(chr(0).join(read).encode()).hexdigest()[:16]}.so"
    KEPT.mkdir(parents=True, exist_ok=True)
    with open(KEPT / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory() as folder:
                source, new = Path(folder) / "kernels.cpp", made.with_suffix(".new")
                source.write_text(text, encoding="utf-8")
                subprocess.run([*command, "-o", str(new), str(source)], check=True)
                new.rename(made)
    return made


BACKWARDS = [False]


ONE_AT_A_TIME = threading.RLock()  # the fibers of a block are global


@contextmanager
def backwards():
    """Within, the threads of a block and the blocks run from the last to the first, which must not
    change a result.
    """
    BACKWARDS[0] = True
    try:
        yield
    finally:
        BACKWARDS[0] = False


class Module:
    """Stands in for ``cupy.RawModule``."""

    def __init__(self, code, options):
        kind = next(option.removeprefix("-DREAL=") for option in options if option.startswith("-DREAL="))
        self.dtype = next(dtype for dtype, name in REALS.items() if name == kind)
        self.signatures = signatures(code)

    def get_function(self, name):
        """The kernel ``name``, called as CuPy's: ``kernel(grid, block, arguments)``."""
        signature, dtype = self.signatures[name], self.dtype

        def kernel(grid, block, arguments):
            assert len(arguments) == len(signature), name
            values = [_c_value(kind, pointer, dtype, value) for (kind, pointer), value in zip(signature, arguments)]
            grid = (*grid, 1)[:2]
            assert 0 < block[0] <= 1024 and all(0 < n < 2**31 for n in grid) and grid[1] < 65536, (name, grid, block)
            with ONE_AT_A_TIME:
                built = library(dtype, files_with(name))
                ctypes.c_int.in_dll(built, "backwards").value = BACKWARDS[0]
                getattr(built, f"run_{name}")(*(ctypes.c_uint(n) for n in (*grid, block[0])), *values)

        return kernel


def _c_value(kind, pointer, dtype, value):
    """``value`` as C sees it; its type must already be exactly the parameter's, since a GPU would
    only read the bytes.
    """
    if pointer:
        if isinstance(value, np.uint64):
            assert value == 0
            return ctypes.c_void_p(0)
        return ctypes.c_void_p(value.data.ptr)
    if kind == "REAL":
        assert type(value) is dtype.type, (kind, value)
        return (ctypes.c_float if dtype == np.float32 else ctypes.c_double)(value)
    assert np.dtype(type(value)).itemsize == ctypes.sizeof(NUMBERS[kind]), (kind, value)
    return NUMBERS[kind](int(value))
