"""What MPI does, between forked processes over pipes: for machines without MPI.

``install(n)`` forks, and puts a module in the place of ``mpi4py.MPI``, of which the library uses a
dozen names.
"""

import multiprocessing
import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np


class World:
    """A communicator: rank 0 collects, and sends to all."""

    def __init__(self, rank, pipes):
        self.rank, self.pipes = rank, pipes  # of rank 0: to each of the others; of these: to rank 0

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.pipes.size

    def allgather(self, thing):
        mine, others = self.pipes.of(self.rank)
        if mine is not None:
            mine.send(thing)
            return mine.recv()
        found = [thing, *(pipe.recv() for pipe in others)]
        for pipe in others:
            pipe.send(found)
        return found

    def bcast(self, thing, root):
        return self.allgather(thing)[root]

    def Allreduce(self, in_place, array):
        assert in_place == "in place" and array.flags.c_contiguous
        array[...] = sum(self.allgather(array))

    def Bcast(self, array, root):
        assert array.dtype == np.uint8
        array[...] = self.allgather(array)[root]

    def Ibarrier(self):
        self.allgather(None)
        return SimpleNamespace(Test=lambda: True)

    def Abort(self, code):
        os.kill(0, 15)


class Pipes:
    """Between rank 0 and all others."""

    def __init__(self, size):
        self.size = size
        self.pairs = [multiprocessing.Pipe() for _ in range(size - 1)]

    def of(self, rank):
        """``(to rank 0, to the others)``: the first is None for rank 0."""
        return (self.pairs[rank - 1][1], []) if rank else (None, [pair[0] for pair in self.pairs])


def install(size):
    """Fork into ``size`` processes; returns the children's numbers in rank 0, [] in the others."""
    pipes, children = Pipes(size), []
    rank = 0
    for number in range(1, size):
        child = os.fork()
        if not child:
            rank, children = number, []
            break
        children.append(child)
    package, module = ModuleType("mpi4py"), ModuleType("mpi4py.MPI")
    package.MPI, module.COMM_WORLD, module.IN_PLACE = module, World(rank, pipes), "in place"
    sys.modules.update({"mpi4py": package, "mpi4py.MPI": module})
    return children
