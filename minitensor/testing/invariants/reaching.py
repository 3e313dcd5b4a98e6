"""Every parameter gets a gradient."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subject import subject_of
from minitensor.testing.invariants.words import SEEN, UNSEEN, Held, fail, numbered

__all__ = ["gradient_reaches_parameters"]


def gradient_reaches_parameters(
    model: Any, inputs: Any, *, without: Sequence[str] = (), batches: int = 3,
    call: Callable[..., Any] | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """Every parameter gets a gradient: not None, finite, and over several batches not all zero.

    The model is in training mode. What is differentiated is a random combination of the outputs, or
    the loss: ``call=lambda model, *inputs: model.loss(*inputs)``. Between batches `Ids` and
    `Floats` are drawn again, arrays of integers put into another order, floats moved. Tensors in
    attributes that are to be trained and are no parameters are told, too, and so are modules that
    the output depends on and the model does not know.

    without: names of parameters that have no gradient, patterns such as ``"head.*"``; one that has
    is told. Frozen ones (``requires_grad`` False) are left out. The rest is as in `no_look_ahead`.
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
    with s.kept(training=True):
        for _ in range(batches):
            with s.enable_grad():
                output = s.output(x)
            seeds = rng.standard_normal(tuple(output.shape)).astype(s.float_dtype)
            found = s.gradients(output, seeds, list(parameters.values()))
            for key, g in zip(parameters, found):
                if g is not None:
                    top = float(np.abs(g).max(initial=0))
                    best[key] = max(best[key], top) if np.isfinite(top) else np.nan
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
    reached = [key for key in bare if best[key] > 0]
    if reached:
        fail(
            name,
            s.name,
            f"a gradient does reach {numbered(reached)}",
            cause="without= is out of date",
            cure="take them out of it",
        )
    return Held(name, len(parameters) * batches)
