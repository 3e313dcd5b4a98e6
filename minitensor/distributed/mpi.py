"""A group over MPI, the standard of the machines that compute together, by mpi4py."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from minitensor.backend import move, np, on
from minitensor.backend.installing import MPI as MPI_LINE
from minitensor.distributed.group import Group

__all__ = ["MPIGroup", "load"]

if TYPE_CHECKING:
    from collections.abc import Sequence

SUMMED = ("float32", "float64", "int32", "int64", "uint8")  # what every MPI can add
PAUSE = 1e-3  # seconds between two looks whether the others have come


def load() -> Any:
    """The module ``mpi4py.MPI``, which enters MPI when it is first imported. Raises
    ModuleNotFoundError with the line of pip.
    """
    try:
        from mpi4py import MPI
    except ModuleNotFoundError as error:
        if error.name != "mpi4py":
            raise
        raise ModuleNotFoundError(f"several processes need mpi4py, which is not installed: {MPI_LINE}") from None
    except (ImportError, RuntimeError) as error:  # its words for a library of MPI that is missing or broken
        raise ImportError(f"mpi4py finds no MPI that works ({error}): {MPI_LINE}, or the system's MPI") from error
    return MPI


class MPIGroup(Group):
    """The ranks of an MPI communicator, default: all that ``mpiexec`` has started.

    Arrays of a GPU are copied to the host and back, as not every MPI can read them: for these there
    is `NCCLGroup`. The order of an all-reduce's sum is the library's, the same each time for equal
    sizes and machines.
    """

    def __init__(self, communicator: Any = None) -> None:
        self._mpi = load()
        self._world = self._mpi.COMM_WORLD if communicator is None else communicator
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()

    def all_reduce(self, array: Any) -> None:
        self._check("all_reduce", array)
        if array.dtype.name not in SUMMED:
            raise TypeError(
                f"all_reduce: MPI does not add {array.dtype}; it adds {', '.join(SUMMED)}, so convert it first"
            )
        if self.size == 1:
            return
        here = _on_the_host(array)
        self._world.Allreduce(self._mpi.IN_PLACE, here)
        _bring_back(here, array)

    def broadcast(self, array: Any, root: int = 0) -> None:
        self._check("broadcast", array, root)
        if self.size == 1:
            return
        here = _on_the_host(array)
        self._world.Bcast(here.reshape(-1).view(np.uint8), root=root)  # as bytes: of any type
        _bring_back(here, array)

    def share(self, thing: Any, root: int = 0) -> Any:
        self._check_root("share", root)
        self.barrier()
        return self._world.bcast(thing, root=root)

    def gather(self, thing: Any) -> list[Any]:
        return self._world.allgather(thing)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        array = np.array(numbers, dtype=np.float64)
        self.all_reduce(array)
        return array.tolist()

    def barrier(self) -> None:
        request = self._world.Ibarrier()  # MPI's own waits are loops that take a whole core
        while not request.Test():
            time.sleep(PAUSE)

    def abort(self, code: int = 1) -> None:
        for stream in (sys.stdout, sys.stderr):  # the process ends without Python's own end
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        time.sleep(0.3)  # the starter passes on what was written, and may be ended before it has
        self._world.Abort(code)
        os._exit(code)  # some libraries come back, and leave it to the starter to end this process


def _on_the_host(array):
    """The array itself, or a copy of one of a GPU."""
    return array if isinstance(array, np.ndarray) else move(array, "cpu")


def _bring_back(here, array):
    """Write what has come to ``here`` to ``array``, if that is another."""
    if here is not array:
        with on(array):
            array[...] = move(here, f"cuda:{array.device.id}")
