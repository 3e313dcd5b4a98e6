"""A process of ``timing.py``: reads cases and numbers of calls, makes the calls, writes their
seconds.

The command is ``worker.py {minitensor,torch,products} THREADS {cpu,cuda} {True,False}``, the last
for TF32; a line that it reads is ``CASE CALLS``. On a GPU a call is over when the device has done
all that it was given.
"""

from __future__ import annotations

import gc
import sys
import time

import numpy as np
from cases import make, products


class Floor:
    """The matrix products of a case, and nothing else: by NumPy, or by CuPy on a GPU."""

    def __init__(self, name, device):
        rng = np.random.default_rng(0)
        self.work, self.device = [], device
        for count, rows, inner, columns in products(name):
            shapes = ((rows, inner), (inner, columns), (rows, columns))
            arrays = [rng.standard_normal((count, *shape) if count > 1 else shape, np.float32) for shape in shapes]
            self.work.append(arrays)
        if device != "cpu":
            import cupy

            self.cupy, self.work = cupy, [[cupy.asarray(x) for x in arrays[:2]] for arrays in self.work]

    def run(self):
        if self.device != "cpu":
            for a, b in self.work:
                self.cupy.matmul(a, b)
            return
        for a, b, out in self.work:
            np.matmul(a, b, out=out)

    def wait(self):
        if self.device != "cpu":
            self.cupy.cuda.get_current_stream().synchronize()


def main():
    """Answer until the input ends."""
    side, threads, device, tf32 = sys.argv[1:]
    if side == "torch":
        import torch

        torch.set_num_threads(int(threads))
        if device != "cpu":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32 == "True"
    other = {"torch": "minitensor", "minitensor": "torch"}.get(side)
    current = work = None
    for line in sys.stdin:
        name, calls = line.split()
        if name != current:
            work = None  # the last one's memory, before there is another
            gc.collect()
            current, work = name, Floor(name, device) if side == "products" else make(name, side, device=device)
        work.run()
        work.wait()
        seconds = []
        for _ in range(int(calls)):
            start = time.perf_counter()
            work.run()
            work.wait()
            seconds.append(time.perf_counter() - start)
        if other in sys.modules:
            sys.exit(f"the worker of {side} has imported {other}")
        print(*seconds, flush=True)


if __name__ == "__main__":
    main()
