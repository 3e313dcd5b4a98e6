"""NVIDIA's NCCL by CuPy: sums and copies over the GPUs of several processes.

CuPy finds the library by itself if it is installed (the wheels ``nvidia-nccl-cu13`` and ``-cu12``,
or the system's).
"""

from __future__ import annotations

from minitensor.backend.devices import device_of, on
from minitensor.backend.installing import NCCL

__all__ = ["Communicator", "unique_id"]


def _nccl():
    """CuPy's module. Raises ModuleNotFoundError with the line of pip if CuPy or NCCL is missing."""
    try:
        from cupy.cuda import nccl
    except ImportError as error:
        raise ModuleNotFoundError(
            f"training on several GPUs needs CuPy, which cannot be imported ({error}): {NCCL}"
        ) from error
    if not getattr(nccl, "available", False):
        raise ModuleNotFoundError(f"training on several GPUs needs NCCL, which CuPy does not find: {NCCL}")
    return nccl


def unique_id():
    """What all processes of a communicator must know; one of them makes it."""
    return _nccl().get_unique_id()


class Communicator:
    """NCCL's, for process ``rank`` of ``size``, which works on the GPU ``device``. Waits until all
    processes have made theirs.
    """

    def __init__(self, device, size, unique_id, rank):
        self.nccl, self.device = _nccl(), device
        with on(device):
            self.communicator = self.nccl.NcclCommunicator(size, unique_id, rank)
        n = self.nccl
        self.types = {
            "float16": n.NCCL_FLOAT16, "float32": n.NCCL_FLOAT32, "float64": n.NCCL_FLOAT64,
            "int32": n.NCCL_INT32, "int64": n.NCCL_INT64, "uint8": n.NCCL_UINT8,
        }  # fmt: skip

    def all_reduce(self, array):
        """The sum over the processes, in place, queued on the current stream: the host goes on."""
        kind = self._kind("all_reduce", array)
        with on(self.device):
            here = array.data.ptr
            self.communicator.allReduce(here, here, array.size, kind, self.nccl.NCCL_SUM, self._stream())

    def broadcast(self, array, root):
        """The values of process ``root``, in place, queued on the current stream."""
        kind = self._kind("broadcast", array)
        with on(self.device):
            self.communicator.broadcast(array.data.ptr, array.data.ptr, array.size, kind, root, self._stream())

    def abort(self):
        """Let go of the others, whatever they are doing."""
        self.communicator.abort()

    def _kind(self, what, array):
        if device_of(array) != self.device:
            raise TypeError(f"{what}: the array is on {device_of(array)}, this process works on {self.device}")
        if array.dtype.name not in self.types:
            raise TypeError(f"{what}: NCCL has no type for {array.dtype}; there are {', '.join(self.types)}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{what}: the array must lie in one piece, so that it can be sent as it is")
        return self.types[array.dtype.name]

    @staticmethod
    def _stream():
        import cupy

        return cupy.cuda.get_current_stream().ptr
