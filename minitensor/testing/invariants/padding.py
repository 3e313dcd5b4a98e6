"""Padding: neither its values nor its amount have a say in what is real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import Held, difference, fail, readable, scale_of, unused

__all__ = ["padding_ignored"]


def padding_ignored(
    model: Any, inputs: Any, *, padding: int | str, over: int | str = 0, positions: bool | None = None,
    call: Callable[..., Any] | None = None, gradient: bool = True, nan: bool = False, tolerance: float | None = None,
    seed: int = 0,
) -> Held:  # fmt: skip
    """Neither the values in padding nor its amount have a say in what is real.

    Other values in the padding change no bit of the outputs that are real; one or two positions of
    padding more, and a row alone without its padding, give the same to rounding; the derivative by
    a padded input is exactly 0. With ``nan=True`` NaN in the padding stays there.

    padding: the input that tells the padding, a mask (B, T) that is True at real tokens, or lengths
    (B,). A model that takes it otherwise is called by ``call``, such as
    ``call=lambda model, x, mask: model(x, src_key_padding_mask=~mask)``. over: the input that is
    padded, (B, T) or (B, T, ...). positions: whether the output has these positions, too, so that
    those of the padding are not compared; default: whether its shape begins with (B, T). The output
    may be a loss. The rest is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "padding_ignored"
    x = Inputs(inputs, s, seed)
    array, told = x.array(over, name), x.array(padding, name)
    if array.ndim < 2 or told.shape not in (array.shape[:2], array.shape[:1]) or told.dtype.kind not in "biu":
        raise ValueError(
            f"{name}: input {padding!r}, {told.shape} of {told.dtype}, is neither a mask {array.shape[:2]} nor lengths"
        )
    steps, lengths = array.shape[1], told.ndim == 1
    real = np.arange(steps) < told[:, None] if lengths else told.astype(bool)
    if real.all() or not real.any(axis=1).all():
        raise ValueError(f"{name}: give some padding, and at least one real position in each row")
    bound = s.tolerance if tolerance is None else float(tolerance)
    notes = []
    along = [
        k for k, v in x.values.items() if isinstance(v, np.ndarray) and v.shape[:2] == array.shape[:2] and k != padding
    ]
    with s.kept():
        out = readable(name, s, x)
        if positions is None:
            positions = out.shape[:2] == real.shape
        kept = real if positions else np.broadcast_to(True, out.shape[:1] if out.ndim else ())
        compare = _Compare(s, out, kept)
        if not compare.gap(s.run(_filled(x, [over], real))):
            unused(s, name, over)
        for _ in range(2):
            compare(
                s.run(_filled(x, [over], ~real)), 0.0, f"values in the padding of input {over!r} change what is real"
            )
        for more, words in ((1, "one position of padding more changes"), (2, "two positions of padding more change")):
            changed = s.run(_longer(x, [*along, padding], real, more, lengths))
            if positions:
                left = not lengths and real[:, -1].all()
                changed = changed[:, more:] if left else changed[:, : changed.shape[1] - more]
            compare(changed, bound, f"{words} what is real")
        if out.ndim and len(out) == len(array):
            for row in range(len(array)):
                changed = out.copy()
                alone = s.run(_alone(x, row, [*along, padding], real))
                changed[row, real[row] if positions else ...] = alone[0]
                compare(changed, bound, f"row {row} gets something else alone and without its padding")
        if gradient:
            notes += _gradient_of_padding(s, x, over, real, kept)
        if nan:
            planted = s.with_nan(x, over, ~real)
            if planted is None:
                notes.append("no NaN was planted (no nn.Embedding reads these ids)")
            elif compare.gap(planted):
                fail(
                    name, s.name, "NaN in the padding reaches what is real", compare.words,
                    cause="padding is multiplied by 0 and added, and 0 * NaN is NaN",
                    cure="set padding to 0 where it is read, where(mask, x, 0); without nan=True this is no failure",
                )  # fmt: skip
    return Held(name, compare.count, compare.largest, tuple(notes))


def _filled(x, keys, places):
    """The call with other values of ``keys`` at ``places``."""
    values = {}
    for key in keys:
        values[key] = x.values[key].copy()
        values[key][places] = x.other(key)[places]
    return x.replaced(values)


def _longer(x, keys, real, more, lengths):
    """The call with ``more`` positions of padding, on the side where there is some."""
    side = (more, 0) if not lengths and real[:, -1].all() else (0, more)
    values = {}
    for key in keys:
        value = x.values[key]
        if lengths and value.ndim == 1:
            continue
        values[key] = np.pad(
            value, [(0, 0), side, *[(0, 0)] * (value.ndim - 2)], mode="constant" if value.dtype.kind == "b" else "edge"
        )
    return x.replaced(values)


def _alone(x, row, keys, real):
    """The call with one row of every array that has them, cut to its real positions."""
    _, all_rows = x.rows("padding_ignored", least=1)
    values = {key: x.values[key][row : row + 1] for key in all_rows}
    values |= {key: values[key][:, real[row]] for key in keys if values[key].ndim > 1}
    return x.replaced(values)


class _Compare:
    """Compares outputs where they are real, and counts."""

    def __init__(self, s, out, kept):
        self.s, self.out, self.count, self.largest, self.words = s, out, 0, 0.0, ""
        self.kept = kept.reshape(kept.shape + (1,) * (out.ndim - kept.ndim))
        self.scale = scale_of(out[kept])

    def gap(self, changed):
        """The largest difference, in parts of the largest output."""
        if changed.shape == self.out.shape:
            changed = np.where(self.kept, changed, self.out)
        gap, self.words = difference(self.out, changed)
        return gap / self.scale

    def __call__(self, changed, bound, what):
        gap = self.gap(changed)
        self.count, self.largest = self.count + 1, max(self.largest, gap)
        if gap > bound:
            cause = (
                "the mask does not reach every place that reads the padding: attention, a mean, a maximum, a recurrence"
            )
            cure = "set padding to minus infinity before a softmax, to 0 before a sum, and divide by the number of real positions"
            if not self.out.ndim:
                cause = "targets of padding count in the loss, or padding is read"
                cure = "leave them out of the sum and out of the number that it is divided by (ignore_index)"
            elif gap < 1e-3:
                cause = "padding gets a small weight in place of none: a mask that subtracts a finite number"
                cure = "write minus infinity into the scores of padding"
            fail("padding_ignored", self.s.name, what, self.words, cause=cause, cure=cure)


def _gradient_of_padding(s, x, over, real, kept):
    output, leaves = s.recorded(x, over)
    if notes := s.missing(output, leaves):
        return notes
    seed = np.random.default_rng(0).standard_normal(tuple(output.shape)).astype(s.float_dtype)
    seed = np.where(kept.reshape(kept.shape + (1,) * (seed.ndim - kept.ndim)), seed, 0).astype(s.float_dtype)
    for g in s.gradients(output, seed, leaves):
        if g is not None and g[~real].any():
            row, at = np.argwhere(g.reshape(*real.shape, -1).any(axis=2) & ~real)[0]
            fail(
                "padding_ignored", s.name, f"the gradient of what is real reaches the padding at row {row}, position {at}",
                f"it is up to {np.abs(g[~real]).max():.3g}, and must be exactly 0",
                cause="padding is read where its value makes no difference here, but its slope does",
                cure="mask before what is padded is computed with, not after",
            )  # fmt: skip
    return []
