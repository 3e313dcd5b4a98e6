"""What an invariant says: a small report if it holds, or what failed, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "KEEP",
    "KEPT",
    "SEEN",
    "UNSEEN",
    "Held",
    "difference",
    "fail",
    "numbered",
    "readable",
    "same_bits",
    "scale_of",
]

# Why a model does not see what it trains, and what to write, by the library.
UNSEEN = {
    "minitensor": "a tensor with requires_grad=True that is no nn.Parameter, or an attribute whose name begins with _",
    "PyTorch": "a tensor with requires_grad=True that is no nn.Parameter, or parameters and modules in a plain list or dict",
}
SEEN = {
    "minitensor": "assign an nn.Parameter or a module to an attribute without a leading underscore",
    "PyTorch": "assign an nn.Parameter or a module, in lists nn.ParameterList or nn.ModuleList",
}
# Why a result depends on what a model has seen before, and what to write.
KEPT = "state, or a cache whose key leaves out something that its values depend on"
KEEP = "keep no state in forward; the key of a cache holds all that its values are made of, a whole row and not its first token"


@dataclass(frozen=True)
class Held:
    """An invariant that holds.

    invariant: its name. compared: how many results were compared. largest: the largest difference
    there was, of results that are equal to rounding; 0 if all were bit for bit the same. notes:
    what could not be checked, and why.
    """

    invariant: str
    compared: int
    largest: float = 0.0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        how = f"equal to {self.largest:.2g}" if self.largest else "bit for bit"
        return "; ".join([f"{self.invariant}: {self.compared} comparisons, {how}", *self.notes])


def fail(invariant, name, what, *evidence, cause, cure):
    """Raise the AssertionError of an invariant: what failed, the evidence, a cause and a cure."""
    lines = [f"{invariant} does not hold for {name}: {what}", *(f"  {line}" for line in evidence if line)]
    raise AssertionError("\n".join([*lines, f"likely cause: {cause}", f"cure: {cure}"]))


def readable(invariant, s, x):
    """The output for the inputs ``x``; fail if there is nothing in it that could be compared, or
    if it is another one each time.
    """
    out = s.run(x)
    if out.size and out.dtype.kind == "f" and np.isnan(out).all():
        fail(
            invariant, s.name, "the output is NaN throughout, so that nothing can be seen",
            cause="NaN in the inputs or in a parameter, or one that the model makes",
            cure="mt.why_nan(lambda: model(*inputs).sum()) names the cause for a Module; give inputs that are finite",
        )  # fmt: skip
    gap, words = difference(out, s.run(x))
    if gap > s.tolerance * scale_of(out):
        fail(
            invariant, s.name, "in evaluation mode the same input gives another output a second time", words,
            cause="dropout or other random numbers act in evaluation, or the model keeps something between calls",
            cure="draw only if self.training is true (F.dropout takes it as training=), keep no state in forward",
        )  # fmt: skip
    return out


def unused(s, name, over):
    """Fail since the input ``over`` has no say."""
    fail(
        name, s.name, f"the output is the same whatever input {over!r} is, so that nothing can be seen",
        cause="the input is not used", cure="give another input by its number or name, over=",
    )  # fmt: skip


def same_bits(a, b):
    """Whether two arrays are equal in every bit, NaN too."""
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def scale_of(array):
    """The largest finite value, by which differences are measured; 1 if there is none."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def difference(before, after, row=None):
    """``(how much, words)``: the largest difference of two arrays, and where it is.

    row: the arrays are that row of the output.
    """
    if before.shape != after.shape:
        return np.inf, f"the output has the shape {after.shape} in place of {before.shape}"
    gap = np.abs(after.astype(np.float64) - before.astype(np.float64))
    gap = np.where((before == after) | (np.isnan(before) & np.isnan(after)), 0.0, gap)
    gap = np.where(np.isnan(gap), np.inf, gap)
    if not gap.size or not gap.any():
        return 0.0, ""
    place = np.unravel_index(int(gap.argmax()), gap.shape)
    index = ", ".join(map(str, place if row is None else (row, *place)))
    index = f"[{index}]" if index else ""
    one, other = before[place], after[place]
    words = f"output{index} is {one:.9g} and becomes {other:.9g}; {np.count_nonzero(gap)} of {gap.size} values differ"
    return float(gap.max()), f"{words}, by up to {gap.max():.3g}"


def numbered(items, most=6):
    """A few of ``items`` in words."""
    items = [str(item) for item in items]
    return ", ".join(items[:most]) + (f", and {len(items) - most} more" if len(items) > most else "")
