"""Gradients of parts and of ranks, as of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import Held, fail, numbered

__all__ = ["data_parallel", "gradient_accumulation"]


def gradient_accumulation(
    model: Any, inputs: Any, *, loss: Callable[..., Any] | None = None, accumulate: Callable[..., Any] | None = None,
    parts: Sequence[int] = (2, 3), shared: Sequence[int | str] = (), tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """The gradients of k parts of a batch, added up, are those of the batch, to rounding.

    With a mean over tokens this holds if each part is divided by the number of tokens of the whole
    batch; a mean of the parts' means is another number, as soon as they have not equally many. The
    parts therefore have different numbers of rows; give rows of different numbers of tokens.

    inputs: those of the loss. loss: ``loss(model, *inputs, divide_by=n)``, the sum over the targets
    divided by n, and for ``divide_by=None`` by their number; default ``model.loss``. accumulate:
    ``accumulate(model, parts)``, your own way, which runs backward over a list of parts, each what
    ``inputs`` is, and leaves the gradients in ``.grad``; default: each part's loss divided by the
    number of all. The model is in training mode with dropout 0. Rows and ``shared`` are as in
    `rows_independent`. tolerance: of a parameter's largest gradient, or of a tenth of the model's
    where that is more; default: 1e-3 in float32, 1e-9 in float64.
    """
    s, name = subject_of(model), "gradient_accumulation"
    x = Inputs(inputs, s, seed)
    known = loss is not None or hasattr(model, "loss")
    if not known and accumulate is None:
        raise ValueError(f"{name}: {s.name} has no method loss: give loss= or accumulate=")
    counted = _Loss(s, loss)
    count, keys = x.rows(name, least=max(parts), shared=shared)
    largest = 0.0
    rates = s.by_hand(lambda: counted(x, None)) if known else []
    with s.kept(training=True, dropout=False, rates=rates), s.enable_grad():

        def gradients(batches):
            """After your way, or ours."""
            _clear(s)
            if accumulate is not None:
                accumulate(s.model, [_like(inputs, batch) for batch in batches])
            else:
                total = max(sum(counted.count(batch) for batch in batches), 1)
                for batch in batches:
                    counted(batch, total).backward()
            return _gradients(s)

        if known:
            _clear(s)
            counted(x, None).backward()
            whole = _gradients(s)
        else:
            whole = gradients([x])
        for k in parts:
            batches = x.split(keys, count, k)
            found = gradients(batches)
            gap, words = _compared(whole, found, 10 * s.tolerance if tolerance is None else tolerance)
            largest = max(largest, gap)
            if words:
                each = [gradients([batch]) for batch in batches]
                fault = counted.fault(x, batches[0]) if known and accumulate is None else ""
                sizes = [len(batch.values[keys[0]]) for batch in batches]
                fail(
                    name, s.name, f"the gradients of {k} parts are not those of the whole batch", words,
                    f"the parts have {sizes} rows"
                    + (_targets([counted.count(batch) for batch in batches], " and ") if known and not fault else ""),
                    cause=fault or _why_parts(found, each, whole, "parts"),
                    cure="divide every part's sum by the number of targets of the whole batch (loss(..., divide_by=n)), add the "
                    "gradients up, and make a step once",
                )  # fmt: skip
    return Held(name, len(parts), largest)


def data_parallel(
    model: Any, inputs: Any, *, loss: Callable[..., Any] | None = None, local: Callable[..., Any] | None = None,
    reduce: Callable[..., Any] | None = None, ranks: Sequence[int] = (2, 3), shared: Sequence[int | str] = (),
    dropout: bool = False, tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """N ranks, each with rows of the batch, have the gradient that one has of all, to rounding.

    The ranks are played one after the other; nothing is sent. By default each has the gradient of
    the *sum* of its losses, and these are added up and divided once by the number of targets of
    all.

    local: ``local(model, *rows)`` gives what a rank sends, ``(gradients by name, number of
    targets)``, arrays. reduce: ``reduce(gradients, counts)``, lists of what the ranks sent, gives
    the gradients by name that every rank goes on with. Give yours to check them. dropout: let it
    act, each rank drawing what its rows get in the whole batch (`minitensor.random.rows`), as
    training by ``--distributed`` does; only for Modules of minitensor. The rest is as in
    `gradient_accumulation`.
    """
    s, name = subject_of(model), "data_parallel"
    x = Inputs(inputs, s, seed)
    if loss is None and not hasattr(model, "loss"):
        raise ValueError(f"{name}: {s.name} has no method loss: give loss=")
    counted = _Loss(s, loss)
    count, keys = x.rows(name, least=max(ranks), shared=shared)
    reduce = reduce or _summed
    largest = 0.0
    rates = [] if dropout else s.by_hand(lambda: counted(x, None))
    with s.kept(training=True, dropout=dropout, rates=rates), s.enable_grad():

        def own(batch):
            _clear(s)
            if local is not None:
                args, kwargs = batch.called()
                with counted.drawing():
                    gradients, n = local(s.model, *args, **kwargs)
                return {key: s.array(g) if s.is_tensor(g) else np.asarray(g) for key, g in gradients.items()}, n
            counted(batch, 1).backward()
            return _gradients(s), counted.count(batch)

        def at(batches):
            """The batches one after the other, each in its place."""
            stop = 0
            for batch in batches:
                start, stop = stop, stop + len(batch.values[keys[0]])
                counted.place = (start, stop, count) if dropout else None
                yield batch

        for batch in at([x]):
            _clear(s)
            counted(batch, None).backward()
            whole = _gradients(s)
        for n in ranks:
            batches = x.split(keys, count, n)
            sent = [own(batch) for batch in at(batches)]
            found = reduce([gradients for gradients, _ in sent], [number for _, number in sent])
            found = {key: s.array(g) if s.is_tensor(g) else g for key, g in found.items()}
            gap, words = _compared(whole, found, 10 * s.tolerance if tolerance is None else tolerance)
            largest = max(largest, gap)
            if words:
                counted.place = (0, count, count) if dropout else None
                means, fault = [], counted.fault(x, None if dropout else batches[0]) if local is None else ""
                for batch in at(batches):
                    _clear(s)
                    counted(batch, None).backward()
                    means.append(_gradients(s))
                fail(
                    name, s.name, f"the gradients of {n} ranks are not those of one", words,
                    "" if fault else _targets([number for _, number in sent], "the ranks have "),
                    cause=fault or _why_parts(found, means, whole, "ranks"),
                    cure="send the gradients of sums and the numbers of targets, add both up over the ranks, and divide once",
                )  # fmt: skip
    return Held(name, len(ranks), largest)


class _Loss:
    """A loss that says by what it is divided."""

    def __init__(self, s, loss):
        self.s, self.loss = s, loss
        self.place = None  # (start, stop, of): the rows of a batch that dropout draws for

    def drawing(self):
        return nullcontext() if self.place is None else self.s.part(*self.place)

    def __call__(self, x, divide_by):
        args, kwargs = x.called()
        with self.drawing():
            if self.loss is None:
                return self.s.model.loss(*args, **kwargs, divide_by=divide_by)
            return self.loss(self.s.model, *args, **kwargs, divide_by=divide_by)

    def count(self, x):
        """The number of targets that count: what the mean is a mean of."""
        with self.s.no_grad():
            total, mean = (float(self.s.array(self(x, n))) for n in (1, None))
        count = total / mean if mean else 0.0  # without targets a mean is 0
        return round(count) if abs(count - round(count)) < 0.01 * max(1.0, count) ** 0.5 else count

    def fault(self, x, part=None):
        """What is wrong with a loss that is no sum divided by ``divide_by``, or that is another one
        after that of a part; "" if nothing is.
        """
        with self.s.no_grad():
            one, two = (float(self.s.array(self(x, n))) for n in (1, 2))
            if part is not None:
                before, _, after = (float(self.s.array(self(inputs, 1))) for inputs in (x, part, x))
                if not abs(before - after) <= 1e-6 * abs(before):
                    return (
                        "the loss of the same inputs is another one after that of a part: it draws random numbers, or keeps "
                        "state, such as a running mean, which each part changes for the next"
                    )
        if one == two:
            return "the loss is the same whatever divide_by is: each part is divided by its own number, and the means are added up"
        if not abs(one - 2 * two) <= 1e-3 * abs(one):
            return (
                "a term of the loss is not divided by divide_by, such as a penalty of the weights, and so is added once for each "
                "part"
            )
        return ""


def _targets(counts, words):
    """How many targets count, in words; "" where it is not known, since a number is not whole."""
    return f"{words}{counts} targets that count" if all(int(n) == n for n in counts) else ""


def _like(given, x):
    """The values of ``x`` as a user gave them: an array, a tuple or a dict of tensors."""
    args, kwargs = x.called()
    if isinstance(given, dict):
        return {**dict(enumerate(args)), **kwargs}
    return tuple(args) if isinstance(given, (tuple, list)) else args[0]


def _clear(s):
    for _, p in s.model.named_parameters():
        p.grad = None


def _gradients(s):
    """All gradients by name; zeros where there is none."""
    return {
        key: np.zeros(tuple(p.shape), s.float_dtype) if p.grad is None else s.array(p.grad).copy()
        for key, p in s.model.named_parameters()
        if p.requires_grad
    }


def _summed(gradients, counts):
    return {key: sum(one[key] for one in gradients) / max(sum(counts), 1) for key in gradients[0]}


def _compared(whole, found, tolerance):
    """``(largest difference, words)``: the words are empty if all gradients are the same."""
    missing = sorted(set(whole) - set(found))
    if missing:
        return np.inf, f"there is no gradient of {numbered(missing)}"
    top = max((float(np.abs(g).max(initial=0)) for g in whole.values()), default=0.0)
    if not top:
        return np.inf, "the gradient of the whole batch is zero, so that nothing can be seen"
    worst, words = 0.0, ""
    for key, g in whole.items():
        gap = np.abs(np.asarray(found[key], dtype=np.float64) - g)
        gap = np.where(np.isnan(gap), np.inf, gap)
        scale = max(float(np.abs(g).max(initial=0)), 0.1 * top)
        relative = float(gap.max(initial=0)) / scale
        if relative > worst:
            worst = relative
            if relative > tolerance:
                place = np.unravel_index(int(gap.argmax()), gap.shape)
                words = (
                    f"{key}[{', '.join(map(str, place))}] is {np.asarray(found[key])[place]:.6g} in place of {g[place]:.6g}; "
                    f"the largest difference of {key} is {gap.max():.3g}, of gradients up to {np.abs(g).max():.3g}"
                )
    return worst, words


def _why_parts(found, each, whole, what):
    """The mistake that gives exactly these gradients."""
    if set(whole) - set(found):
        return "they are not handed on"
    k = len(each)
    added = {key: sum(one[key] for one in each) for key in whole}
    if _factor(added, found) == 1:
        return f"each of the {what} is divided by its own number, and the means are added up"
    if _factor({key: g / k for key, g in added.items()}, found) == 1:
        return f"a mean of the means of the {what}, which have different numbers of targets"
    for i, which in ((k - 1, "last"), (0, "first")):
        if _factor(each[i], found):
            return f"the gradients of the {which} of the {what} alone: those of the others are overwritten or forgotten"
    factor = _factor(whole, found)
    if factor:
        return f"the sum is divided by another number: everything is {factor:.6g} times as large"
    return (
        f"rows are not independent (statistics of the batch), or the number of targets is counted wrongly in the {what}"
    )


def _factor(guess, found):
    """The number by which ``found`` is ``guess``; 1 if it is nearly that, 0 if there is none."""
    products = [(float((g * found[key]).sum()), float((g * g).sum())) for key, g in guess.items()]
    size = sum(own for _, own in products)
    factor = sum(product for product, _ in products) / size if size else 0.0
    factor = 1.0 if abs(factor - 1.0) < 1e-3 else factor
    return 0.0 if not factor or _compared({key: g * factor for key, g in guess.items()}, found, 1e-3)[1] else factor
