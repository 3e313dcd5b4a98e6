"""What other busy work costs us, and what we cost other work in the same process.

    python benchmarks/neighbours.py

**Beside a busy process.** Another process keeps one core busy with a loop of Python. With two cores
at least one whole core is ours, so that the neighbour's share explains

    explained = min(time on 1 thread alone, 2 x time on 2 threads alone)

A program that ran on one thread would not notice the neighbour on the other core. And one that
keeps both cores busy, and shares its work well, gets at least half of what it had. Whichever is
less can be had by this program itself, with no more than one core. (A fair scheduler even gives two
of our threads and one of the neighbour's 4/3 of the two cores: ``explained`` is the modest claim.)
What is above it is our own doing: threads that wait for one that is not running, or spin on a core
that another one needs.

    excess = time beside the neighbour / explained        wanted: at most 1.3

With C cores and as many threads, ``explained`` is min(time on C - 1 threads, C / (C - 1) x time on
C threads). The same figure is measured for PyTorch.

**In one process with PyTorch.** An encoder layer of PyTorch's is timed right after a training step
of minitensor's, and after a sleep as long as that step, in turns in the same process: the same
memory, the same threads, and only what ran just before differs.

    cost = time after our step / time after a sleep        wanted: at most 1.10
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from timing import HERE, MODES, Place, Worker, environment, has_fast

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

__all__ = ["COST", "EXCESS", "beside", "busy", "excess", "same_process", "tables"]

EXCESS, COST = 1.3, 1.10  # what is wanted at most
SETTLED = 0.3  # seconds after which a busy process is on its core


@contextlib.contextmanager
def busy():
    """One core is kept busy by another process meanwhile."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        time.sleep(SETTLED)
        yield process
    finally:
        process.kill()
        process.wait()


def excess(beside, fewer, alone, threads):
    """``beside / explained``, see the head; ``fewer`` is the time on one thread less, alone."""
    return beside / min(fewer, threads / (threads - 1) * alone)


def beside(program, place, rounds, name="step", **changes):
    """Median seconds ``(alone, on one thread less alone, beside a busy process)`` of a program."""
    fewer = Place(place.threads - 1)
    with Worker(name, program, place, **changes) as whole, Worker(name, program, fewer, **changes) as part:
        times = [[], [], []]
        for _ in range(rounds):
            times[0] += whole.turn(1)
            times[1] += part.turn(1)
            with busy():
                times[2] += whole.turn(1)
    return [statistics.median(found) for found in times]


def same_process(mode, place, rounds):
    """Median seconds of PyTorch's layer ``(after our step, after a sleep)``."""
    command = [sys.executable, str(HERE / "neighbours.py"), "--inner", str(rounds), "--threads", str(place.threads)]
    done = subprocess.run(command, env=environment(mode, place), stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def _inner(rounds, threads):
    """What ``same_process`` starts: both libraries in this process."""
    import torch
    from cases import make

    torch.set_num_threads(threads)
    step, layer = make("step", "plain"), make("layer", "torch")  # the mode is the environment's
    times = [], []
    for i in range(rounds + 1):
        start = time.perf_counter()
        step.run()
        length = time.perf_counter() - start
        for found, before in zip(times, (None, length)):
            if before is not None:
                time.sleep(before)
            start = time.perf_counter()
            layer.run()
            if i:  # not the first
                found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def tables(place, modes, rounds):
    """Lines of Markdown of both tables."""
    fewer = "1 thread" if place.threads == 2 else f"{place.threads - 1} threads"
    lines = [
        "## Beside a busy process", "",
        f"| step | alone ms | {fewer} alone ms | beside ms | beside/alone | excess | wanted |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for program in (*modes, "torch"):
        alone, part, slowed = beside(program, place, rounds)
        shown = " | ".join(f"{seconds * 1e3:.1f}" for seconds in (alone, part, slowed))
        most = "-" if program == "torch" else f"{EXCESS:.2f}"
        figures = f"{slowed / alone:.2f} | {excess(slowed, part, alone, place.threads):.2f} | {most}"
        lines.append(f"| {'PyTorch' if program == 'torch' else program} | {shown} | {figures} |")
    lines += [
        "", "## PyTorch's encoder layer in one process with minitensor", "",
        "| mode | after our step ms | after a sleep ms | cost | wanted |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for mode in modes:
        after, rested = same_process(mode, place, rounds)
        lines.append(f"| {mode} | {after * 1e3:.1f} | {rested * 1e3:.1f} | {after / rested:.2f} | {COST:.2f} |")
    return lines


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="of each figure (default: 15)")
    parser.add_argument(
        "--threads", type=int, default=2, help="of each library, as many as there are cores (default: 2)"
    )
    parser.add_argument("--inner", type=int, metavar="ROUNDS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(_inner(options.inner, options.threads)))
        return
    if options.threads < 2:
        parser.error("--threads must be at least 2: a neighbour takes one core of several")
    modes = MODES if has_fast() else ("plain",)
    print(*tables(Place(options.threads), modes, options.rounds), sep="\n")


if __name__ == "__main__":
    main()
