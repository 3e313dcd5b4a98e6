"""A process of ``timing.py``: reads numbers of calls, makes them, writes their seconds.

The command is ``worker.py CASE {minitensor,torch,products} THREADS``.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from cases import make, products


def floor(name):
    """A function that does the matrix products of a case, and nothing else, by NumPy."""
    rng = np.random.default_rng(0)
    work = []
    for count, rows, inner, columns in products(name):
        shapes = ((rows, inner), (inner, columns), (rows, columns))
        a, b, out = (rng.standard_normal((count, *shape) if count > 1 else shape, np.float32) for shape in shapes)
        work.append((a, b, out))

    def run():
        for a, b, out in work:
            np.matmul(a, b, out=out)

    return run


def main():
    """Answer until the input ends."""
    name, side, threads = sys.argv[1:]
    if side == "torch":
        import torch

        torch.set_num_threads(int(threads))
    run = floor(name) if side == "products" else make(name, side).run
    other = {"torch": "minitensor", "minitensor": "torch"}.get(side)
    for line in sys.stdin:
        run()
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        if other in sys.modules:
            sys.exit(f"the worker of {side} has imported {other}")
        print(*seconds, flush=True)


if __name__ == "__main__":
    main()
