"""Several processes: MPI on CPUs, NCCL on GPUs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator

from minitensor.backend.installing import MPI
from minitensor.health.check import BROKEN, NOTE, OK, Check, installed

__all__ = ["checks"]

PATIENCE = 60  # seconds for a child process
ALONE = "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0])"
TOGETHER = "from mpi4py import MPI; w = MPI.COMM_WORLD; n = w.allreduce(w.rank + 1); w.rank or print('sum', n, w.size)"


def checks() -> Iterator[Check]:
    """What is to be said of MPI and NCCL."""
    yield from _mpi()
    yield from _nccl()


def _mpi():
    if not installed("mpi4py"):
        yield Check(NOTE, "mpi4py is not installed: no training on several processes over MPI", MPI)
        return
    # In a child: some libraries end the process if they cannot begin.
    code, said = _child([sys.executable, "-c", ALONE])
    if code:
        yield Check(BROKEN, f"mpi4py is installed, but finds no MPI that works: {said}", f"{MPI}, or the system's MPI")
        return
    yield Check(OK, f"mpi4py with {said}")
    start = shutil.which("mpiexec")
    if start is None:
        yield Check(
            NOTE, "there is no mpiexec on the PATH, which starts the processes", f"{MPI}, or add its folder to PATH"
        )
        return
    code, said = _child([start, "-n", "2", sys.executable, "-c", TOGETHER])
    if "root" in said:
        cure = "set OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, or be another user"
        yield Check(BROKEN, f"{start} refuses to run as root: {said}", cure)
    elif code or "sum 3 2" not in said:
        cure = "use the mpiexec of the library that mpi4py has (above); of another one each process runs alone"
        yield Check(BROKEN, f"{start} -n 2: two processes do not add up: {said or 'nothing was said'}", cure)
    else:
        yield Check(OK, f"{start} -n 2: two processes add up")


def _nccl():
    if not installed("cupy"):
        return
    try:
        with warnings.catch_warnings():  # CuPy's, which says at length what is said below
            warnings.simplefilter("ignore")
            from cupy.cuda import nccl

        version = nccl.get_version()
    except (ImportError, AttributeError, RuntimeError):  # without the library CuPy leaves the module empty
        cure = 'pip install "nvidia-nccl-cu13" for CUDA 13, or "nvidia-nccl-cu12" for CUDA 12'
        yield Check(NOTE, "there is no NCCL: no training on several GPUs", cure)
        return
    yield Check(OK, f"NCCL {version // 10000}.{version // 100 % 100}.{version % 100}")


def _child(command):
    """``(exit status, the last line of words that it said, of an error the first)``; 1 if it did
    not end in time.
    """
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {PATIENCE} seconds"
    except OSError as error:
        return 1, str(error)
    text = run.stdout if run.returncode == 0 else run.stderr or run.stdout
    lines = [line.strip("\0 ") for line in text.splitlines() if any(map(str.isalpha, line))]
    if run.returncode and "Traceback" not in text:
        return run.returncode, lines[0] if lines else ""
    return run.returncode, lines[-1] if lines else ""
