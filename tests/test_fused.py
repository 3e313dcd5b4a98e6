"""Kernels on the paths that small arrays do not take: many cache blocks, and each row shifted by
its own maximum.
"""

import tracemalloc

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.engine.fused import FUSED
from minitensor.nn.functional import attention, attention_tiles, blocks
from minitensor.testing import check_op

KERNELS = [pytest.param(row, id=str(row)) for row in TABLE if set(row.ops) & set(FUSED) or "attention" in row.name]


def check_in_parts(row, examples, seed):
    """Values and gradients; second derivatives are those of the definition, which has no parts."""
    check_op(
        row.function, row.cases, reference=row.reference, wanted=row.wanted, name=row.name, order=1, examples=examples, seed=seed
    )  # fmt: skip


@pytest.mark.parametrize("row", KERNELS)
def test_one_row_a_block(row, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    check_in_parts(row, examples=8, seed=1)


ATTENTION = [pytest.param(row, id=str(row)) for row in TABLE if "attention" in row.name]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("way", ["tiles", "blocks"])
@pytest.mark.parametrize("row", ATTENTION)
def test_attention_in_parts(row, way, rows, monkeypatch):
    monkeypatch.setattr(attention_tiles, "LEAST", 0 if way == "tiles" else 1 << 60)
    monkeypatch.setattr(attention_tiles, "ROWS", rows)
    monkeypatch.setattr(attention, "BLOCK_ROWS", rows)
    check_in_parts(row, examples=8, seed=rows)


@pytest.mark.parametrize(("queries", "keys"), [(300, 300), (150, 290), (290, 150), (900, 900)])
def test_long_causal_attention_is_its_definition(queries, keys):
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, 2, n, 8)).astype(np.float32) for n in (queries, keys, keys)]
    inputs[0][0, 0, ::7] *= 100.0  # tall rows beside usual ones
    inputs[0][0, 1, ::5] *= -100.0
    g = mt.asarray(rng.standard_normal((1, 2, queries, 8)).astype(np.float32))
    found, right = [], []
    for results, dtype, run in (
        (found, "float32", lambda *x: F.scaled_dot_product_attention(*x, is_causal=True)),
        (right, "float64", lambda *x: attention._attention.definition(*x, scale=8**-0.5, causal=True)),
    ):
        x = [mt.tensor(a, dtype=dtype, requires_grad=True) for a in inputs]
        y = run(*x)
        results += [y.numpy(), *(part.numpy() for part in mt.grad(y, x, g.astype(dtype)))]
    for a, b in zip(found, right):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("shape", [(), (200,), (1, 200), (200, 1), (2, 1, 200), (200, 200)])
def test_a_bias_of_any_shape_in_long_causal_attention(shape, monkeypatch):
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(s) for s in [(1, 2, 200, 4)] * 3 + [shape]]
    g, results = rng.standard_normal((1, 2, 200, 4)), []
    for rows, least in ((9999, 1 << 60), (64, 1 << 60), (64, 0)):  # whole, in blocks, in tiles
        monkeypatch.setattr(attention, "BLOCK_ROWS", rows)
        monkeypatch.setattr(attention_tiles, "LEAST", least)
        x = [mt.tensor(a, requires_grad=True) for a in inputs]
        y = F.scaled_dot_product_attention(*x[:3], bias=x[3], is_causal=True)
        results.append([y.numpy(), *(part.numpy() for part in mt.grad(y, x, mt.asarray(g)))])
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)


def test_long_attention_holds_no_matrix_of_scores():
    length, width = 1500, 8
    x = mt.tensor(
        np.random.default_rng(0).standard_normal((1, length, 3 * width)).astype(np.float32), requires_grad=True
    )
    for causal in (False, True):
        tracemalloc.start()
        F.packed_attention(x, 1, is_causal=causal).sum().backward()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 0.6 * length * length * 4


@pytest.mark.parametrize("length", [200, 800])
def test_later_keys_change_no_bit_of_causal_attention(length):
    """Not of a query, nor of its gradient; nor does a query that is tall change the others."""
    rng = np.random.default_rng(0)
    x, cut = rng.standard_normal((3, 2, 2, length, 8)).astype(np.float32), length - 100
    g = rng.standard_normal((2, 2, length, 8)).astype(np.float32)
    results = []
    for factor in (1.0, 50.0, 1e4):
        q, k, v = x.copy()
        q[:, :, cut:] *= factor
        k[:, :, cut:] *= factor
        v[:, :, cut:] *= factor
        q, k, v = (mt.tensor(part, requires_grad=True) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        (gq,) = mt.grad(y, [q], mt.asarray(g))
        results.append((y.numpy()[:, :, :cut], gq.numpy()[:, :, :cut]))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))


def test_every_fused_op_has_a_kernel():
    assert not [name for name, op in FUSED.items() if not op.kernels]


def test_rows_of_very_different_size_in_one_block():
    q = np.array([[1e3, 0.0], [1e-3, 0.0], [-1e3, 0.0]])
    k = np.array([[1.0, 0.0], [0.5, 0.0]])
    weights = F.attention_weights(q, k, scale=1.0).data
    out = F.scaled_dot_product_attention(q, k, np.eye(2), scale=1.0).data
    assert np.allclose(out, weights, rtol=1e-14) and np.allclose(out.sum(axis=-1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_backward_twice_through_a_kernel_that_reuses_its_buffer(reduction):
    x = mt.tensor(np.random.default_rng(0).standard_normal((4, 3)), requires_grad=True)
    loss = F.cross_entropy(x, [0, 2, -100, 1], label_smoothing=0.1, reduction=reduction)
    g = mt.asarray(np.random.default_rng(1).standard_normal(loss.shape))
    loss.backward(g, retain_graph=True)
    first = x.grad.numpy().copy()
    x.grad = None
    loss.backward(g)
    assert np.array_equal(x.grad.data, first)
