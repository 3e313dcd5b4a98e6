"""Products of matrices and vectors."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING, Any

from minitensor.backend import compute_dtype, is_floating, np
from minitensor.backend.contraction import planned
from minitensor.engine.axes import axes_of, ints, read_ints
from minitensor.engine.messages import a_kind
from minitensor.engine.op import op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.elementwise import abs as absolute
from minitensor.ops.reductions import dropped, keep
from minitensor.ops.reductions import max as maximum_of
from minitensor.ops.reductions import sum as sum_of
from minitensor.ops.scaling import unit_of
from minitensor.ops.shape import diagonal, reshape

__all__ = ["einsum", "matmul", "norm", "outer", "tensordot", "trace", "vecdot"]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import SupportsIndex

    from minitensor.engine.attached import Axes, Shape, TensorLike

LETTERS = string.ascii_uppercase + string.ascii_lowercase  # of an axis in einsum, by its number: in NumPy's order


@op
def matmul(xp, x, y):
    """Matrix product of the last two axes; leading axes broadcast, and a 1-d operand is a row
    (left) or column (right).
    """
    try:
        stacked = x.ndim > 2 and y.ndim == 2 and x.size
    except AttributeError:  # a number, which is refused below
        stacked = False
    if stacked:
        rows = x.reshape(-1, x.shape[-1])  # one large product instead of many
        return xp.matmul(rows, y).reshape(*x.shape[:-1], y.shape[-1])
    return xp.matmul(x, y)


def _matmul_dx(xp, g, x_shape, y):
    if y.ndim == 1:  # (..., n) = (..., n, k) @ (k,)
        return xp.expand_dims(g, -1) * y
    if len(x_shape) == 1:
        g = xp.expand_dims(g, -2)
    return xp.matmul(g, y.swapaxes(-1, -2))  # (..., 1, k) for a row x: the engine sums it


def _matmul_dy(xp, g, x, y_shape):
    if x.ndim == 1:
        return xp.expand_dims(x, -1) * xp.expand_dims(g, -2) if len(y_shape) > 1 else g * x
    if len(y_shape) == 1:
        return x * xp.expand_dims(g, -1)  # (..., n, k): the engine sums it
    if len(y_shape) == 2 and x.ndim > 2 and x.size and g.size:
        return xp.matmul(x.reshape((-1, x.shape[-1])).swapaxes(0, 1), g.reshape((-1, g.shape[-1])))
    return xp.matmul(x.swapaxes(-1, -2), g)


matmul.vjp(_matmul_dx, _matmul_dy)
matmul.multiplies(lambda x, y: x.ndim > 1 < y.ndim)


# --- einsum ---------------------------------------------------------------------------------------

_SPARE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _explicit(subscripts, ndims):
    """``subscripts`` with letters in place of ``...`` and with the output written out: (inputs,
    output).
    """
    subscripts = subscripts.replace(" ", "")
    odd = next((c for c in subscripts if c not in LETTERS and c not in ".,->"), None)
    if odd is not None:
        raise ValueError(f"einsum: {odd!r} in {subscripts!r} is no letter of an axis; these are a to z and A to Z")
    inputs, arrow, output = subscripts.partition("->")
    inputs = inputs.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} has {len(inputs)} operands, {len(ndims)} were given")
    spare = [c for c in _SPARE if c not in subscripts]
    extras = [ndim - len(term.replace("...", "")) if "..." in term else 0 for term, ndim in zip(inputs, ndims)]
    widest = max(extras, default=0)
    if any(e < 0 for e in extras) or widest > len(spare):
        raise ValueError(f"einsum: the letters of {subscripts!r} do not fit operands of {tuple(ndims)} axes")
    dots = "".join(spare[:widest])
    inputs = [t.replace("...", dots[widest - e :]) for t, e in zip(inputs, extras)]
    if arrow:
        output = output.replace("...", dots)
    else:
        letters = "".join(inputs)
        output = dots + "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))
    return inputs, output


def _pays(terms, operands):
    """Whether to look for an order of pairwise matrix products: it takes some 50 us, and is quicker
    from 10^5 terms or so on.
    """
    lengths = {c: n for term, x in zip(terms, operands) for c, n in zip(term, x.shape) if n != 1}
    return math.prod(lengths.values()) > 100_000


@op(name="einsum")
def _einsum(xp, *operands, terms, output, optimize):
    return xp.einsum(f"{','.join(terms)}->{output}", *operands, optimize=optimize)


@_einsum.vjp
def _(xp, g, i, operands, terms, output):
    # The gradient is the einsum of g with the other operands, read out in the letters of operand i.
    # Letters found nowhere else were summed over alone: their gradient is repeated. A letter that
    # repeats in operand i took a diagonal: it goes back there.
    term, shape = terms[i], operands[i].shape
    letters = "".join(dict.fromkeys(term))
    others = [k for k in range(len(terms)) if k != i]
    known = set(output).union(*[terms[k] for k in others])
    lone = "".join(c for c in letters if c not in known)
    factors, factor_terms = [g, *[operands[k] for k in others]], [output, *[terms[k] for k in others]]
    if lone:
        factors.append(xp.ones(tuple(shape[term.index(c)] for c in lone), dtype=g.dtype))
        factor_terms.append(lone)
    result = term
    for place, c in enumerate(term):
        if c in term[:place]:  # a repeated letter gets a new name, tied to the first by an identity matrix
            fresh = next(s for s in _SPARE if s not in result + "".join(factor_terms))
            result = result[:place] + fresh + result[place + 1 :]
            factors.append(xp.eye(shape[place], dtype=g.dtype))
            factor_terms.append(c + fresh)
    gradient = xp.einsum(f"{','.join(factor_terms)}->{result}", *factors, optimize=_pays(factor_terms, factors))
    # Where an axis of length 1 met a longer one of the same letter, the shorter operand's axis is
    # repeated here.
    return xp.broadcast_to(gradient, tuple(n if have == 1 else have for have, n in zip(gradient.shape, shape)))


@_einsum.multiplies
def _(*operands, terms, output, optimize):
    return len(operands) == 2 and planned(f"{','.join(terms)}->{output}", *[x.shape for x in operands]) is not None


def einsum(subscripts: Any, *operands: Any, optimize: bool | None = None) -> Tensor:
    """Sums of products in Einstein's notation, as NumPy's: ``einsum("btd,ed->bte", x, w)``; letters
    and ``...``.

    NumPy's other form, each operand followed by the numbers of its axes, is taken too: ``einsum(x,
    [0, 1], y, [1, 2], [0, 2])``. optimize: go by pairwise matrix products, as NumPy's; default: if
    the sum is large enough for that to pay. Raises TypeError if the equation is no text.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _equation(subscripts, *operands)
    operands = tuple(map(asarray, operands))
    terms, output = _explicit(subscripts, [x.ndim for x in operands])
    return _einsum(
        *operands, terms=terms, output=output, optimize=_pays(terms, operands) if optimize is None else optimize
    )


def _equation(*arguments):
    """The equation as text, and the operands, of operands that are each followed by the numbers of
    their axes.
    """
    operands, axes = list(arguments[:-1:2]), list(arguments[1::2])
    output = arguments[-1] if len(arguments) % 2 else None
    numbered = [*axes, *([] if output is None else [output])]
    if not axes or not all(isinstance(numbers, (list, tuple)) for numbers in numbered):
        raise TypeError(
            f"einsum: the equation comes first, as text, such as 'ij,jk->ik', got {a_kind(arguments[0])}; or each operand "
            "is followed by a list of the numbers of its axes"
        )
    terms = ["".join(_axis_letter(number) for number in numbers) for numbers in numbered]
    equation = ",".join(terms[: len(axes)])
    return (equation if output is None else f"{equation}->{terms[-1]}"), operands


def _axis_letter(number):
    if number is Ellipsis:
        return "..."
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < len(LETTERS):
        raise ValueError(f"einsum: axes are numbered from 0 to {len(LETTERS) - 1}, or ..., got {number!r}")
    return LETTERS[number]


# --- written with the above -----------------------------------------------------------------------


def tensordot(x: TensorLike, y: TensorLike, axes: SupportsIndex | Sequence[Shape] = 2) -> Tensor:
    """Sum over pairs of axes: the last ``axes`` of x with the first of y, or the two lists ``axes``
    of axes.
    """
    x, y, summed = asarray(x), asarray(y), read_ints(axes)
    if hasattr(summed, "__len__"):
        left, right = summed
    else:
        (count,) = ints(summed, "tensordot")
        left, right = range(-count, 0), range(count)
    left, right = axes_of("tensordot", left, x.ndim), axes_of("tensordot", right, y.ndim)
    if len(left) != len(right) or any(x.shape[a] != y.shape[b] for a, b in zip(left, right)):
        raise ValueError(f"tensordot: axes {left} of {x.shape} do not match axes {right} of {y.shape}")
    rows, columns = [a for a in range(x.ndim) if a not in left], [b for b in range(y.ndim) if b not in right]
    inner = math.prod(x.shape[a] for a in left)
    flat_x = x.transpose((*rows, *left)).reshape((math.prod(x.shape[a] for a in rows), inner))
    flat_y = y.transpose((*right, *columns)).reshape((inner, math.prod(y.shape[b] for b in columns)))
    return matmul(flat_x, flat_y).reshape((*(x.shape[a] for a in rows), *(y.shape[b] for b in columns)))


def outer(x: TensorLike, y: TensorLike) -> Tensor:
    """All products ``x[i] * y[j]`` of two vectors (flattened first)."""
    return reshape(x, shape=(-1, 1)) * reshape(y, shape=(1, -1))


@op
def vecdot(xp, x, y, *, axis=-1):
    """Sum of products along ``axis``; the other axes broadcast."""
    return (x * y).sum(axis=axis)


def _vecdot_rule(xp, g, axis, shape, other):
    """The gradient of the operand of ``shape``, brought to the broadcast shape: the
    engine sums it.
    """
    return xp.broadcast_to(xp.expand_dims(g, axis) * other, np.broadcast_shapes(shape, other.shape))


vecdot.vjp(
    lambda xp, g, axis, x_shape, y: _vecdot_rule(xp, g, axis, x_shape, y),
    lambda xp, g, axis, x, y_shape: _vecdot_rule(xp, g, axis, y_shape, x),
)


def trace(x: TensorLike, offset: SupportsIndex = 0, axis1: SupportsIndex = 0, axis2: SupportsIndex = 1) -> Tensor:
    """Sum of the diagonal of two axes."""
    return sum_of(diagonal(x, offset, axis1, axis2), axis=-1)


@op
def euclidean_norm(xp, x, *, axis=None, keepdims=False):
    """``sqrt(sum(x^2))`` over ``axis``, in a unit in which no square overflows or vanishes;
    derivative 0 at the zero vector.
    """
    unit = unit_of(x, axis)
    if unit is None:
        return xp.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
    scaled = x / unit
    out = xp.sqrt((scaled * scaled).sum(axis=axis, keepdims=True)) * unit
    return dropped(out, axis, keepdims)


@euclidean_norm.vjp
def _(xp, g, x, out, axis):
    out = keep(out, x.shape, axis)
    zero = xp.equal(out, 0)
    return keep(g, x.shape, axis) * xp.where(zero, 0.0, x / xp.where(zero, 1.0, out))


def floats(x: TensorLike) -> Tensor:
    """``x`` as a Tensor of floats: integers and truth values as float32, whose magnitudes do not
    wrap.
    """
    x = asarray(x)
    return x if is_floating(x.dtype) else x.astype(compute_dtype(x.dtype))


def norm(x: TensorLike, ord: float = 2, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Vector norm over ``axis`` (default: all elements): ``sum(|x|^ord)^(1/ord)`` for ord 1 or 2,
    ``max |x|`` for infinity.

    At the zero vector the derivative of the Euclidean norm is 0. The norm of nothing is 0. Integers
    are taken as float32.
    """
    if ord not in (1, 2, math.inf):
        raise ValueError(f"norm: ord must be 1, 2 or math.inf, got {ord!r}")
    x = floats(x)
    if ord == 2:
        return euclidean_norm(x, axis=axis, keepdims=keepdims)
    if ord == 1 or x.size == 0:
        return sum_of(absolute(x), axis=axis, keepdims=keepdims)
    return maximum_of(absolute(x), axis=axis, keepdims=keepdims)
