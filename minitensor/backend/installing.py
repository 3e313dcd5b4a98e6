"""The lines of pip that install what a part of the library needs beside NumPy, for messages."""

__all__ = ["CUPY", "FAST", "MPI", "NCCL", "line"]


def line(extra):
    """The line of pip for an extra."""
    return f'pip install "minitensor-autograd[{extra}]"'


def _by_driver(extra):
    return f'{line(f"{extra}13")} for a driver of CUDA 13, or "minitensor-autograd[{extra}12]" for CUDA 12'


CUPY, NCCL, MPI, FAST = _by_driver("cuda"), _by_driver("nccl"), line("mpi"), line("fast")
