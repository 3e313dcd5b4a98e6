"""Mixed precision: within ``mt.autocast`` products run in 16 bits, what sums up or grows fast runs
in float32, and all else in the type that it is given.

The lists are those of ``torch.amp``, by the names of the ops here. A list is a property of an op
(``op.casts``), read at the one door through which each call goes while somebody looks at the ops
(``Mode.watched``); outside the block nothing is asked. A product's operands are cast by ``astype``,
which is recorded, so that gradients come back in float32. Its own gradient is rounded to the same
16 bits before it is pulled back, as backward's products have operands of 16 bits as well; they are
summed up in float32, and so are the gradients between the ops.

Micikevicius et al., "Mixed precision training", ICLR 2018, arXiv:1710.03740.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from minitensor.backend import as_dtype, is_array, is_floating, is_narrow, np
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.settings import flag
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["PRODUCTS", "autocast", "autocast_dtype", "autocast_ops", "cast_call", "casts_of", "in_16_bits", "rounded"]

if TYPE_CHECKING:
    from minitensor.engine.mode import Code

# What runs in 16 bits, with float32 accumulation.
PRODUCTS = (
    "einsum", "linear", "matmul", "packed_attention", "packed_gru", "packed_lstm", "packed_rnn", "scaled_dot_product_attention",
    "vecdot",
)  # fmt: skip
# What runs in float32, and gives it.
FLOAT32 = (
    "arccos", "arccosh", "arcsin", "arcsinh", "arctanh", "cholesky", "cofactors", "cosh", "cross_entropy", "cumprod", "cumsum",
    "det", "eigh", "euclidean_norm", "exp", "expm1", "hypot", "inv", "layer_norm_last", "log", "log10", "log1p", "log2",
    "log_softmax", "logaddexp", "logsumexp", "mean", "pinv", "power", "prod", "qr", "reciprocal", "rms_norm_last", "sinh",
    "slogdet", "softmax", "softplus", "solve", "sqrt", "square", "std", "sum", "svd", "symmetric_kl_div", "tan", "var",
)  # fmt: skip
# Inputs of products that stay as they are: factors of dropout, which rounding would make unfair,
# and what is added to scores, where people write -1e9.
KEPT = {"scaled_dot_product_attention": ("bias", "drop"), "packed_attention": ("drop",)}
SHOWN = {"layer_norm_last": "layer_norm", "rms_norm_last": "rms_norm"}  # under another public name

_FLOAT32 = np.dtype(np.float32)


def casts_of(name: str) -> str | None:
    """To what an op of the library casts its operands: "16 bits", "float32", or None."""
    return "16 bits" if name in PRODUCTS else "float32" if name in FLOAT32 else None


@overload
def autocast(dtype: str | type[Any] | np.dtype[Any] = "bfloat16", enabled: bool = True) -> switched: ...
@overload
def autocast(dtype: Code) -> Code: ...
def autocast(dtype="bfloat16", enabled=True):
    """Context manager and decorator: products inside run in 16 bits, with float32 accumulation.

    dtype: "bfloat16" (needs the package ``ml_dtypes``) or "float16", whose greatest number is 65504
    and which needs a ``mt.optim.GradScaler``. enabled: False switches it off in a part of the
    block.

    Float32 operands of matrix products, ``linear``, convolutions, attention and recurrent layers
    are rounded to ``dtype``, and so is the result; float32 is what softmax, norms, losses, sums,
    means, powers, exponentials and logarithms compute and give; other ops run in the type that they
    are given, the wider one if there are two. ``mt.autocast_ops`` has the lists. Operands of
    float64 are left alone, and an op with one is too. Parameters stay float32, and so do their
    gradients. Put the forward pass and the loss inside; ``backward`` runs in the types of the
    forward pass wherever it is called. The block holds for the thread or the asynchronous task
    alone.

    Raises TypeError for a dtype that is not one of these two, or if ``ml_dtypes`` is missing.

    >>> import minitensor as mt
    >>> x = mt.ones((2, 3))
    >>> with mt.autocast("float16"):
    ...     y = x @ x.mT
    ...     print(y.dtype, mt.nn.functional.softmax(y).dtype, (y + x.sum()).dtype)
    float16 float32 float32
    """
    if isinstance(dtype, (property, staticmethod, classmethod)) or (callable(dtype) and not isinstance(dtype, type)):
        return autocast()(dtype)
    if not flag("autocast", "enabled", enabled):
        return switched(autocast=None)
    try:
        found = as_dtype(dtype)
    except TypeError:
        if isinstance(dtype, str) and dtype == "bfloat16":  # its package is missing
            raise
        found = _FLOAT32
    if not is_narrow(found):
        raise TypeError(
            f'autocast: dtype must be "bfloat16" or "float16", got {dtype!r}; enabled=False switches it off'
        )
    return switched(autocast=found, watched=True)


def autocast_ops() -> dict[str, tuple[str, ...]]:
    """Which ops ``mt.autocast`` casts the operands of: ``{"16 bits": names, "float32": names}``.

    Every other op runs in the types that it is given. Functions made of these ops follow: a
    convolution is a ``linear``, and losses compute in float32.

    >>> import minitensor as mt
    >>> "matmul" in mt.autocast_ops()["16 bits"], "softmax" in mt.autocast_ops()["float32"]
    (True, True)
    """
    return {"16 bits": PRODUCTS, "float32": tuple(sorted(SHOWN.get(name, name) for name in FLOAT32))}


def cast_call(op: Any, args: Any, params: Any, mode: Any) -> Tensor:
    """The result of a call of an op that has a list, its operands cast first; by the observer if
    there is one.
    """
    if len(args) != op.arity or not op.knows(params):
        args, params = op.bind(args, params)
    given = [value if _is_operand(value) else asarray(value) if _is_list(value) else value for value in args]
    floats = {value.dtype for value in given if _is_operand(value) and is_floating(value.dtype)}
    lowers = op.casts == "16 bits" and bool(floats) and all(dtype.itemsize <= 4 for dtype in floats)
    if lowers or (op.casts == "float32" and any(map(is_narrow, floats))):
        dtype = mode.autocast if lowers else _FLOAT32
        names, kept = op.input_names(len(given)), KEPT.get(op.name, ())
        args = [
            value if not _is_operand(value) or name in kept else _cast(value, dtype)
            for name, value in zip(names, given)
        ]
    run = op.run_observed if mode.observer is None else lambda args, params: mode.observer.forward(op, args, params)
    out = run(args, params)
    return out.astype(mode.autocast) if lowers and out.dtype == _FLOAT32 else out


def _is_operand(value):
    return isinstance(value, Tensor) or is_array(value)


def _is_list(value):
    return isinstance(value, (list, tuple))


def _cast(value, dtype):
    """A Tensor or a raw array with floats of ``dtype``, as a Tensor unless it is of that type."""
    if not is_floating(value.dtype) or value.dtype == dtype or value.dtype.itemsize > 4:
        return value
    return asarray(value).astype(dtype)


def rounded(gradient: Any, dtype: Any) -> Any:
    """``gradient``, an array or a Tensor, with the values that it has in ``dtype``; too great ones
    become infinite, as the scale of a loss is to find out.
    """
    return in_16_bits(gradient, dtype).astype(gradient.dtype)


def in_16_bits(gradient: Any, dtype: Any) -> Any:
    """``gradient`` in ``dtype``; too great values become infinite."""
    with np.errstate(over="ignore"):
        return gradient.astype(dtype)


def autocast_dtype() -> Any:
    """The dtype of the ``autocast`` that holds here, or None."""
    return current_mode.get().autocast
