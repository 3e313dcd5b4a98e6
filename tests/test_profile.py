"""``mt.profile()``: its times are exclusive and add up, calls, bytes and flops are exact, it sees
its own thread alone, and leaves nothing behind.
"""

import asyncio
import contextvars
import threading
from html.parser import HTMLParser

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.engine.fused import FUSED
from minitensor.engine.mode import Mode, current_mode
from minitensor.engine.op import OPS
from minitensor.profiling import products, recorder, rows, speed, table


class Clock:
    """A clock that stands still until it is told; with ``tick`` it moves on at each reading."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 0.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(recorder, "clock", made)
    return made


@pytest.fixture
def fast(monkeypatch):
    """A machine of 1000 multiply-adds a second."""
    monkeypatch.setattr(rows, "speed", lambda device, dtype: 1000.0)
    monkeypatch.setattr(table, "speed", lambda device, dtype: 1000.0)


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert current_mode.get() == Mode()


def of(p, name):
    """The one row of that name."""
    (row,) = [row for row in p.rows if row.name == name]
    return row


def calls(p):
    """``{name: (forward, backward)}`` of the ops."""
    return {row.name: (row.forward_calls, row.backward_calls) for row in p.rows if row.kind == "op"}


def leaf(*shape, dtype="float32"):
    return mt.ones(shape, dtype=dtype, requires_grad=True)


# --- times ----------------------------------------------------------------------------------------


@pytest.fixture
def slow(clock):
    """An op that takes 3 s, and 5 s backward."""

    @mt.op
    def slow(xp, x):
        clock.passes(3)
        return x * 1.0

    def rule(g):
        clock.passes(5)
        return g * 1.0

    slow.vjp(rule)
    return slow


def test_times_are_exact(clock, slow):
    x = leaf(2)
    clock.passes(100)
    with mt.profile() as p:
        clock.passes(7)
        y = slow(slow(x)).sum()
        clock.passes(11)
        y.backward()
    clock.passes(100)
    row = of(p, "slow")
    assert (row.forward, row.backward, row.time, row.calls) == (6, 10, 16, 4)
    assert p.wall == 34 and of(p, rows.REST).time == 18 and of(p, "sum").time == 0
    assert row.share == 16 / 34 and row.kind == "op" and of(p, rows.REST).kind == "other"


def test_an_op_within_an_op_counts_for_itself(clock, slow):
    @mt.fused
    def twice(x):
        clock.passes(1)
        return slow(slow(x))

    with mt.profile() as p:
        twice(leaf(2))
    assert of(p, "twice").time == 1 and of(p, "slow").time == 6 and p.wall == 7
    assert calls(p) == {"twice": (1, 0), "slow": (2, 0)}
    assert of(p, "twice").forward_bytes == 0 and of(p, "slow").forward_bytes == 2 * 8


def test_the_engines_sums_and_the_optimiser_have_rows(clock, slow, monkeypatch):
    x = leaf(2)
    sgd = optim.SGD([x], lr=0.1)
    rule = sgd.rule
    monkeypatch.setattr(sgd, "rule", lambda *args: clock.passes(13) or rule(*args))
    x.register_hook(lambda g: clock.passes(2) or g)
    with mt.profile() as p:
        (slow(x) + slow(x)).sum().backward()
        optim.clip_grad_norm_([x], 1.0)
        sgd.step()
    assert of(p, "optimiser step").time == 13 and of(p, "optimiser step").calls == 1
    assert of(p, "gradient clipping").calls == 1
    # The hook is called between the ops: the pass, and 1 + 2 + 1 + 1 additions in it.
    assert of(p, "gradient sums").time == 2 and of(p, "gradient sums").calls == 1 + 5
    assert p.wall == 6 + 10 + 2 + 13 and of(p, rows.REST).time == 0


def test_random_numbers_and_averages_have_rows():
    x = leaf(8)
    average = optim.EMA([x])
    with mt.profile() as p:
        F.dropout(x, 0.5)
        average.update()
    assert of(p, "random numbers").calls == 1 and of(p, "average of weights").calls == 1


def step():
    """A training step of a model with all kinds of ops."""
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3))
    adam = optim.Adam(model.parameters())
    x, ids = mt.ones((5, 4)), np.arange(5) % 3

    def run():
        F.cross_entropy(model(x), ids).backward()
        adam.step()
        return [parameter.numpy() for parameter in model.parameters()]

    return run


@pytest.mark.parametrize("tick", [1.0, None])
def test_all_rows_add_up_to_the_wall(tick, monkeypatch):
    if tick:
        monkeypatch.setattr(recorder, "clock", Clock(tick))
    run = step()
    with mt.profile() as p:
        run()
    assert sum(row.time for row in p.rows) == pytest.approx(p.wall, rel=1e-9)
    assert sum(row.share for row in p.rows) == pytest.approx(1, rel=1e-9)
    assert all(row.time >= 0 for row in p.rows) and of(p, rows.OVERHEAD).time > 0
    if tick:  # one reading from the start of an op to its end; four in all, two of them the profile's
        row = of(p, "linear")
        assert row.calls == 4 and row.forward == 2


def test_results_are_the_same_bits():
    mt.random.seed(0)
    plain = step()()
    mt.random.seed(0)
    run = step()
    with mt.profile():
        profiled = run()
    assert all((a == b).all() for a, b in zip(plain, profiled))


# --- calls ----------------------------------------------------------------------------------------


def test_calls_are_exact():
    h, w, x = leaf(4, 4), leaf(4, 4), leaf(4, 4)
    with mt.profile() as p:
        for _ in range(10):
            h = mt.tanh(h * w + x)
        h.sum().backward()
    assert calls(p) == {"multiply": (10, 10), "add": (10, 10), "tanh": (10, 10), "sum": (1, 1)}


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda x: mt.sum(x, np.array(0)), "sum"),  # an axis that is found to be an array on the way
        (lambda x: mt.sum(x, 0), "sum"),
        (lambda x: mt.add(x, y=x), "add"),
        (lambda x: x + 1, "add"),
        (lambda x: 2 * x.astype("int64"), "multiply"),
        (lambda x: x.astype("float16") * x.astype("float16"), "multiply"),
        (lambda x: x @ x, "matmul"),
        (lambda x: F.softmax(x, np.array(0)), "softmax"),
        (lambda x: F.softmax(x, axis=0), "softmax"),
        (lambda x: -x, "negative"),
    ],
)
def test_a_call_is_one_call_whichever_way_it_takes(call, name):
    with mt.profile() as p:
        call(mt.ones((3, 3)))
    assert calls(p)[name] == (1, 0)


def test_a_wanted_gradient_runs_what_leads_to_it():
    x, y = leaf(3), leaf(3)
    with mt.profile() as p:
        mt.grad((mt.exp(x) * mt.sin(y)).sum(), x)
    assert calls(p) == {"exp": (1, 1), "sin": (1, 0), "multiply": (1, 1), "sum": (1, 1)}


def test_an_op_that_raises_has_its_time(clock):
    @mt.op
    def fails(xp, x):
        clock.passes(2)
        raise ValueError("no")

    fails.vjp(None)
    with mt.profile() as p, pytest.raises(ValueError, match="fails"):
        fails(mt.ones(2))
    assert of(p, "fails").time == 2 and of(p, "fails").calls == 1


def test_anomalies_are_found_within():
    with mt.profile() as p, mt.detect_anomaly(), pytest.raises(FloatingPointError, match="exp"):
        with np.errstate(over="ignore"):
            mt.exp(mt.ones(1) * 1e9)
    assert calls(p) == {"exp": (1, 0), "multiply": (1, 0)}


# --- checkpoints and higher derivatives -----------------------------------------------------------


def test_a_checkpoint_runs_its_ops_again(clock, slow):
    def fn(x):
        clock.passes(1)
        return slow(x)

    x = leaf(2)
    with mt.profile() as p:
        mt.checkpoint(fn, x).sum().backward()
    assert calls(p)["slow"] == (2, 1)
    (again,) = [row for row in p.rows if row.name.startswith("checkpoint(")]
    assert (again.forward_calls, again.backward_calls, again.time) == (0, 1, 1)
    assert p.recomputed == 4 and of(p, "slow").time == 3 + 3 + 5
    assert "mt.checkpoint has not kept" in p.table()
    assert again.backward_bytes == 0 and of(p, "slow").backward_bytes == 8


def test_a_recorded_pass_runs_ops(fast):
    x, w = leaf(4, 3), leaf(2, 3)
    with mt.profile() as p:
        mt.grad(F.linear(x, w).sum(), x, create_graph=True)
    # The pullback runs the definition, recorded: what it multiplies is matmul's.
    assert calls(p)["linear"] == (1, 1) and of(p, "linear").flops == 2 * 4 * 3 * 2
    assert of(p, "linear").backward_bytes == 0 and calls(p)["matmul"][0] > 1
    with mt.profile() as p:
        y = mt.exp(x)
        (g,) = mt.grad(y.sum(), [x], create_graph=True)
        g.sum().backward()
    assert calls(p)["exp"] == (1, 2) and calls(p)["multiply"][0] >= 1


# --- bytes ----------------------------------------------------------------------------------------


def made(function, *inputs):
    """``{name: (forward, backward)}`` bytes of the ops that ``function`` runs."""
    with mt.profile() as p:
        y = function(*inputs)
        if y.requires_grad:
            y.backward(mt.ones(y.shape, dtype=y.dtype))
    return {row.name: (row.forward_bytes, row.backward_bytes) for row in p.rows if row.kind == "op"}


def test_bytes_are_those_of_new_memory():
    x = leaf(4, 6)
    assert made(mt.exp, x) == {"exp": (96, 96)}
    assert made(lambda x: x.reshape(6, 4), x) == {"reshape": (0, 0)}
    assert made(lambda x: x.T, x) == {"permute_dims": (0, 0)}
    assert made(lambda x: x[1:3], x) == {"getitem": (0, 0)}  # the engine writes the gradient out
    assert made(lambda x: x[np.array([1, 1, 0])], x) == {"getitem": (72, 0)}
    assert made(lambda x: mt.broadcast_to(x, (5, 4, 6)), x) == {"broadcast_to": (0, 0)}
    assert made(lambda x: x.sum(), x) == {"sum": (4, 0)}  # one number, repeated
    assert made(lambda x: x + x, x) == {"add": (96, 0)}  # both gradients are the one that came
    assert made(lambda x: x * x, x) == {"multiply": (96, 192)}
    assert made(lambda x: x.astype(np.dtype("float64")), x) == {"astype": (192, 0)}  # the engine casts
    assert made(lambda x: mt.concat([x, x]), x) == {"concatenate": (192, 0)}
    assert made(lambda x: F.softmax(x), x) == {"softmax": (96, 96)}
    assert made(lambda x: F.linear(x, mt.ones((2, 6))), x) == {"linear": (32, 96)}
    assert made(lambda x: x * 2, x.detach()) == {"multiply": (96, 0)}
    assert made(mt.exp, leaf(0, 3)) == {"exp": (0, 0)}


# --- flops ----------------------------------------------------------------------------------------

# Function, shapes, multiply-adds forward, and those of the gradient of each input.
FLOPS = [
    (mt.matmul, [(4, 3), (3, 5)], 60, [60, 60]),
    (mt.matmul, [(3,), (3,)], 3, [3, 3]),
    (mt.matmul, [(3,), (3, 5)], 15, [15, 15]),
    (mt.matmul, [(7, 4, 3), (3,)], 84, [84, 84]),
    (mt.matmul, [(7, 4, 3), (3, 5)], 420, [420, 420]),
    (mt.matmul, [(7, 1, 4, 3), (2, 3, 5)], 840, [840, 840]),
    (mt.matmul, [(0, 3), (3, 5)], 0, [0, 0]),
    (F.linear, [(2, 7, 3), (5, 3), (5,)], 210, [210, 210, 0]),
    (F.linear, [(3,), (5, 3)], 15, [15, 15]),
    (mt.tensordot, [(4, 3, 2), (3, 2, 5)], 120, [120, 120]),
    (mt.vecdot, [(4, 3), (4, 3)], 0, [0, 0]),
    (lambda x, w: F.conv2d(x, w, padding=1, stride=2), [(2, 3, 5, 5), (4, 3, 3, 3)], 2 * 9 * 4 * 27, [2 * 9 * 4 * 27] * 2),
    (lambda qkv: F.packed_attention(qkv, 2), [(2, 5, 12)], 2 * 200, [4 * 200]),
    (lambda x, y: mt.einsum("bti,oi->bto", x, y), [(2, 7, 3), (5, 3)], 210, [210, 210]),
    (lambda x: mt.einsum("ii->i", x), [(3, 3)], 0, [0]),
    (lambda x: mt.einsum("ij->j", x), [(3, 4)], 0, [0]),
    (lambda x, y: mt.einsum("ij,jk->k", x, y), [(9, 4), (4, 5)], 20, [20, 20]),
    # ((4, 3) (3, 50)) (50, 2): the first two cost 600 + 400, the last two 300 + 24.
    (lambda x, y, z: mt.einsum("ij,jk,kl->il", x, y, z), [(4, 3), (3, 50), (50, 2)], 324, [324, 324, 324]),
    (lambda *xs: mt.einsum("ab,bc,cd,de,ef,fg->ag", *xs), [(2, 2)] * 6, 40, [40] * 6),
    (lambda x, y: mt.einsum("ij,ij->ij", x, y), [(4, 1), (4, 3)], 12, [12, 12]),
    (mt.exp, [(3, 3)], 0, [0]),
]  # fmt: skip


def flops(function, inputs):
    """Multiply-adds forward, and backward, of which each flop is half."""
    with mt.profile() as p:
        y = function(*inputs)
    forward = sum(row.flops for row in p.rows) // 2
    with mt.profile() as p:  # what has been recorded outside
        y.backward(mt.ones(y.shape, dtype=y.dtype))
    return forward, sum(row.flops for row in p.rows) // 2


@pytest.mark.parametrize("function, shapes, forward, backward", FLOPS)
def test_flops_are_exact(function, shapes, forward, backward, fast):
    for wanted, expected in enumerate(backward):
        inputs = [mt.ones(shape, requires_grad=i == wanted) for i, shape in enumerate(shapes)]
        assert flops(function, inputs) == (forward, expected)
    inputs = [mt.ones(shape, requires_grad=True) for shape in shapes]
    assert flops(function, inputs) == (forward, sum(backward))


def attention(q, k, v, bias):
    return F.scaled_dot_product_attention(q, k, v, bias=bias)


# In each of 12 heads the scores of 5 queries and 7 keys with 3 features take 5 x 7 x 3, the mixture
# of values with 4 features takes 5 x 7 x 4; so does the gradient of the scores.
@pytest.mark.parametrize(
    "wanted, scores, mixtures",
    [("q", 1, 1), ("k", 1, 1), ("v", 0, 1), ("b", 0, 1), ("qk", 2, 1), ("qkv", 2, 2), ("qkvb", 2, 2), ("vb", 0, 2)],
)
def test_flops_of_attention_are_exact(wanted, scores, mixtures, fast):
    shapes = {"q": (6, 2, 5, 3), "k": (6, 2, 7, 3), "v": (2, 7, 4), "b": (5, 7)}
    inputs = [mt.ones(shape, requires_grad=name in wanted) for name, shape in shapes.items()]
    assert flops(attention, inputs) == (12 * (105 + 140), 12 * (105 * scores + 140 * mixtures))


@pytest.mark.parametrize("layer, gates", [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_flops_of_recurrent_layers_are_exact(layer, gates, fast):
    steps, batch, features, hidden = 5, 2, 3, 4
    module = getattr(nn, layer)(features, hidden)
    of_inputs, of_states = batch * gates * hidden * features, batch * gates * hidden * hidden  # in one step
    forward = steps * (of_inputs + of_states)
    x = mt.ones((batch, steps, features))
    # Those of the weights, and through all steps but the first, whose state wants no gradient.
    backward = steps * (of_inputs + of_states) + (steps - 1) * of_states
    assert flops(lambda x: module(x)[0], [x]) == (forward, backward)
    backward += steps * of_inputs
    assert flops(lambda x: module(x)[0], [leaf(*x.shape)]) == (forward, backward)
    h, c = leaf(1, batch, hidden), mt.ones((1, batch, hidden))
    given = (h, c) if layer == "LSTM" else h
    assert flops(lambda x: module(x, given)[0], [leaf(*x.shape)]) == (forward, backward + of_states)


def test_flops_may_be_of_arrays_and_lists_and_keywords(fast):
    inputs = [[1.0, 2.0, 3.0], mt.tensor([4.0, 5.0, 6.0])]
    with mt.profile() as p:
        F.linear(np.ones((4, 3), np.float32), weight=inputs)
    assert calls(p)["linear"] == (1, 0) and of(p, "linear").flops == 2 * 4 * 3 * 2
    with mt.profile() as p:
        mt.matmul([[1, 2]], [[3], [4]])
    assert of(p, "matmul").flops == 0 and of(p, "matmul").floor is None  # of integers: no speed is known


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_floor_is_that_of_the_type_that_is_computed_in(dtype, monkeypatch):
    asked = []
    monkeypatch.setattr(rows, "speed", lambda device, dtype: asked.append((device, dtype)) or 1000.0)
    with mt.profile() as p:
        (leaf(4, 3, dtype=dtype) @ leaf(3, 5, dtype=dtype)).sum().backward()
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    assert of(p, "matmul").floor == 0.18 and set(asked) == {("cpu", wide)}


def test_an_op_of_ones_own_has_no_floor_whatever_its_name():
    @mt.op
    def matmul(xp, x, y):
        return x @ y

    matmul.vjp(None, None)
    with mt.profile() as p:
        matmul(mt.ones((2, 2)), mt.ones((2, 2)))
    assert of(p, "matmul").floor is None and p.floor == 0


def test_the_products_are_ops():
    assert set(products.PRODUCTS) <= set(OPS) | set(FUSED)


def test_floors_are_of_the_row_and_of_the_block(clock, fast):
    x, w = leaf(10, 10), leaf(10, 10)
    with mt.profile() as p:
        F.linear(x, w)
        clock.passes(4)
        x @ w
    assert of(p, "linear").floor == 1 and of(p, "matmul").floor == 1 and p.floor == 2
    assert of(p, "matmul").times_floor == 0
    assert "This block took 4000.0 ms, its products alone would take 2000.0 ms: 2.00 x the floor." in p.table()


def test_a_row_below_its_floor_has_a_word(clock, fast):
    x = leaf(10, 10)
    with mt.profile() as p:
        x @ x
    assert "A row is below its floor" in p.table()


def test_the_speed_is_measured_once():
    speed.speed.cache_clear()
    first = speed.speed("cpu", np.dtype(np.float32))
    assert first > 1e6 and speed.speed("cpu", np.dtype(np.float32)) == first
    assert speed.speed.cache_info().misses == 1


# --- threads, tasks, blocks -----------------------------------------------------------------------


def test_other_threads_are_not_seen():
    x = leaf(3)

    def work():
        assert current_mode.get().observer is None
        mt.exp(x).sum().backward()

    def inherits():
        mt.sin(x).sum().backward()
        optim.SGD([x], lr=0.1).step()
        with mt.profile() as inner:
            mt.cos(x)
        assert calls(inner) == {"cos": (1, 0)}

    with mt.profile() as p:
        threads = [threading.Thread(target=contextvars.Context().run, args=(work,))]
        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(inherits,)))
        for thread in threads:
            thread.start()
            thread.join()
        mt.tanh(x)
    assert calls(p) == {"tanh": (1, 0)} and {row.name for row in p.rows} == {"tanh", rows.REST, rows.OVERHEAD}


def test_threads_have_profiles_of_their_own():
    x, seen, barrier = mt.ones(3), {}, threading.Barrier(2)

    def work(function, times):
        with mt.profile() as p:
            for _ in range(times):
                barrier.wait(10)
                function(x)
        seen[function.name] = calls(p)

    threads = [threading.Thread(target=work, args=(function, 50)) for function in (mt.exp, mt.sin)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"exp": {"exp": (50, 0)}, "sin": {"sin": (50, 0)}}


def test_tasks_see_themselves_and_what_they_start():
    x = mt.ones(3)

    async def work(function):
        with mt.profile() as p:
            for _ in range(3):
                function(x)
                await asyncio.sleep(0)
        return calls(p)

    async def main():
        with mt.profile() as p:
            inner = await asyncio.gather(work(mt.exp), work(mt.sin))
        late = asyncio.ensure_future(work(mt.cos))
        return inner, calls(p), await late

    inner, outer, late = asyncio.run(main())
    assert inner == [{"exp": (3, 0)}, {"sin": (3, 0)}] and late == {"cos": (3, 0)}
    assert outer == {"exp": (3, 0), "sin": (3, 0)}


def test_a_task_outlives_the_block():
    x = mt.ones(3)

    async def work():
        for _ in range(3):
            mt.exp(x)
            await asyncio.sleep(0)

    async def main():
        with mt.profile() as p:
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
        await task
        return calls(p)

    assert asyncio.run(main()) == {"exp": (1, 0)}


def test_blocks_within_blocks_all_see(clock, slow):
    x = leaf(2)
    with mt.profile() as outer:
        slow(x)
        with mt.profile() as inner:
            clock.passes(1)
            slow(x)
        slow(x)
    assert calls(outer) == {"slow": (3, 0)} and calls(inner) == {"slow": (1, 0)}
    assert (outer.wall, inner.wall) == (10, 4) and of(inner, rows.REST).time == of(outer, rows.REST).time == 1


def test_a_block_within_an_op(clock, slow):
    found = []

    @mt.fused
    def looks(x):
        with mt.profile() as inner:
            y = slow(x)
            clock.passes(1)
        found.append(inner)
        return y

    with mt.profile() as outer:
        looks(leaf(2))
    assert calls(found[0]) == {"slow": (1, 0)} and found[0].wall == 4
    assert calls(outer) == {"looks": (1, 0), "slow": (1, 0)} and of(outer, "looks").time == 1


def test_blocks_may_be_left_in_any_order():
    x = mt.ones(2)
    outer, inner = mt.profile(), mt.profile()
    outer.__enter__()
    mt.exp(x)
    inner.__enter__()
    mt.sin(x)
    outer.__exit__(None, None, None)
    mt.cos(x)
    inner.__exit__(None, None, None)
    mt.tanh(x)
    assert calls(outer) == {"exp": (1, 0), "sin": (1, 0)} and calls(inner) == {"sin": (1, 0), "cos": (1, 0)}


def test_modes_within_a_block():
    with mt.profile() as p, mt.no_grad():
        assert not mt.exp(leaf(2)).requires_grad
        with mt.enable_grad():
            mt.exp(leaf(2)).sum().backward()
    assert calls(p) == {"exp": (2, 1), "sum": (1, 1)}


def test_after_an_exception_the_table_is_there(clock, slow):
    with pytest.raises(KeyError), mt.profile() as p:
        slow(leaf(2))
        raise KeyError("own")
    assert calls(p) == {"slow": (1, 0)} and p.wall == 3 and "slow" in str(p)

    @mt.fused
    def fails(x):
        slow(x)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), mt.profile() as p:
        fails(leaf(2))
    assert of(p, "slow").time == 3 and of(p, "fails").time == 0
    with mt.profile() as p:
        slow(leaf(2))
    assert of(p, "slow").time == 3


def test_figures_stand_still_after_the_block(clock, slow):
    with mt.profile() as p:
        y = slow(leaf(2))
    before = p.rows, p.wall, str(p)
    clock.passes(5)
    y.sum().backward()
    slow(y)
    assert (p.rows, p.wall, str(p)) == before
    with pytest.raises(RuntimeError, match="opened before"), p:
        pass
    assert (p.rows, p.wall, str(p)) == before
    p.__exit__(None, None, None)
    assert p.wall == 3


def test_it_can_be_read_before_and_within(clock, slow, fast):
    p = mt.profile()
    assert p.wall == 0 and [row.time for row in p.rows] == [0, 0] and "0.000 ms" in str(p) and "not opened" in repr(p)
    x = leaf(2, 2)
    with p:
        slow(x)
        x @ x
        assert of(p, "slow").time == 3 and "has taken 3000.0 ms" in str(p) and repr(p) == "<profile, open>"
        slow(x)
    assert of(p, "slow").time == 6 and repr(p) == "<profile, 6000.00 ms>"


def test_reading_within_is_no_time_of_the_block(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(recorder, "clock", clock)
    monkeypatch.setattr(rows, "speed", lambda device, dtype: clock.passes(9) or 1000.0)
    x = leaf(2, 2)
    with mt.profile() as outer, mt.profile() as p:
        x @ x
        assert p.rows and outer.rows
    for one in (p, outer):
        assert of(one, rows.OVERHEAD).time == 18 and of(one, rows.REST).time == 0


def test_nothing_is_kept_alive():
    import weakref

    with mt.profile() as p:
        x = leaf(3)
        y = mt.exp(x) * x
        array = weakref.ref(y._array)
        y.sum().backward()
        del y
        assert array() is None
    assert p.rows


def test_without_a_profile_the_short_ways_are_open():
    assert not current_mode.get().watched
    with mt.profile():
        assert current_mode.get().watched
    with mt.detect_anomaly():
        assert current_mode.get().watched


# --- words and pictures ---------------------------------------------------------------------------


@pytest.fixture
def busy(fast):
    """A profile of many kinds, one of them with an impossible name."""

    @mt.op(name="<b>" + "very_long_name_" * 6 + "$x$")
    def strange(xp, x):
        return x * 2

    strange.vjp(lambda g: g)
    x = leaf(4, 4)
    with mt.profile() as p:
        for function in (
            strange,
            *(getattr(mt, name) for name in "exp sin cos tanh sqrt abs floor sign square".split()),
        ):
            function(x)
        for function in (F.relu, F.gelu, F.softmax, F.silu, F.softplus):
            function(x).sum().backward()
        F.scaled_dot_product_attention(x, x, x)
    return p


@pytest.mark.parametrize("sort", ["time", "forward", "backward", "calls", "bytes", "floor", "name"])
def test_a_table_fits_a_terminal(sort, busy):
    text = busy.table(sort=sort)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) > 20
    assert "scaled_dot_product_attention" in text and "<b>very_long_name_very_lo..." in text
    if sort == "name":
        names = [line.split("  ")[0] for line in lines[2 : 2 + len(busy.rows)]]
        assert names == sorted(names)


def test_numbers_as_text():
    assert [table.ms(s) for s in (0, 1e-6, 0.0123456, 0.123, 12.3, 123.4)] == [
        "0.000", "0.001", "12.35", "123.0", "12300", "123400",
    ]  # fmt: skip


def test_wrong_arguments_are_refused(busy, tmp_path):
    with pytest.raises(ValueError, match="sort must be one of time, forward"):
        busy.table(sort="size")
    with pytest.raises(TypeError, match="synchronize must be True or False"):
        mt.profile(synchronize="yes")
    for wrong in ("profile", "profile.svg", tmp_path / "x.jpg"):
        with pytest.raises(ValueError, match=r"must end in \.html or \.png"):
            busy.save(wrong)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        busy.save(tmp_path / "nowhere" / "profile.html")
    assert not list(tmp_path.iterdir())


class Page(HTMLParser):
    """What is on a page: tags, the texts of cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def test_a_page_is_one_file(busy, tmp_path):
    busy.save(tmp_path / "profile.HTML")
    page = Page((tmp_path / "profile.HTML").read_text(encoding="utf-8"))
    assert page.tags.count("tr") == 1 + len(busy.rows) and page.tags.count("svg") == 1 and "b" not in page.tags
    loaded = [value for name, value in page.attributes if name in ("src", "href") and not value.startswith("data:")]
    assert not loaded and "script" not in page.tags
    assert any("very_long_name" in text and text.startswith("<b>") for text in page.texts)
    assert {"forward", "backward", "not an op"} <= set(page.texts)


def test_small_bars_are_one(fast):
    def row(name, time, kind="op", floor=None):
        return rows.Row(name, kind, time, forward=time * (kind == "op"), share=time, floor=floor)

    small = [row(name, 0.001) for name in "abc"] + [row("d", 0.002, kind="other")]
    shown = table.bars([*small, row("large", 0.9, floor=0.45), row("rest", 0.095, kind="other")])
    assert shown == [
        ("large", (0.9, 0.0, 0.0), 0.45, "900.0 ms, 90 %, 2.00 x its floor"),
        ("rest", (0.0, 0.0, 0.095), None, "95.00 ms, 10 %"),
        ("4 others", (pytest.approx(0.003), 0.0, 0.002), None, "5.00 ms"),
    ]
    assert len(table.bars(small[:1])) == 1 and len(table.bars([row("x", 0.04) for _ in range(25)])) == 17


def test_a_page_of_nothing(tmp_path, clock):
    with mt.profile() as p:
        pass
    p.save(tmp_path / "p.html")
    assert "no matrix products" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_a_picture(busy, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    busy.save(tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with mt.profile() as empty:
        pass
    empty.save(tmp_path / "empty.png")
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "minitensor-autograd\[train\]"'):
        busy.save(tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()
