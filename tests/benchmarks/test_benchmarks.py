"""The benchmark: results that agree, a process each, ratios that are withheld when something
disturbed them.
"""

import subprocess
import sys
from pathlib import Path

import agreement
import cases
import floor
import numpy as np
import pytest
import rows
import timing
import worker

import minitensor as mt
from tests.backend import emulator, fake_device

HERE = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_worker_times_what_it_is_told_to():
    with timing.Worker("chain", "plain", timing.Place(1)) as side:
        assert len(side.turn(3)) == 3
        side.name, side.changes = "rnn", {"steps": 2}
        assert len(side.turn(1)) == 1 and len(side.turns(2, 1)) == 2
    with pytest.raises(RuntimeError, match="a worker ended"):
        timing.Worker("no-such-case", "plain", timing.Place(1))


def test_a_worker_is_of_one_mode_and_so_many_threads(monkeypatch):
    monkeypatch.setenv("MINITENSOR_FAST", "1")
    plain, fast = (timing.environment(mode, timing.Place(3)) for mode in timing.MODES)
    assert (plain["MINITENSOR_FAST"], fast["MINITENSOR_FAST"]) == ("0", "1")
    assert plain["MINITENSOR_THREADS"] == plain["OPENBLAS_NUM_THREADS"] == plain["OMP_NUM_THREADS"] == "3"
    assert timing.environment("fast", timing.Place(1, "cuda", True))["CUPY_TF32"] == "1"


def test_a_worker_that_has_loaded_what_is_foreign_to_it_ends(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["worker.py", "products", "1", "cpu", "False"])
    monkeypatch.setattr(sys, "stdin", ['{"case": "chain", "changes": {}, "calls": 1}'])
    monkeypatch.setitem(worker.FOREIGN, "products", ("numpy", "no-such-module"))
    with pytest.raises(SystemExit, match="the worker of products has imported numpy$"):
        worker.main()


def test_sides_take_turns():
    place = timing.Place(1)
    with timing.Worker("chain", "products", place) as one, timing.Worker("rnn", "products", place) as two:
        times = timing.in_turns({"one": one, "two": two}, 2, 1)
    assert [len(found) for found in times.values()] == [2, 2]


# --- the floor ------------------------------------------------------------------------------------


def flops(name):
    return sum(2 * count * rows * inner * columns for count, rows, inner, columns in floor.products(name))


def test_products_of_a_layer():
    """12 D^2 multiplications a position and direction of three, and T D of attention each way."""
    positions, d = 32 * 32, 512
    assert flops("layer") == flops("layer-no-dropout") == 2 * 3 * positions * (12 * d * d + 2 * 32 * d)


def test_products_of_causal_attention():
    """Half of all pairs, and the other half of the blocks on the diagonal."""
    pairs = 4096 * (4096 + floor.BLOCK) // 2
    assert flops("causal") == 2 * 6 * 8 * 64 * pairs and floor.products("causal-memory") == []


def test_every_case_has_a_floor_or_no_products():
    without = {name for name in cases.CASES if not floor.products(name)}
    assert without == {"chain", "causal-memory", "adam", "adam-fused"}


def test_large_arrays_of_the_floor_share_memory(monkeypatch):
    monkeypatch.setattr(floor, "LARGE", 1 << 10)
    monkeypatch.setattr(floor, "products", lambda name: [(2, 3, 4, 5), (1, 40, 20, 30), (2, 50, 20, 30)])
    work = floor.Floor("any", "cpu")
    work.run()
    (a, b, out), (c, d, _), (e, f, product) = work.work
    assert (a.shape, b.shape, out.shape) == ((2, 3, 4), (2, 4, 5), (2, 3, 5))
    assert np.shares_memory(c, e) and np.shares_memory(d, f) and not np.shares_memory(a, e)
    np.testing.assert_allclose(product, e @ f, rtol=1e-4, atol=1e-5)


# --- agreement ------------------------------------------------------------------------------------

TRANSLATOR = dict(d_model=16, n_heads=2, n_layers=1, d_ff=32, vocab_size=30, batch=2, length=5)
LAYER = dict(batch=2, length=5, d_model=16, n_heads=2, d_ff=32)
SMALL = {
    "step": TRANSLATOR, "tiny": TRANSLATOR, "layer": LAYER,
    "gpt-small": dict(d_model=16, n_heads=2, n_layers=1, batch=2, length=5), "lstm": dict(batch=2, steps=3, size=8),
    "gru": dict(batch=2, steps=3, size=8), "chain": {}, "causal": dict(length=40, features=8),
}  # fmt: skip


def test_decoding_with_a_cache_gives_the_same_words():
    agreement.agree("decode", **TRANSLATOR, tokens=4)


@pytest.mark.torch
@pytest.mark.parametrize("name", SMALL)
def test_both_sides_compute_the_same(name):
    pytest.importorskip("torch")
    agreement.agree(name, **SMALL[name])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["adam", "adam-fused"])
def test_both_sides_update_parameters_alike(name, monkeypatch):
    pytest.importorskip("torch")
    import ours
    import theirs

    for side in (ours, theirs):
        monkeypatch.setattr(side, "ADAM_SHAPES", [(4, 3), (5,)])
    agreement.agree(name)


def test_a_difference_is_found(monkeypatch):
    class Work:
        def __init__(self, value):
            self.value = value

        def take_weights(self, other): ...

        def values(self):
            return np.array([1.0, self.value])

    for dtype, off in (("float64", 1e-5), ("float32", 1e-2)):
        monkeypatch.setattr(agreement, "make", lambda name, program, *_, **__: Work(1 + (program == "plain") * off))  # noqa: B023
        with pytest.raises(AssertionError, match="chain in " + dtype):
            agreement.agree("chain", dtypes=[dtype])
    assert agreement.distance([3.0, 4.0], [0.0, 5.0]) == pytest.approx(10**0.5 / 5)


@pytest.mark.torch
def test_jax_computes_the_same():
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    calls = "; ".join(f"agree_peer({name!r}, 'jax', **{SMALL[name]!r})" for name in ("layer", "step"))
    environment = timing.environment("plain", timing.Place(1))  # its own process: float64 is a setting of the whole
    done = subprocess.run([sys.executable, "-c", f"from agreement import agree_peer; {calls}"], env=environment)
    assert done.returncode == 0


@pytest.mark.torch
def test_torch_compile_gets_the_model(monkeypatch):
    torch = pytest.importorskip("torch")
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    for name in ("layer", "step"):
        agreement.agree_peer(name, "compiled", **SMALL[name])
    assert len(compiled) == 2


@pytest.mark.torch
@pytest.mark.skipif(emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with")
@pytest.mark.parametrize("name", ["step", "gpt-small", "lstm", "chain", "causal"])
def test_the_work_on_a_device_is_the_same(name):
    pytest.importorskip("torch")
    changes = SMALL[name] | ({"dropout": 0.0} if name == "step" else {})
    with fake_device.installed():
        ours = cases.make(name, "plain", "float64", "cuda", **changes)
        theirs = cases.make(name, "torch", "float64", **changes)
        ours.take_weights(theirs)
        np.testing.assert_allclose(ours.values(), theirs.values(), rtol=1e-9, atol=1e-12)
        fake_device.SYNCS.clear()
        ours.run()
        assert fake_device.SYNCS == []
        ours.wait()
        assert "synchronize" in fake_device.SYNCS


@pytest.mark.skipif(emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with")
def test_decoding_on_a_device_is_the_same():
    with fake_device.installed():
        words = [
            cases.make("decode", "plain", "float64", device, **TRANSLATOR, tokens=4, cached=cached).values()
            for device, cached in (("cpu", True), ("cuda", True), ("cuda", False))
        ]
    np.testing.assert_array_equal(words[0], words[1])
    np.testing.assert_array_equal(words[0], words[2])


# --- rows -----------------------------------------------------------------------------------------


class Reference:
    """In the place of PyTorch's worker, which may not be installed: answers, and starts nothing."""

    pause, name, ended = 0, "", False

    def __init__(self, name, program, place, **changes):
        self.name, self.made = name, (program, changes)

    def turn(self, calls):
        return [0.1] * calls

    def turns(self, rounds, calls):
        return [0.1] * rounds

    def __enter__(self):
        return self

    def __exit__(self, *error):
        type(self).ended = True


@pytest.fixture
def answers(monkeypatch):
    """The times of a round, by side."""
    found = {"plain": 0.18, "fast": 0.09, "other": 0.1, "products": 0.06, "jax": 0.05, "compiled": 0.3}
    monkeypatch.setattr(rows, "Worker", Reference)
    monkeypatch.setattr(
        rows, "in_turns", lambda workers, rounds, calls: {side: [found[side]] * rounds for side in workers}
    )
    return found


def test_a_disturbed_ratio_is_withheld(answers):
    answers["other"] = 0.112
    row = rows.measure("layer", timing.Place(2), ("plain", "fast"), 3, ["jax"])
    assert row.ratios == {"plain": None, "fast": None} and not row.sound and row.peers["jax"] == (0.05, None)
    answers["other"] = 0.105
    row = rows.measure("layer", timing.Place(2), ("plain", "fast"), 3, ["jax", "compiled"])
    assert row.sound and row.ratios["plain"] == pytest.approx(0.18 / 0.105)
    assert (row.ours["fast"], row.other, row.floor, row.alone) == (0.09, 0.105, 0.06, 0.1)
    assert row.peers["jax"] == (0.05, pytest.approx(0.09 / 0.05)) and row.peers["compiled"][0] == 0.3


def test_peers_and_floors_are_measured_where_they_are(answers):
    row = rows.measure("chain", timing.Place(2), ("plain",), 3, ["jax"])
    assert row.peers == {} and row.floor is None and row.ours == {"plain": 0.18}


def test_decoding_is_compared_with_our_own(answers):
    row = rows.measure("decode", timing.Place(2), ("plain", "fast"), 3)
    assert row.other is None and row.alone is None and row.floor == 0.06
    assert row.ratios == {"plain": pytest.approx(1.8), "fast": pytest.approx(0.9)}


def test_a_worker_that_is_kept_takes_its_turns_and_stays(answers):
    kept, Reference.ended = Reference("chain", "torch", None), False
    answers.pop("products")
    assert rows.measure("adam", timing.Place(1), (), 1, kept=kept).other == 0.1
    assert kept.name == "adam" and not Reference.ended


def test_long_cases_have_fewer_turns(answers, monkeypatch):
    monkeypatch.setattr(Reference, "turn", lambda self, calls: [3.0] * calls)
    taken = []
    monkeypatch.setattr(
        rows, "in_turns", lambda workers, rounds, calls: taken.append((rounds, calls)) or {"other": [1.0]}
    )
    rows._times(Reference("step", "torch", None), "step", ["plain"], timing.Place(2), 15)
    rows._times(Reference("step", "torch", None), "step", ["plain"], timing.Place(2), 2)
    assert taken == [(rows.FEWEST, 1), (2, 1)]


@pytest.mark.skipif(emulator.compiler() is None, reason="the fake device takes Linux and a C++ compiler")
def test_a_step_as_a_cuda_graph_does_what_the_plain_one_does():
    small = dict(batch=2, length=3, d_model=8, n_heads=2, d_ff=8)
    with fake_device.installed():
        found = []
        for program in ("plain", "graph"):
            mt.random.seed(0)
            work = cases.make("layer-no-dropout", program, device="cuda", **small)
            found.append([work.values() for _ in range(2)])
            assert program == "plain" or work.run.replayed == 2
    assert np.array_equal(*found)
