"""minitensor against PyTorch eager: the same work, a process for each side, taking turns; medians.

    python benchmarks/against_pytorch.py                 all cases; the page says how long it took
    python benchmarks/against_pytorch.py chain step      some of them
    python benchmarks/against_pytorch.py --write benchmarks/RESULTS.md
    python benchmarks/against_pytorch.py --peers         torch.compile and jax.jit too
    python benchmarks/against_pytorch.py --neighbours    also beside other busy work
    python benchmarks/against_pytorch.py --device cuda   on a GPU; --tf32: products in TF32
                                                         for both; --peers: torch.compile too

Before anything is timed the results of both are compared, see ``agreement.py``. A ratio below 1
means that minitensor is faster. The two modes of minitensor, plain and fast (compiled, if numba is
installed), take part as two sides. "wanted" has the targets of ``targets.py``. "floor" is the time
of the matrix products of the work alone, by NumPy. "alone" is PyTorch's time while no other process
of the benchmark exists, before the turns and after them. If it differs from that in the turns by
more than a tenth, something disturbed one of the two, and no ratio is printed. Run it on a quiet
machine; see ``timing.py``. ``decode`` compares with our own decoding without a cache, and
``causal-memory`` is in megabytes, see ``memory.py``.

On a GPU the products of the floor are CuPy's, and a call is over when the device has done its work;
results are not copied to the host. There PyTorch's process stays from case to case, since it takes
seconds to start, but is alone in the column "alone" too. The modes there are plain, in which the
host launches each kernel, and graph, in which a step is the launch of a CUDA graph
(``mt.cuda_graph``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import neighbours
from cases import CASES
from machine import describe, load
from report import Table
from rows import measure
from timing import GPU_MODES, HERE, MODES, Place, Worker, environment, has_fast

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too


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


def usable_peers():
    """The peers that can run here, and a line for each that cannot."""
    missing = {}
    if not (os.environ.get("CXX") or shutil.which("g++")):
        missing["compiled"] = "torch.compile is left out: it needs a C++ compiler, and there is no g++"
    if importlib.util.find_spec("jax") is None:
        missing["jax"] = "jax.jit is left out: jax is not installed"
    return [peer for peer in ("compiled", "jax") if peer not in missing], list(missing.values())


def check(names, mode, place, peers=()):
    """End the program unless all sides agree, in a process of its own, so that none of their
    threads is left in this one. Products in TF32 would differ by more than rounding does.
    """
    place = replace(place, tf32=False)
    command = [sys.executable, str(HERE / "agreement.py"), *names, "--device", place.device]
    command += ["--peers", *peers] if peers else []
    if subprocess.run(command, env=environment(mode, place), stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"the sides do not agree in mode {mode}, see above: nothing is timed")


def parse():
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)} (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=15, help="turns of each side, fewer where they take long (default: 15)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of each side (default: 2)")
    parser.add_argument(
        "--modes",
        metavar="MODE,...",
        help="of minitensor: plain,fast; on a GPU plain,graph (default: all there are)",
    )
    parser.add_argument("--peers", action="store_true", help="compare with torch.compile and jax.jit too")
    parser.add_argument("--neighbours", action="store_true", help="also measure beside other busy work")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both libraries (default: cpu)")
    parser.add_argument("--tf32", action="store_true", help="on a GPU: products of float32 in TF32")
    parser.add_argument("--write", metavar="FILE", help="also write the page to FILE")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(CASES)}")
    options.modes = options.modes and options.modes.split(",")
    on_gpu = options.device != "cpu"
    known = GPU_MODES if on_gpu else MODES
    odd = [mode for mode in options.modes or () if mode not in known]
    if odd:
        parser.error(f"unknown mode {odd[0]!r}; there are {', '.join(known)}")
    if options.tf32 and not on_gpu:
        parser.error("--tf32 is for GPUs: add --device cuda")
    if on_gpu and options.neighbours:
        parser.error("--neighbours is for --device cpu")
    reason = missing_gpu() if on_gpu else None
    if reason:
        parser.error(f"--device cuda: {reason}")
    if "fast" in (options.modes or ()) and not has_fast():
        parser.error("--modes: minitensor has no fast mode here, or numba is not installed")
    return options


def main():
    """Run the cases and print the table; exit code 1 if a ratio was withheld or is above what is
    wanted.
    """
    options, start = parse(), time.monotonic()
    place, on_gpu = Place(options.threads, options.device, options.tf32), options.device != "cpu"
    names = options.cases or [name for name in CASES if not (on_gpu and CASES[name].measure == "memory")]
    modes = options.modes or (GPU_MODES if on_gpu else MODES if has_fast() else ("plain",))
    modes = [mode for mode in (GPU_MODES if on_gpu else MODES) if mode in modes]
    peers, notes = usable_peers() if options.peers else ([], [])
    peers = [peer for peer in peers if not on_gpu or peer == "compiled"]
    lines = [*describe(options.device), *notes, f"load before: {load()}"]
    kind = "float32, products in TF32" if options.tf32 else "float32"
    lines.append(
        f"Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')}; {kind}, {options.threads} threads "
        f"each, medians of {options.rounds} turns, fewer where they take long"
    )
    for mode in modes:
        if mode == "graph":  # bit for bit as plain, which tests/gpu holds
            continue
        check(names, mode, place, peers if mode == modes[0] and not on_gpu else ())
    table = Table(modes, peers)
    print(*lines, "", *table.lines, sep="\n", flush=True)
    with Worker(names[0], "torch", place) if on_gpu else contextlib.nullcontext() as kept:
        for name in names:
            print(table.add(measure(name, place, modes, options.rounds, peers, kept)), flush=True)
    print(table.mean())
    beside = [*neighbours.tables(place, modes, options.rounds), ""] if options.neighbours else []
    print("", *beside, sep="\n")
    lines += [f"load after: {load()}", f"this took {(time.monotonic() - start) / 60:.0f} minutes"]
    print(*lines[-2:], table.closing(), sep="\n")
    if options.write:
        _write(options.write, lines, table, beside, names)
    return 1 if table.withheld() or table.missed() else 0


def _write(path, lines, table, beside, names):
    bullets = [*lines, *(f"{name}: {CASES[name].title}" for name in names)]
    bullets = [textwrap.fill(f"* {line}", 100, subsequent_indent="  ") for line in bullets]
    page = [
        "# minitensor against PyTorch eager", "",
        "`python benchmarks/against_pytorch.py`: what the columns mean is said at its head.", "",
        *bullets[: len(lines)], "", *table.lines, "", textwrap.fill(f"{table.closing()}.", 100), "", *beside,
        *bullets[len(lines) :],
    ]  # fmt: skip
    Path(path).write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
