"""Both sides compute the same: what must hold before anything is timed.

    python benchmarks/agreement.py                       all cases
    python benchmarks/agreement.py step layer --peers    torch.compile and jax.jit too

Weights are copied and results compared without dropout: in float64 element by element, where no
rounding error tips a relu over its kink, and in float32 as a whole, at the sizes that are timed. A
training step is compared by the losses of two steps, so that gradients and update take part. In the
mode that MINITENSOR_FAST says. ``against_pytorch.py`` runs this once for each mode.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from cases import CASES, PEERS, make

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

__all__ = ["FAR", "agree", "agree_peer", "distance"]

FAR = 1e-3  # by which results in float32 may differ, as a part of their length; a relu's kink takes 3e-4 of it


def distance(found, expected):
    """``|found - expected| / |expected|``, both as one long vector."""
    difference = np.asarray(found, np.float64) - np.asarray(expected, np.float64)
    return float(np.linalg.norm(difference) / np.linalg.norm(np.asarray(expected, np.float64)))


def agree(name, device="cpu", dtypes=("float64", "float32"), **given):
    """Raise AssertionError unless minitensor and PyTorch (or the two works of a case that is
    compared with our own) compute the same from the same weights. given: changes to the options.
    """
    case = CASES[name]
    plain = {"dropout": 0.0} if "dropout" in case.options else {}
    for dtype in dtypes:
        changes = (case.small if dtype == "float64" else {}) | plain | given
        if case.against:
            if dtype == "float64":  # in float32 rounding decides between words that are as good
                found, expected = (make(name, "plain", dtype, device, **changes | more) for more in ({}, case.against))
                np.testing.assert_array_equal(found.values(), expected.values(), err_msg=name)
            continue
        ours, theirs = (make(name, program, dtype, device, **changes) for program in ("plain", "torch"))
        ours.take_weights(theirs)
        _compare(f"{name} in {dtype}", dtype, ours.values(), theirs.values())


def agree_peer(name, peer, dtypes=("float64",), **changes):
    """The same for "compiled" or "jax" against PyTorch eager."""
    case = CASES[name]
    changes = case.small | {"dropout": 0.0} | changes
    for dtype in dtypes:
        eager, other = (
            make(name, "torch", dtype, **changes),
            make(name, "torch" if peer == "compiled" else peer, dtype, **changes),
        )
        other.take_weights(eager)
        if peer == "compiled":
            other.compile()
        _compare(f"{name} in {dtype} by {peer}", dtype, other.values(), eager.values())


def _compare(what, dtype, found, expected):
    if dtype == "float64":
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9, err_msg=what)
    else:
        far = distance(found, expected)
        assert far <= FAR, f"{what}: {far:.1e} of the length apart"


def main():
    """Compare, and say so; ends in an AssertionError if there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)} (default: all)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both libraries (default: cpu)")
    parser.add_argument(
        "--peers", nargs="*", choices=("compiled", "jax"), help="compare these too (without names: both)"
    )
    options = parser.parse_args()
    names = options.cases or list(CASES)
    peers = [] if options.peers is None else options.peers or ["compiled", "jax"]
    done = []
    for name in names:
        work = CASES[name].kind, {key: value for key, value in CASES[name].options.items() if key != "dropout"}
        if work not in done:
            agree(name, options.device)
            done.append(work)
        for peer in peers if name in PEERS else ():
            agree_peer(name, peer)
    print(f"{len(names)} cases agree" + f", and so do {', '.join(peers)}" * bool(peers))


if __name__ == "__main__":
    main()
