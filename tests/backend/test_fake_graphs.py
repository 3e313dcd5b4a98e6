"""``mt.cuda_graph`` on the fake device: a graph does what its step does, bit for bit, and nothing
that changes goes stale without a word.
"""

import collections
import copy
import os

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from tests.backend import emulator, fake_capture, fake_device
from tests.backend.device_checks import GRAPHED, check_graph

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
pytestmark = pytest.mark.skipif(emulator.compiler() is None, reason="the fake device takes Linux and a C++ compiler")


@pytest.fixture(autouse=True)
def device():
    """``device="cuda"`` is the fake one."""
    with fake_device.installed() as cupy:
        fake_capture.LAUNCHES.clear()
        yield cupy


@pytest.mark.parametrize("name", GRAPHED if THOROUGH else ["transformer", "lstm"])
def test_a_graph_gives_the_run_of_its_step_bit_for_bit(name):
    check_graph(name, "cuda")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_a_graph_in_mixed_precision_is_its_step_bit_for_bit(name, dtype):
    check_graph(name, "cuda", dtype)


class Run:
    """A small training run with dropout, as a graph or as it is written."""

    def __init__(self, graphed, optimizer=optim.Adam, **settings):
        mt.random.seed(3)
        self.layer = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Linear(6, 2)).to("cuda")
        self.optimizer = optimizer(self.layer.parameters(), **settings)
        self.step = mt.cuda_graph(self._step) if graphed else self._step
        self.seen = 0

    def _step(self, x):
        self.seen += 1
        self.optimizer.zero_grad()
        loss = (self.layer(mt.asarray(x, device="cuda")) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return loss

    def losses(self, steps, between=lambda run, i: None):
        """So many losses; ``between(run, i)`` comes before step i."""
        rng, found = np.random.default_rng(0), []
        for i in range(steps):
            between(self, i)
            found.append(self.step(rng.normal(size=(3, 4)).astype(np.float32)).item())
        return found


def both(steps, between=lambda run, i: None, **settings):
    """The run of the graph, whose losses are those of the step itself."""
    graphed = Run(True, **settings)
    losses, plain = graphed.losses(steps, between), Run(False, **settings)
    assert plain.losses(steps, between) == losses
    for mine, right in zip(graphed.layer.parameters(), plain.layer.parameters()):
        assert np.array_equal(mine.to("cpu").numpy(), right.to("cpu").numpy())
    return graphed


@pytest.mark.parametrize(
    "optimizer, settings",
    [
        (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.01}),
        (optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
        (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    ],
)
def test_learning_rates_that_change_reach_the_graph(optimizer, settings):
    def between(run, i):
        run.optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)

    run = both(6, between, optimizer=optimizer, **settings)
    assert (run.step.captured, run.step.replayed, run.seen) == (1, 3, 3)
    assert len(fake_capture.LAUNCHES) == 4  # the captured call launches its graph, too


def _half(run, i):
    if i == 4:
        run.layer.train(False)


def _moved(run, i):
    if i == 4:
        run.layer.to("cpu").to("cuda")


def _more(run, i):
    if i == 4:
        run.optimizer.param_groups[0]["weight_decay"] = 0.5


def _seeded(run, i):
    if i == 4:
        mt.random.seed(9)


def _drawn(run, i):
    mt.random.uniform((i,))


def _loaded(run, i):
    if i == 4:
        run.layer.load_state_dict({name: value * 0.5 for name, value in run.layer.state_dict().items()})
        run.optimizer.load_state_dict(run.optimizer.state_dict())


@pytest.mark.parametrize(
    "between, captured", [(_half, 2), (_moved, 2), (_more, 2), (_seeded, 2), (_drawn, 1), (_loaded, 1)]
)
def test_what_changes_between_the_steps_is_seen(between, captured):
    assert both(8, between, lr=0.05).step.captured == captured


def test_gradients_are_there_after_a_launch_and_may_be_kept_or_dropped():
    mt.random.seed(0)
    weight = mt.ones((3, 2), device="cuda", requires_grad=True)

    @mt.cuda_graph
    def step(x):
        (x @ weight).sum().backward()

    total = np.zeros((3, 2))
    for i in range(6):
        step(np.full((4, 3), i, np.float32))
        total += 4.0 * i
        assert np.array_equal(weight.grad.to("cpu").numpy(), total)  # added up, as nothing forgets them
    assert (step.captured, step.replayed) == (1, 3)
    weight.grad = None
    step(np.ones((4, 3), np.float32))
    assert np.array_equal(weight.grad.to("cpu").numpy(), np.full((3, 2), 4.0))


def test_each_shape_has_its_graph_and_results_are_copies():
    @mt.cuda_graph(warmup=1, most=2)
    def double(pair, scale):
        return {"sum": pair[0] + pair[1], "scaled": (pair[0] * scale,)}

    def call(n, scale=2.0):
        x = np.arange(n, dtype=np.float32)
        made = double((x, mt.asarray(x + 1, device="cuda")), scale)
        assert np.array_equal(made["sum"].to("cpu").numpy(), 2 * x + 1)
        assert np.array_equal(made["scaled"][0].to("cpu").numpy(), scale * x)
        return made["sum"]

    first = [call(n) for n in (3, 3, 3)]
    assert [one.tolist() for one in first] == [[1, 3, 5]] * 3 and double.captured == 1
    call(4), call(4), call(3, 5.0), call(3, 5.0)
    assert double.captured == 3 and double.replayed == 1
    call(3)
    assert double.captured == 3  # the oldest was let go of: it is as new, and runs as it is written


def test_an_empty_argument_and_other_types():
    @mt.cuda_graph(warmup=1)
    def look(x, ids, mask):
        return mt.where(mask, x[ids], 0.0).sum(), x.sum(axis=0)

    for i in range(4):
        x = mt.full((3, 0), 1.0) if i < 0 else np.full((3,), i, np.float64)
        a, b = look(x, np.array([0, 2]), np.array([True, False]))
        assert (a.item(), b.item()) == (i, 3 * i) and a.dtype == np.float64
    empty = mt.cuda_graph(lambda x: x.sum(axis=0), warmup=1)
    assert [empty(np.zeros((0, 2), np.float32)).tolist() for _ in range(3)] == [[0, 0]] * 3


def _stepped_apart(run, i):
    if i == 4:
        state = run.optimizer.state_dict()
        state["state"]["2"]["step"] = 50
        run.optimizer.load_state_dict(state)


def _frozen(run, i):
    if i in (4, 6):
        run.layer[0].weight.requires_grad_(i == 6)


def _less_dropped(run, i):
    if i == 4:
        run.layer[1].p = 0.1


def _replaced(run, i):
    if i == 4:
        run.layer[1] = nn.Dropout(0.6)


def _hooked(run, i):
    if i == 4:
        run.layer[2].weight.register_hook(lambda g: g * 0.5)


@pytest.mark.parametrize("between", [_stepped_apart, _frozen, _less_dropped, _replaced, _hooked])
def test_what_a_step_depends_on_throws_its_graph_away(between):
    both(9, between, lr=0.05)


def test_a_wrong_learning_rate_is_refused_before_anything_moves():
    run = Run(True, lr=0.05)
    run.losses(5)
    state, before = mt.random.default.state, run.optimizer.state_dict()["state"]["0"]["step"]
    run.optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ValueError, match="lr"):
        run.losses(1)
    assert mt.random.default.state == state and run.optimizer.state_dict()["state"]["0"]["step"] == before


def test_constants_and_targets_of_assign_are_watched():
    mt.random.seed(0)
    teacher, last = nn.Linear(3, 2).to("cuda"), mt.zeros((4, 2), device="cuda")

    @mt.cuda_graph
    def step(x):
        y = x @ teacher.weight.detach().mT
        last.assign(y)
        return y

    for i in range(7):
        if i == 4:
            teacher.to("cpu").to("cuda")
            teacher.weight.assign(2.0)
        x = np.full((4, 3), i, np.float32)
        right = x @ teacher.weight.to("cpu").detach().numpy().T
        assert np.allclose(step(x).to("cpu").numpy(), right) and np.allclose(last.to("cpu").numpy(), right)


def test_gradients_that_are_only_looked_at_are_watched():
    weight, other = (mt.ones((3,), device="cuda", requires_grad=True) for _ in range(2))
    sgd = optim.SGD([weight, other], lr=0.5)
    norm = mt.cuda_graph(lambda: (weight.grad**2).sum())
    forget = mt.cuda_graph(lambda x: (sgd.zero_grad(), x * 2.0)[1])
    for i in range(6):
        weight.grad = mt.full((3,), float(i), device="cuda")
        assert norm().item() == 3 * i * i
    for _ in range(5):
        other.grad = mt.ones((3,), device="cuda")
        forget(np.ones(2, np.float32))
        assert other.grad is None


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, words",
    [
        (lambda x: mt.tensor(float((x * 2).sum())), "reads no value back"),
        (lambda x: x + mt.asarray(np.ones(3, np.float32), device="cuda"), "H2D transfers are disallowed"),
        (lambda x: x + mt.random.normal((3,), device="cuda"), "cannot be captured"),
        (lambda x: mt.linalg.inv(x[:, None] * x + mt.eye(3, device="cuda")), "cannot be captured"),
        (lambda x: x.sum() and object(), "synchronous API calls|bool"),
    ],
)
def test_a_step_that_cannot_be_captured_says_why_and_changes_nothing(body, words):
    weight = mt.ones((3,), device="cuda", requires_grad=True)
    sgd = optim.SGD([weight], lr=0.5)

    @mt.cuda_graph(warmup=1)
    def step(x):
        sgd.zero_grad()
        (F.dropout(weight, 0.5) * x).sum().backward()
        sgd.step()
        return body(x)

    x = np.array([1.0, 2.0, 4.0], np.float32)
    try:
        step(x)
    except TypeError:
        return  # of the body itself
    kept, state, values = weight.grad.to("cpu").numpy(), mt.random.default.state, weight.to("cpu").numpy()
    count = sgd.state_dict()["state"]["0"]["step"]
    for _ in range(2):
        with pytest.raises(RuntimeError, match=f"cuda_graph: .*step cannot be captured.*({words})|cuda_graph.*{words}"):
            step(x)
    assert np.array_equal(weight.to("cpu").numpy(), values) and np.array_equal(weight.grad.to("cpu").numpy(), kept)
    assert mt.random.default.state == state and sgd.state_dict()["state"]["0"]["step"] == count


def test_schedules_and_optimisers_of_others_are_refused_inside():
    weight = mt.ones((3,), device="cuda", requires_grad=True)

    class Own(optim.SGD):
        def numbers(self, group, step):
            return None if mt.backend.capture.capturing() else super().numbers(group, step)

    for make, words in ((optim.SGD, "schedule|outside"), (Own, "no method numbers|without a method numbers")):
        optimizer = make([weight], lr=0.5)
        schedule = optim.LinearWarmup(optimizer, 3)

        @mt.cuda_graph(warmup=1)
        def step(x, optimizer=optimizer, schedule=schedule):
            weight.grad = None
            (weight * x).sum().backward()
            optimizer.step()
            schedule.step()

        x = np.ones(3, np.float32)
        step(x)
        with pytest.raises(RuntimeError, match=words):
            step(x)


def test_arguments_and_settings_are_checked():
    with pytest.raises(TypeError, match="decorates a function, not 3"):
        mt.cuda_graph(3)
    with pytest.raises(ValueError, match="warmup"):
        mt.cuda_graph(len, warmup=0)
    with pytest.raises(TypeError, match="not object"):
        mt.cuda_graph(lambda x: x)(object())
    many = mt.cuda_graph(lambda x, n: x * n)
    with pytest.warns(RuntimeWarning, match="100 kinds of arguments"):
        for n in range(101):
            many(np.ones(2, np.float32), n)


def test_under_a_profile_and_within_another_graph_the_step_runs_as_it_is_written():
    inner = mt.cuda_graph(lambda x: x * 2.0, warmup=1)
    outer = mt.cuda_graph(lambda x: inner(x) + 1.0, warmup=1)
    there = mt.cuda_graph(lambda x: x.device)
    with mt.profile():
        assert there(np.ones(2)) == "cuda:0"
        assert inner(np.ones(2, np.float32)).tolist() == [2, 2]
    assert [outer(np.full(2, i, np.float32)).tolist() for i in range(4)] == [[2 * i + 1] * 2 for i in range(4)]
    assert outer.captured == 1 and outer.replayed == 2


def test_each_autocast_has_its_graph_and_who_looks_at_ops_sees_the_step_itself():
    weight = mt.full((2, 3), 1.0 + 2.0**-12, device="cuda")
    double = mt.cuda_graph(lambda x: mt.asarray(x, device="cuda") @ weight, warmup=1)
    x, kinds = np.ones((4, 2), np.float32), []
    for dtype in ["float16", None, "bfloat16"] * 3:
        with mt.autocast(dtype or "float16", enabled=dtype is not None):
            kinds.append((double(x).dtype.name, double.captured, double.replayed))
    names = ["float16", "float32", "bfloat16"]
    assert [name for name, _, _ in kinds] == names * 3 and kinds[-1][1:] == (3, 3)
    assert double(x).tolist()[0][0] == 2.0 + 2.0**-11  # of the last graph outside of autocast
    for looking in (mt.profile(), mt.detect_anomaly()):
        with mt.autocast("float16"), looking:
            assert double(x).dtype == np.float16
    assert (double.captured, double.replayed) == (3, 4)


def test_rows_of_a_batch_have_a_graph_each():
    drop = mt.cuda_graph(lambda x: F.dropout(mt.asarray(x, device="cuda"), 0.5), warmup=1)
    x = np.ones((6, 5), np.float32)
    for _ in range(3):
        state = mt.random.default.state
        whole = drop(x).to("cpu").numpy()
        for start, stop in ((0, 2), (2, 4), (4, 6)):
            mt.random.default.state = state
            with mt.random.rows(start, stop, of=6):
                part = drop(x[start:stop]).to("cpu").numpy()
            assert np.array_equal(part, whole[start:stop])
    assert (drop.captured, drop.replayed) == (4, 4)


def test_a_scale_that_changes_takes_a_new_graph_and_steps_of_a_scaler_are_refused_inside():
    weight = mt.ones((3, 2), device="cuda", requires_grad=True)
    optimizer, scaler = optim.SGD([weight], lr=0.5), optim.GradScaler(2.0**10, growth_interval=4)

    @mt.cuda_graph(warmup=1)
    def gradients(x):
        optimizer.zero_grad()
        with mt.autocast("float16"):
            loss = (x @ weight).mean()
        scaler.scale(loss).backward()
        return loss

    expected = 1.0
    for i in range(8):
        gradients(np.full((4, 3), 1.0 if i else np.inf, np.float32))
        skipped = not scaler.step(optimizer)
        scaler.update()
        assert skipped == (i == 0)
        expected -= 0.0 if skipped else 0.25  # the gradient of the mean over (4, 2) is 4 / 8
        assert weight.to("cpu").tolist() == [[expected] * 2] * 3
    assert scaler.get_scale() == 2.0**10 and (gradients.captured, gradients.replayed) == (2, 4)

    for method in ("unscale_", "step"):

        @mt.cuda_graph(warmup=1)
        def step(x, method=method):
            gradients(x)
            getattr(scaler, method)(optimizer)

        step(np.ones((4, 3), np.float32))
        scaler.update()
        with pytest.raises(
            RuntimeError, match=f"cannot be captured: GradScaler.{method} goes by values.*behind the graph"
        ):
            step(np.ones((4, 3), np.float32))


def test_gradients_of_a_graph_are_divided_by_the_scale_that_they_have():
    weight = mt.ones((3, 2), device="cuda", requires_grad=True)
    optimizer, scaler = optim.SGD([weight], lr=0.5), optim.GradScaler(2.0**10)

    @mt.cuda_graph(warmup=1)
    def gradients(x):
        scaler.scale((x @ weight).mean()).backward()

    for i in range(4):
        optimizer.zero_grad()
        gradients(np.ones((4, 3), np.float32))
        with pytest.raises(RuntimeError, match="scale 1024: call scaler.unscale_"):
            optim.clip_grad_norm_([weight], 1.0)
        if i == 3:
            scaler._scale *= 2  # as an update between would
        assert scaler.step(optimizer)
        scaler.update()
        assert weight.to("cpu").tolist() == [[1.0 - 0.25 * (i + 1)] * 2] * 3
    assert (gradients.captured, gradients.replayed) == (1, 2)


def test_without_a_gpu_it_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    for name in ("cuda", "gpus"):
        monkeypatch.delitem(sys.modules, f"minitensor.backend.{name}", raising=False)
        monkeypatch.delattr(mt.backend, name, raising=False)
    with pytest.raises(ImportError, match="needs CuPy"):
        mt.cuda_graph(lambda x: x)(np.ones(2))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda kept, w: lambda x: kept.append(x * 2.0), r"a tensor \(2,\) that it made is kept"),
        (lambda kept, w: lambda x: x * w[0], r"of a graph that was recorded outside of it"),
        (lambda kept, w: lambda x: (x * 2.0, 0.5), "is a number of one call"),
    ],
)
def test_what_would_stay_as_it_was_is_refused(make, words):
    kept, outer = [], [mt.exp(mt.ones((2,), device="cuda", requires_grad=True))]
    step = mt.cuda_graph(make(kept, outer), warmup=1)
    with pytest.raises((RuntimeError, TypeError), match=words):
        for _ in range(2):
            step(np.ones(2, np.float32))


def test_arguments_with_gradients_methods_and_copies_are_refused():
    step = mt.cuda_graph(lambda x: x * 2.0)
    with pytest.raises(ValueError, match="an argument requires a gradient"):
        step(mt.ones((2,), device="cuda", requires_grad=True))
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        copy.deepcopy(step)

    class Holder:
        @mt.cuda_graph
        def step(self, x):
            return x

    with pytest.raises(TypeError, match=r"self.step = mt.cuda_graph\(self.step\)"):
        Holder().step(np.ones(2))


class Pair(list):
    """A list of the user's own class, whose constructor takes something else."""

    def __init__(self, left, right):
        super().__init__([left, right])


class Few(collections.namedtuple("Few", "scale rest")):
    """A named tuple of the user's own class."""


def test_containers_of_ones_own_stay_what_they_are():
    seen = []

    @mt.cuda_graph
    def step(pair, few, *, options):
        seen.append((type(pair), type(few), type(options)))
        made = Pair(pair[0] * few.scale, few.rest["w"] + 1.0)
        return Few(scale=made, rest=collections.OrderedDict(pair=pair[1]))

    for i in range(5):
        x = np.full(3, float(i), dtype=np.float32)
        given = Pair(x, x + 1), Few(scale=x + 2, rest={"w": x})
        out = step(*given, options=collections.OrderedDict(mode="sum"))
        assert (type(out), type(out.scale), type(out.rest)) == (Few, Pair, collections.OrderedDict)
        assert out.scale[0].tolist() == [i * (i + 2.0)] * 3 and out.scale[1].tolist() == [i + 1.0] * 3
        assert out.rest["pair"].tolist() == [i + 1.0] * 3
    assert set(seen) == {(Pair, Few, collections.OrderedDict)} and (step.captured, step.replayed) == (1, 2)
    given[0].lengths = [3, 4]  # would be fixed in the graph
    with pytest.raises(TypeError, match="a Pair has attributes of its own.*: lengths; pass"):
        step(*given, options=collections.OrderedDict(mode="sum"))
    with pytest.raises(TypeError, match="not slice"):
        step(slice(mt.ones(1), None), given[1], options={})


def test_a_switch_of_training_inside_is_looked_at_like_one_outside():
    layer = nn.Dropout(0.5)

    @mt.cuda_graph(warmup=1)
    def step(x):
        out = layer(x)
        layer.eval()  # the next call, as it is written, drops nothing
        return out

    x = np.ones(64, dtype=np.float32)
    assert [step(x).tolist() == [1.0] * 64 for _ in range(4)] == [False, True, True, True]
    assert (step.captured, step.replayed) == (1, 2)
    layer.train()
    assert [step(x).tolist() == [1.0] * 64 for _ in range(2)] == [False, True]
