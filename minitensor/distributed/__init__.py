"""Several processes that train one model: each computes a part of every batch, and all make the
same step.

    group.py        what processes say to each other; a process that is alone
    mpi.py          over MPI, by mpi4py: on CPUs, of one machine or many
    nccl.py         over NCCL, by CuPy: gradients between GPUs, all else over MPI
    training.py     the gradients of all ranks added up; equal weights; which rows are whose

Nothing but NumPy is imported before a group is joined.
"""

from minitensor.distributed.group import Group
from minitensor.distributed.joining import join
from minitensor.distributed.mpi import MPIGroup
from minitensor.distributed.nccl import NCCLGroup
from minitensor.distributed.training import check_agreement, rows_of, share_parameters, sum_gradients

__all__ = [
    "Group", "MPIGroup", "NCCLGroup", "check_agreement", "join", "rows_of", "share_parameters", "sum_gradients",
]  # fmt: skip
