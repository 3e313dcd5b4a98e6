"""What people who come from PyTorch or NumPy write first, and what it is called here: words for the
errors they meet.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType

from minitensor.engine import library

__all__ = ["missing_attribute", "missing_name", "refusal", "taught", "taken_by", "teach"]

_ARRAY_FUNCTIONS = ("minitensor.ops.", "minitensor.linalg")  # where they are defined

ARGUMENTS = {  # of NumPy's and PyTorch's functions: what to write instead
    "casting": "write .astype(dtype)",
    "diagonal": "it is called k",
    "dim": "the axis is called axis",
    "dims": "the axes are called axis, or axes if their order matters",
    "dtype": "write .astype(dtype)",
    "initial": "combine the result with it, by + or mt.maximum",
    "inplace": "tensors are values, and the result is a new one",
    "keepdim": "it is called keepdims",
    "order": "a tensor's layout in memory is its own affair",
    "out": "tensors are values, and the result is a new one",
    "requires_grad": "write .requires_grad_() behind the call",
    "unbiased": "write ddof=1 for it, ddof=0 against it",
    "where": "write mt.where(mask, x, neutral) for the elements that count",
}

METHODS = {  # of PyTorch's and NumPy's tensors: what to write instead
    "argwhere": "mt.nonzero(x)",
    "add": "x + y",
    "bmm": "x @ y",
    "bool": 'x.astype("bool")',
    "chunk": "mt.split(x, sections, axis=axis)",
    "clamp": "x.clip(min, max)",
    "clone": "x itself (tensors are values, nothing changes one), or mt.tensor(x) for a new leaf",
    "contiguous": "x itself",
    "copy": "x itself (tensors are values, nothing changes one), or mt.tensor(x) for a new leaf",
    "cpu": 'x.to("cpu")',
    "cuda": 'x.to("cuda")',
    "dim": "x.ndim",
    "div": "x / y",
    "dot": "x @ y",
    "double": 'x.astype("float64")',
    "eq": "x == y",
    "expand": "mt.broadcast_to(x, shape)",
    "flat": "x.flatten()",
    "float": 'x.astype("float32")',
    "gather": "mt.take_along_axis(x, ids, axis=axis)",
    "ge": "x >= y",
    "grad_fn": "x.is_leaf, which tells whether an op has made x",
    "gt": "x > y",
    "half": 'x.astype("float16")',
    "index_select": "mt.take(x, ids, axis=axis)",
    "int": 'x.astype("int32")',
    "is_cuda": 'x.device != "cpu"',
    "itemsize": "x.dtype.itemsize",
    "le": "x <= y",
    "lt": "x < y",
    "long": 'x.astype("int64")',
    "masked_fill": "mt.where(mask, value, x)",
    "masked_select": "x[mask]",
    "matmul": "x @ y",
    "mm": "x @ y",
    "mul": "x * y",
    "mv": "x @ y",
    "nbytes": "x.size * x.dtype.itemsize",
    "ndimension": "x.ndim",
    "ne": "x != y",
    "nelement": "x.size",
    "new_ones": "mt.ones(shape, dtype=x.dtype, device=x.device)",
    "new_zeros": "mt.zeros(shape, dtype=x.dtype, device=x.device)",
    "numel": "x.size",
    "permute": "x.transpose(axes)",
    "pow": "x**y",
    "ravel": "x.flatten()",
    "real": "x itself",
    "scatter": "mt.put_along_axis(x, ids, values, axis=axis)",
    "strides": "x.numpy().strides",
    "sub": "x - y",
    "t": "x.T",
    "tobytes": "x.numpy().tobytes()",
    "type": "x.astype(dtype)",
    "type_as": "x.astype(y.dtype)",
    "unbind": "mt.unstack(x, axis=axis)",
    "unsqueeze": "mt.expand_dims(x, axis)",
    "view": "x.reshape(shape)",
    "view_as": "x.reshape(y.shape)",
    "where": "mt.where(mask, x, y)",
}
NAMES = {  # of the modules torch and numpy: what to write instead
    "arccosh": "mt.acosh",
    "array": "mt.tensor, or mt.asarray",
    "as_tensor": "mt.asarray",
    "cat": "mt.concat",
    "clamp": "mt.clip",
    "device": '"cpu" or "cuda", the name itself',
    "double": '"float64"',
    "float": '"float32"',
    "from_numpy": "mt.asarray",
    "functional": "mt.nn.functional",
    "gather": "mt.take_along_axis",
    "half": '"float16"',
    "int": '"int32"',
    "long": '"int64"',
    "manual_seed": "mt.random.seed",
    "masked_fill": "mt.where(mask, value, x)",
    "mm": "mt.matmul",
    "permute": "mt.permute_dims",
    "rand": "mt.random.uniform(shape)",
    "randint": "mt.random.integers(low, high, shape)",
    "randn": "mt.random.normal(shape)",
    "randperm": "mt.random.permutation(n)",
    "ravel": "x.flatten()",
    "set_grad_enabled": "mt.no_grad() or mt.enable_grad()",
    "transpose": "x.transpose(axes)",
    "unsqueeze": "mt.expand_dims",
}


def missing_attribute(name):
    """The text of the AttributeError for ``tensor.name``: what to write, as far as that
    is known.
    """
    mt = library.face
    text = f"'Tensor' object has no attribute {name!r}"
    if name.startswith("_"):
        return text
    if name.endswith("_") or name in ("fill", "itemset", "partition"):
        return f"{text}: tensors are values and never change in place; write x = ... of a new one, or x.assign(value) for a leaf"
    if name in METHODS:
        return f"{text}: write {METHODS[name]}"
    for place, where in ((mt, "mt"), (mt.nn.functional, "mt.nn.functional"), (mt.linalg, "mt.linalg")):
        if callable(vars(place).get(name)):
            return f"{text}: write {where}.{name}({_operands(vars(place)[name])})"
    return text


def _operands(function):
    """The arguments of ``function`` that have no default, the first called x."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return ", ".join(["x", *(p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD)])


def missing_name(name):
    """The text of the AttributeError for ``mt.name``: where it is, or what it is called here, as
    far as that is known.
    """
    mt = library.face
    text = f"module 'minitensor' has no attribute {name!r}"
    if name in NAMES:
        return f"{text}: write {NAMES[name]}"
    for place in (mt.nn.functional, mt.nn, mt.nn.init, mt.optim, mt.linalg, mt.random):
        if not name.startswith("_") and callable(vars(place).get(name)):
            return f"{text}: it is {place.__name__.replace('minitensor', 'mt')}.{name}"
    if callable(getattr(mt.Tensor, name, None)) and not name.startswith("_"):
        return f"{text}: it is a method, x.{name}(...)"
    return text


def taken_by(function):
    """What ``function`` takes, as messages show it: a signature without types."""
    signature = inspect.signature(function)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=plain, return_annotation=signature.empty)


def refusal(owner, name, signature):
    """The text of the TypeError for the argument ``name``, which the function ``owner`` does not
    take.
    """
    cure = f"; {ARGUMENTS[name]}" if name in ARGUMENTS else ""
    return f"{owner} does not take {name!r}{cure}; it takes {signature}"


@functools.cache
def taught(function):
    """``function``, saying of an argument that it does not take what to write instead; ops say so
    themselves.
    """
    if not isinstance(function, FunctionType):
        return function
    parameters = inspect.signature(function).parameters
    names = frozenset(parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return function

    @functools.wraps(function)
    def checked(*args, **settings):
        for name in settings:
            if name not in names:
                raise TypeError(refusal(function.__name__, name, taken_by(function)))
        return function(*args, **settings)

    return checked


def teach(namespace):
    """Put ``taught`` functions in place of the functions of a module, given as its dictionary of
    names.
    """
    for name in namespace.get("__all__", list(namespace)):
        value = namespace[name]
        if isinstance(value, FunctionType) and value.__module__.startswith(_ARRAY_FUNCTIONS):
            made = namespace[name] = taught(value)
            if made.__module__ == value.__module__:
                made.__module__ = namespace["__name__"]  # where pickle finds it
