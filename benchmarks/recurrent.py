"""Recurrent layers against ``torch.nn``: forward and backward of whole sequences, taking turns, as in ``against_pytorch.py``.

    python benchmarks/recurrent.py                       all cases
    python benchmarks/recurrent.py lstm gru --rounds 11  some of them

float32, batch 64, one layer, gradients of the input and of all weights; 2 threads for each library, on a quiet machine.

The time is mostly that of the products: the six of ``lstm-large`` are 52 GFlop, all else takes 0.03 s. So the ratio depends on the
instructions that either side may use. PyTorch's LSTM takes the widest there are (oneDNN), and so does NumPy's OpenBLAS, unless
OPENBLAS_CORETYPE in the environment holds it to an older processor: with Haswell (AVX2) one core of a machine with AVX-512
multiplied 118 GFlop a second instead of 223, and no code around the products can make up for that. A pin is reported.
"""

from __future__ import annotations

import argparse
import os
import platform
from functools import partial

from against_pytorch import THREADS, compare, np, torch  # first: it sets the number of threads before NumPy loads

import minitensor as mt
from minitensor import nn

BATCH = 64


def layer(kind, steps, size, _dropout):
    """One layer from ``size`` to ``size`` features over (64, steps, size), with the same weights on both sides."""
    ours, theirs = getattr(nn, kind)(size, size), getattr(torch.nn, kind)(size, size, batch_first=True)
    theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()})
    data = np.random.default_rng(0).normal(size=(2, BATCH, steps, size)).astype(np.float32)
    our_x, our_g = mt.tensor(data[0], requires_grad=True), mt.tensor(data[1])
    their_x, their_g = torch.tensor(data[0], requires_grad=True), torch.tensor(data[1])

    def run_ours():
        ours.zero_grad()
        our_x.grad = None
        ours(our_x)[0].backward(our_g)
        return our_x.grad.numpy()

    def run_theirs():
        theirs.zero_grad()
        their_x.grad = None
        theirs(their_x)[0].backward(their_g)
        return their_x.grad.numpy()

    return run_ours, run_theirs


CASES = {  # kind, steps, features; the ratio to reach
    "rnn": (("RNN", 32, 256), 1.1),
    "lstm": (("LSTM", 32, 256), 1.2),
    "gru": (("GRU", 32, 256), 1.1),
    "lstm-large": (("LSTM", 64, 512), 1.1),
}


def main():
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; all where none is named")
    parser.add_argument("--rounds", type=int, default=21, help="timed runs of each library (default 21)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(CASES)}")
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}"
    print(f"{platform.machine()}, {THREADS} threads each, {versions}, float32, medians of {arguments.rounds} rounds")
    if pin := os.environ.get("OPENBLAS_CORETYPE"):
        print(f"OPENBLAS_CORETYPE={pin} limits NumPy's products, not PyTorch's: see the head of this file")
    print()
    print("| case | batch, steps, features | minitensor ms | PyTorch ms | ratio | target |")
    print("|---|---|---:|---:|---:|---:|")
    for name in arguments.cases or CASES:
        (kind, steps, size), target = CASES[name]
        mine, other, ratio = compare(partial(layer, kind, steps, size), 0.0, arguments.rounds)
        sizes = f"{BATCH}, {steps}, {size}"
        print(f"| {name} | {sizes} | {mine * 1e3:.2f} | {other * 1e3:.2f} | {ratio:.2f} | {target:.2f} |", flush=True)


if __name__ == "__main__":
    main()
