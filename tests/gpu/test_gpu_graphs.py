"""On a real GPU: CUDA graphs of whole training steps."""

import numpy as np
import pytest

import minitensor as mt
from tests.backend.device_checks import GRAPHED, check_graph

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", GRAPHED)
def test_a_graph_gives_the_run_of_its_step_bit_for_bit(name):
    check_graph(name, "cuda")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_a_graph_in_mixed_precision_is_its_step_bit_for_bit(name, dtype):
    check_graph(name, "cuda", dtype)


def test_memory_stays_the_same_over_a_hundred_launches():
    pool, held = pytest.importorskip("cupy").get_default_memory_pool(), []
    weight = mt.ones((64, 64), device="cuda", requires_grad=True)

    @mt.cuda_graph
    def step(x):
        weight.grad = None
        loss = (x @ weight).sum()
        loss.backward()
        return loss

    for i in range(100):
        assert step(np.full((8, 64), i, np.float32)).item() == 8 * 64 * 64 * i
        held.append(pool.total_bytes())
    assert held[10] == held[-1] and step.replayed == 97
