"""Becoming one of many."""

from __future__ import annotations

import os
import sys
from typing import Any

from minitensor.backend import as_device
from minitensor.distributed.group import Group
from minitensor.distributed.mpi import MPIGroup
from minitensor.distributed.nccl import NCCLGroup

__all__ = ["join", "started"]

# Where the starters of MPI tell a process how many there are: MPICH and Intel's, Open MPI, MVAPICH.
COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def started() -> int:
    """As one of how many processes ``mpiexec`` has started this one; 1 if it has not."""
    counts = [int(os.environ[name]) for name in COUNTS if os.environ.get(name, "").isdigit()]
    return max(counts, default=1)


def join(device: str = "cpu") -> Group:
    """The group of all processes that ``mpiexec`` has started, of which this is one::

        mpiexec -n 4 python train.py

    Without ``mpiexec`` it is a group of one. device: "cuda" for an `NCCLGroup`, in which each rank
    has a GPU of its own; else an `MPIGroup`. Raises ModuleNotFoundError with the line of pip if
    mpi4py, CuPy or NCCL is missing, and RuntimeError if ``mpiexec`` belongs to another MPI than
    mpi4py, so that each process would train for itself.

    From then on an exception that nobody catches ends the processes of all ranks, after its rank
    and its traceback have been printed: the others would wait for ever. ``sys.exit`` on one rank
    alone is no exception to Python: raise an error there, or call ``group.abort(code)``.
    """
    on_gpus = isinstance(device, str) and device.startswith("cuda")
    if not on_gpus:
        as_device(device)  # raises for what is none
    group = MPIGroup()
    if group.size == 1 < started():
        raise RuntimeError(
            f"mpiexec has started {started()} processes, and mpi4py sees one: they belong to different libraries of MPI; "
            "start them by the mpiexec of the library that mpi4py uses (python -m minitensor doctor names it)"
        )
    if group.size > 1:
        _end_all_by_an_error(group)
    return NCCLGroup(group, device) if on_gpus else group


def _end_all_by_an_error(group):
    """Make an exception that nobody catches end all processes."""
    tell = getattr(sys.excepthook, "tell", sys.excepthook)  # a second call takes the place of the first

    def ended(kind, error, trace):
        sys.stderr.write(f"rank {group.rank} of {group.size}:\n")
        tell(kind, error, trace)
        group.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

    hook: Any = ended
    hook.tell = tell
    sys.excepthook = hook
