"""A group over MPI, the standard of the machines that compute together, by mpi4py."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minitensor.backend import move, np, on
from minitensor.backend.installing import MPI as MPI_LINE
from minitensor.distributed.group import Group
from minitensor.engine.messages import a_kind

__all__ = ["MPIGroup", "load"]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    sizes and machines. Raises RuntimeError if two threads call at once, and if MPI refuses a call,
    as it may if the ranks have made different ones.
    """

    def __init__(self, communicator: Any = None) -> None:
        self._mpi = load()
        self._world = self._mpi.COMM_WORLD if communicator is None else communicator
        if not hasattr(self._world, "Get_rank"):
            raise TypeError(
                f"MPIGroup takes a communicator of mpi4py, such as MPI.COMM_WORLD, not {a_kind(communicator)}"
            )
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        self._talking = threading.Lock()

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        """A call of MPI is made inside, which all ranks make together."""
        if not self._talking.acquire(blocking=False):
            raise RuntimeError(
                f"{what}: another thread is in a call of this group, and the ranks must make the same calls in the same "
                "order; let one thread make them all"
            )
        try:
            yield
        except self._mpi.Exception as error:
            said = str(error).partition("\n")[0].partition(", error stack")[0]
            raise RuntimeError(
                f"{what}: MPI says {said!r}; all ranks must make the same calls in the same order, with arrays of one size and "
                f"type: look for what rank {self.rank} does otherwise than the others"
            ) from error
        finally:
            self._talking.release()

    def all_reduce(self, array: Any) -> None:
        self._check("all_reduce", array)
        if array.dtype.name not in SUMMED:
            raise TypeError(
                f"all_reduce: MPI does not add {array.dtype}; it adds {', '.join(SUMMED)}, so convert it first"
            )
        if self.size == 1:
            return
        here = _on_the_host(array)
        with self._call("all_reduce"):
            self._world.Allreduce(self._mpi.IN_PLACE, here)
        _bring_back(here, array)

    def broadcast(self, array: Any, root: int = 0) -> None:
        self._check("broadcast", array, root)
        if self.size == 1:
            return
        here = _on_the_host(array)
        with self._call("broadcast"):
            self._world.Bcast(here.reshape(-1).view(np.uint8), root=root)  # as bytes: of any type
        _bring_back(here, array)

    def share(self, thing: Any, root: int = 0) -> Any:
        self._check_root("share", root)
        self.barrier()
        with self._call("share"):
            return self._world.bcast(thing, root=root)

    def gather(self, thing: Any) -> list[Any]:
        with self._call("gather"):
            return self._world.allgather(thing)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        array = np.array(numbers, dtype=np.float64)
        self.all_reduce(array)
        return array.tolist()

    def barrier(self) -> None:
        with self._call("barrier"):
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
