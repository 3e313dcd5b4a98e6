"""Becoming one of many."""

from __future__ import annotations

import os

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
    """
    group = MPIGroup()
    if group.size == 1 < started():
        raise RuntimeError(
            f"mpiexec has started {started()} processes, and mpi4py sees one: they belong to different libraries of MPI; "
            "start them by the mpiexec of the library that mpi4py uses (python -m minitensor doctor names it)"
        )
    return NCCLGroup(group, device) if device.startswith("cuda") else group
