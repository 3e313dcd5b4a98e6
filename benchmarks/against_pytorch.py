"""minitensor against PyTorch eager: the same work, a process for each library, taking turns;
medians.

    python benchmarks/against_pytorch.py                 all cases
    python benchmarks/against_pytorch.py chain step      some of them
    python benchmarks/against_pytorch.py --rounds 15 --write benchmarks/RESULTS.md
    python benchmarks/against_pytorch.py --device cuda   on a GPU; --tf32: products in TF32 for both

Before anything is timed the results of both are compared in float64. A ratio below 1 means that
minitensor is faster. The column "floor" is the time of the matrix products of the work alone, by
NumPy. The column "alone" is PyTorch's time while no process of minitensor exists, before the turns
and after them. If it differs from that in the turns by more than a tenth, something disturbed one
of the two, and no ratio is printed. Run it on a quiet machine; see ``timing.py``.

On a GPU the products of the floor are CuPy's, and a call is over when the device has done its work;
results are not copied to the host. There PyTorch's process stays from case to case, since it takes
seconds to start, but is alone in the column "alone" too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import platform
import statistics
import sys
from pathlib import Path

from cases import CASES, agree, products
from machine import describe, load
from timing import Place, Worker, alone, in_turns

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

MOST = 0.10  # by which PyTorch's two times may differ
SECONDS = {"cpu": 0.3, "cuda": 0.15}  # of a turn, about
HEADER = (
    "| case | minitensor ms | PyTorch ms | ratio | floor ms | PyTorch alone ms |",
    "|---|---:|---:|---:|---:|---:|",
)


def row(name, place, rounds, kept=None):
    """The line of a case, and whether its ratio is sound. kept: an existing PyTorch worker, which
    is not stopped.
    """
    agree(name, place.device)
    (once,) = alone(name, "torch", place, 1, 3, kept)
    calls = max(1, min(50, round(SECONDS[place.device] / once)))
    before = alone(name, "torch", place, (rounds + 1) // 2, calls, kept)
    sides = ("minitensor", "torch", "products") if products(name) else ("minitensor", "torch")
    (mine, other, *least), ratio = in_turns(name, sides, place, rounds, calls, kept)
    lonely = statistics.median(before + alone(name, "torch", place, (rounds + 1) // 2, calls, kept))
    sound = abs(other / lonely - 1) <= MOST
    shown = f"{ratio:.2f}" if sound else "disturbed"
    floor = f"{least[0] * 1e3:.2f}" if least else "-"
    return f"| {name} | {mine * 1e3:.2f} | {other * 1e3:.2f} | {shown} | {floor} | {lonely * 1e3:.2f} |", sound


def missing_gpu():
    """Why the two libraries cannot both compute on a GPU here, or None."""
    from minitensor.backend import as_device

    try:
        as_device("cuda")
    except (ImportError, RuntimeError) as error:
        return str(error)
    import torch

    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} sees no GPU (torch.cuda.is_available() is False): install a build for CUDA"
    return None


def main():
    """Run the cases and print the table; exit code 1 if a ratio was withheld."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each library (default: 15)")
    parser.add_argument("--threads", type=int, default=2, help="of each library (default: 2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both libraries (default: cpu)")
    parser.add_argument("--tf32", action="store_true", help="on a GPU: products of float32 in TF32")
    parser.add_argument("--write", metavar="FILE", help="also write the page to FILE")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(CASES)}")
    on_gpu = options.device != "cpu"
    if options.tf32 and not on_gpu:
        parser.error("--tf32 is for GPUs: add --device cuda")
    reason = missing_gpu() if on_gpu else None
    if reason:
        parser.error(f"--device cuda: {reason}")
    names, place = options.cases or list(CASES), Place(options.threads, options.device, options.tf32)
    lines = [*describe(options.device), f"load before: {load()}"]
    kind = "float32, products in TF32" if options.tf32 else "float32"
    lines.append(
        f"Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')}; {kind}, {options.threads} threads "
        f"each, medians of {options.rounds} turns"
    )
    table, sound = list(HEADER), True
    print(*lines, "", *table, sep="\n", flush=True)
    with Worker(names[0], "torch", place) if on_gpu else contextlib.nullcontext() as kept:
        for name in names:
            line, good = row(name, place, options.rounds, kept)
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
