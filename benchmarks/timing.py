"""Timing two libraries without one disturbing the other.

After a matrix product the threads of a BLAS library spin for tens of milliseconds, on the core that
the other library needs: in one process ``torch.nn.LSTM`` took 122 ms right after a NumPy product,
and 27 ms alone. So each library has its own process, which never imports the other, and so has each
mode of minitensor. They take turns. A turn begins with a pause, in which all threads fall asleep,
and a call that is not counted. On a GPU no thread spins, and there is no pause.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GPU_MODES", "MODES", "PAUSE", "Place", "Worker", "environment", "has_fast", "in_turns"]

HERE = Path(__file__).resolve().parent
PAUSE = 0.15  # seconds
MODES = ("plain", "fast")  # of minitensor
GPU_MODES = ("plain", "graph")  # of minitensor on a GPU: each kernel launched, or a step captured in a CUDA graph


@dataclass(frozen=True)
class Place:
    """On what all sides run. tf32: products of float32 on a GPU take factors rounded to 10 bits
    behind the point.
    """

    threads: int
    device: str = "cpu"
    tf32: bool = False


def environment(program, place):
    """The environment of a process that runs ``program``: how many threads, and which mode."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MINITENSOR_THREADS")
    found = os.environ | dict.fromkeys(names, str(place.threads))
    found["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    if program in MODES + GPU_MODES:
        found["MINITENSOR_FAST"] = str(int(program == "fast"))
    if place.device != "cpu":
        found["CUPY_TF32"] = str(int(place.tf32))
    return found


def has_fast():
    """Whether minitensor has a compiled mode here: the one that loads numba."""
    code = (
        "import sys; from cases import make; make('layer', 'fast', batch=2, length=3, d_model=8, n_heads=2, d_ff=8).run(); "
        "sys.exit('numba' not in sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", code], env=environment("fast", Place(1))).returncode == 0


class Worker:
    """A process that does one side of a case when told to; ``name`` can be changed to another case.

    program: one of ``cases.PROGRAMS``, or "products" for the floor. changes: to the options of the
    case.
    """

    def __init__(self, name, program, place, wait=True, **changes):
        command = [sys.executable, str(HERE / "worker.py"), program]
        command += map(str, (place.threads, place.device, place.tf32))
        self.name, self.changes, self.pause = name, changes, PAUSE if place.device == "cpu" else 0
        self.process = subprocess.Popen(
            command,
            env=environment(program, place),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        if wait:
            self.turn(0)  # waits until it is ready; the case has run once

    def turn(self, calls):
        """Seconds of each of so many calls, after a pause and one that is not counted."""
        time.sleep(self.pause)
        request = {"case": self.name, "changes": self.changes, "calls": calls}
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.end()
            raise RuntimeError(f"a worker ended: {' '.join(self.process.args)} ({self.name})")
        return json.loads(answer)

    def turns(self, rounds, calls):
        """The median of each of so many turns."""
        return [statistics.median(self.turn(calls)) for _ in range(rounds)]

    def end(self):
        """Let the process end, and wait for it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()


def in_turns(workers, rounds, calls):
    """The median seconds of each worker in each round: ``{key: [...]}`` for workers by key. All
    have run once before the first is timed.
    """
    for worker in workers.values():
        worker.turn(0)
    times = {key: [] for key in workers}
    for _ in range(rounds):
        for key, worker in workers.items():
            times[key].append(statistics.median(worker.turn(calls)))
    return times
