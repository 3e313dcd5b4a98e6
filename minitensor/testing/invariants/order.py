"""Order in time: no look into the future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs, cuts
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import Held, difference, fail, numbered, readable, same_bits, scale_of

__all__ = ["no_look_ahead"]


def no_look_ahead(
    model: Any, inputs: Any, *, over: int | str = 0, call: Callable[..., Any] | None = None,
    gradient: bool = True, prefixes: bool = True, nan: bool = False, tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """The output at position t is a function of the inputs up to t: it is causal.

    Four ways to see a look into the future. For every pair of positions: other values of a later
    input change a bit of an earlier output; the derivative ``d output_t / d input_s`` is not
    exactly 0 for some s > t. For every position: inputs that end there give another output than
    longer ones, by more than rounding, so that the length is looked at. With ``nan=True`` also that
    a NaN in a later input reaches an earlier output. The last is not asked for by default, since
    attention by a mask multiplies what is masked by 0, and 0 * NaN is NaN.

    model: a Module, or an ``nn.Module`` of PyTorch, looked at in evaluation mode. inputs: an array,
    a tuple of arguments, or a dict of names and arguments; arrays, tensors, `Ids` or `Floats`.
    over: the number or name of the input that has the positions, (B, T) or (B, T, ...), as the
    output has. call: ``call(model, *inputs)`` is the output; default: ``model(*inputs)``, of a
    tuple the first. gradient: of ids it is taken at the vectors that an ``nn.Embedding`` looks up.
    prefixes: False for a model that is meant to know the length. Cut is the input ``over``, or with
    it all others that have the T positions, or lengths (B,): the model is right if it is so for one
    of these; a note says which lengths it cannot be called with. tolerance: of prefixes, in parts
    of the largest output; default: 1e-4 in float32, 1e-10 in float64. Returns a `Held`; raises
    AssertionError that says which positions look ahead, by how much, and the likely cause. It runs
    the model four times for each position: give short inputs.

    >>> from minitensor import nn
    >>> from minitensor.testing import invariants
    >>> invariants.no_look_ahead(nn.GRU(4, 3), invariants.Floats((2, 5, 4))).compared
    17
    """
    s, name = subject_of(model, call), "no_look_ahead"
    x = Inputs(inputs, s, seed)
    array = x.array(over, name)
    with s.kept():
        out = readable(name, s, x)
        steps = _steps(name, array, out)
        after = {at: s.run(x.replaced({over: _put(array, x.other(over), at, at + 1)})) for at in range(steps)}
        reach = np.array([[not same_bits(out[:, t], after[at][:, t]) for at in range(steps)] for t in range(steps)])
        if not reach.any():
            fail(
                name, s.name, "no output changes when any input does, so that nothing can be seen",
                cause=f"input {over!r} is not used, or every output is the same", cure="give other inputs, or over=",
            )  # fmt: skip
        looks = [(t, at) for t in range(steps) for at in range(t + 1, steps) if reach[t, at]]
        if looks:
            t, at = looks[0]
            gap, words = difference(out[:, : t + 1], after[at][:, : t + 1])
            _looks_ahead(s, looks, reach, gap / scale_of(out), words)
        for t in range(steps - 1):  # all later inputs at once
            changed = s.run(x.replaced({over: _put(array, x.other(over), t + 1, steps)}))
            gap, words = difference(out[:, : t + 1], changed[:, : t + 1])
            if words:
                _looks_ahead(s, [(t, f"{t + 1} to {steps - 1}")], reach, gap / scale_of(out), words)
        notes = _by_gradient(s, x, over, steps) if gradient else []
        compared = 2 * steps - 1 + (steps - 1) * (gradient and not notes)
        largest = 0.0
        if prefixes:
            bound = s.tolerance if tolerance is None else float(tolerance)
            more, largest, note = _by_length(s, x, over, out, bound * scale_of(out))
            compared, largest, notes = compared + more, largest / scale_of(out), notes + note
        if nan:
            notes += _by_nan(s, x, over, out)
    return Held(name, compared, largest, notes=tuple(notes))


def _steps(name, array, out):
    """The number of positions; ValueError if input and output do not have as many."""
    if array.ndim < 2 or out.ndim < 2 or array.shape[:2] != out.shape[:2] or array.shape[1] < 2:
        raise ValueError(
            f"{name}: the input {array.shape} and the output {out.shape} must both be (rows, positions, ...), with at least "
            "two positions: name the input by over=, and give the output in this form by call="
        )
    return array.shape[1]


def _put(array, other, start, stop):
    """``array`` with the values of ``other`` at positions ``start`` to ``stop - 1``."""
    new = array.copy()
    new[:, start:stop] = other[:, start:stop]
    return new


def _looks_ahead(s, looks, reach, relative, words):
    """Fail by what was seen: pairs of an output's position and a later input's."""
    t, at = looks[0]
    cause, cure = _why(looks, reach, relative)
    fail(
        "no_look_ahead", s.name, f"the output at position {t} changes with the input at position {at}", words,
        f"outputs that look ahead, with the inputs they see: {numbered(f'{t} sees {at}' for t, at in looks)}",
        cause=cause, cure=cure,
    )  # fmt: skip


def _why(looks, reach, relative):
    steps = len(reach)
    possible = steps * (steps - 1) // 2
    mask = "np.tril(np.ones((T, T), bool)), True where query t may look at key s <= t"
    if not np.tril(reach, -1).any():
        return "the causal mask is the wrong way round: positions see what is behind them in its place", f"use {mask}"
    if relative < 1e-3 and len(looks) > 1:
        return (
            "what is masked gets a small weight in place of none, as by a mask that subtracts a finite number",
            "write minus infinity into the scores that are masked, before the softmax",
        )
    distance = max((at - t for t, at in looks if not isinstance(at, str)), default=steps)
    if distance < steps - 1 and len(looks) >= steps - distance:
        return f"the causal mask is off by {distance}, or by less in each of several layers", f"use {mask}"
    if len(looks) == possible:
        return (
            "there is no causal mask, or a softmax, norm or mean goes over the axis of positions",
            f"use {mask}; softmax over the keys (axis=-1), norms over the features",
        )
    return "something reads positions that come later", f"use {mask}; look at rolls, flips and convolutions too"


def _by_gradient(s, x, over, steps):
    """Fail for a derivative by a later input; notes on what could not be checked."""
    output, leaves = s.recorded(x, over)
    if notes := s.missing(output, leaves):
        return notes
    shape = tuple(output.shape)
    rng = np.random.default_rng(0)
    for t in range(steps - 1):
        output, leaves = s.recorded(x, over)
        seed = np.zeros(shape, dtype=s.float_dtype)
        seed[:, t] = rng.standard_normal(seed[:, t].shape)
        for g in s.gradients(output, seed, leaves):
            later = np.zeros((1, 1, 0)) if g is None else g[:, t + 1 :]
            if later.any():  # NaN too
                at = t + 1 + int(np.flatnonzero(later.reshape(later.shape[0], later.shape[1], -1).any(axis=(0, 2)))[0])
                fail(
                    "no_look_ahead", s.name, f"the gradient of the output at position {t} reaches the input at position {at}",
                    f"d output[:, {t}] / d input[:, {at}] is up to {np.abs(later).max():.3g}, and must be exactly 0",
                    cause="a later input is read where its value makes no difference here, but its slope does",
                    cure="mask before what is masked is computed with, not after",
                )  # fmt: skip
    return []


def _by_length(s, x, over, out, bound):
    """Fail if inputs that end earlier give other outputs.

    Returns ``(compared, largest difference, notes)``.
    """
    tried = []
    for cut in cuts(x, over):
        outputs, refused = {}, {}
        for length in range(out.shape[1] - 1, 0, -1):
            try:
                found = s.run(cut(length))
            except Exception as error:
                refused[length] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            if found.shape != out[:, :length].shape:
                refused[length] = f"it gives {found.shape} for {length} positions"
            else:
                outputs[length] = difference(out[:, :length], found)
        worst = max((gap for gap, _ in outputs.values()), default=0.0)
        tried.append((worst > bound, len(refused), worst, outputs, refused))
        if not any(tried[-1][:2]):
            break
    ahead, _, worst, outputs, refused = min(tried, key=lambda one: one[:3])
    notes = []
    if refused:
        first = max(refused)
        lengths = numbered(sorted(refused))
        notes = [
            f"inputs cut to the lengths {lengths} were not compared, since the model refuses them ({refused[first]})"
        ]
    if ahead:
        length = max(n for n, (gap, _) in outputs.items() if gap > bound)
        fail(
            "no_look_ahead", s.name, f"outputs up to position {length - 1} are other ones if the inputs end there",
            outputs[length][1],
            f"no value behind position {length - 1} was changed: it is their number that is looked at, the length of the inputs",
            cause="a sum that is divided by T, positions that are counted from the end, something that is done at the last "
            "position alone, or a mask or window whose place depends on T",
            cure="count positions from the start, divide by the number of positions so far (arange(1, T + 1)); prefixes=False for "
            "a model that is meant to know the length",
        )  # fmt: skip
    return len(outputs), worst, notes


def _by_nan(s, x, over, out):
    """Fail for a NaN that goes back in time."""
    array = x.values[over]
    for t in range(array.shape[1] - 1):
        places = np.broadcast_to(np.arange(array.shape[1]) > t, array.shape[:2])
        planted = s.with_nan(x, over, places)
        if planted is None:
            return ["no NaN was planted (no nn.Embedding reads these ids)"]
        if not same_bits(planted[:, : t + 1], out[:, : t + 1]):
            fail(
                "no_look_ahead", s.name, f"NaN in the inputs behind position {t} reaches outputs up to {t}",
                difference(out[:, : t + 1], planted[:, : t + 1])[1],
                cause="what is masked is multiplied by 0 and added, and 0 * NaN is NaN",
                cure="leave out what is masked, or set it to 0 first (where(mask, x, 0)); without nan=True this is no failure",
            )  # fmt: skip
    return []
