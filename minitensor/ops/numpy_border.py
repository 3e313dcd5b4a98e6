"""NumPy's functions on Tensors: ``np.exp(x)``, ``np.concatenate([x, y])`` and ``np.add.reduce(x)``
run our op.

NumPy asks an argument of a foreign class what a function is to do with it (NEP 13 for ufuncs, NEP
18 for the others). One rule answers for all of them:

1. If minitensor has the function, with these arguments, that runs, and gives a Tensor with its
   gradient.
2. Otherwise a tensor that requires a gradient is refused: a plain array would lose the gradient
   without a word.
3. Otherwise NumPy's own function runs on the arrays of the tensors and gives what it gives: there
   is no gradient to lose.

Functions that ask about a tensor and compute nothing from it (``np.shape``, ``np.allclose``) are
answered for every tensor. Our functions are looked up by name when NumPy asks, so that a function
that is added to minitensor is found without a word here.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from minitensor.backend import np
from minitensor.engine import library
from minitensor.engine.front_door import taken_by
from minitensor.engine.tensor import Tensor
from minitensor.ops.numpy_equals import ADAPTED, OPERATORS, RENAMED, same_function

__all__ = ["array_function", "array_ufunc"]

ASKING = frozenset(
    "allclose array2string array_equal array_equiv array_repr array_str can_cast common_type iscomplexobj isrealobj "
    "may_share_memory min_scalar_type ndim result_type shape shares_memory size".split()
)
_REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any",
    "logaddexp": "logsumexp",
}  # fmt: skip
_ACCUMULATIONS = {"add": "cumsum", "multiply": "cumprod"}


def array_ufunc(self, ufunc, method, *inputs, **settings):
    """What ``ufunc(...)`` or ``ufunc.reduce(...)`` gives if a Tensor is among the arguments (NEP
    13).
    """
    if not all(_is_known(type(value)) for value in inputs if hasattr(value, "__array_ufunc__")):
        return NotImplemented
    equal = _of_ufunc(ufunc, method, inputs, settings)
    if equal is not None:
        return equal()
    name = f"numpy.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    return _on_arrays(name, ufunc.__name__, getattr(ufunc, method), inputs, settings)


def array_function(self, function, types, args, settings):
    """What the NumPy function ``function`` gives if a Tensor is among the arguments (NEP 18)."""
    if not all(_is_known(kind) for kind in types):
        return NotImplemented
    name = function.__name__
    if name in ASKING and _is_numpys(function):
        return function(*_arrays(args), **_arrays(settings))
    equal = _of_function(function, args, settings)
    result = NotImplemented if equal is None else equal()
    if result is not NotImplemented:
        return result
    return _on_arrays(f"{function.__module__}.{name}", name, function, args, settings)


def _is_known(kind):
    """Whether values of the class ``kind`` may meet a Tensor: tensors, NumPy's and CuPy's arrays,
    NumPy's numbers.
    """
    return issubclass(kind, (Tensor, np.ndarray, np.generic)) or hasattr(kind, "__cuda_array_interface__")


# --- our equal of a call, as a function without arguments, or None --------------------------------


def _named(name, module="numpy"):
    """Minitensor's function for NumPy's ``module.name``, or None."""
    mt = library.face
    home = mt if module == "numpy" else getattr(mt, "linalg", None) if module == "numpy.linalg" else None
    found = getattr(home, same_function(name), None) if home is not None and name not in ("load", "save") else None
    return found if callable(found) and not inspect.isclass(found) else None


def _of_ufunc(ufunc, method, inputs, settings):
    name = ufunc.__name__
    known: Any = getattr(np, name, None)
    if known is not ufunc:
        return None  # somebody else's ufunc: the name says nothing
    if method in ("reduce", "accumulate"):
        equal = _named({"reduce": _REDUCTIONS, "accumulate": _ACCUMULATIONS}[method].get(name, ""))
        (x,) = inputs
        settings = {"axis": 0, **{key: value for key, value in settings.items() if value is not None or key == "axis"}}
        if not x.ndim and method == "reduce":
            settings["axis"] = None
        return _with(equal, inputs, settings)
    equal = _named(name) or getattr(Tensor, OPERATORS.get(name, ""), None)
    if equal is None or ufunc.nout != 1 or settings:
        return None
    if method == "outer":
        x, y = (value if isinstance(value, Tensor) else library.face.asarray(value) for value in inputs)
        inputs = x.reshape(x.shape + (1,) * y.ndim), y
    return functools.partial(equal, *inputs) if method in ("__call__", "outer") else None


def _of_function(function, args, settings):
    if not _is_numpys(function):
        return None
    name, module = function.__name__, function.__module__
    adapted = ADAPTED.get(f"{module}.{name}")
    try:
        signature = _signature(adapted or function)
        given = signature.bind(*args, **settings).arguments
    except (
        TypeError,
        ValueError,
    ):  # not an adapted function's arguments; or a function of C, whose signature is unknown
        return None
    if adapted is not None:
        return functools.partial(adapted, *args, **settings)
    inputs, named = [], {}
    for key, value in given.items():
        parameter = signature.parameters[key]
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            inputs.extend(value)
        elif parameter.default is parameter.empty:
            inputs.append(value)
        elif not _is_default(value, parameter.default):
            named[key] = value
    return _with(_named(name, module), inputs, named)


def _with(equal, inputs, settings):
    """The call ``equal(*inputs, **settings)``; None if there is no such function, or it does not
    take these settings.
    """
    if equal is None:
        return None
    taken = _signature(equal).parameters
    settings = {key if key in taken else RENAMED.get(key, key): value for key, value in settings.items()}
    if not set(settings) <= set(taken):
        return None
    return functools.partial(equal, *inputs, **settings)


@functools.cache
def _signature(function):
    return inspect.signature(function)


def _is_default(value, default):
    return value is default or (type(value) is type(default) and isinstance(value, (str, int)) and value == default)


def _is_numpys(function):
    home = {"numpy": np, "numpy.linalg": np.linalg}.get(function.__module__)
    return home is not None and getattr(home, function.__name__, None) is function


# --- without an equal: on plain arrays, or not at all ---------------------------------------------


def _on_arrays(name, short, function, args, settings):
    """NumPy's ``function`` itself on the arrays of the tensors; TypeError if one of them requires a
    gradient.
    """
    if any(x.requires_grad for x in _tensors((args, settings))):
        ours = _named(short)
        lack = f"with {', '.join(f'{key}=' for key in settings)} " if settings else ""
        taken = f" (mt.{ours.__name__} takes {taken_by(ours)})" if ours is not None else ""
        raise TypeError(
            f"{name} {lack}would lose the gradient that a tensor here requires, and minitensor has no such function{taken}: write "
            "x.detach() for the same values as a constant, or x.numpy() for the array"
        )
    return function(*_arrays(args), **_arrays(settings))


def _tensors(value):
    """All Tensors in ``value``, in lists, tuples and dicts too."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [x for part in parts for x in _tensors(part)]


def _arrays(value):
    """``value`` with the array of each Tensor in its place."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: _arrays(part) for key, part in value.items()}
    return type(value)(map(_arrays, value)) if type(value) in (list, tuple) else value
