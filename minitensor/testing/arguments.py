"""What a check is given beside the function: its inputs, of any library, and its keywords."""

from __future__ import annotations

import numpy as np

from minitensor.backend import is_floating, is_narrow
from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters.signatures import binds, names_all, signature_of, takes_keywords

__all__ = ["array_of", "as_inputs", "as_ours", "holds_arrays", "split"]


def as_inputs(inputs):
    """``inputs`` as a list; one tensor or array, ours or another library's, is one input."""
    if isinstance(inputs, (Tensor, np.ndarray)) or is_foreign(inputs):
        return [inputs]
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(
            f"inputs must be a list, one item for each argument of the function, got {type(inputs).__name__}"
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


def holds_arrays(value):
    """Whether ``value`` is a floating array, or a list, tuple or dict with one in it."""
    if isinstance(value, (list, tuple, dict)):
        return any(map(holds_arrays, value.values() if isinstance(value, dict) else value))
    value = as_ours(value)
    return isinstance(value, (Tensor, np.ndarray)) and is_floating(value.dtype)
