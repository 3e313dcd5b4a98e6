"""The lines of pip that install what a part of the library needs beside NumPy, and the versions of
CUDA that they go by: words for messages.
"""

__all__ = ["CUPY", "FAST", "MPI", "NCCL", "cuda_version", "line"]


def line(extra):
    """The line of pip for an extra."""
    return f'pip install "minitensor-autograd[{extra}]"'


def cuda_version(number):
    """A version as CUDA numbers them, 12090, as text: "12.9"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _by_driver(extra):
    return f'{line(f"{extra}13")} for a driver of CUDA 13, or "minitensor-autograd[{extra}12]" for CUDA 12'


CUPY, NCCL, MPI, FAST = _by_driver("cuda"), _by_driver("nccl"), line("mpi"), line("fast")
