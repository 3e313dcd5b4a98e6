"""Every parameter gets a gradient."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.parts import Reached, found_gradients, in_words, never_reached
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import SEEN, UNSEEN, Held, fail, numbered

__all__ = ["gradient_reaches_parameters"]


def gradient_reaches_parameters(
    model: Any, inputs: Any, *, without: Sequence[str] = (), batches: int = 3,
    call: Callable[..., Any] | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """Every parameter gets a gradient: not None, finite, and over several batches not zero, neither
    as a whole nor in all of a row or column.

    The model is in training mode. What is differentiated is a random combination of the outputs, or
    the loss: ``call=lambda model, *inputs: model.loss(*inputs)``. Between batches `Ids` and
    `Floats` are drawn again, arrays of integers put into another order, floats moved. Tensors in
    attributes that are to be trained and are no parameters are told, too, and so are modules that
    the output depends on and the model does not know.

    Rows and columns are the places along the first two axes. One that had no gradient is tried
    again in a copy with other parameters, other ids and fewer positions, so that what these explain
    is no failure: a ReLU that was off, and, with a note, ids that did not occur and a table of
    positions that is longer than the inputs. Where this cannot be tried, there is a note in the
    place of a failure. Rows of an ``Embedding``, ``PositionalEncoding`` or ``PositionBias`` (the
    class has this in its name) are not asked for.

    without: names of parameters that have no gradient, at all or in a part, patterns such as
    ``"head.*"``; one that has is told. Frozen ones (``requires_grad`` False) are left out. The rest
    is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "gradient_reaches_parameters"
    x = Inputs(inputs, s, seed)
    lost = sorted(s.unregistered(x))
    if lost:
        fail(
            name, s.name, f"{numbered(lost)} is to be trained and is no parameter, so that no optimiser sees it",
            cause=UNSEEN[s.library], cure=SEEN[s.library],
        )  # fmt: skip
    parameters = {key: p for key, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError(f"{name}: {s.name} has no parameter that is trained")
    best = dict.fromkeys(parameters, -1.0)  # the largest gradient; -1 if there was none
    rng = np.random.default_rng(seed)
    reached, first = Reached(s), x
    with s.kept(training=True):
        for _ in range(batches):
            for key, g in found_gradients(s, x, rng).items():
                top = float(np.abs(g).max(initial=0))
                best[key] = max(best[key], top) if np.isfinite(top) else np.nan
                reached.add(key, g)
            x = x.again()
    bare = [key for key in parameters if any(fnmatch.fnmatchcase(key, pattern) for pattern in without)]
    broken = [key for key, top in best.items() if np.isnan(top)]
    if broken:
        fail(
            name, s.name, f"the gradient of {numbered(broken)} is infinite or NaN", cause="a root, a logarithm or a division at 0",
            cure="mt.detect_anomaly() names the op",
        )  # fmt: skip
    unused = [key for key, top in best.items() if top < 0 and key not in bare]
    if unused:
        fail(
            name, s.name, f"no gradient reaches {numbered(unused)}", f"{len(unused)} of {len(parameters)} parameters",
            cause="forward does not use them, or the way to the output is cut: detach(), numpy(), no_grad(), an argmax or a round",
            cure="use them, or leave the tensors in the graph; without=[...] names parameters that are meant to have none",
        )  # fmt: skip
    zero = [key for key, top in best.items() if top == 0 and key not in bare]
    if zero:
        fail(
            name, s.name, f"the gradient of {numbered(zero)} is all zero in {batches} batches",
            f"{len(zero)} of {len(parameters)} parameters",
            cause="they are multiplied by 0 (as by weights that start at 0), a ReLU is dead, a mask hides them, or what comes out "
            "does not change with them, as with a bias before a norm or a softmax",
            cure="look at what comes behind them; without=[...] names parameters that are meant to have none",
        )  # fmt: skip
    whole = [key for key in bare if best[key] > 0 and not reached.left([key])]
    if whole:
        fail(
            name,
            s.name,
            f"a gradient does reach {numbered(whole)}",
            cause="without= is out of date",
            cure="take them out of it",
        )
    notes = []
    if left := reached.left([key for key in parameters if key not in bare]):
        with s.kept(training=True):
            unused, looked_up, note = never_reached(s, first, left)
        places = numbered(in_words(*where) for where in unused.items())
        if unused and not note:
            fail(
                name, s.name, f"no gradient reaches {places}", "in any batch, whatever the other parameters are",
                cause="a part of a split or a slice is dropped or taken twice, a head is left out, or a mask that is always there "
                "hides it",
                cure="use it, or make the parameter smaller; without=[...] names parameters of which a part is meant to have none",
            )  # fmt: skip
        notes = [f"no gradient reached {places}, which the inputs may explain ({note})"] if unused else []
        places = numbered(in_words(*where) for where in looked_up.items())
        notes += [f"no gradient reached {places}; other inputs reach other places of it"] if looked_up else []
    return Held(name, len(parameters) * batches, notes=tuple(notes))
