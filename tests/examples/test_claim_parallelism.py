"""Claim 3: what is timed, on which variants, and that the conclusion follows the numbers."""

import math
import os

import numpy as np
import pytest
from claiming import run
from claims import networks, parallelism, timing

import minitensor as mt
from tests.backend import fake_device


def test_parallelism(tmp_path, capsys):
    numbers, words = run("parallelism", tmp_path, capsys)
    assert list(numbers["seconds"]) == ["NumPy (1 thread)"] and list(numbers["missing"]) == ["a million threads"]
    many, one = (numbers["seconds"]["NumPy (1 thread)"][sequences] for sequences in ("many", "one"))
    assert list(many) == [*networks.KINDS, "attention"] and list(one) == list(networks.KINDS)
    assert all(min(seconds) > 0 and len(seconds) == 2 for seconds in (*many.values(), *one.values()))
    assert "Missing here, and not timed: a million threads (this process may use" in words
    assert f"at last {parallelism.attention_shares(many)[-1]:.0%} of it attention" in words


def numbers_of(**variants):
    """Seconds at two lengths: by variant those of RNN, LSTM, GRU and Transformer, for many
    sequences, and of one."""

    def seconds(rows):
        found = dict(zip(networks.KINDS, rows))
        return found | {"attention": [value / 4 for value in found["transformer"]]}

    made = {name: {"many": seconds(many), "one": seconds(one)} for name, (many, one) in variants.items()}
    parameters = dict.fromkeys(networks.KINDS, 1)
    return {"lengths": [10, 1000], "tokens": 1000, "parameters": parameters, "seconds": made, "missing": {}}


SLOW = ([1, 1], [1, 1], [1, 1], [2, 40])  # the Transformer is the slower everywhere
CROSSED = ([1, 4], [1, 8], [5, 9], [2, 2])


def test_conclusion_with_a_crossover():
    numbers = numbers_of(A=(SLOW, CROSSED), B=(CROSSED, CROSSED))
    assert parallelism.tables(numbers)[0].rows[1][2:] == ("1000", "1000")  # milliseconds
    words = parallelism.conclusion(numbers)
    assert "of 1,000 tokens is faster than the LSTM's: nowhere with A; from T = 46 on with B." in words
    assert "of one sequence is faster than the LSTM's: from T = 46 on with A and B." in words
    assert "overtakes the RNN with B, 1,000 tokens, A, one sequence and B, one sequence; the LSTM with B" in words
    assert words.endswith("waiting is dearer than T^2 with B, cheaper than T^2 with A.")
    assert parallelism.tables(numbers)[-1].rows[1] == (
        "B",
        "1,000 tokens",
        "from T = 100 on",
        "from T = 46 on",
        "at every T",
    )


def test_conclusion_without_one():
    words = parallelism.conclusion(numbers_of(A=(SLOW, SLOW)) | {"missing": {"CUDA": "no GPU"}})
    assert "lies beyond this machine, or beyond T = 1000. Missing here, and not timed: CUDA (no GPU)." in words
    assert (
        "grows by 1.0 for the RNN and 20.0 for the Transformer, at last 25% of it attention, with A: waiting" in words
    )
    assert words.endswith("waiting is cheaper than T^2 with A.")
    some = ([1, 1], [4, 1], [1, 9], [2, 4])
    words = parallelism.conclusion(numbers_of(A=(some, SLOW)))
    assert "LSTM's: below T = 46 alone with A" in words
    assert "overtakes the GRU with A, 1,000 tokens; the RNN and the LSTM nowhere." in words


def test_crossover_is_the_last_one():
    assert parallelism.crossover([1, 10, 100, 1000], [2, 1, 4, 1], [1, 2, 1, 4]) == pytest.approx(100 * math.sqrt(10))
    assert parallelism.crossover([1, 10], [1, 1], [2, 2]) == 1
    assert parallelism.crossover([1, 10], [1, 2], [2, 2]) is None


def test_variants_have_their_threads_and_kernels(monkeypatch):
    monkeypatch.setenv("MINITENSOR_FAST", "1")
    monkeypatch.delenv("MINITENSOR_THREADS", raising=False)
    with timing.Variant("three", threads=3).process() as process:
        names = ("OMP_NUM_THREADS", "MINITENSOR_THREADS", "MINITENSOR_FAST")
        assert [process.result(os.getenv, name) for name in names] == ["3", "3", "0"]
    assert os.environ["MINITENSOR_FAST"] == "1" and "MINITENSOR_THREADS" not in os.environ


def test_what_a_machine_lacks(monkeypatch):
    monkeypatch.setattr(timing, "cores", lambda: 1)
    monkeypatch.setattr(timing.importlib.util, "find_spec", lambda name: None)

    def no_gpu(device):
        raise RuntimeError(f"no {device}; write cpu\nand more lines")

    monkeypatch.setattr(mt.backend, "as_device", no_gpu)
    reasons = {variant.name: variant.missing() for variant in timing.VARIANTS}
    assert reasons == {
        "NumPy (1 thread)": "",
        "kernels (1 thread)": "numba is not installed",
        "kernels (2 threads)": "numba is not installed",
        "CUDA": "no cuda",
    }
    monkeypatch.setattr(timing.importlib.util, "find_spec", lambda name: name)
    assert timing.TWO.missing() == "this process may use 1 core"


def test_steps_on_a_gpu_are_waited_for(monkeypatch):
    """Of everything on the device, with as many waits as there are steps: on a fake GPU."""
    with fake_device.installed():
        waits = []
        wait = mt.backend.wait
        monkeypatch.setattr(mt.backend, "wait", lambda: (waits.append(1), wait()))
        assert timing.CUDA.missing() == ""
        settings = parallelism.Settings(lengths=(2,), tokens=4, budget=400, vocab_size=5, rounds=1)
        found = parallelism.time_steps(settings, timing.CUDA, 2, 0)
    assert len(waits) == 5 * 2 + 4 * (3 + 1)
    assert set(found["many"]) == {*networks.KINDS, "attention"} and np.all(np.array(list(found["one"].values())) > 0)
