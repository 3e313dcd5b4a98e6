"""The promises of the engine about time and memory: long chains, no garbage, no growth."""

import gc
import sys
import time
import tracemalloc
import weakref

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim
from minitensor.engine.autograd import Node


def nodes():
    """How many nodes are alive."""
    return sum(type(item) is Node for item in gc.get_objects())


@pytest.fixture
def no_collector():
    """The garbage collector off, so that only reference counting frees."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def chain(length):
    """Forward and backward through ``length`` ops; seconds of this process, and the gradient of the
    start.
    """
    x = mt.tensor(np.full((2, 2), 0.5), requires_grad=True)
    start = time.process_time()
    y = x
    for _ in range(length):
        y = y + 1e-9
    y.backward(mt.ones((2, 2), dtype="float64"))
    del y
    return time.process_time() - start, x.grad


def test_a_chain_of_100_000_ops():
    _, gradient = chain(100_000)
    assert gradient.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_an_unused_chain_of_100_000_ops_is_freed_without_recursion(no_collector):
    before = nodes()
    x = y = mt.tensor([0.5], requires_grad=True)
    for _ in range(100_000):
        y = mt.negative(y)
    assert nodes() - before == 100_001
    del x, y
    assert nodes() == before


def test_time_is_linear_in_the_length():
    chain(2_000)
    short = min(chain(5_000)[0] for _ in range(3))
    assert any(chain(40_000)[0] < 3 * 8 * short for _ in range(3))


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_graph_dies_by_reference_counting(no_collector, create_graph):
    before = nodes()
    x = mt.tensor(np.ones((3, 3)), requires_grad=True)
    h = x @ x
    arrays = [weakref.ref(h._array)]
    y = (mt.tanh(h) * x[0] + nn.functional.softmax(x)).sum()
    g = mt.grad(y, x, create_graph=create_graph)
    arrays.append(weakref.ref(g._array))
    del x, h, y, g
    assert nodes() == before
    assert all(reference() is None for reference in arrays)


def test_backward_frees_what_it_has_used_while_the_output_lives(no_collector):
    x = mt.tensor(np.ones((3, 3)), requires_grad=True)
    h = mt.exp(x)
    saved = weakref.ref(h._array)
    y = h.sum()
    del h
    assert saved() is not None
    y.backward()
    assert saved() is None and y.requires_grad


def test_hooks_and_retained_gradients_leave_no_cycle(no_collector):
    before = nodes()
    x = mt.tensor(np.ones(3), requires_grad=True)
    y = x * 2.0
    y.retain_grad()
    y.register_hook(lambda g: g * 2.0)
    (y * y).sum().backward()
    del x, y
    assert nodes() == before


def test_only_what_a_rule_names_is_kept_alive(no_collector):
    x, c = mt.tensor(np.ones(3), requires_grad=True), mt.asarray(np.full(3, 2.0))
    kept, dropped = weakref.ref(c._array), weakref.ref((big := mt.asarray(np.ones(3)))._array)
    y, z = x * c, x + big
    del c, big
    assert kept() is not None, "the other factor is needed"
    assert dropped() is None, "the other summand is not"
    del y, z


def test_no_growth_over_500_training_steps():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3))
    optimiser = optim.Adam(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    x, targets = mt.asarray(rng.standard_normal((6, 4)).astype(np.float32)), mt.asarray(rng.integers(0, 3, 6))

    def steps(count):
        for _ in range(count):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), targets).backward()
            optimiser.step()

    def used():
        gc.collect()  # not for cycles, of which there are none, but to empty the interpreter's own lists of spare objects
        return tracemalloc.get_traced_memory()[0]

    steps(20)
    alive = nodes()
    steps(250)
    tracemalloc.start()  # of the second half alone: a step then takes four times as long
    try:
        marks = []
        for _ in range(5):
            steps(50)
            marks.append(used())
    finally:
        tracemalloc.stop()
    assert nodes() <= alive
    growth = sorted(np.diff(marks))  # the interpreter's table of names may be made anew once: not in every quarter
    assert growth[1] < 400, marks  # 8 bytes a step: one more entry of a list


def test_training_steps_leave_no_cycles(no_collector):
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1)
    optimiser = optim.AdamW(model.parameters(), lr=1e-3)
    x = mt.asarray(np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32))
    for cycles_allowed in (True, False):  # the first step imports and prepares
        optimiser.zero_grad()
        (model(x) ** 2).mean().backward()
        optimiser.step()
        assert gc.collect() == 0 or cycles_allowed


@pytest.mark.parametrize("join", [mt.concat, mt.stack, lambda xs: mt.einsum("a,b,c,d,e->abcde", *xs[:5])])
def test_an_op_of_many_inputs_keeps_nothing_from_call_to_call(join):
    rng = np.random.default_rng(0)
    pairs = [(mt.tensor([1.0], requires_grad=True), mt.tensor([1.0])) for _ in range(12)]

    def calls(count):
        gc.collect()  # empties the interpreter's own lists of spare tuples
        before = sys.getallocatedblocks()
        for _ in range(count):
            join([pair[k] for pair, k in zip(pairs, rng.integers(0, 2, 12))])
        gc.collect()
        return sys.getallocatedblocks() - before

    calls(200)
    assert calls(1000) < 300


@pytest.mark.parametrize("join", [mt.concat, mt.stack])
def test_joining_takes_time_in_proportion_to_the_pieces(join):
    def seconds(pieces):
        xs = [mt.tensor([1.0], requires_grad=True) for _ in range(pieces)]
        start = time.process_time()
        y = join(xs)
        (y * y).sum().backward()
        assert float(xs[-1].grad.sum()) == 2.0
        return time.process_time() - start

    short = min(seconds(1_000) for _ in range(3))
    assert any(seconds(8_000) < 3 * 8 * short for _ in range(3))
