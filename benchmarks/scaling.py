"""Training by several processes: the step of the translator by 1 process and by more.

    python benchmarks/scaling.py                   one process of 1 or 2 threads, 2 processes of 1
    python benchmarks/scaling.py --ranks 4         one process of 4 threads, 4 processes of 1
    python benchmarks/scaling.py --paper           what an all-reduce takes on many GPUs, by formula

The whole step (gradients of 64 pairs of 24 tokens, their sum over the processes, clipping, Adam),
the same batch in each: what is compared is the time until the same weights are reached. The sides
take turns, each in processes of its own, which are started anew for each turn; the figures are
minima over the turns of medians over the steps. "all-reduce" is the part of a step that waits for
the others and adds up. Run it on a quiet machine: it needs mpi4py and mpiexec.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

STEP = dict(d_model=256, n_heads=8, n_encoder_layers=3, n_decoder_layers=3, d_ff=1024, vocab_size=8000)
PAIRS, LENGTH, WARM = 64, 24, 3
# Bytes a second of one GPU in one direction: NVLink 4 within a machine of 8, a card of 400 Gb/s for
# each GPU between machines; and seconds of one of the 2 (N - 1) stages of a ring.
WITHIN, BETWEEN, STAGE, MACHINE = 450e9, 50e9, 5e-6, 8


def worker(steps):
    """Time ``steps`` updates as one of the processes; rank 0 prints seconds of a step, and of its
    all-reduce.
    """
    import numpy as np

    import minitensor as mt
    from minitensor import distributed, optim
    from minitensor.models.transformer import Transformer, TransformerConfig

    group = distributed.join() if distributed.joining.started() > 1 else distributed.Group()
    mt.random.seed(0)
    model = Transformer(TransformerConfig(**STEP, dropout=0.1, label_smoothing=0.1, max_length=LENGTH))
    model.train()
    parameters = list(model.parameters())
    optimizer = optim.Adam(parameters, lr=1e-4)
    source, target = np.random.default_rng(0).integers(3, STEP["vocab_size"], (2, PAIRS, LENGTH))
    mine = distributed.rows_of(group, PAIRS)
    whole, sums = [], []
    for _ in range(WARM + steps):
        group.barrier()
        started = time.perf_counter()
        with mt.random.rows(mine.start, mine.stop, of=PAIRS):
            loss = model.loss(source[mine], target[mine], target[mine], divide_by=PAIRS * LENGTH)
            loss.backward()
        before = time.perf_counter()
        distributed.sum_gradients(optimizer, group, [loss.item()])
        after = time.perf_counter()
        optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        whole.append(time.perf_counter() - started)
        sums.append(after - before)
    if group.rank == 0:
        size = sum(p.size for p in parameters)
        print(statistics.median(whole[WARM:]), statistics.median(sums[WARM:]), size)


def run(ranks, threads, steps):
    """``(seconds of a step, of its all-reduce, parameters)`` of so many processes of so many
    threads.
    """
    count = str(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MINITENSOR_THREADS": count}
    environment |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, __file__, "--worker", "--steps", str(steps)]
    if ranks > 1:
        beside = Path(sys.executable).with_name("mpiexec")
        starter = str(beside) if beside.exists() else shutil.which("mpiexec")
        if starter is None:
            sys.exit("there is no mpiexec: pip install 'minitensor-autograd[mpi]'")
        command = [starter, "-n", str(ranks), *command]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    step, part, size = done.stdout.split()
    return float(step), float(part), int(size)


def measure(ranks, steps, turns):
    """Print the table."""
    sides = [(1, 1), (1, ranks), (ranks, 1)]
    found = {side: [] for side in sides}
    print(f"load before: {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "")
    for _ in range(turns):
        for side in sides:
            found[side].append(run(*side, steps))
    best = {side: min(times) for side, times in found.items()}
    alone = best[1, 1][0]
    print("| processes | threads of each | step | of that all-reduce | speed |\n|---|---|---|---|---|")
    for (n, threads), (step, part, _) in best.items():
        print(f"| {n} | {threads} | {step * 1e3:.0f} ms | {part * 1e3:.1f} ms | {alone / step:.2f} |")
    print(f"{best[1, 1][2]:,} parameters, {best[1, 1][2] * 4 / 1e6:.0f} MB a step")


def all_reduce_seconds(size, ranks):
    """Of a ring over GPUs of which 8 are in a machine: 2 (N - 1) stages, each of a stage's latency
    and 1/N of the bytes.
    """
    stages, speed = 2 * (ranks - 1), WITHIN if ranks <= MACHINE else BETWEEN
    return stages * (STAGE + size / ranks / speed)


def paper(parameters, step, ranks=(8, 64, 512)):
    """Print what an all-reduce takes beside a step, whose batch stays the same for each GPU."""
    size = 4 * parameters
    print(f"{parameters:,} parameters, {size / 1e6:.0f} MB a step, step {step * 1e3:g} ms on one GPU")
    for n in ranks:
        t = all_reduce_seconds(size, n)
        print(f"| {n} | {t * 1e3:.2f} ms | {t / step:.0%} | {n * step / (step + t):.0f} |")


def main():
    """Measure, or compute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="updates of a turn (20)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="turns of each side (5)")
    parser.add_argument("--paper", action="store_true", help="only the formula, for --parameters and --milliseconds")
    parser.add_argument("--parameters", type=int, default=11_500_000, metavar="N", help="of the model, for --paper")
    parser.add_argument("--milliseconds", type=float, default=20.0, metavar="T", help="of a step, for --paper (20)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.steps)
    elif options.paper:
        paper(options.parameters, options.milliseconds / 1e3)
    else:
        measure(options.ranks, options.steps, options.turns)


if __name__ == "__main__":
    main()
