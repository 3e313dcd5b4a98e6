"""How the time of a training step grows with its sizes: exponents, fitted to measured times.

    python benchmarks/growth.py                          all curves
    python benchmarks/growth.py length --picture docs/pictures/growth.png

One size of an encoder-decoder changes, the others stay. The exponent is the slope of log(time) over
log(size), by least squares over the upper half of the sizes: at small ones the constant part of a
step hides what grows. Expected is what the arithmetic says: work is linear in batch, depth and
vocabulary; attention's is quadratic in the length and the rest linear; products are quadratic in
the width and the rest linear. Less than that means that a constant part is still seen, more that
something grows which should not. All sizes of a curve are timed in turns, each in a process of its
own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from machine import describe, load
from timing import MODES, Place, Worker, has_fast, in_turns

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

__all__ = ["BASE", "CURVES", "exponent", "measure", "row"]

BASE = dict(d_model=128, n_heads=4, n_layers=2, d_ff=512, vocab_size=2000, batch=32, length=24, dropout=0.1)
CURVES = {  # name: (sizes, exponents from and to that are expected, the changes that a size is)
    "batch": ((8, 16, 32, 64, 128), (1, 1), lambda n: {"batch": n}),
    "length": ((16, 32, 64, 128, 256), (1, 2), lambda n: {"length": n, "batch": 8}),
    "width": (
        (64, 128, 256, 512, 768),
        (1, 2),
        lambda n: {"d_model": n, "d_ff": 4 * n, "batch": 16, "vocab_size": 500},
    ),
    "depth": ((1, 2, 4, 8, 16), (1, 1), lambda n: {"n_layers": n, "vocab_size": 500}),
    "vocabulary": ((2000, 4000, 8000, 16_000, 32_000), (1, 1), lambda n: {"vocab_size": n, "n_layers": 1}),
}
CALLS = 5  # of a turn: a step that follows others, as in training, not only the one after a pause
SLACK = 0.1  # by which a fitted exponent may exceed what is expected


def measure(name, mode, place, rounds):
    """Median seconds of a step at each size of a curve, and the sizes."""
    sizes, _, change = CURVES[name]
    made = {}
    try:
        for size in sizes:
            made[size] = Worker("step", mode, place, wait=False, **BASE | change(size))
        times = in_turns(made, rounds, CALLS)
    finally:
        for worker in made.values():
            worker.end()
    return sizes, [statistics.median(times[size]) for size in sizes]


def exponent(sizes, seconds):
    """The slope of log(seconds) over log(sizes) in the upper half of the sizes, its middle too."""
    start = (len(sizes) - 1) // 2
    return float(np.polyfit(np.log(sizes[start:]), np.log(seconds[start:]), 1)[0])


def row(name, mode, sizes, seconds):
    """The line of the table."""
    least, most = CURVES[name][1]
    expected = f"{least}" if least == most else f"{least} to {most}"
    found = exponent(sizes, seconds)
    shown = f"{found:.2f}" + (" (more)" if found > most + SLACK else "")
    times = ", ".join(f"{s * 1e3:.0f}" for s in seconds)
    return f"| {name} | {mode} | {', '.join(map(str, sizes))} | {times} | {shown} | {expected} |"


def draw(found, path):
    """One picture: time over size, both from the middle one on as 1, with the expected slopes."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(name for name, _ in found))
    figure, axes = plt.subplots(1, len(names), figsize=(2.6 * len(names), 2.9), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names):
        curves = {mode: curve for (of, mode), curve in found.items() if of == name}
        for mode, (sizes, seconds) in curves.items():
            axis.loglog(sizes, np.multiply(seconds, 1e3), "o-", label=f"{mode}: {exponent(sizes, seconds):.2f}")
        sizes, seconds = next(iter(curves.values()))
        for slope in sorted(set(CURVES[name][1])):
            line = seconds[-1] * 1e3 * np.divide(sizes, sizes[-1]) ** slope
            axis.loglog(sizes, line, ":", color="grey", label=f"slope {slope}")
        axis.set(xlabel=name)
        axis.set_xticks(sizes, [str(size) for size in sizes], rotation=60)
        axis.minorticks_off()
        axis.legend(fontsize=7)
    axes[0][0].set_ylabel("ms of a training step")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    """Print the table, and draw it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=f"any of {', '.join(CURVES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each size (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="(default: 2)")
    parser.add_argument("--picture", metavar="FILE", help="also draw the curves to FILE (.png or .svg)")
    options = parser.parse_args()
    unknown = [name for name in options.curves if name not in CURVES]
    if unknown:
        parser.error(f"unknown curve {unknown[0]!r}; there are {', '.join(CURVES)}")
    place, modes = Place(options.threads), MODES if has_fast() else ("plain",)
    print(
        *describe(),
        f"load before: {load()}; {options.threads} threads, medians of {options.rounds} turns",
        "",
        sep="\n",
    )
    print("| size | mode | values | ms | exponent | expected |", "|---|---|---|---|---:|---:|", sep="\n", flush=True)
    found = {}
    for name in options.curves or CURVES:
        for mode in modes:
            found[name, mode] = measure(name, mode, place, options.rounds)
            print(row(name, mode, *found[name, mode]), flush=True)
    if options.picture:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
