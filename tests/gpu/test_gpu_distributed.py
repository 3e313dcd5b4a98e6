"""On a real GPU: NCCL with a group of one, and rows that draw there what they draw on the CPU."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.distributed import Group, NCCLGroup, check_agreement, share_parameters, sum_gradients

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def group():
    try:
        return NCCLGroup(Group(), "cuda:0")
    except ModuleNotFoundError as error:  # its words name the line of pip
        pytest.skip(str(error))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_one_rank_sums_and_sends(group, dtype):
    x = mt.arange(1000, dtype=dtype, device="cuda:0")
    before = x.to("cpu").numpy().copy()
    group.all_reduce(x.data)
    group.broadcast(x.data)
    assert np.array_equal(x.to("cpu").numpy(), before)


def test_what_is_queued_before_is_summed(group):
    x = mt.ones((1 << 22,), device="cuda:0")
    for _ in range(20):
        y = x * 2.0
        group.all_reduce(y.data)  # on the stream on which y is made
        x = y - 1.0
    assert (x.to("cpu").numpy() == 1).all()


def test_a_step_with_its_all_reduce_is_the_step(group):
    def trained(reduce):
        mt.random.seed(0)
        model = nn.Linear(40, 30).to("cuda:0")
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        share_parameters(model.parameters(), group)
        for _ in range(3):
            F.dropout(model(mt.ones((7, 40), device="cuda:0")), 0.2).sum().backward()
            if reduce:
                (buffer,) = optimizer.bound_buffers()
                buffer.deposit(buffer.fill())
                group.all_reduce(buffer.gradients)
            assert sum_gradients(optimizer, group, [1.0]) == [1.0]
            optimizer.step()
            optimizer.zero_grad()
        check_agreement(model.parameters(), group)
        return [p.to("cpu").numpy() for p in model.parameters()]

    assert all(np.array_equal(a, b) for a, b in zip(trained(True), trained(False)))


@pytest.mark.parametrize("p, shape", [(0.1, (9, 3, 5)), (0.3, (9, 4, 64)), (1e-4, (9, 70))])
def test_rows_draw_what_they_draw_on_the_cpu(p, shape):
    found = []
    for device in ("cpu", "cuda:0"):
        for start, stop in ((0, 9), (2, 7)):
            mt.random.seed(1)
            with mt.random.rows(start, stop, of=9):
                y = F.dropout(mt.ones((stop - start, *shape[1:]), device=device), p)
            found.append((y.to("cpu").numpy(), mt.random.default.state))
    assert np.array_equal(found[0][0], found[2][0]) and np.array_equal(found[1][0], found[3][0])
    assert np.array_equal(found[0][0][2:7], found[1][0]) and len({state for _, state in found}) == 1
