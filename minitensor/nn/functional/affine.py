"""The affine map, the embedding table, and ids as vectors of zeros and a one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.backend import cast, namespace
from minitensor.engine.autograd import Scatter
from minitensor.engine.axes import ints
from minitensor.engine.fused import fused
from minitensor.engine.mode import reads_values
from minitensor.engine.op import op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.blocks import all_floats, as_rows, home_of
from minitensor.ops.ids import wide_ids
from minitensor.ops.linalg import matmul
from minitensor.ops.shape import permute_dims

__all__ = ["check_linear", "embedding", "linear", "one_hot"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


@fused
def linear(x, weight, bias=None):
    """The affine map ``y = x W^T + b``.

    x: (..., in_features); weight: (out_features, in_features); bias: (out_features,) or None;
    returns (..., out_features).
    """
    x, weight = all_floats(x, weight)
    y = matmul(x, permute_dims(weight))
    return y if bias is None else y + bias


def check_linear(x, weight):
    """Raise ValueError unless the shapes of a linear layer's input and weight fit."""
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            "the last axis of x must equal in_features, the second axis of weight (out_features, in_features)"
        )


@linear.kernel
def _(xp, x, weight, bias=None, *, needs):
    check_linear(x, weight)
    if x.dtype.kind != "f" and weight.dtype.kind != "f":  # a product of integers of few bits would wrap
        x, weight = all_floats(x, weight)
    rows = as_rows(x)  # (N, in)
    out = xp.matmul(rows, weight.T)  # (N, out)
    if bias is not None:
        out += bias

    def backward(g, homes=None):
        g = as_rows(g)
        table, line = home_of(homes, 1, weight.shape, xp.result_type(g, rows)), home_of(homes, 2, g.shape[1:], g.dtype)
        gx = xp.matmul(g, weight).reshape(x.shape) if needs[0] else None
        gw = xp.matmul(g.T, rows, out=table) if needs[1] else None
        return gx, gw, xp.sum(g, axis=0, out=line) if needs[2] else None

    return out.reshape(*x.shape[:-1], weight.shape[0]), backward


@op(name="embedding")
def _embedding(xp, weight, *, ids, padding_idx):
    return weight[ids]


@_embedding.vjp
def _(xp, g, ids, padding_idx, weight_shape):
    if padding_idx is not None:
        g = g * xp.expand_dims(xp.asarray(ids != padding_idx), -1)
    return Scatter(g, ids, weight_shape)


@reads_values("ids")
def embedding(ids: TensorLike, weight: TensorLike, padding_idx: int | None = None) -> Tensor:
    """Rows of a table: ``y[..., :] = weight[ids[...]]``.

    ids: integers (...); weight: (n, d); returns (..., d). The row ``padding_idx`` (negative: from
    the end) gets no gradient. An id outside 0 to n - 1 raises IndexError (on a GPU when a value is
    next read from it).
    """
    ids, weight = asarray(ids), asarray(weight)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, got {ids.dtype}")
    ids = Tensor(wide_ids(ids._array))
    if ids.device != weight.device:
        raise TypeError(
            f'embedding: ids are on {ids.device}, weight is on {weight.device}; write ids.to("{weight.device}")'
        )
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be a table (n, d), got shape {weight.shape}")
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise ValueError(f"embedding: padding_idx {padding_idx} is outside a table of {rows} rows")
        padding_idx %= rows
    message = f"embedding: id {{id}} is outside the table {weight.name or 'weight'}, which has rows 0 to {rows - 1}"
    namespace(ids.device).check_ids(message, ids._array, 0, rows)
    return _embedding(weight, ids=ids._array, padding_idx=padding_idx)


@reads_values("ids")
def one_hot(ids: TensorLike, num_classes: int = -1) -> Tensor:
    """Vectors of length ``num_classes``, 1 at the id and 0 elsewhere: ids (...) to float32 (...,
    num_classes).

    If ``num_classes`` is -1 it is the greatest id and one more, which must be looked up: say it if
    the ids are on a GPU.
    """
    ids = asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"one_hot: ids must be integers, got {ids.dtype}")
    ids = Tensor(wide_ids(ids._array))
    (n,) = ints(num_classes, "one_hot")
    if n == -1:
        if not ids.size:
            raise ValueError("one_hot: no ids to count the classes by: say num_classes")
        n = ids.max().item() + 1
    if n < 0:
        raise ValueError(f"one_hot: num_classes must be a number of classes, or -1, got {num_classes!r}")
    xp = namespace(ids.device)
    xp.check_ids(f"one_hot: id {{id}} is not a class: there are {n}", ids._array, 0, n)
    return Tensor(cast(xp.equal(ids._array[..., None], xp.arange(n)), xp.float32))
