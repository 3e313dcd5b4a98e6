"""Timing two libraries without one disturbing the other.

After a matrix product the threads of a BLAS library spin for tens of milliseconds, on the core that
the other library needs: in one process ``torch.nn.LSTM`` took 122 ms right after a NumPy product,
and 27 ms alone. So each library has its own process, which never imports the other. The two take
turns. A turn begins with a pause, in which all threads fall asleep, and a call that is not counted.
On a GPU no thread spins, and there is no pause.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAUSE", "Place", "Worker", "alone", "in_turns"]

HERE = Path(__file__).resolve().parent
PAUSE = 0.15  # seconds


@dataclass(frozen=True)
class Place:
    """On what both libraries run. tf32: products of float32 on a GPU take factors rounded to 10
    bits behind the point.
    """

    threads: int
    device: str = "cpu"
    tf32: bool = False


class Worker:
    """A process that does one side of a case (or its products) when told to; ``name`` can be
    changed to another case.
    """

    def __init__(self, name, side, place, wait=True):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(place.threads))
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        if place.device != "cpu":
            environment["CUPY_TF32"] = str(int(place.tf32))
        command = [sys.executable, str(HERE / "worker.py"), side, *map(str, (place.threads, place.device, place.tf32))]
        self.name, self.pause = name, PAUSE if place.device == "cpu" else 0
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        if wait:
            self.turn(0)  # waits until it is ready; the case has run once

    def turn(self, calls):
        """Seconds of each of so many calls, after a pause and one that is not counted."""
        time.sleep(self.pause)
        try:
            self.process.stdin.write(f"{self.name} {calls}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.end()
            raise RuntimeError(f"a worker ended: {' '.join(self.process.args)} ({self.name})")
        return [float(seconds) for seconds in answer.split()]

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


def in_turns(name, sides, place, rounds, calls, kept=None):
    """Median seconds of each side, and the median of the ratios of the first to the second over all
    rounds.

    kept: an existing PyTorch worker, which is not stopped.
    """
    made = {side: Worker(name, side, place, wait=False) for side in sides if kept is None or side != "torch"}
    try:
        workers = [made.get(side, kept) for side in sides]
        for worker in workers:
            worker.name = name
            worker.turn(0)
        times = [[] for _ in sides]
        for _ in range(rounds):
            for worker, found in zip(workers, times):
                found.append(statistics.median(worker.turn(calls)))
    finally:
        for worker in made.values():
            worker.end()
    ratio = statistics.median(a / b for a, b in zip(*times[:2]))
    return [statistics.median(found) for found in times], ratio


def alone(name, side, place, rounds, calls, kept=None):
    """Median seconds of each turn of one side while nothing else of the benchmark exists; ``kept``
    as in ``in_turns``.
    """
    with Worker(name, side, place) if kept is None else contextlib.nullcontext(kept) as worker:
        worker.name = name
        return [statistics.median(worker.turn(calls)) for _ in range(rounds)]
