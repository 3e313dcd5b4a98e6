"""A name that is NumPy's too takes NumPy's arguments, in NumPy's order; what it cannot do it
refuses by name.
"""

import inspect

import numpy as np
import pytest

import minitensor as mt

X = np.random.default_rng(0).standard_normal((2, 3))
I = np.array([[0, 2], [1, 0]])  # noqa: E741

CALLS = [
    ("sum", (X, 0, np.float64)), ("sum", (X, 0, np.float32, None, True)), ("sum", (X, (0, -1))),
    ("sum", (X, None, None, None, True)),
    ("mean", (X, 1, np.float32)), ("mean", (X, 1, None, None, True)), ("prod", (X, 1, np.float64, None, True)),
    ("max", (X, 0, None, True)), ("min", (X, 0, None, True)), ("all", (X > 0, 0, None, True)), ("any", (X > 0, 0, None, True)),
    ("std", (X, 1, None, None, 1)), ("std", (X, 1, None, None, 1, True)), ("var", (X, 1, np.float64, None, 0, True)),
    ("argmax", (X, 1)), ("argmin", (X, 1, None)), ("cumsum", (X,)), ("cumsum", (X, 1, np.float64)), ("cumprod", (X,)),
    ("cumprod", (X, -1, None, None)), ("round", (X, 2)), ("round", (X * 100, -1)), ("clip", (X, -0.5, 0.5)),
    ("clip", (X, None, 0.5)),
    ("argsort", (X, 0, "stable")), ("argsort", (X, None)), ("sort", (X, None, "mergesort")), ("sort", (X, 0, None)),
    ("take", (X, I)), ("take", (X, 1, 0)), ("take", (X, [True, False], 1)), ("take", (X, np.uint8(2), 1)),
    ("take_along_axis", (X, I)), ("take_along_axis", (X, np.array([4, 0]), None)), ("concatenate", ([X, X],)),
    ("concatenate", ((X, X), None)), ("concatenate", ((X, X), -1)), ("concat", ([X, X], 1)), ("concatenate", (X,)),
    ("stack", ([X, X], -1)), ("stack", (X, 1)), ("repeat", (X, [1, 2, 0], 1)), ("repeat", (X, np.array([2]), 0)),
    ("repeat", (X, 2)),
    ("tile", (X, np.array([2, 1]))), ("tile", (X, [2, 1, 2])), ("roll", (X, 1)), ("roll", (X, [1, 2], [0, 1])),
    ("flip", (X, (0, -1))),
    ("split", (X, [1, 2], 1)), ("split", (X, np.array([1, -1]), 1)), ("pad", (X, 1)), ("pad", (X, ((1, 0), (0, 2)), "edge")),
    ("moveaxis", (X, 0, -1)), ("permute_dims", (X, [1, 0])), ("permute_dims", (X, np.array([-1, 0]))), ("swapaxes", (X, 0, -1)),
    ("expand_dims", (X, (0, -1))), ("squeeze", (X[None], 0)), ("broadcast_to", (X, (2, 2, 3))), ("broadcast_to", (X[0, 0], 3)),
    ("reshape", (X, 6)), ("reshape", (X, [3, -1])), ("diagonal", (X, 1)), ("diagonal", (X, -1, 1, 0)), ("trace", (X, 1)),
    ("tril", (X, -1)), ("triu", (X, 1)), ("tril", (X[0],)), ("tensordot", (X, X.T, 1)), ("outer", (X, X[0])),
    ("linspace", (0.0, 1.0, 4, False)), ("eye", (2, 3, 1)), ("full", ((2, 1), 3.0)), ("arange", (1, 6, 2)),
]  # fmt: skip
NAMED = [
    ("sum", (X,), {"axis": 1, "keepdims": True, "dtype": np.float32}), ("mean", (X,), {"out": None}),
    ("std", (X,), {"correction": 1}),
    ("var", (X, 0), {"ddof": 1}), ("clip", (X,), {"a_min": 0.0, "a_max": None}), ("clip", (X,), {"max": 0.0}),
    ("argsort", (X,), {"kind": "quicksort", "axis": 0}), ("take", (X, [5, -7]), {"mode": "wrap"}),
    ("take", (X, np.array([5, 200], np.uint8), 1), {"mode": "clip"}), ("take", (X, [-1, 7], 0), {"mode": "clip"}),
    ("concatenate", ([X, X],), {"dtype": np.float32}), ("stack", ([X, X],), {"axis": 1, "dtype": np.float64}),
    ("pad", (X, 2), {"constant_values": (1, 2)}), ("pad", (X, {0: 1, -1: (0, 2)}), {"mode": "wrap"}),
    ("tile", (X,), {"reps": 2}), ("split", (X,), {"indices_or_sections": 3, "axis": 1}), ("full", ((2,),), {"fill_value": 1.5}),
    ("repeat", (X,), {"repeats": 2, "axis": -1}), ("roll", (X,), {"shift": (1, 1, 1), "axis": (0, 0, 1)}),
    ("round", (X,), {"decimals": 1}), ("reshape", (X,), {"shape": (3, 2), "copy": None}), ("linspace", (1, 2), {"num": 3}),
]  # fmt: skip


def tracked(value):
    """Floating arrays as tensors that want a gradient, also in lists."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return mt.tensor(value, requires_grad=True)
    return [tracked(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "args", "named"), [(*call, {}) for call in CALLS] + NAMED)
def test_arguments_mean_what_they_mean_to_numpy(name, args, named):
    ours, theirs = getattr(mt, name)(*map(tracked, args), **named), getattr(np, name)(*args, **named)
    for mine, right in zip(ours, theirs, strict=True) if isinstance(theirs, list) else [(ours, theirs)]:
        np.testing.assert_allclose(mine.data, right, rtol=1e-6)
        if isinstance(args[0], np.ndarray) and right.dtype == np.float64:
            assert mine.requires_grad and mine.dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mt.sum(x, 0, True), "dtype stands before keepdims: write keepdims=True by its name"),
        (lambda x: mt.sum(x, out=x), "sum does not take 'out'; tensors are values, and the result is a new one"),
        (lambda x: mt.add(x, x, out=x), "add does not take 'out'"),
        (lambda x: mt.max(x, 0, x), "max does not take 'out'"),
        (lambda x: mt.max(x, initial=0.0), "max does not take 'initial'; combine the result with it"),
        (lambda x: mt.mean(x, where=x > 0), "mean does not take 'where'; write mt.where"),
        (lambda x: x.sum(dim=1), "sum does not take 'dim'; the axis is called axis"),
        (lambda x: mt.exp(x, dtype="float64"), "exp does not take 'dtype'; write .astype"),
        (lambda x: mt.std(x, ddof=1, correction=1), "std: 'ddof' is given twice"),
        (lambda x: mt.clip(x, 0, a_min=1), "clip: a bound is given twice"),
        (lambda x: mt.argsort(x, 0, True), "argsort: kind must be None or .stable., got True; a direction is descending=True"),
        (lambda x: mt.sort(x, 0, True), "sort: kind must be None"),
        (lambda x: mt.take(x, 0, 0, x), "take.. takes from 2 to 3 positional arguments"),
        (lambda x: mt.take(x, [0.5]), "take: indices must be integers, got float"),
        (lambda x: mt.take(x, [0], mode="none"), "take: mode must be"),
        (lambda x: mt.take_along_axis(x, x > 0, 0), "take_along_axis: indices must be integers, got bool"),
        (lambda x: mt.put_along_axis(x, x > 0, 0.0, 0), "put_along_axis: indices must be integers, got bool"),
        (lambda x: mt.linspace(0, 1, 3, "float32"), "linspace: endpoint must be True or False"),
        (lambda x: mt.concatenate(x, x), "concatenate: one axis is wanted, got tensor"),
        (lambda x: mt.concatenate([x, x], (0, 1)), r"concatenate: one axis is wanted, got \(0, 1\)"),
        (lambda x: mt.stack([x, x], [0]), r"stack: one axis is wanted, got \[0\]"),
        (lambda x: mt.pad(x, 1, constant_values=mt.tensor(1.0, requires_grad=True)), "pad: constant_values is a constant"),
        (lambda x: mt.repeat(x, 1.5), "repeat: an integer or a sequence of them is wanted, got 1.5"),
        (lambda x: mt.roll(x, 0.5), "roll: an integer"),
        (lambda x: mt.split(x, 1.5), "split: an integer"),
        (lambda x: mt.tile(x, 1.5), "tile: an integer"),
        (lambda x: mt.squeeze(x, axis=0.5), "squeeze: an integer or a sequence of them is wanted, got 0.5"),
        (lambda x: mt.unstack(x, axis=(0, 1)), "unstack: one axis is wanted, got \\(0, 1\\)"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_refused_by_its_name(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(mt.tensor(X, requires_grad=True))


# Positional arguments of NumPy's in whose place ours has another: each must be refused, not
# misread. In their place NumPy has order or subok; no such value is a device.
ELSEWHERE = {"device", "requires_grad"}


def test_no_argument_by_position_means_another_thing():
    """The arguments behind the first are NumPy's in name and order, as far as they go."""
    for name in sorted(set(dir(mt)) & set(dir(np))):
        ours, theirs = getattr(mt, name), getattr(np, name)
        if name.startswith("_") or not callable(ours) or isinstance(ours, type) or isinstance(theirs, (type, np.ufunc)):
            continue
        # files are others; the rest have no signature to compare
        if name in ("load", "save", "asarray", "where", "einsum"):
            continue
        mine = _positional(ours)
        for place, (argument, numpys) in enumerate(zip(mine[1:], _positional(theirs)[1:])):
            assert argument in ({numpys, numpys.lower()} | RENAMED.get(name, set())) or argument in ELSEWHERE, (
                f"{name}: argument {place + 2} is {argument}, NumPy's is {numpys}"
            )


RENAMED = {
    "clip": {"min", "max"}, "eye": {"n_rows", "n_cols"}, "tensordot": {"y"}, "outer": {"y"}, "searchsorted": {"x2"},
}  # fmt: skip


def _positional(function):
    positions = getattr(function, "positions", None)
    if positions is not None:
        return [*function.inputs, *positions]
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def test_sums_in_another_type():
    ones = mt.ones((4096,), dtype="float16", requires_grad=True)
    assert mt.sum(ones).dtype == mt.sum(ones, dtype="float16").dtype == "float16"
    assert mt.sum(ones, dtype="float16").item() == mt.cumsum(ones, dtype="float16")[-1].item() == 4096
    wide = mt.sum(ones * 100, dtype="float32")
    wide.backward()
    assert (
        wide.dtype == "float32"
        and wide.item() == 409600
        and ones.grad.dtype == "float16"
        and ones.grad[0].item() == 100
    )
    assert (
        mt.mean(mt.tensor([1, 2])).dtype == "float32" and mt.mean(mt.tensor([1, 2]), dtype="float64").dtype == "float64"
    )
