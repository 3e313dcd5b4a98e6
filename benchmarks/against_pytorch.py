"""minitensor against PyTorch eager: the same work, a process for each library, taking turns; medians.

    python benchmarks/against_pytorch.py                 all cases
    python benchmarks/against_pytorch.py chain step      some of them
    python benchmarks/against_pytorch.py --rounds 15 --write benchmarks/RESULTS.md

Before anything is timed the results of both are compared in float64. A ratio below 1 means that minitensor is faster. The column
"floor" is the time of the matrix products of the work alone, by NumPy. The column "alone" is PyTorch's time while no process of
minitensor exists, before the turns and after them. If it differs from that in the turns by more than a tenth, something disturbed
one of the two, and no ratio is printed. Run it on a quiet machine; see ``timing.py``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import sys
from pathlib import Path

from cases import CASES, agree, products
from machine import describe, load
from timing import alone, in_turns

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

MOST = 0.10  # by which PyTorch's two times may differ
SECONDS = 0.3  # of a turn, about
HEADER = (
    "| case | minitensor ms | PyTorch ms | ratio | floor ms | PyTorch alone ms |",
    "|---|---:|---:|---:|---:|---:|",
)


def row(name, threads, rounds):
    """The line of a case, and whether its ratio may be believed."""
    agree(name)
    (once,) = alone(name, "torch", threads, 1, 3)
    calls = max(1, min(50, round(SECONDS / once)))
    before = alone(name, "torch", threads, (rounds + 1) // 2, calls)
    sides = ("minitensor", "torch", "products") if products(name) else ("minitensor", "torch")
    (mine, other, *least), ratio = in_turns(name, sides, threads, rounds, calls)
    lonely = statistics.median(before + alone(name, "torch", threads, (rounds + 1) // 2, calls))
    sound = abs(other / lonely - 1) <= MOST
    shown = f"{ratio:.2f}" if sound else "disturbed"
    floor = f"{least[0] * 1e3:.2f}" if least else "-"
    return f"| {name} | {mine * 1e3:.2f} | {other * 1e3:.2f} | {shown} | {floor} | {lonely * 1e3:.2f} |", sound


def main():
    """Run the cases and print the table; exit code 1 if a ratio was withheld."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each library (default: 15)")
    parser.add_argument("--threads", type=int, default=2, help="of each library (default: 2)")
    parser.add_argument("--write", metavar="FILE", help="also write the page to FILE")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(CASES)}")
    names = options.cases or list(CASES)
    lines = [*describe(), f"load before: {load()}"]
    lines.append(
        f"Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')}; float32, {options.threads} threads "
        f"each, medians of {options.rounds} turns"
    )
    table, sound = list(HEADER), True
    print(*lines, "", *table, sep="\n", flush=True)
    for name in names:
        line, good = row(name, options.threads, options.rounds)
        table.append(line)
        sound = sound and good
        print(line, flush=True)
    lines.append(f"load after: {load()}")
    print("", lines[-1], sep="\n")
    if options.write:
        page = [
            "# minitensor against PyTorch eager", "",
            "`python benchmarks/against_pytorch.py`: what the columns mean is said at its head.", "",
            *(f"* {line}" for line in lines), "", *table, "", *(f"* {name}: {CASES[name].title}" for name in names),
        ]  # fmt: skip
        Path(options.write).write_text("\n".join(page) + "\n", encoding="utf-8")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
