"""Rows of ``minitensor.nn.functional``: activations, affine maps, normalisation, attention. Losses
are in ``losses.py``.
"""

import math

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor.nn.functional as F
from minitensor.testing import strategies as mst

A = np.zeros((2, 3))


def row(name, cases, reference=None, **more):
    """A row of nn.functional."""
    return Row(name, getattr(F, name), cases, reference, where="F", **more)


def activation(name, reference, analytic=False, **named):
    """A function of one tensor."""
    keywords = {"ops": (name,)} if name in ("relu", "sigmoid", "silu", "softplus", "gelu") else {}
    return row(name, mst.case(mst.tensors(low=-3, high=3), **named), reference, analytic=analytic, **keywords)


def phi(x):
    """Distribution function of the standard normal."""
    return 0.5 * (1.0 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2.0)))


def numpy_leaky_relu(x, negative_slope):
    """Two slopes."""
    return np.where(x > 0, x, negative_slope * x)


def numpy_gelu(x, approximate):
    """Both formulas."""
    if approximate == "none":
        return x * phi(x)
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


@st.composite
def along(draw):
    """A tensor and the axis of a softmax; one in three is so large that its exponential overflows,
    so small that it vanishes, or both.
    """
    scale, shift = draw(
        st.sampled_from([(1.0, 0.0), (300.0, 0.0), (1.0, 800.0), (1.0, -800.0), (1.0, 0.0), (1.0, 0.0)])
    )
    most = None if (scale, shift) == (1.0, 0.0) else 4
    x = draw(mst.tensors(min_dims=1, min_side=1, max_side=most, low=-4, high=4)) * scale + shift
    return [x, {"axis": draw(st.integers(-x.ndim, x.ndim - 1))}]


def numpy_log_softmax(x, axis):
    """The formula, shifted by the maximum."""
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def numpy_softmax(x, axis):
    """Of its logarithm."""
    return np.exp(numpy_log_softmax(x, axis))


@st.composite
def linear_cases(draw):
    """Any leading axes, with and without a bias; lengths of 0 too."""
    inside, outside = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    x = draw(mst.tensors((*draw(mst.shapes(0, 2, 0, 3)), inside)))
    bias = draw(mst.tensors((outside,))) if draw(st.sampled_from([True, True, False])) else None
    return [x, draw(mst.tensors((outside, inside))), bias]


def numpy_linear(x, weight, bias):
    """x W^T + b."""
    return x @ weight.T + (0.0 if bias is None else bias)


@st.composite
def norm_cases(draw, parameters):
    """One or two normalised axes; parameters present or not."""
    shape = draw(mst.shapes(1, 2, 2, 4))
    x = draw(mst.tensors((*draw(mst.shapes(0, 2, 0, 3)), *shape), ties=False))
    given = [draw(st.one_of(mst.tensors(shape, 0.5, 1.5), st.none())) for _ in range(parameters)]
    return [x, *given, {"eps": draw(st.sampled_from([1e-5, 0.1]))}]


def numpy_layer_norm(x, weight, bias, eps):
    """Over as many trailing axes as there are parameters."""
    axes = _trailing(weight, bias)
    centred = x - x.mean(axis=axes, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
    return y * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)


def numpy_rms_norm(x, weight, eps):
    """Likewise."""
    y = x / np.sqrt((x * x).mean(axis=_trailing(weight), keepdims=True) + eps)
    return y if weight is None else y * weight


def _trailing(*parameters):
    given = [p for p in parameters if p is not None]
    return tuple(range(-given[0].ndim, 0)) if given else (-1,)


@st.composite
def embedding_cases(draw):
    """Ids with repeats; no ids at all."""
    weight = draw(mst.tensors((draw(st.integers(1, 4)), draw(st.integers(0, 3)))))
    ids = draw(mst.ids(mst.shapes(0, 2), weight.shape[0]))
    return [ids, weight]


@st.composite
def attention_cases(draw):
    """Queries, keys and values with every kind of mask, a bias, another scale, more keys than
    queries.
    """
    batch, heads = draw(st.sampled_from([(1, 1), (1, 2), (2, 1)]))
    queries, keys, width = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    q, k, v = (
        draw(mst.tensors((batch, heads, n, w), ties=False)) for n, w in ((queries, width), (keys, width), (keys, 2))
    )
    bias = draw(st.one_of(st.none(), mst.tensors((heads, queries, keys)), mst.tensors((batch, heads, queries, keys))))
    named = {
        "mask": draw(mst.attention_masks(batch, heads, queries, keys)), "is_causal": draw(st.booleans()),
        "scale": draw(st.sampled_from([None, 0.7])),
    }  # fmt: skip
    return [q, k, v, bias, named]


def attend(q, k, v, bias, mask, is_causal, scale):
    """Attention with the bias as an input, so that its gradient is checked."""
    return F.scaled_dot_product_attention(q, k, v, mask=mask, is_causal=is_causal, scale=scale, bias=bias)


def dropped_attention(q, k, v, bias, mask, is_causal, scale):
    """The same with dropout."""
    return F.scaled_dot_product_attention(q, k, v, mask=mask, is_causal=is_causal, scale=scale, bias=bias, dropout=0.4)


def weights(q, k, v, bias, mask, is_causal, scale):
    """The probabilities alone."""
    return F.attention_weights(q, k, mask=mask, is_causal=is_causal, scale=scale, bias=bias)


def numpy_weights(q, k, v, bias, mask, is_causal, scale):
    """Softmax over the allowed keys; zeros if no key is."""
    scores = q @ np.swapaxes(k, -1, -2) * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = scores if bias is None else scores + bias
    allowed = np.ones(scores.shape, dtype=bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if is_causal:
        queries, keys = scores.shape[-2:]
        allowed = allowed & np.tril(np.ones((queries, keys), dtype=bool), keys - queries)
    e = np.where(allowed, np.exp(scores), 0.0)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def numpy_attend(q, k, v, bias, mask, is_causal, scale):
    """The weighted mean of the values."""
    return numpy_weights(q, k, v, bias, mask, is_causal, scale) @ v


@st.composite
def packed_cases(draw):
    """Queries, keys and values of all heads side by side."""
    batch, heads, length, width = (draw(st.integers(1, n)) for n in (2, 2, 4, 3))
    qkv = draw(mst.tensors((batch, length, 3 * heads * width), ties=False))
    mask = draw(mst.attention_masks(batch, heads, length, length))
    return [qkv, {"n_heads": heads, "mask": mask, "is_causal": draw(st.booleans())}]


def numpy_packed(qkv, n_heads, mask, is_causal):
    """Cut into heads, attend, join."""
    batch, length, width = qkv.shape
    q, k, v = np.moveaxis(qkv.reshape(batch, length, 3, n_heads, -1), (2, 3), (0, 2))  # each (B, H, T, K)
    y = numpy_attend(q, k, v, None, mask, is_causal, None)
    return np.moveaxis(y, 1, 2).reshape(batch, length, width // 3)


@st.composite
def conv_cases(draw):
    """Small images and kernels, strides and padding."""
    channels, outputs = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    x = draw(mst.tensors((draw(st.integers(0, 2)), channels, draw(st.integers(3, 5)), draw(st.integers(2, 4)))))
    bias = draw(st.one_of(st.none(), mst.tensors((outputs,))))
    named = {"stride": draw(st.sampled_from([1, 2, (2, 1)])), "padding": draw(st.sampled_from([0, 1, (0, 1)]))}
    return [x, draw(mst.tensors((outputs, channels, *kernel))), bias, named]


def numpy_conv2d(x, weight, bias, stride, padding):
    """The sum in the docstring, place by place."""
    (si, sj), (pi, pj) = ((v, v) if isinstance(v, int) else v for v in (stride, padding))
    x = np.pad(x, ((0, 0), (0, 0), (pi, pi), (pj, pj)))
    outputs, _, u, v = weight.shape
    rows, columns = (x.shape[2] - u) // si + 1, (x.shape[3] - v) // sj + 1
    y = np.zeros((x.shape[0], outputs, rows, columns))
    for i in range(rows):
        for j in range(columns):
            y[:, :, i, j] = np.einsum("bcuv,ocuv->bo", x[:, :, i * si : i * si + u, j * sj : j * sj + v], weight)
    return y if bias is None else y + bias[:, None, None]


QK = np.zeros((1, 2, 3)), np.zeros((1, 4, 5))
ROWS = [
    activation("relu", lambda x: np.maximum(x, 0.0)),
    activation("sigmoid", lambda x: 1.0 / (1.0 + np.exp(-x))),
    activation("silu", lambda x: x / (1.0 + np.exp(-x))),
    activation("tanh", np.tanh, analytic=True),
    activation("softplus", lambda x: np.log1p(np.exp(x))),
    activation("elu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))), alpha=st.sampled_from([1.0, 0.5])),
    activation("leaky_relu", numpy_leaky_relu, negative_slope=st.sampled_from([0.01, 0.2])),
    activation("gelu", numpy_gelu, approximate=st.sampled_from(["none", "tanh"])),
    row(
        "softmax", along(), numpy_softmax, ops=("softmax",),
        errors=(([A], {"axis": 2}, (ValueError, IndexError), r"softmax\(x: \(2, 3\)"),),
    ),
    row("log_softmax", along(), numpy_log_softmax, ops=("log_softmax",)),
    row(
        "linear", linear_cases(), numpy_linear, examples=40, ops=("linear",),
        errors=(([A, np.zeros((3, 4))], {}, ValueError, r"^linear\(x: \(2, 3\) float64, weight: \(3, 4\).*in_features"),),
    ),
    row(
        "layer_norm", norm_cases(2), numpy_layer_norm, ops=("layer_norm_last",),
        errors=(([A, np.zeros(2)], {}, ValueError, r"layer_norm: the parameters \(2,\).*\(2, 3\)"),),
    ),
    row(
        "rms_norm", norm_cases(1), numpy_rms_norm, ops=("rms_norm_last",),
        errors=(([A, np.zeros(2)], {}, ValueError, r"rms_norm: the parameters \(2,\).*\(2, 3\)"),),
    ),
    row(
        "dropout",
        mst.case(mst.tensors(), p=st.sampled_from([0.3, 0.0, 0.3, 0.9, 0.3, 0.9999, 1.0]),
                 training=st.sampled_from([True, True, False])),
        ops=("dropout",),
        errors=(([A], {"p": 1.5}, ValueError, "dropout: p must be"),),
    ),
    row(
        "embedding", embedding_cases(), lambda ids, weight: weight[ids], ops=("embedding",),
        errors=(
            ([[0, 2], np.zeros((2, 3))], {}, IndexError, "embedding: id 2 is outside the table weight, which has rows 0 to 1"),
            ([[-1], np.zeros((2, 3))], {}, IndexError, "embedding: id -1"),
            ([A, np.zeros((2, 3))], {}, TypeError, "embedding: ids must be integers, got float64"),
        ),
    ),
    row(
        "one_hot", mst.case(mst.ids(mst.shapes(), 3), num_classes=3), lambda ids, num_classes: np.eye(num_classes)[ids],
        order=0,
        errors=(
            ([[3]], {"num_classes": 3}, IndexError, "one_hot: id 3 is not a class: there are 3"),
            ([A], {"num_classes": 3}, TypeError, "one_hot: ids must be int"),
        ),
    ),
    Row(
        "scaled_dot_product_attention", attend, attention_cases(), numpy_attend, where="F", examples=60,
        ops=("scaled_dot_product_attention",),
        errors=(
            ([*QK, QK[1], None, None, False, None], {}, ValueError, r"attention: query \(1, 2, 3\) and key \(1, 4, 5\)"),
            ([QK[0], QK[0], QK[0], None, np.ones((2, 2)), False, None], {}, TypeError, "a mask is boolean"),
        ),
    ),
    Row("scaled_dot_product_attention with dropout", dropped_attention, attention_cases(), where="F"),
    Row("attention_weights", weights, attention_cases(), numpy_weights, where="F", wanted=(0, 1, 3)),
    row(
        "packed_attention", packed_cases(), numpy_packed, ops=("packed_attention",),
        errors=(([np.zeros((1, 2, 8)), 1], {}, ValueError, r"packed_attention: qkv \(1, 2, 8\)"),),
    ),
    row(
        "conv2d", conv_cases(), numpy_conv2d,
        errors=(
            ([np.zeros((1, 2, 3, 3)), np.zeros((1, 1, 2, 2))], {}, ValueError, r"conv2d: x \(1, 2, 3, 3\).*weight \(1, 1, 2, 2\)"),
            ([np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 4, 4))], {}, ValueError, r"conv2d: the kernel \(4, 4\) does not fit"),
        ),
    ),
]  # fmt: skip
