"""Timing two libraries without one disturbing the other.

After a matrix product the threads of a BLAS library spin for tens of milliseconds, on the core that the other library needs: in one
process ``torch.nn.LSTM`` took 122 ms right after a NumPy product, and 27 ms alone. So each library has a process of its own, which
never imports the other. The two take turns. A turn begins with a pause, in which all threads fall asleep, and a call that is not
counted.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["PAUSE", "Worker", "alone", "in_turns"]

HERE = Path(__file__).resolve().parent
PAUSE = 0.15  # seconds


class Worker:
    """A process that does one side of one case (or its products) when told to."""

    def __init__(self, name, side, threads):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads))
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(HERE / "worker.py"), name, side, str(threads)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self.turn(0)  # it is ready, and has run once

    def turn(self, calls):
        """Seconds of each of so many calls, after a pause and one that is not counted."""
        time.sleep(PAUSE)
        try:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.end()
            raise RuntimeError(f"a worker ended: {' '.join(self.process.args)}")
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


def in_turns(name, sides, threads, rounds, calls):
    """Median seconds of each side, and the median of the ratios of the first to the second over all rounds."""
    workers = [Worker(name, side, threads) for side in sides]
    try:
        times = [[] for _ in sides]
        for _ in range(rounds):
            for worker, found in zip(workers, times):
                found.append(statistics.median(worker.turn(calls)))
    finally:
        for worker in workers:
            worker.end()
    ratio = statistics.median(a / b for a, b in zip(*times[:2]))
    return [statistics.median(found) for found in times], ratio


def alone(name, side, threads, rounds, calls):
    """Median seconds of each turn of one side while nothing else of the benchmark exists."""
    with Worker(name, side, threads) as worker:
        return [statistics.median(worker.turn(calls)) for _ in range(rounds)]
