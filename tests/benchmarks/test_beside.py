"""What the benchmark measures beside times: memory, neighbours, growth."""

import os
import subprocess
import sys
from pathlib import Path

import growth
import memory
import neighbours
import pytest
import timing

PLACE = timing.Place(2)
LAYER = dict(batch=2, length=3, d_model=8, n_heads=2, d_ff=8)

linux = pytest.mark.skipif(not memory.supported(), reason="the system does not tell how far resident memory went")


@linux
def test_growth_of_memory_is_what_a_call_touches_at_most():
    code = (  # a process of its own: what others have freed lies where the second array would go
        "import memory, numpy as np\nsize = 60_000_000\n"
        "np.ones(2 * size, np.uint8)  # freed memory that stays in the process does not hide what comes\n"
        "rises = memory.growth(lambda: np.ones(size, np.uint8).sum() and np.ones(size // 2, np.uint8).sum())\n"
        "assert size * 0.95 < rises < size * 1.2, rises\n"
        "assert memory.growth(lambda: np.empty(size, np.uint8) is None) < size * 0.2\n"
    )
    path = os.pathsep.join([str(Path(memory.__file__).parent), str(Path(memory.__file__).parents[1])])
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}).returncode == 0


@linux
def test_memory_is_measured_in_fresh_processes(monkeypatch, capsys):
    assert memory.fresh("chain", "plain", timing.Place(1), times=1) >= 0
    with pytest.raises(RuntimeError, match="a process ended with 2"):
        memory.fresh("no-such-case", "plain", timing.Place(1), times=1)
    monkeypatch.setattr(sys, "argv", ["memory.py", "chain", "plain"])
    memory.main()
    assert int(capsys.readouterr().out) >= 0


def test_what_a_neighbour_explains():
    assert neighbours.excess(3.0, fewer=1.8, alone=1.0, threads=2) == pytest.approx(3 / 1.8)  # one core is ours
    assert neighbours.excess(3.0, fewer=2.2, alone=1.0, threads=2) == 1.5  # half of two cores
    assert neighbours.excess(4.0, fewer=9.0, alone=3.0, threads=4) == 1.0


def test_a_neighbour_is_busy_and_ends():
    with neighbours.busy() as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_a_program_beside_a_neighbour():
    alone, fewer, slowed = neighbours.beside("plain", PLACE, 1, "layer", **LAYER)
    assert alone > 0 and fewer > 0 and slowed > 0


def test_the_tables_of_neighbours(monkeypatch):
    monkeypatch.setattr(neighbours, "beside", lambda program, place, rounds: [0.2, 0.3, 0.45])
    monkeypatch.setattr(neighbours, "same_process", lambda mode, place, rounds: [0.021, 0.02])
    lines = neighbours.tables(PLACE, ["plain"], 1)
    assert "| plain | 200.0 | 300.0 | 450.0 | 2.25 | 1.50 | 1.30 |" in lines
    assert "| PyTorch | 200.0 | 300.0 | 450.0 | 2.25 | 1.50 | - |" in lines
    assert "| plain | 21.0 | 20.0 | 1.05 | 1.10 |" in lines


@pytest.mark.torch
def test_both_libraries_in_one_process(monkeypatch):
    pytest.importorskip("torch")
    import cases

    small = dict(d_model=8, n_heads=2, n_layers=1, d_ff=8, vocab_size=9, batch=2, length=3)
    real, sizes = cases.make, {"step": small, "layer": LAYER}
    monkeypatch.setattr(cases, "make", lambda name, program: real(name, program, **sizes[name]))
    after, rested = neighbours._inner(2, 1)
    assert after > 0 and rested > 0


# --- growth ---------------------------------------------------------------------------------------


def test_the_exponent_is_that_of_the_upper_half():
    sizes = (1, 2, 4, 8, 16)
    assert growth.exponent(sizes, [n**1.5 for n in sizes]) == pytest.approx(1.5)
    assert growth.exponent(sizes, [9, 7, 4, 8, 16]) == pytest.approx(1.0)


def test_an_exponent_above_what_is_expected_is_marked():
    sizes = (8, 16, 32)
    assert growth.row("batch", "plain", sizes, [0.008, 0.016, 0.032]) == (
        "| batch | plain | 8, 16, 32 | 8, 16, 32 | 1.00 | 1 |"
    )
    assert "| 2.00 (more) | 1 |" in growth.row("batch", "plain", sizes, [0.01, 0.04, 0.16])
    assert "| 2.00 | 1 to 2 |" in growth.row("length", "plain", sizes, [0.01, 0.04, 0.16])


def test_curves_are_measured_and_drawn(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(growth, "has_fast", lambda: False)
    monkeypatch.setattr(growth, "BASE", dict(d_model=8, n_heads=2, n_layers=1, d_ff=8, vocab_size=9, batch=2, length=3))
    monkeypatch.setattr(growth, "CURVES", {"batch": ((1, 2), (1, 1), lambda n: {"batch": n})})
    picture = tmp_path / "growth.svg"
    monkeypatch.setattr(sys, "argv", ["growth.py", "--rounds", "1", "--threads", "1", "--picture", str(picture)])
    growth.main()
    assert "| batch | plain | 1, 2 |" in capsys.readouterr().out and picture.stat().st_size > 1000


def test_every_curve_changes_one_size():
    for name, (sizes, _, change) in growth.CURVES.items():
        assert list(sizes) == sorted(sizes) and len(sizes) >= 4, name
        assert change(sizes[0]).keys() <= growth.BASE.keys()


def test_an_unknown_curve_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["growth.py", "hight"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "unknown curve 'hight'; there are batch" in capsys.readouterr().err
