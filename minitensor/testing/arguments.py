"""What a check is given beside the function: its inputs, of any library, and its keywords."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping

import numpy as np

from minitensor.backend import is_floating, is_narrow
from minitensor.engine.messages import a_kind, describe
from minitensor.engine.tensor import Tensor
from minitensor.engine.trees import leaves_of
from minitensor.testing.adapters.signatures import binds, names_all, signature_of, takes_keywords

__all__ = [
    "about_lists", "array_of", "as_choice", "as_inputs", "as_ours", "as_reference", "check_given", "drawn_list", "holds_arrays",
    "note", "split",
]  # fmt: skip


def check_given(check, inputs, keywords=None, at_kinks=None, examples=1, draws=False):
    """Raise if what ``check`` is given beside the function is nothing that it can take.

    draws: whether it takes strategies, alone or as the items of the list of inputs.
    """
    if keywords is not None and not isinstance(keywords, Mapping):
        raise TypeError(f"{check}: keywords must be a dict, {{'axis': 0}} for example, got {keywords!r}")
    if at_kinks is not None and not callable(at_kinks):
        raise TypeError(f"{check}: at_kinks must be a function, (cotangent, *inputs) to gradients, got {at_kinks!r}")
    if isinstance(examples, bool) or not isinstance(examples, (int, np.integer)) or examples < 1:
        raise ValueError(f"{check}: examples must be an integer of at least 1, got {examples!r}")
    for value in leaves_of([inputs, dict(keywords or {})]):
        if inspect.isroutine(value) and (value.__module__ or "").startswith(
            ("minitensor.testing.strat", "hypothesis.")
        ):
            raise TypeError(f"{check}: {value.__name__} makes a strategy if it is called: give st.{value.__name__}()")
    if draws and _is_strategy(inputs):
        return
    whole = (
        [value for value in inputs if not (draws and _is_strategy(value))]
        if isinstance(inputs, (list, tuple))
        else inputs
    )
    if any(map(_is_strategy, leaves_of([whole, dict(keywords or {})]))):
        raise TypeError(
            f"{check}: a strategy within a list, a dict or keywords= is not drawn: make one that draws all of it, st.case(...) or "
            "hypothesis.strategies.tuples(...)"
            if draws
            else f"{check} takes inputs and draws none: give strategies to check_op(fn, strategy)"
        )


def _is_strategy(value):
    return hasattr(value, "example") and hasattr(value, "flatmap")


def as_reference(check, reference):
    """``reference=`` of ``check`` so that a TypeError says where it comes from; None as it is."""
    if reference is None:
        return None
    if not callable(reference):
        raise TypeError(
            f"{check}: reference must be a function of NumPy arrays that gives the values, got {reference!r}"
        )

    @functools.wraps(reference, updated=())
    def called(*inputs, **keywords):
        try:
            return reference(*inputs, **keywords)
        except TypeError as error:
            raise TypeError(
                f"{check}: reference= fails where it is called with {len(inputs)} inputs, NumPy's arrays, and the keywords "
                f"{list(keywords)}: {error}"
            ) from error

    return called


def as_choice(name, at_kinks, values):
    """``at_kinks=`` of a check of ``name`` so that its gradients are those of ``values``, all of
    them or the floating ones; TypeError at a call if they are not. None as it is.
    """
    if at_kinks is None:
        return None
    floating = [value for value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f"]

    def choice(*given):
        found = at_kinks(*given)
        parts = found if isinstance(found, (tuple, list)) else (found,)
        owners = next((each for each in (list(values), floating) if len(each) == len(parts)), None)
        if owners is None or not all(_broadcasts(p, v) for p, v in zip(parts, owners) if holds_arrays(v)):
            words = ", ".join(describe(part) for part in parts)
            raise TypeError(
                f"{name}: at_kinks= returned {words}: it returns a tuple of gradients, one for each input and of its shape, or "
                "the gradient itself if there is one input"
            )
        return found

    return choice


def _broadcasts(part, value):
    try:
        return np.broadcast_to(part, value.shape).dtype.kind in "biuf"
    except (TypeError, ValueError):
        return False


def as_inputs(inputs):
    """``inputs`` as a list; one tensor or array, ours or another library's, is one input."""
    if isinstance(inputs, (Tensor, np.ndarray)) or is_foreign(inputs):
        return [inputs]
    if not isinstance(inputs, (list, tuple)):
        call = f": if it makes a strategy, call it, {name}()" if (name := getattr(inputs, "__name__", "")) else ""
        raise TypeError(
            f"inputs must be a list, one item for each argument of the function, got {type(inputs).__name__}{call}"
        )
    return list(inputs)


def split(function, inputs, keywords=None):
    """``(inputs, at_end)`` of a list of inputs at whose end a dict may hold keywords, beside those
    of ``keywords``; ``at_end`` is that dict, or None.

    It holds them if the function takes all of its keys by name, and is an input if the function can
    be called with it in its place alone. TypeError if it can be either and nothing tells: the
    function takes any keyword, and the dict holds floating arrays.
    """
    inputs, keywords = list(inputs), keywords or {}
    last = inputs[-1] if inputs else None
    if not isinstance(last, dict) or not _may_name(last) or not takes_keywords(function):
        return inputs, None
    signature = signature_of(function)
    if signature is None:
        return inputs[:-1], last
    by_name = binds(signature, inputs[:-1], {**keywords, **last})
    in_place = binds(signature, inputs, keywords)
    if by_name and in_place and not names_all(signature, last) and holds_arrays(last):
        raise TypeError(
            f"the dict at the end of the inputs, with the keys {list(last)}, may be an input or hold keywords, since the "
            "function takes both: give keywords= for these, or a further {} at the end, which holds none"
        )
    return (inputs, None) if in_place and not by_name else (inputs[:-1], last)


def _may_name(last):
    return all(isinstance(key, str) and key.isidentifier() for key in last)


def is_foreign(value):
    """Whether ``value`` is an array of another library: PyTorch's or JAX's, but no NumPy number."""
    return (
        hasattr(value, "__array__")
        and hasattr(value, "dtype")
        and not isinstance(value, (Tensor, np.ndarray, np.generic, type))
    )


def array_of(value):
    """An array of another library as one of NumPy; what NumPy cannot hold, and what is none, as it
    is.
    """
    if not is_foreign(value):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype).endswith("bfloat16") else value  # NumPy has no bfloat16
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # a key of JAX, a sparse tensor
        return value
    return array if array.dtype.kind in "biuf" or is_narrow(array.dtype) else value


def as_ours(value):
    """A floating array of another library as one of NumPy, so that it is differentiated; what else
    is no array of ours stays what it is.
    """
    array = array_of(value)
    return array if array is value or is_floating(array.dtype) else value


def about_lists(inputs):
    """What to say of inputs that are lists of numbers if the function cannot take them; "" if there
    are none.
    """
    listed = [i for i, value in enumerate(inputs) if isinstance(value, (list, tuple)) and not holds_arrays(value)]
    found = [i for i in listed if any(isinstance(leaf, float) for leaf in leaves_of(inputs[i]))]
    if not found:
        return ""
    return (
        f"input {found[0]} is {a_kind(inputs[found[0]])} of numbers, which the function is given as it is: a check differentiates "
        "by arrays, np.array([1.0, 2.0])"
    )


def note(error, text):
    """Let Python print ``text`` behind ``error`` (from Python 3.11 on), which stays what it is."""
    error.__notes__ = [*getattr(error, "__notes__", ()), text]


def holds_arrays(value):
    """Whether ``value`` is a floating array, or a list, tuple or dict with one in it."""
    if isinstance(value, (list, tuple, dict)):
        return any(map(holds_arrays, value.values() if isinstance(value, dict) else value))
    value = as_ours(value)
    return isinstance(value, (Tensor, np.ndarray)) and is_floating(value.dtype)


def drawn_list(inputs):
    """A strategy of lists from a list some of whose items are strategies."""
    from hypothesis import strategies as st

    return st.tuples(*[value if isinstance(value, st.SearchStrategy) else st.just(value) for value in inputs]).map(list)
