"""How ops run on all examples at once: a rule for each.

``rule(op, values, mapped, params, size)``: the inputs, of which those that are ``mapped`` are
Tensors with the ``size`` examples along axis 0; the keywords with their defaults. It returns one
Tensor with the examples along axis 0, and computes with ops, so that there are gradients. NoRule
says that the op must run example by example.
"""

from __future__ import annotations

import math
from typing import Any

from minitensor.backend import np
from minitensor.engine.axes import axes_of, axis_of, ints
from minitensor.ops.linalg import LETTERS
from minitensor.ops.shape import broadcast_to, expand_dims, reshape

__all__ = ["FUSED_RULES", "RULES", "NoRule", "aligned", "ndim_of"]


class NoRule(Exception):
    """There is no rule for this op, or none for such inputs."""


def ndim_of(value: Any, mapped: bool) -> int:
    """How many axes one example has; a number has none."""
    return getattr(value, "ndim", 0) - mapped


def aligned(values: Any, mapped: Any) -> list[Any]:
    """The inputs so that they broadcast as those of one example do: axes of length 1 behind that of
    the examples.
    """
    widest = max(map(ndim_of, values, mapped))
    return [_wide(value, widest) if is_mapped else value for value, is_mapped in zip(values, mapped)]


def _wide(value, ndim):
    """A mapped input with at least ``ndim`` axes an example."""
    missing = ndim - (value.ndim - 1)
    return value if missing <= 0 else value.reshape((value.shape[0], *[1] * missing, *value.shape[1:]))


def _repeated(value, is_mapped, size):
    """The value of all examples, repeated if it is the same for all."""
    return value if is_mapped else broadcast_to(expand_dims(value, 0), (size, *value.shape))


def _elementwise(op, values, mapped, params, size):
    return op(*aligned(values, mapped), **params)


def _same(op, values, mapped, params, size):
    """An op of one input whose keywords have to do with no axis, or with none but the last two."""
    return op(values[0], **params)


def _matrices(op, values, mapped, params, size):
    """An op on the last two axes, with stacks of any shape before them."""
    if any(ndim_of(value, is_mapped) < 2 for value, is_mapped in zip(values, mapped)):
        raise NoRule  # which raises as the op does, or does what it does with vectors
    if len(values) > 1:
        values = aligned([_repeated(value, is_mapped, size) for value, is_mapped in zip(values, mapped)], [True] * 2)
    return op(*values, **params)


# --- reductions and scans -------------------------------------------------------------------------


def _reduction(op, values, mapped, params, size):
    (x,) = values
    ndim = x.ndim - 1
    axes = tuple(a + 1 for a in axes_of(op.name, params["axis"], ndim))
    return op(x, **{**params, "axis": axes})


def _place(op, values, mapped, params, size):
    """Argmax and argmin: of one axis, or of the flat example."""
    (x,), axis, keepdims = values, params["axis"], params["keepdims"]
    if axis is not None:
        return op(x, axis=axis_of(op.name, axis, x.ndim - 1) + 1, keepdims=keepdims)
    out = op(_flat(x), axis=1)
    return out.reshape((size, *[1] * (x.ndim - 1))) if keepdims else out


def _flat(x):
    """Each example as one axis."""
    return x.reshape((x.shape[0], math.prod(x.shape[1:])))


def _scan(op, values, mapped, params, size):
    (x,), axis = values, params["axis"]
    if axis is None or x.ndim == 1:
        return op(_flat(x), **{**params, "axis": 1})
    return op(x, **{**params, "axis": axis_of(op.name, axis, x.ndim - 1) + 1})


def _along(op, values, mapped, params, size):
    """An op of one input along one axis that must be given."""
    (x,) = values
    return op(x, **{**params, "axis": axis_of(op.name, params["axis"], x.ndim - 1) + 1})


def _vecdot(op, values, mapped, params, size):
    widest = max(map(ndim_of, values, mapped))
    return op(*aligned(values, mapped), axis=axis_of("vecdot", params["axis"], widest) + 1)


# --- shape ----------------------------------------------------------------------------------------


def _reshape(op, values, mapped, params, size):
    (x,) = values
    shape, count = ints(params["shape"], "reshape"), math.prod(x.shape[1:])
    if -1 in shape:
        others = -math.prod(shape)
        if shape.count(-1) > 1 or others <= 0 or count % others:
            raise NoRule  # which raises as the op does
        shape = tuple(count // others if n == -1 else n for n in shape)
    if math.prod(shape) != count:
        raise NoRule
    return op(x, shape=(size, *shape))


def _permute_dims(op, values, mapped, params, size):
    (x,) = values
    axes = params["axes"]
    order = tuple(range(x.ndim - 1))[::-1] if axes is None else axes_of("permute_dims", axes, x.ndim - 1)
    if len(order) != x.ndim - 1:
        raise NoRule
    return op(x, axes=(0, *[a + 1 for a in order]))


def _swapaxes(op, values, mapped, params, size):
    (x,) = values
    first, second = (axis_of("swapaxes", params[name], x.ndim - 1) + 1 for name in ("axis1", "axis2"))
    return op(x, axis1=first, axis2=second)


def _broadcast_to(op, values, mapped, params, size):
    shape = ints(params["shape"], "broadcast_to")
    if len(shape) < values[0].ndim - 1:
        raise NoRule
    return op(_wide(values[0], len(shape)), shape=(size, *shape))


def _concatenate(op, values, mapped, params, size):
    axis = axis_of("concatenate", params["axis"], ndim_of(values[0], mapped[0]))
    if any(not hasattr(value, "ndim") for value in values):
        raise NoRule
    return op(*[_repeated(value, is_mapped, size) for value, is_mapped in zip(values, mapped)], axis=axis + 1)


def _flip(op, values, mapped, params, size):
    (x,) = values
    return op(x, axis=tuple(a + 1 for a in axes_of("flip", params["axis"], x.ndim - 1)))


def _roll(op, values, mapped, params, size):
    (x,), axis = values, params["axis"]
    if axis is None:
        return op(_flat(x), shift=sum(ints(params["shift"], "roll")), axis=1).reshape(x.shape)
    axes = tuple(axis_of("roll", a, x.ndim - 1) + 1 for a in ints(axis, "roll"))
    return op(x, shift=params["shift"], axis=axes)


def _pad(op, values, mapped, params, size):
    (x,), value = values, params["value"]
    if isinstance(value, (list, tuple)):
        value = [(0, 0), *np.broadcast_to(np.asarray(value), (x.ndim - 1, 2)).tolist()]
    return op(x, pad_width=((0, 0), *params["pad_width"]), value=value)


# --- products -------------------------------------------------------------------------------------


def _matmul(op, values, mapped, params, size):
    x, y = values
    left, right = map(ndim_of, values, mapped)
    if left < 1 or right < 1:
        raise NoRule  # which raises as the op does
    if not mapped[1] and right <= 2:
        return op(x, y)  # rows of all examples, one product
    # A vector is a matrix of one row or column, so that the axis of examples is one of a stack.
    x = expand_dims(x, -2) if left == 1 else x
    y = expand_dims(y, -1) if right == 1 else y
    out = op(*aligned([x, y], mapped))  # (B, ..., N, M)
    shape = list(out.shape)
    if right == 1:
        del shape[-1]
    if left == 1:
        del shape[-1 if right == 1 else -2]
    return reshape(out, shape=tuple(shape))


def _einsum(op, values, mapped, params, size):
    terms, output = params["terms"], params["output"]
    spare = [c for c in LETTERS if c not in "".join(terms) + output]
    if not spare:
        raise NoRule
    terms = [spare[0] + term if is_mapped else term for term, is_mapped in zip(terms, mapped)]
    return op(*values, terms=terms, output=spare[0] + output, optimize=params["optimize"])


# --- fused ops: kernels that take the examples as one axis more; None means by the definition -----


def _rows(op, values, mapped, params, size):
    """Vectors along the last axis, with parameters that are the same for all examples."""
    if any(mapped[1:]) or values[0].ndim < 2:
        return None
    return op(*values, **params)


def _softmax(op, values, mapped, params, size):
    return op(values[0], axis=axis_of(op.name, params["axis"], values[0].ndim - 1) + 1)


def _attention(op, values, mapped, params, size):
    """Leading axes broadcast, so the examples are one of them; each input has (T, K) at least."""
    if any(value is not None and ndim_of(value, is_mapped) < 2 for value, is_mapped in zip(values, mapped)):
        return None
    return op(*_present(values, mapped), **params)


def _present(values, mapped):
    """``aligned``, with None for an input that is not there."""
    shown = [(value, is_mapped) for value, is_mapped in zip(values, mapped) if value is not None]
    found = iter(aligned([value for value, _ in shown], [is_mapped for _, is_mapped in shown]))
    return [None if value is None else next(found) for value in values]


ELEMENTWISE = (
    "abs add alias arccos arccosh arcsin arcsinh arctan arctan2 arctanh astype bitwise_and bitwise_invert bitwise_left_shift "
    "bitwise_or bitwise_right_shift bitwise_xor ceil copysign cos cosh divide equal erf exp expm1 floor floor_divide greater "
    "greater_equal hypot isfinite isinf isnan less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or "
    "logical_xor maximum minimum multiply negative nextafter not_equal positive power reciprocal remainder round sigmoid sign "
    "signbit sin sinh softplus sqrt square subtract tan tanh to_device trunc where"
).split()

RULES: dict[str, Any] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys("sum mean var std max min prod logsumexp all any euclidean_norm".split(), _reduction),
    **dict.fromkeys(("argmax", "argmin"), _place),
    **dict.fromkeys(("cumsum", "cumprod"), _scan),
    **dict.fromkeys("tril triu inv det cofactors slogdet cholesky pinv qr svd eigh solve".split(), _matrices),
    "argsort": _along,
    "vecdot": _vecdot,
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "swapaxes": _swapaxes,
    "broadcast_to": _broadcast_to,
    "concatenate": _concatenate,
    "flip": _flip,
    "roll": _roll,
    "pad": _pad,
    "matmul": _matmul,
    "einsum": _einsum,
}

FUSED_RULES: dict[str, Any] = {
    **dict.fromkeys(("relu", "silu", "gelu"), _same),
    **dict.fromkeys(("linear", "layer_norm_last", "rms_norm_last"), _rows),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    "scaled_dot_product_attention": _attention,
}
