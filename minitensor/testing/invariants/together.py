"""All invariants that apply to a model, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minitensor.testing.invariants.beams import beam_search
from minitensor.testing.invariants.decoding import cached_decoding
from minitensor.testing.invariants.modes import evaluation_mode
from minitensor.testing.invariants.order import no_look_ahead
from minitensor.testing.invariants.padding import padding_ignored
from minitensor.testing.invariants.reaching import gradient_reaches_parameters
from minitensor.testing.invariants.rows import rows_in_any_order, rows_independent
from minitensor.testing.invariants.saving import save_and_load
from minitensor.testing.invariants.sets import permutation
from minitensor.testing.invariants.subject import untouched
from minitensor.testing.invariants.training import data_parallel, gradient_accumulation
from minitensor.testing.invariants.words import Held

__all__ = ["check_model"]


def check_model(
    model: Any, inputs: Any, *, call: Callable[..., Any] | None = None, over: int | str = 0, causal: bool = False,
    padding: int | str | None = None, unordered: bool = False, loss_inputs: Any = None,
    loss: Callable[..., Any] | None = None, beam_inputs: Any = None, make: Callable[[], Any] | None = None,
    without: Sequence[str] = (), seed: int = 0,
) -> list[Held]:  # fmt: skip
    """Check every invariant that applies, and tell of all that fail together.

    Always `rows_independent`, `rows_in_any_order`, `evaluation_mode`, `save_and_load` and
    `gradient_reaches_parameters`; if ``causal`` `no_look_ahead`, and `cached_decoding` if the model
    has ``start`` and ``step``; with ``padding``, which tells that of the first input,
    `padding_ignored`; if ``unordered`` `permutation`; with ``loss_inputs`` `gradient_accumulation`
    and `data_parallel`, and the gradients are then the loss's; with ``beam_inputs`` `beam_search`.
    Arguments as for these. Returns their reports, a list of `Held`; raises one AssertionError with
    all that failed.
    """
    one = dict(call=call, seed=seed)
    training = dict(loss=loss, seed=seed)
    checks: list[tuple[Any, Any, dict]] = [
        (rows_independent, inputs, one),
        (rows_in_any_order, inputs, one),
        (evaluation_mode, inputs, one),
        (save_and_load, inputs, one | dict(make=make)),
    ]
    reaches = dict(call=call, without=without, seed=seed)
    if causal:
        checks.append((no_look_ahead, inputs, one | dict(over=over)))
        if hasattr(model, "start") and hasattr(model, "step"):
            checks.append((cached_decoding, inputs, one | dict(over=over)))
    if padding is not None:
        first = next(iter(inputs)) if isinstance(inputs, dict) else 0
        checks.append((padding_ignored, inputs, one | dict(padding=padding, over=first)))
    if unordered:
        checks.append((permutation, inputs, one | dict(over=over)))
    if loss_inputs is None:
        checks.append((gradient_reaches_parameters, inputs, reaches))
    else:
        checks += [(gradient_accumulation, loss_inputs, training), (data_parallel, loss_inputs, training)]
        reaches["call"] = (lambda m, *args, **named: m.loss(*args, **named)) if loss is None else loss
        checks.append((gradient_reaches_parameters, loss_inputs, reaches))
    if beam_inputs is not None:
        checks.append((beam_search, beam_inputs, one))
    held, failed = [], []
    with untouched(model):
        for check, given, options in checks:
            try:
                held.append(check(model, given, **options))
            except AssertionError as error:
                failed.append(str(error))
    if failed:
        raise AssertionError("\n\n".join([f"{len(failed)} of {len(checks)} invariants do not hold", *failed]))
    return held
