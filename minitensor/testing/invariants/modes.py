"""What a model is in evaluation: always the same, and as in training without dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import (
    KEEP,
    KEPT,
    Held,
    difference,
    fail,
    numbered,
    readable,
    same_bits,
    scale_of,
)

__all__ = ["evaluation_mode"]

SEEDS = 64  # runs with other random numbers, where some are drawn in evaluation


def evaluation_mode(
    model: Any, inputs: Any, *, call: Callable[..., Any] | None = None, training: bool = True, seed: int = 0
) -> Held:
    """Evaluation is training with dropout 0, recorded or not, bit for bit, and always the same.

    Dropout that acts in evaluation is found even if it dropped nothing: the library's draws random
    numbers, and none if it is switched off. Where it draws others in evaluation, 64 more runs must
    be equal, and a note says so. What the model has seen before has no say: after other inputs the
    output is, to rounding, that of a copy that has seen none. PyTorch computes some layers in
    another way within ``no_grad()``; there it is to rounding.

    Training is without dropout where ``F.dropout``, attention and recurrent layers drop nothing, of
    PyTorch the functions of ``torch.nn.functional``. If numbers are drawn even so, attributes
    between 0 and 1 that are called p or have "drop" in their names are set to 0, too.

    training=False leaves out the comparison with training, for a model that is meant to differ
    (batch norm). The rest is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "evaluation_mode"
    x = Inputs(inputs, s, seed)
    with s.kept():
        untouched = s.copied()
        readable(name, s, x)
        with s.enable_grad():
            out, *more = (s.array(s.output(x)) for _ in range(3))
        for what, again in zip(("a second time", "a third time"), more):
            if not same_bits(out, again):
                _another_output(s, what, difference(out, again)[1])
        notes = _without_draws(s, x, out)
        with s.no_grad():
            quiet = s.output(x)
        largest, words = difference(out, s.array(quiet))
        largest /= scale_of(out)
        if largest > (0.0 if s.library == "minitensor" else s.tolerance):
            fail(
                name, s.name, "its output is another one within no_grad()", words,
                cause="forward asks whether it is recorded, or keeps something between calls",
                cure="compute the same either way",
            )  # fmt: skip
        if s.is_recorded(quiet):
            fail(
                name, s.name, "its output is recorded within no_grad()", cause="forward turns recording on",
                cure="leave enable_grad() to the caller",
            )  # fmt: skip
        notes += _whatever_came_before(s, untouched, x, out)
    if training:
        _trained_without_dropout(s, x, out)
    return Held(name, 4 + training, largest, tuple(notes))


def _another_output(s, what, words):
    fail(
        "evaluation_mode", s.name, f"in evaluation mode the same input gives another output {what}", words,
        cause="dropout or other random numbers act in evaluation, or the model keeps something between calls",
        cure="draw only if self.training is true (F.dropout takes it as training=), keep no state in forward",
    )  # fmt: skip


def _without_draws(s, x, out):
    """Fail if dropout acts in evaluation, seen or not; a note on other random numbers."""
    if not s.draws(lambda: s.run(x))[1]:
        return []
    with s.no_dropout():
        others = s.draws(lambda: s.run(x))[1]
    if not others:
        fail(
            "evaluation_mode", s.name, "dropout acts in evaluation mode",
            "random numbers are drawn in evaluation, and none where dropout is switched off",
            cause="F.dropout with training=True, which is the default, or a module that train() and eval() do not reach",
            cure="F.dropout(x, p, self.training), and layers of dropout in attributes that the model knows",
        )  # fmt: skip
    for i in range(SEEDS):
        again = s.run(x)
        if not same_bits(out, again):
            _another_output(s, f"in {i + 1} further runs", difference(out, again)[1])
    return [f"random numbers are drawn in evaluation, and did not change the output in {SEEDS} runs"]


def _whatever_came_before(s, untouched, x, out):
    """Fail if what a copy has seen before changes its output; a note on what could not be done."""
    first, later = untouched, untouched and untouched.copied()
    if first is None or later is None:
        return ["the model cannot be copied, so that state kept from other inputs was not looked for"]
    with first.kept():
        fresh = first.run(x)
    with later.kept():
        try:
            for _ in range(3):
                later.run(_others(x))
        except Exception as error:
            return [f"state kept from other inputs was not looked for, since other inputs raise {type(error).__name__}"]
        after = later.run(x)
    for found, what in ((out, "the same input"), (after, "other inputs")):
        gap, words = difference(fresh, found)
        if gap > s.tolerance * scale_of(fresh):
            fail(
                "evaluation_mode", s.name, f"the output is another one after {what} than in a copy that sees it first", words,
                cause=f"the model keeps something between calls: {KEPT}", cure=KEEP,
            )  # fmt: skip
    return []


def _others(x):
    """Other inputs; masks are those of other rows."""
    other = x.again()
    count, keys = x.rows("evaluation_mode", least=1)
    masks = [key for key in keys if x.values[key].dtype.kind == "b"]
    return other.taken(masks, np.roll(np.arange(count), 1))


def _trained_without_dropout(s, x, out):
    """Fail if training gives another output where no dropout acts."""
    rates = s.by_hand(lambda: s.output(x))
    with s.kept(training=True, dropout=False, rates=rates), s.enable_grad():
        trained, drawn = s.draws(lambda: s.array(s.output(x)))
    if same_bits(out, trained):
        return
    tried = f"set to 0 for it: {numbered(path for path, _, _ in rates)}" if rates else ""
    if drawn:
        cause = "dropout or noise that is written by hand: random numbers are drawn in training even if F.dropout drops nothing"
        cure = "F.dropout(x, p, self.training), or the rate in an attribute with drop in its name"
    else:
        cause = (
            "a branch on self.training: dropout without the factor 1 / (1 - p) or with it in evaluation, or statistics of the "
            "batch (batch norm)"
        )
        cure = "F.dropout(x, p, self.training)"
    fail(
        "evaluation_mode", s.name, "training with every dropout 0 gives another output than evaluation",
        difference(out, trained)[1], tried, cause=cause, cure=f"{cure}; training=False here if they are meant to differ",
    )  # fmt: skip
