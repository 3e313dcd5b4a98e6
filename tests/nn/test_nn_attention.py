"""Attention: masks, weights, caches, agreement of its paths, and the single-head forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minitensor as mt
from minitensor import nn
from minitensor.testing import attention_masks, gradcheck


def normal(*shape):
    return mt.random.normal(shape, dtype="float64")


@pytest.fixture
def attention():
    return nn.MultiHeadAttention(8, 2).astype("float64")


def test_the_short_way_for_self_attention_equals_the_general_one(attention):
    """Outputs and gradients, with a mask and with the same dropped weights."""
    attention.dropout = 0.3
    x, mask = normal(3, 5, 8), nn.padding_mask([5, 2, 4])
    results = []
    for need_weights in (False, True):
        mt.random.seed(1)
        inputs = mt.tensor(x, requires_grad=True)
        y = attention(inputs, mask=mask, is_causal=True, need_weights=need_weights)
        y = y[0] if need_weights else y
        (y * y).sum().backward()
        results.append([y.data, inputs.grad.data, *(p.grad.data for p in attention.parameters())])
        attention.zero_grad()
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@given(st.data())
def test_every_path_follows_the_formula_under_any_mask(data):
    """Self-attention the short way, through the cache, and as memory,
    against a loop over heads in plain NumPy.
    """
    batch, heads, length = (data.draw(st.integers(1, 3), label=name) for name in ("batch", "heads", "length"))
    d_head, scale = data.draw(st.sampled_from([(None, None), (3, None), (None, 1.0), (3, 0.25)]), label="d_head, scale")
    mask = data.draw(attention_masks(batch, heads, length, length), label="mask")
    attention = nn.MultiHeadAttention(2 * heads, heads, d_head=d_head, scale=scale).astype("float64")
    x, width = normal(batch, length, 2 * heads), d_head or 2
    allowed = np.broadcast_to(True if mask is None else mask, (batch, heads, length, length))
    q, k, v = np.split(x.data @ attention.qkv.weight.data.T + attention.qkv.bias.data, 3, axis=-1)
    y = np.zeros(q.shape)
    for head in range(heads):
        part = slice(width * head, width * (head + 1))
        e = np.exp(q[..., part] @ k[..., part].swapaxes(1, 2) * (scale or width**-0.5)) * allowed[:, head]
        total = e.sum(-1, keepdims=True)
        y[..., part] = np.divide(e, total, out=np.zeros(e.shape), where=total > 0) @ v[..., part]
    expected = y @ attention.out.weight.data.T + attention.out.bias.data
    for found in (
        attention(x, mask=mask),
        attention(x, x, mask=mask),
        attention(x, mask=mask, cache=nn.KeyValueCache()),
        attention(x, mask=mask, cache=attention.fill_cache(x)),
        attention(x, mask=mask, need_weights=True)[0],
    ):
        np.testing.assert_allclose(found.data, expected, rtol=1e-10, atol=1e-12)


def test_the_width_of_heads_is_free_and_their_weights_are_those_of_the_scaled_scores():
    attention = nn.MultiHeadAttention(6, 4, bias=False, d_head=5, scale=1.0).astype("float64")
    assert {name: p.shape for name, p in attention.named_parameters()} == {"qkv.weight": (60, 6), "out.weight": (6, 20)}
    x = normal(2, 3, 6)
    _, weights = attention(x, need_weights=True)
    q, k = ((x.data @ part.T).reshape(2, 3, 4, 5) for part in np.split(attention.qkv.weight.data, 3)[:2])
    e = np.exp(np.einsum("bthk,bshk->bhts", q, k))
    np.testing.assert_allclose(weights.data, e / e.sum(-1, keepdims=True), rtol=1e-12)
    gradcheck(lambda x: attention(x, is_causal=True), [x])


def test_attention_to_itself_as_memory_is_self_attention(attention):
    x = normal(2, 4, 8)
    np.testing.assert_allclose(attention(x).data, attention(x, x).data, rtol=1e-12)


def test_weights_are_probabilities_and_zero_where_masked(attention):
    x, mask = normal(3, 5, 8), nn.padding_mask([5, 2, 0])
    y, weights = attention(x, mask=mask, need_weights=True)
    assert weights.shape == (3, 2, 5, 5)
    np.testing.assert_allclose(
        weights.data.sum(-1), np.array([1, 1, 0])[:, None, None] * np.ones((3, 2, 5)), rtol=1e-12
    )
    assert (weights.data[1, :, :, 2:] == 0).all()
    np.testing.assert_allclose(
        y.data[2], attention.out.bias.data * np.ones((5, 1))
    )  # nothing seen: zeros before ``out``


@pytest.mark.parametrize(
    "make", [lambda: nn.MultiHeadAttention(8, 2), lambda: nn.AdditiveAttention(8, 8, 5), lambda: nn.DotAttention(8, 8)]
)
def test_what_stands_in_padding_reaches_nothing(make):
    """NaN in the memory's padding: same output as without it, finite gradients,
    zero at the padding.
    """
    layer = make()
    layer.astype("float64")
    query, memory, mask = normal(2, 3, 8), normal(2, 5, 8), nn.padding_mask([5, 2])
    poisoned = memory.data.copy()
    poisoned[1, 2:] = np.nan
    expected = layer(query, memory, mask)
    memory = mt.tensor(poisoned, requires_grad=True)
    y = layer(query, memory, mask)
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-12)
    y.backward(normal(*y.shape))
    assert (memory.grad.data[1, 2:] == 0).all() and (memory.grad.data[0] != 0).all()
    for name, parameter in layer.named_parameters():
        assert np.isfinite(parameter.grad.data).all(), name


def test_bias_is_added_to_the_scores(attention):
    x, bias = normal(2, 4, 8), normal(1, 2, 4, 4)
    blocked = mt.where(nn.causal_mask(4), 0.0, -1e30).astype("float64")
    np.testing.assert_allclose(attention(x, bias=blocked).data, attention(x, is_causal=True).data, rtol=1e-12)
    gradcheck(lambda b: attention(x, bias=b), [bias])


# --- cache ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[1] * 7, [3, 1, 1, 2], [7]])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_self_attention_by_steps_equals_all_at_once(steps, dtype, tolerance):
    attention = nn.MultiHeadAttention(8, 2).astype(dtype)
    x = normal(3, 7, 8).astype(dtype)
    whole = attention(x, is_causal=True).data
    cache, pieces, start = nn.KeyValueCache(), [], 0
    for step in steps:
        pieces.append(attention(x[:, start : start + step], is_causal=True, cache=cache).data)
        start += step
        assert cache.length == start
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=tolerance, rtol=tolerance)


def test_a_cache_of_the_memory_is_computed_once(attention):
    x, memory, mask = normal(3, 4, 8), normal(3, 5, 8), nn.padding_mask([5, 1, 3])
    cache = attention.fill_cache(memory)
    first = attention(x, mask=mask, cache=cache)
    np.testing.assert_allclose(first.data, attention(x, memory, mask).data, rtol=1e-12)
    assert cache.length == 5 and not first.requires_grad
    with pytest.raises(ValueError, match="memory or a cache, not both"):
        attention(x, memory, cache=cache)


def test_cache_grows_by_doubling():
    cache = nn.KeyValueCache()
    capacities = set()
    for _ in range(33):
        cache.append(mt.zeros((1, 1, 1, 2)), mt.zeros((1, 1, 1, 2)))
        capacities.add(cache._arrays[0].shape[2])
    assert cache.length == 33 and sorted(capacities) == [1, 2, 4, 8, 16, 32, 64]
    assert cache.read()[0].shape == (1, 1, 33, 2)
    with pytest.raises(ValueError, match="the cache holds 1 rows"):
        cache.append(mt.zeros((2, 1, 1, 2)), mt.zeros((2, 1, 1, 2)))


# --- single-head forms ----------------------------------------------------------------------------


def test_additive_attention_follows_the_formula():
    layer = nn.AdditiveAttention(3, 4, 5).astype("float64")
    query, memory = normal(2, 3, 3), normal(2, 6, 4)
    y, weights = layer(query, memory, need_weights=True)
    for b in range(2):
        for t in range(3):
            inside = layer.query.weight.data @ query.data[b, t] + layer.query.bias.data
            scores = np.array([layer.score.data @ np.tanh(inside + layer.key.weight.data @ m) for m in memory.data[b]])
            expected = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights.data[b, 0, t], expected, rtol=1e-10)
            np.testing.assert_allclose(y.data[b, t], expected @ memory.data[b], rtol=1e-10)
    np.testing.assert_allclose(layer(query, memory, keys=layer.key(memory)).data, y.data, rtol=1e-12)


@pytest.mark.parametrize("projection", [True, False])
def test_dot_attention_follows_the_formula(projection):
    layer = nn.DotAttention(4, 4, projection=projection).astype("float64")
    query, memory = normal(2, 3, 4), normal(2, 6, 4)
    y, weights = layer(query, memory, need_weights=True)
    projected = query.data @ layer.query.weight.data.T if projection else query.data
    scores = projected @ memory.data.swapaxes(1, 2)
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(weights.data[:, 0], expected, rtol=1e-10)
    np.testing.assert_allclose(y.data, expected @ memory.data, rtol=1e-10)


@pytest.mark.parametrize("layer", [nn.AdditiveAttention(3, 4, 5), nn.DotAttention(3, 4)], ids=["additive", "dot"])
def test_gradients_of_single_heads(layer):
    layer.astype("float64")
    mask = nn.padding_mask([6, 3])
    gradcheck(lambda query, memory: layer(query, memory, mask), [normal(2, 3, 3), normal(2, 6, 4)])


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda a: nn.MultiHeadAttention(8, 3), ValueError, "d_model = 8 is not divisible by n_heads = 3"),
        (lambda a: nn.MultiHeadAttention(8, 3, d_head=0), ValueError, "d_head must be a positive integer, got 0"),
        (
            lambda a: nn.MultiHeadAttention(8, 2, dropout=1.5),
            ValueError,
            "dropout must be a number from 0 to 1, got 1.5",
        ),
        (lambda a: a(normal(2, 4, 6)), ValueError, r"input has shape \(2, 4, 6\), it must be \(batch, time, 8\)"),
        (
            lambda a: a(normal(2, 4, 8), normal(3, 4, 8)),
            ValueError,
            r"memory has shape \(3, 4, 8\), it must be \(2, time, 8\)",
        ),
        (
            lambda a: a(normal(2, 4, 8), mask=mt.zeros((4, 4))),
            TypeError,
            "a mask is boolean and True means may attend, this one is float32",
        ),
        (lambda a: a(normal(3, 4, 8), mask=mt.ones((3, 4, 4)) > 0), ValueError, r"needs mask\[:, None\]"),
        (lambda a: nn.DotAttention(3, 4, projection=False), ValueError, "both widths must be equal, got 3 and 4"),
        (lambda a: nn.DotAttention(3, 3)(normal(2, 3), normal(2, 4, 3)), ValueError, r"query \(2, 3\) and memory"),
    ],
)
def test_errors(attention, call, kind, message):
    with pytest.raises(kind, match=message):
        call(attention)
