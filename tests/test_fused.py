"""Kernels on the paths that small arrays do not take: many cache blocks, and each row shifted by
its own maximum.
"""

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.engine.fused import FUSED
from minitensor.nn.functional import blocks
from minitensor.testing import check_op

KERNELS = [pytest.param(row, id=str(row)) for row in TABLE if set(row.ops) & set(FUSED) or "attention" in row.name]


@pytest.mark.parametrize("row", KERNELS)
def test_one_row_a_block(row, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    check_op(row.function, row.cases, reference=row.reference, wanted=row.wanted, name=row.name, examples=15, seed=1)


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
