"""The checks over the differentiable functions of two public libraries: HIPS autograd's NumPy and
SciPy primitives, and the functions of MyGrad.

    python benchmarks/public_ops.py             # both
    python benchmarks/public_ops.py autograd    # one of them

Each function is called on arrays of numbers between 0.3 and 0.9 (inside of nearly every domain),
with the signs mixed if it takes them, with ties, and on a square matrix; one or two arguments, as
few as it works with. A function that takes none of these is counted as not run. What fails is
printed with the number by its rule and the one by differences: a line to look into by hand, not yet
a fault.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

from minitensor.testing import adapters, gradcheck  # noqa: E402

SEEDS = 2
NOT_RUN = ("no derivative was compared", "never ran it", "its gradient fails: ", "writes to one of its arguments")


def autograd_functions():
    """``(name, adapted function)`` of every primitive with a rule."""
    for module in ("numpy.numpy_vjps", "numpy.linalg", "numpy.fft", "scipy.special", "scipy.linalg", "scipy.stats"):
        importlib.import_module(f"autograd.{module}")
    from autograd.core import primitive_vjps

    for primitive in sorted(primitive_vjps, key=_name):
        if not _name(primitive).startswith(("autograd.builtins", "autograd.core")):  # its own insides
            yield _name(primitive), adapters.autograd_function(primitive)


def mygrad_functions():
    """The same of MyGrad: what its main module and its layers export."""
    import mygrad
    import mygrad.nnet

    modules = (
        mygrad,
        mygrad.linalg if hasattr(mygrad, "linalg") else mygrad,
        mygrad.nnet.activations,
        mygrad.nnet.losses,
    )
    seen = set()
    for module in modules:
        for name in sorted(vars(module)):
            value = getattr(module, name)
            known = callable(value) and not name.startswith("_") and id(value) not in seen
            if known and (inspect.isfunction(value) or "Ufunc" in type(value).__name__):
                seen.add(id(value))
                yield f"{module.__name__}.{name}", adapters.mygrad_function(value)


def _name(primitive):
    function = getattr(primitive, "fun", primitive)
    return f"{getattr(function, '__module__', None) or 'numpy'}.{getattr(function, '__name__', function)}"


def inputs(seed):
    """Lists of arguments to try, in this order."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.3, 0.9, (2, 3, 3))
    signs = rng.choice([-1.0, 1.0], (3, 3))
    tied = np.round(4 * x) / 4
    symmetric = x @ x.T + 3 * np.eye(3)
    for kind, one in (("plain", x), ("signed", x * signs), ("ties", tied), ("symmetric", symmetric)):
        other = tied[::-1] if kind == "ties" else y
        yield kind, [one]
        yield kind, [one, other]
        yield kind, [one, other[0]]


def check(function):
    """``(how many lists of arguments were checked, kinks, worst error, the first complaint)``."""
    done, kinks, error, complaint = 0, 0, 0.0, None
    count = 0  # of arguments: the first that works, since a second one may be where to write the result
    for seed in range(SEEDS):
        for kind, arguments in inputs(seed):
            if (count and len(arguments) != count) or "out" in function.labels[: len(arguments)]:
                continue
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    report = gradcheck(function, arguments, seed=seed)
                except AssertionError as failed:
                    told = str(failed).partition("\n")[0]
                    if any(words in told for words in NOT_RUN):
                        continue
                    done, count = done + 1, len(arguments)
                    complaint = complaint or f"{kind}: {told}"
                except Exception:  # arguments that it does not take
                    continue
                else:
                    done, count = done + 1, len(arguments)
                    kinks += report.kinks
                    error = max(error, report.error)
    return done, kinks, error, complaint


def main():
    """Check them and print one line for each that fails, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("libraries", nargs="*", default=["autograd", "mygrad"], help="autograd, mygrad")
    parser.add_argument("--verbose", action="store_true", help="a line for each function")
    arguments = parser.parse_args()
    for library in arguments.libraries:
        functions = {"autograd": autograd_functions, "mygrad": mygrad_functions}[library]()
        run, idle, failed, kinks = 0, [], 0, 0
        for name, function in functions:
            done, at_kinks, error, complaint = check(function)
            run += done > 0
            kinks += at_kinks
            failed += complaint is not None
            idle += [name] * (not done)
            if complaint or arguments.verbose:
                print(
                    f"{name}: {complaint or f'{done} checked, {at_kinks} kinks, worst error {error:.2g}'}", flush=True
                )
        print(
            f"{library}: {run} functions checked, {kinks} derivatives at kinks, {failed} to look into, {len(idle)} not run"
        )
        print("  not run:", ", ".join(idle))


if __name__ == "__main__":
    main()
