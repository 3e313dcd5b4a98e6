"""The benchmark: results that agree, a process each, ratios that are withheld when something
disturbed them.
"""

import subprocess
import sys
from pathlib import Path

import cases
import numpy as np
import pytest
import timing

from tests.backend import emulator, fake_device

HERE = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_worker_times_what_it_is_told_to():
    with timing.Worker("chain", "minitensor", timing.Place(1)) as worker:
        assert len(worker.turn(3)) == 3
        worker.name = "rnn"
        assert len(worker.turn(1)) == 1
    with pytest.raises(RuntimeError, match="a worker ended"):
        timing.Worker("no-such-case", "minitensor", timing.Place(1))


def test_a_worker_that_is_kept_takes_its_turns_and_stays():
    place = timing.Place(1)
    with timing.Worker("chain", "products", place) as kept:  # in the place of PyTorch's, which need not be installed
        (mine, other), ratio = timing.in_turns("rnn", ("products", "torch"), place, 1, 1, kept)
        assert mine > 0 and other > 0 and ratio == mine / other
        assert kept.name == "rnn" and len(timing.alone("rnn", "torch", place, 2, 1, kept)) == 2


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


SMALL = {
    "step": dict(d_model=16, n_heads=2, n_layers=1, d_ff=32, vocab_size=30, batch=2, length=5, dropout=0.0),
    "gpt-small": dict(d_model=16, n_heads=2, n_layers=1, batch=2, length=5), "lstm": dict(steps=3, size=8), "chain": {},
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.skipif(emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with")
@pytest.mark.parametrize("name", SMALL)
def test_the_work_on_a_device_is_the_same(name):
    pytest.importorskip("torch")
    with fake_device.installed():
        ours = cases.make(name, "minitensor", "float64", "cuda", **SMALL[name])
        theirs = cases.make(name, "torch", "float64", **SMALL[name])
        ours.take_weights(theirs)
        np.testing.assert_allclose(ours.values(), theirs.values(), rtol=1e-9, atol=1e-12)
        fake_device.SYNCS.clear()
        ours.run()
        assert fake_device.SYNCS == []
        ours.wait()
        assert "synchronize" in fake_device.SYNCS


@pytest.mark.torch
def test_a_disturbed_ratio_is_withheld(monkeypatch, capsys):
    pytest.importorskip("torch")
    import against_pytorch

    monkeypatch.setattr(against_pytorch, "agree", lambda name, device: None)
    monkeypatch.setattr(against_pytorch, "alone", lambda name, side, place, rounds, calls, kept: [0.1] * rounds)
    monkeypatch.setattr(against_pytorch, "in_turns", lambda *_: ([0.2, 0.112, 0.05], 1.7))
    line, sound = against_pytorch.row("layer", timing.Place(2), 3)
    assert "disturbed" in line and "1.70" not in line and not sound
    monkeypatch.setattr(against_pytorch, "in_turns", lambda *_: ([0.2, 0.105, 0.05], 1.7))
    line, sound = against_pytorch.row("layer", timing.Place(2), 3)
    assert "| 1.70 | 50.00 | 100.00 |" in line and sound


@pytest.mark.torch
def test_one_case_from_the_command_line():
    pytest.importorskip("torch")
    command = [sys.executable, str(HERE / "against_pytorch.py"), "chain", "--rounds", "1", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode in (0, 1), done.stderr
    assert "kernel" in done.stdout and "load before" in done.stdout and "| chain |" in done.stdout


@pytest.mark.torch
@pytest.mark.parametrize(
    "options, message",
    [
        (["--tf32"], "--tf32 is for GPUs: add --device cuda"),
        (["--device", "tpu"], "invalid choice"),
        (["layers"], "unknown case 'layers'"),
    ],
)
def test_what_cannot_be_run_is_said(options, message, monkeypatch, capsys):
    pytest.importorskip("torch")
    import against_pytorch

    monkeypatch.setattr(sys, "argv", ["against_pytorch.py", *options])
    with pytest.raises(SystemExit) as done:
        against_pytorch.main()
    assert done.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.torch
def test_without_a_gpu_nothing_is_timed(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    import against_pytorch

    if against_pytorch.missing_gpu() is None:
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(against_pytorch, "row", None)
    monkeypatch.setattr(sys, "argv", ["against_pytorch.py", "chain", "--device", "cuda"])
    with pytest.raises(SystemExit) as done:
        against_pytorch.main()
    printed = capsys.readouterr()
    assert done.value.code == 2 and printed.out == ""
    assert '--device cuda: device "cuda" ' in printed.err and "pip install" in printed.err
    # A GPU that minitensor can use, and a PyTorch without CUDA.
    monkeypatch.setattr("minitensor.backend.as_device", lambda device: "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "PyTorch" in against_pytorch.missing_gpu() and "sees no GPU" in against_pytorch.missing_gpu()
