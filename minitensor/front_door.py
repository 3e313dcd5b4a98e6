"""What people who come from PyTorch or NumPy write first, and what it is called here: words for the errors they meet."""

from __future__ import annotations

__all__ = ["missing_attribute", "missing_name"]

METHODS = {  # of PyTorch's and NumPy's tensors: what to write instead
    "argwhere": "mt.nonzero(x)",
    "bmm": "x @ y",
    "bool": 'x.astype("bool")',
    "clone": "x itself (tensors are values, nothing changes one), or mt.tensor(x) for a new leaf",
    "contiguous": "x itself",
    "copy": "x itself (tensors are values, nothing changes one), or mt.tensor(x) for a new leaf",
    "cpu": 'x.to("cpu")',
    "cuda": 'x.to("cuda")',
    "dim": "x.ndim",
    "dot": "x @ y",
    "double": 'x.astype("float64")',
    "expand": "mt.broadcast_to(x, shape)",
    "float": 'x.astype("float32")',
    "gather": "mt.take_along_axis(x, ids, axis=axis)",
    "half": 'x.astype("float16")',
    "index_select": "mt.take(x, ids, axis=axis)",
    "int": 'x.astype("int32")',
    "long": 'x.astype("int64")',
    "masked_fill": "mt.where(mask, value, x)",
    "mm": "x @ y",
    "mv": "x @ y",
    "nelement": "x.size",
    "numel": "x.size",
    "permute": "x.transpose(axes)",
    "pow": "x**y",
    "ravel": "x.flatten()",
    "scatter": "mt.put_along_axis(x, ids, values, axis=axis)",
    "sub": "x - y",
    "t": "x.T",
    "transpose_": "x.transpose(axes)",
    "type": "x.astype(dtype)",
    "unsqueeze": "mt.expand_dims(x, axis)",
    "view": "x.reshape(shape)",
    "view_as": "x.reshape(y.shape)",
}
NAMES = {  # of the modules torch and numpy: what to write instead
    "arccosh": "mt.acosh",
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
    """The text of the AttributeError for ``tensor.name``: what to write, as far as that is known."""
    import minitensor as mt

    plain, text = name.rstrip("_"), f"'Tensor' object has no attribute {name!r}"
    if name.startswith("_"):
        return text
    if name != plain and (hasattr(mt.Tensor, plain) or hasattr(mt, plain) or plain in METHODS):
        return f"{text}: tensors are values and never change in place; write x = ... of a new one, or x.assign(value) for a leaf"
    if name in METHODS:
        return f"{text}: write {METHODS[name]}"
    for place, where in ((mt, "mt"), (mt.nn.functional, "mt.nn.functional"), (mt.linalg, "mt.linalg")):
        if callable(vars(place).get(name)):
            return f"{text}: write {where}.{name}(x)"
    return text


def missing_name(name):
    """The text of the AttributeError for ``mt.name``: where it is, or what it is called here, as far as that is known."""
    import minitensor as mt

    text = f"module 'minitensor' has no attribute {name!r}"
    if name in NAMES:
        return f"{text}: write {NAMES[name]}"
    for place in (mt.nn.functional, mt.nn, mt.nn.init, mt.optim, mt.linalg, mt.random):
        if not name.startswith("_") and callable(vars(place).get(name)):
            return f"{text}: it is {place.__name__.replace('minitensor', 'mt')}.{name}"
    if callable(getattr(mt.Tensor, name, None)) and not name.startswith("_"):
        return f"{text}: it is a method, x.{name}(...)"
    return text
