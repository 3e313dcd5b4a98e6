"""A failed check as lines to paste: the imports, the inputs as they were and the call."""

from __future__ import annotations

import base64
import functools
import inspect
import re
import sys
import zlib
from contextlib import contextmanager

import numpy as np

from minitensor.backend import is_floating
from minitensor.engine.autograd import raw
from minitensor.engine.trees import leaves_of
from minitensor.testing.adapters import Adapted
from minitensor.testing.arguments import about_lists, array_of, note
from minitensor.testing.layers import is_layer, lines_of_layer

__all__ = ["literal", "reproduced"]

LONG = 200  # elements beyond which an array is packed
MAKERS = {"torch": "tensor", "jax": "numpy.array"}  # how other libraries make an array


@contextmanager
def reproduced(check, function, inputs, keywords, options):
    """Within, an AssertionError gets the seed and a snippet that calls ``check`` again on
    ``inputs``.

    options: keyword arguments of the check; those that are the defaults are left out. ``inputs``
    may be a function that returns them, if they are known only once the check has failed.
    """
    try:
        yield
    except AssertionError as error:
        if getattr(error, "reproduced", False):
            raise
        given = inputs() if callable(inputs) else inputs
        text = snippet(check, function, given, keywords, options)
        made = AssertionError(f"{error}\nseed: {options['seed']}\n\nTo see it again, paste:\n\n{text}")
        made.reproduced = True  # type: ignore[attr-defined]
        raise made from error
    except (TypeError, AttributeError) as error:
        if hint := about_lists(inputs() if callable(inputs) else inputs):
            note(error, hint)
        raise


def snippet(check, function, inputs, keywords, options):
    """Lines of Python that run ``check`` again and fail in the same way."""
    defaults = inspect.unwrap(check).__kwdefaults__
    imports = {"import numpy as np", f"from minitensor.testing import {check.__name__}"}
    notes: list[str] = []
    called = _named(function, imports, notes)
    arguments = ",\n    ".join(literal(value) for value in inputs)
    parts = [called, f"[\n    {arguments},\n]" if len(inputs) else "[]"]
    if keywords:
        parts.append("keywords={" + ", ".join(f"{k!r}: {literal(v)}" for k, v in keywords.items()) + "}")
    for name, value in options.items():
        if value is not defaults.get(name) and not _equal(value, defaults.get(name)):
            parts.append(f"{name}={_named(value, imports, notes, name) if callable(value) else literal(value)}")
    text = f"{check.__name__}({', '.join(parts)})"
    whole = "\n".join([*notes, text])
    if "frombuffer" in whole:
        imports |= {"import base64", "import zlib"}
    if _of_bfloat16([inputs, keywords]):
        imports.add("import ml_dtypes")  # for NumPy to know the name
    imports |= {
        f"import {library}"
        for library in ("torch", "jax")
        if f"{library}.{MAKERS[library]}(" in whole or f".to({library}." in whole
    }
    return "\n".join([*sorted(imports), whole])


def _named(function, imports, notes, otherwise="fn", what="function"):
    """An expression for ``function``, importable if it can be; else its name, or ``otherwise``, and
    a note that says what it is. A layer is made in lines of its own.
    """
    if isinstance(function, tuple):
        return f"({', '.join(_named(f, imports, notes, name) for f, name in zip(function, ('f', 'vjp')))})"
    if isinstance(function, Adapted):
        imports.add("from minitensor.testing import adapters")
        maker, parts = function.made_by
        return f"adapters.{maker}({', '.join(_named(f, imports, notes, name) for f, name in zip(parts, ('f', 'vjp')))})"
    if is_layer(function):
        notes += lines_of_layer(function, lambda kind: _named(kind, imports, notes, what="class of the layer"), literal)
        return "layer"
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and getattr(function, "__name__", "") == "apply":
        return f"{_named(owner, imports, notes)}.apply"
    module = getattr(function, "__module__", None)
    for name in (getattr(function, "__qualname__", None), getattr(function, "name", None)):
        found = sys.modules.get(module or "")
        name = name if isinstance(name, str) else ""
        for part in name.split("."):
            found = getattr(found, part, None) if part.isidentifier() else None
        if found is function and found is not None and module != "__main__":
            first = name.partition(".")[0]
            imports.add(f"from {module} import {first}")
            return name
    names = (getattr(function, "name", None), getattr(function, "__name__", None))
    name = next((name for name in names if isinstance(name, str)), "")
    name = name if name.isidentifier() and not isinstance(function, functools.partial) else otherwise
    note = f"# {name}: the {what} that was checked, as it is where the check was called"
    notes += [] if note in notes else [note]
    return name


def _equal(a, b):
    return type(a) is type(b) and isinstance(a, (int, float, str, bool, tuple, type(None))) and a == b


def literal(value):
    """An expression that gives ``value`` again, to the last bit; an array keeps its order of axes
    in memory, its gaps and its directions.
    """
    value = raw(value)
    if isinstance(value, np.generic):
        return _scalar(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return repr(np.dtype(value).name)
    if not isinstance(value, np.ndarray):
        maker = _maker(value)
        return f"{maker}({literal(array_of(value))})" if maker else _special(repr(value))
    if value.ndim and value.size and not value.flags.c_contiguous and not value.flags.f_contiguous:
        return _spread_out(value)
    return _dense(value)


def _maker(value):
    """What makes an array of another library, ``value``, of one of NumPy; "" if it is none, or of
    a type that NumPy does not have.
    """
    root = type(value).__module__.partition(".")[0].removesuffix("lib")
    known = root in MAKERS and isinstance(array_of(value), np.ndarray)
    return f"{root}.{MAKERS[root]}" if known and "bfloat16" not in str(value.dtype) else ""


def _scalar(value):
    """A number of NumPy's as a number, which is what a check takes for ``rtol``, say."""
    if value.dtype.kind in "biuf":
        name = "bool_" if value.dtype.kind == "b" else value.dtype.name
        return f"np.{name}({_special(repr(value.item()))})"
    return literal(np.asarray(value))


def _of_bfloat16(value):
    """Whether an array that is written down is of bfloat16."""
    return any(getattr(getattr(leaf, "dtype", None), "name", "") == "bfloat16" for leaf in leaves_of(value))


def _spread_out(value):
    """An array with gaps, or whose axes run backwards, as a view of one that is written down."""
    turns = ["::-1" if step < 0 else ":" for step in value.strides]
    forward = value[tuple(slice(None, None, -1 if step < 0 else None) for step in value.strides)]
    order = sorted(range(value.ndim), key=lambda axis: -forward.strides[axis])
    lying = forward.transpose(order)
    text, below = _dense(np.ascontiguousarray(lying)), value.itemsize
    gaps = [1] * lying.ndim
    for axis in reversed(range(lying.ndim)):  # a step of k elements is one of k that are the same
        if lying.shape[axis] > 1:
            gaps[axis] = max(1, -(-lying.strides[axis] // below))
            below = max(below, lying.strides[axis]) * lying.shape[axis]
    for axis, gap in enumerate(gaps):
        text += f".repeat({gap}, {axis})" if gap > 1 else ""
    text += f"[{', '.join(f'::{gap}' if gap > 1 else ':' for gap in gaps)}]" if max(gaps) > 1 else ""
    if order != sorted(order):
        text += f".transpose({', '.join(str(int(axis)) for axis in np.argsort(order))})"
    return text + (f"[{', '.join(turns)}]" if "::-1" in turns else "")


def _dense(value):
    """An array without gaps."""
    dtype = value.dtype.name
    if value.size == 0:
        return f"np.zeros({value.shape}, dtype={dtype!r})"
    if value.size > LONG:
        packed = base64.b85encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 9)).decode()
        made = f"np.frombuffer(zlib.decompress(base64.b85decode({packed!r})), dtype={dtype!r}).reshape({value.shape})"
    else:
        listed = (value.astype(np.float64) if is_floating(value.dtype) else value).tolist()
        made = f"np.array({_special(repr(listed))}, dtype={dtype!r})"
    fortran = value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous
    return f"np.asfortranarray({made})" if fortran else made


def _special(text):
    """The names of NaN and infinity as NumPy has them."""
    return re.sub(r"(?<![\w.'\"])(nan|inf)(?![\w'\"])", r"np.\1", text)
