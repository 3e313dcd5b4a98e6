"""A layer, ours or PyTorch's, as lines to paste: how it was made, and the values that it holds.

How a layer was made is not kept anywhere, but most layers keep what they were made with under the
names of the arguments. What is found so is tried: a layer is made of it, and the lines are given if
it prints the same and holds tensors of the same names and shapes and the same numbers beside them.
For any other layer the lines say what the reader has to put in.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from minitensor import random

__all__ = ["is_layer", "lines_of_layer"]

PLAIN = (bool, int, float, str, type(None))


class _Made(NamedTuple):
    """An expression, and what it gives."""

    text: str
    value: object


class _UnknownError(Exception):
    """It cannot be seen how a layer was made."""


def is_layer(value):
    """Whether ``value`` is a layer: an object with parameters and a state to load."""
    return not isinstance(value, type) and hasattr(value, "named_parameters") and hasattr(value, "load_state_dict")


def lines_of_layer(layer, named, literal):
    """Lines after which ``layer`` is a layer like the one given, with its values.

    named: gives the expression for a class. literal: gives that for an array.
    """
    kind = type(layer).__name__
    try:
        with _random_kept():
            made = _made(layer, named)
            lines = [f"layer = {made.text}{_cast(layer, made.value)}"]
            if not _alike(layer, made.value):
                raise _UnknownError
    except Exception:  # whatever its class raises, it is not made so
        lines = [f"# layer: the {kind} that was checked, made as it is where the check was called"]
    state = layer.state_dict()
    if state:
        lines.append("layer.load_state_dict({")
        lines += [f"    {name!r}: {literal(value)}," for name, value in state.items()]
        lines.append("})")
    if not getattr(layer, "training", True):
        lines.append("layer.eval()")
    return lines


def _made(layer, named):
    """The call that makes a layer of the class of ``layer``, by what it keeps."""
    kind = type(layer)
    parts: list[_Made] = []
    by_name: dict[str, _Made] = {}
    for parameter in inspect.signature(kind).parameters.values():
        name = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            parts += [_argument(child, named) for child in layer.children()] if kind.__name__ == "Sequential" else []
        elif parameter.kind is parameter.VAR_KEYWORD:
            continue
        elif not hasattr(layer, name):
            if parameter.default is parameter.empty:
                raise _UnknownError
        else:
            kept = getattr(layer, name)
            if isinstance(parameter.default, bool) and not isinstance(kept, bool):
                kept = kept is not None  # bias=True, and then the bias itself
            if type(kept) is not type(parameter.default) or kept != parameter.default:
                by_name[name] = _argument(kept, named)
    words = [part.text for part in parts] + [f"{name}={part.text}" for name, part in by_name.items()]
    text = f"{named(kind)}({', '.join(words)})"
    return _Made(text, kind(*[p.value for p in parts], **{name: p.value for name, p in by_name.items()}))


def _argument(value, named):
    if is_layer(value):
        return _made(value, named)
    if isinstance(value, PLAIN):
        return _Made(repr(value), value)
    if isinstance(value, (list, tuple)) and all(isinstance(v, PLAIN) for v in value):
        return _Made(repr(value), value)
    raise _UnknownError


def _cast(layer, made):
    """The call that gives ``made`` the floating type of ``layer``, "" if it has it; makes it."""
    kinds = {str(p.dtype) for _, p in layer.named_parameters()}
    if kinds == {str(p.dtype) for _, p in made.named_parameters()} or len(kinds) != 1:
        return ""
    (kind,) = kinds
    name = kind.rpartition(".")[2]
    if not kind.startswith("torch."):
        made.astype(name)
        return f".astype({name!r})"
    made.to(getattr(sys.modules["torch"], name))
    return f".to({kind})"


def _alike(layer, made):
    """Whether two layers print alike and hold the same tensors, but for their values."""
    if not getattr(layer, "training", True):
        made.eval()
    return (
        repr(layer) == repr(made)
        and _held(layer) == _held(made)
        and [_kept(m) for m in layer.modules()] == [_kept(m) for m in made.modules()]
    )


def _kept(module):
    """What a module keeps beside its tensors, its mode among it."""
    return {name: value for name, value in vars(module).items() if isinstance(value, PLAIN)}


def _held(layer):
    return [(name, tuple(v.shape), str(v.dtype)) for name, v in layer.state_dict().items()]


@contextmanager
def _random_kept():
    """Within, what draws initial values leaves the generators as they were."""
    torch, state = sys.modules.get("torch"), random.default.state
    try:
        with nullcontext() if torch is None else torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.default.state = state
