"""The benchmark: results that agree, a process each, ratios that are withheld when something disturbed them."""

import subprocess
import sys
from pathlib import Path

import cases
import pytest
import timing

HERE = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_worker_times_what_it_is_told_to():
    with timing.Worker("chain", "minitensor", 1) as worker:
        assert len(worker.turn(3)) == 3
    with pytest.raises(RuntimeError, match="a worker ended"):
        timing.Worker("no such case", "minitensor", 1)


def test_products_of_a_layer():
    """12 D^2 multiplications a position and direction of three, and T D of attention each way."""
    flops = sum(2 * count * rows * inner * columns for count, rows, inner, columns in cases.products("layer"))
    positions, d = 32 * 32, 512
    assert flops == 2 * 3 * positions * (12 * d * d + 2 * 32 * d)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["layer", "gpt-small", "chain"])
def test_both_sides_compute_the_same(name):
    pytest.importorskip("torch")
    cases.agree(name)


@pytest.mark.torch
def test_a_disturbed_ratio_is_withheld(monkeypatch, capsys):
    pytest.importorskip("torch")
    import against_pytorch

    monkeypatch.setattr(against_pytorch, "agree", lambda name: None)
    monkeypatch.setattr(against_pytorch, "alone", lambda name, side, threads, rounds, calls: [0.1] * rounds)
    monkeypatch.setattr(against_pytorch, "in_turns", lambda *_: ([0.2, 0.112, 0.05], 1.7))
    line, sound = against_pytorch.row("layer", 2, 3)
    assert "disturbed" in line and "1.70" not in line and not sound
    monkeypatch.setattr(against_pytorch, "in_turns", lambda *_: ([0.2, 0.105, 0.05], 1.7))
    line, sound = against_pytorch.row("layer", 2, 3)
    assert "| 1.70 | 50.00 | 100.00 |" in line and sound


@pytest.mark.torch
def test_one_case_from_the_command_line():
    pytest.importorskip("torch")
    command = [sys.executable, str(HERE / "against_pytorch.py"), "chain", "--rounds", "1", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode in (0, 1), done.stderr
    assert "kernel" in done.stdout and "load before" in done.stdout and "| chain |" in done.stdout
