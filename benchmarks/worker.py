"""A process of ``timing.py``: reads cases and numbers of calls, makes the calls, writes their
seconds.

The command is ``worker.py PROGRAM THREADS {cpu,cuda} {True,False}``, the last for TF32; PROGRAM is
one of ``cases.PROGRAMS``, or products. A line that it reads is ``{"case": ..., "changes": ...,
"calls": ...}``, one that it writes a list. On a GPU a call is over when the device has done all
that it was given.
"""

from __future__ import annotations

import gc
import json
import sys
import time

from cases import make
from floor import Floor

# What a process must not have loaded: the other libraries, and what is not of its mode.
FOREIGN = {
    "plain": ("torch", "jax", "numba"), "fast": ("torch", "jax"), "graph": ("torch", "jax", "numba"),
    "torch": ("minitensor", "jax"),
    "compiled": ("minitensor", "jax"), "jax": ("minitensor", "torch"), "products": ("minitensor", "torch", "jax"),
}  # fmt: skip


def prepare(program, threads, device, tf32):
    """Settings that must stand before the first case is made."""
    if program in ("torch", "compiled"):
        import torch

        torch.set_num_threads(threads)
        if device != "cpu":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    if program == "jax":
        from peers_jax import bind

        bind(threads)


def main():
    """Answer until the input ends."""
    program, threads, device, tf32 = sys.argv[1:]
    prepare(program, int(threads), device, tf32 == "True")
    current = work = None
    for line in sys.stdin:
        request = json.loads(line)
        name, changes = request["case"], request["changes"]
        if (name, changes) != current:
            work = None  # the last one's memory, before there is another
            gc.collect()
            current = name, changes
            work = Floor(name, device) if program == "products" else make(name, program, device=device, **changes)
        work.run()
        work.wait()
        seconds = []
        for _ in range(request["calls"]):
            start = time.perf_counter()
            work.run()
            work.wait()
            seconds.append(time.perf_counter() - start)
        loaded = [module for module in FOREIGN[program] if module in sys.modules]
        if loaded:
            sys.exit(f"the worker of {program} has imported {', '.join(loaded)}")
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
