"""What every op promises besides a right gradient: each function here checks one promise of a
``Problem``.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress

import numpy as np

from minitensor.engine.autograd import backward_pass, reachable
from minitensor.engine.fused import Fused, KernelPullback
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.observer import Observer
from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters import Adapted
from minitensor.testing.packing import count_of, freeze
from minitensor.testing.planted import standing_for
from minitensor.testing.problem import generator

# Other values of the same shapes, of which the first that the function takes will do.
OTHERS = (lambda value: -0.75 * value, lambda value: 0.75 * np.flip(value), lambda value: 0.75 * value)

__all__ = [
    "check_backward_twice", "check_float32", "check_fused", "check_graphs_apart", "check_layout", "check_new_arrays",
    "check_reference", "check_repeatable", "check_same_twice", "compare", "size_of", "strided",
]  # fmt: skip


def check_same_twice(problem, again):
    """``again``, the outputs of a further call at the same inputs, are those of the first; if they
    are others, two plain calls tell whether the function draws random numbers.
    """
    if all(map(_near, problem.outputs, again)):
        return
    for k, (first, second) in enumerate(zip(problem.evaluate(), problem.evaluate())):
        if not _near(first, second):
            raise AssertionError(
                f"{problem.name}: output {k} differs between two calls at the same inputs, so that it is no function of them "
                "and has no derivative: if it draws random numbers, give them as an input, or start their generator within "
                "the function (those of mt.random and of PyTorch are repeated)"
            )


def _near(first, second):
    """Whether two arrays are the same but for rounding."""
    if first.shape != second.shape:
        return False
    size = size_of(first)
    return bool(np.isclose(first, second, rtol=1e-6, atol=1e-6 * size, equal_nan=True).all())


def check_repeatable(problem):
    """Two calls, recorded or not, give the same bits (what comes from another library: the same
    numbers), and the inputs are as they were.
    """
    before = [v.copy() if isinstance(v, np.ndarray) else v for v in problem.values]
    plain = problem.outputs
    recorded, _ = problem.recorded
    check_same_twice(problem, [out._array for out in recorded])
    foreign = isinstance(problem.given, Adapted)  # PyTorch takes other kernels under no_grad
    for k, (first, second) in enumerate(zip(plain, recorded)):
        if foreign:
            compare(problem, f"output {k} under no_grad", first, second._array, "a recorded call", 1e-10, 1e-10)
        elif not same_bits(first, second._array):
            raise AssertionError(f"{problem.name}: output {k} differs between a call under no_grad and a recorded one")
    for i, (old, new) in enumerate(zip(before, problem.values)):
        if isinstance(old, np.ndarray) and not same_bits(old, new):
            raise AssertionError(f"{problem.name}: {problem.label(i)} was changed by the call")


def check_reference(problem, reference, rtol, atol):
    """The values equal those of ``reference``, a function of NumPy arrays."""
    expected = reference(*problem.packed(problem.values), **problem.keywords)
    expected = list(expected) if isinstance(expected, (tuple, list)) else [expected]
    outputs = problem.outputs
    if len(outputs) != len(expected):
        raise AssertionError(f"{problem.name} gives {len(outputs)} outputs, the reference {len(expected)}")
    for k, (out, right) in enumerate(zip(outputs, expected)):
        right = np.asarray(right)
        if out.shape != right.shape:
            raise AssertionError(f"{problem.name}: output {k} has shape {out.shape}, the reference {right.shape}")
        if out.dtype.kind != right.dtype.kind:
            raise AssertionError(f"{problem.name}: output {k} is {out.dtype}, the reference {right.dtype}")
        compare(problem, f"output {k}", out, right, "the reference", rtol, atol)


def check_layout(problem, rtol=1e-12, atol=1e-12):
    """Values and gradients do not depend on how the inputs lie in memory."""
    if isinstance(problem.given, Adapted) and problem.given.library.drew:
        return  # random numbers given out in the order of memory: another layout is another function
    inputs = sum(map(count_of, problem.layout))  # a layer's parameters lie as its library made them
    apart = problem.replaced(
        [strided(v) if k < inputs and isinstance(v, np.ndarray) else v for k, v in enumerate(problem.values)]
    )
    outputs, leaves = apart.record()
    for k, (out, right) in enumerate(zip(outputs, problem.outputs)):
        compare(
            problem, f"output {k} of non-contiguous inputs", out._array, right, "that of contiguous ones", rtol, atol
        )
    cotangents, gradients = problem.pulled_back
    spread = [None if c is None else strided(c) for c in cotangents]
    found = apart.pulled(outputs, leaves, spread)
    for i, gradient, right in zip(problem.wanted, found, gradients):
        what = f"the gradient of non-contiguous {problem.label(i)}"
        compare(problem, what, gradient, right, "that of contiguous inputs", rtol, atol)


def check_backward_twice(problem):
    """Backward through one graph a second time gives the same bits: a rule must not use up what was
    saved for it.
    """
    outputs, leaves = problem.recorded
    cotangents = problem.cotangents(outputs, generator(0))
    pairs = [(o.node, c) for o, c in zip(outputs, cotangents) if c is not None and o.node is not None]
    roots, seeds = [r for r, _ in pairs], [c for _, c in pairs]
    wanted = {leaf.node for leaf in leaves}
    first, second = (backward_pass(roots, seeds, wanted=wanted, retain_graph=True) for _ in range(2))
    for i, leaf in zip(problem.wanted, leaves):
        if leaf.node in first and not same_bits(first[leaf.node], second[leaf.node]):
            raise AssertionError(f"{problem.name}: a second backward gives another gradient of {problem.label(i)}")


def check_graphs_apart(problem, rtol=1e-12, atol=1e-12):
    """Backward through a graph gives the same after a call at other values: what a rule needs is
    kept for each call, and not in one place for all. Of many examples that are of one kind, the
    first alone is looked at.
    """
    if not problem.turns.is_first(problem):
        return
    cotangents, right = problem.pulled_back
    outputs, leaves = problem.record()
    with np.errstate(all="ignore"):
        for change in OTHERS:
            with suppress(Exception):  # these values may be none that the function takes
                problem.replaced([_changed(v, change) for v in problem.values]).record()
                break
        found = problem.pulled(outputs, leaves, cotangents)
    for i, gradient, before in zip(problem.wanted, found, right):
        what = f"the gradient of {problem.label(i)} after another call, with the inputs times -0.75 or reversed,"
        by = "at once, before it, the same backward (what a rule needs is kept for each call, not in one place for all)"
        compare(problem, what, gradient, before, by, rtol, atol)


def check_float32(problem):
    """float32 inputs give float32 outputs (unless a keyword ``dtype`` asks for others) and float32
    gradients.
    """
    single = problem.replaced([_as_float32(v) for v in problem.values])
    with np.errstate(all="ignore"):
        outputs, leaves = single.record()
        for k, (out, wide) in enumerate(zip(outputs, problem.outputs)):
            if (
                wide.dtype == np.float64
                and out.dtype != np.float32
                and single.wanted
                and "dtype" not in problem.keywords
            ):
                raise AssertionError(f"{problem.name}: output {k} of float32 inputs is {out.dtype}")
        cotangents = single.cotangents(outputs, generator(0))
        for i, gradient in zip(single.wanted, single.pulled(outputs, leaves, cotangents)):
            if gradient.dtype != np.float32:
                raise AssertionError(f"{problem.name}: the gradient of float32 {problem.label(i)} is {gradient.dtype}")


def check_fused(problem, rtol=1e-10, atol=1e-12):
    """Every kernel that the function runs equals its definition: values, and gradients with one
    random cotangent.
    """
    outputs = problem.outputs
    cotangents = problem.cotangents(outputs, generator(0))
    with _definitions() as used:
        plain, leaves = problem.record()
        expected = problem.pulled(plain, leaves, cotangents) if used else []
    if not used:
        return
    for k, (out, right) in enumerate(zip(outputs, plain)):
        compare(problem, f"output {k} of the kernel", out, right._array, "the definition", rtol, atol)
    _, found = problem.pulled_back
    for i, gradient, right in zip(problem.wanted, found, expected):
        what = f"the kernel's gradient of {problem.label(i)}"
        compare(problem, what, gradient, right, "that of the definition", rtol, atol)


def check_new_arrays(problem):
    """What the kernels' ``backward`` gives is new: it shares memory with nothing, and a second call
    gives other arrays.

    The engine relies on it: it adds in place to such an array, and hands it out as a gradient.
    """
    outputs, _ = problem.recorded
    rng = generator(0)
    for node in reachable([o.node for o in outputs if o.node is not None]):
        if not isinstance(node.pullback, KernelPullback):
            continue
        backward, out, _, *inputs = node.saved
        g = np.asarray(rng.standard_normal(node.shape), dtype=node.dtype)
        first, second = (list(backward(g)) for _ in range(2))
        held = [("the gradient that it was given", g), ("the result of the op", out())]
        held += [(f"input {i} of the op", x) for i, x in enumerate(inputs)]
        held += [(f"what a second call gave for input {i}", x) for i, x in enumerate(second)]
        for i, array in enumerate(first):
            shared = [*held, *((f"its gradient of input {k}", x) for k, x in enumerate(first[:i]))]
            for what, other in shared:
                if isinstance(array, np.ndarray) and isinstance(other, np.ndarray) and np.shares_memory(array, other):
                    raise AssertionError(
                        f"{problem.name}: the gradient of input {i} that the kernel of {node.pullback.op_name} returns shares "
                        f"memory with {what}; return new arrays"
                    )


class _ByDefinition(Observer):
    """Runs the definitions of fused ops; ``used`` are those with a kernel that were called."""

    def __init__(self, outer):
        super().__init__(outer)
        self.used = []

    def forward(self, op, args, params):
        op = standing_for(op)
        if not isinstance(op, Fused):
            return super().forward(op, args, params)
        if op.kernels:
            self.used.append(op)
        if len(args) != op.arity or not op.knows(params):
            args, params = op.bind(args, params)
        return op.definition(*(Tensor(a) if isinstance(a, np.ndarray) else a for a in args), **params)


@contextmanager
def _definitions():
    """Within, fused ops run their definitions, in this thread alone; yields the list of those with
    a kernel that were called.
    """
    observer = _ByDefinition(current_mode.get().observer)
    with switched(observer=observer, watched=True):
        yield observer.used


def same_bits(a, b):
    """Whether two arrays agree in shape, type and every bit (all NaN count as one)."""
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def compare(problem, what, found, right, by, rtol, atol):
    """Raise if ``found`` and ``right`` differ, with the place and both numbers."""
    found, right = np.asarray(found), np.asarray(right)
    if found.shape != right.shape:
        raise AssertionError(f"{problem.name}: {what} has shape {found.shape}, {by} {right.shape}")
    close = np.isclose(found, right, rtol=rtol, atol=atol * max(1.0, size_of(right)), equal_nan=True)
    if not close.all():
        index = tuple(int(i) for i in np.argwhere(~close)[0])
        raise AssertionError(
            f"{problem.name}: {what} at index {index} is {found[index].item()!r}, {by} gives {right[index].item()!r}"
        )


def size_of(array):
    """The largest finite magnitude in a floating array; 0 if there is none."""
    good = np.abs(array[np.isfinite(array)]) if array.dtype.kind == "f" else np.zeros(0)
    return float(good.max()) if good.size else 0.0


def _as_float32(value):
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = value.astype(np.float32)
        value.flags.writeable = False
    return value


def _changed(value, change):
    """What is floating, changed."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return freeze(np.array(change(value)))
    return value


def strided(array):
    """The same values in column order with gaps between them, the gaps full of what nobody should
    read.
    """
    if array.ndim == 0:
        return array
    junk = np.nan if array.dtype.kind == "f" else 0
    wide = np.full([2 * n for n in array.shape], junk, dtype=array.dtype, order="F")
    view = wide[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    view.flags.writeable = False
    return view
