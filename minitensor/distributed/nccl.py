"""A group over NCCL, NVIDIA's library for sums between GPUs, by CuPy."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from minitensor.backend import as_device, np
from minitensor.backend.nccl import Communicator, unique_id
from minitensor.distributed.group import Group

__all__ = ["NCCLGroup"]

if TYPE_CHECKING:
    from collections.abc import Sequence


class NCCLGroup(Group):
    """Ranks with a GPU each: arrays on the GPUs go over NCCL, from GPU to GPU; all else, such as
    objects and numbers, by ``others``, a group of the same ranks (`MPIGroup`; one alone: `Group`).

    device: "cuda" takes the n-th GPU that is seen for the n-th rank of a machine; ``device`` is
    then its name, "cuda:1". An all-reduce is queued, and the host goes on; at the first step it
    waits for all ranks. Raises RuntimeError if a rank has no GPU left, and ModuleNotFoundError with
    the line of pip if CuPy or NCCL is missing.
    """

    def __init__(self, others: Group, device: str = "cuda") -> None:
        self.others, self.rank, self.size = others, others.rank, others.size
        self.device = as_device(f"cuda:{self._place()}" if device == "cuda" else device)
        if self.device == "cpu":
            raise ValueError('NCCLGroup: NCCL connects GPUs, and the device is "cpu"; MPIGroup connects CPUs')
        self._check_devices()
        identity = others.share(unique_id() if self.rank == 0 else None)
        self._communicator = Communicator(self.device, self.size, identity, self.rank)

    def _place(self):
        """How many ranks before this one are on its machine and see the same GPUs."""
        return self.others.gather(_seen())[: self.rank].count(_seen())

    def _check_devices(self):
        """Raise ValueError if two ranks have one GPU."""
        found = self.others.gather((*_seen(), self.device))
        for rank, one in enumerate(found):
            if one in found[:rank]:
                raise ValueError(
                    f"NCCLGroup: the ranks {found.index(one)} and {rank} both have the GPU {one[-1]} of {one[0]}, and each "
                    'needs its own: write device="cuda" for the next that is free, and start at most as many as there are'
                )

    def all_reduce(self, array: Any) -> None:
        self._check("all_reduce", array)
        if isinstance(array, np.ndarray):
            self.others.all_reduce(array)
        else:
            self._communicator.all_reduce(array)

    def broadcast(self, array: Any, root: int = 0) -> None:
        self._check("broadcast", array, root)
        if isinstance(array, np.ndarray):
            self.others.broadcast(array, root)
        else:
            self._communicator.broadcast(array.reshape(-1).view(np.uint8), root)  # as bytes: of any type

    def share(self, thing: Any, root: int = 0) -> Any:
        return self.others.share(thing, root)

    def gather(self, thing: Any) -> list[Any]:
        return self.others.gather(thing)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        return self.others.sum(numbers)

    def barrier(self) -> None:
        self.others.barrier()

    def abort(self, code: int = 1) -> None:
        self.others.abort(code)


def _seen():
    """The name of the machine, and which of its GPUs are seen."""
    return socket.gethostname(), os.environ.get("CUDA_VISIBLE_DEVICES")
