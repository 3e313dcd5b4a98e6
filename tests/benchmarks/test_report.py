"""The benchmark's table, its targets and its command line."""

import subprocess
import sys
from pathlib import Path

import cases
import pytest
import report
import targets
import timing
from rows import Row

HERE = Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_case_has_its_targets():
    assert targets.WANTED.keys() == cases.CASES.keys()
    assert set(cases.PEERS) <= cases.CASES.keys()
    assert targets.wanted("step", "plain") == 0.90 and targets.wanted("mean", "fast") == 0.70


def test_a_ratio_above_its_target_is_named():
    assert targets.misses("chain", {"plain": 0.704, "fast": 0.706}) == ["chain fast 0.71 > 0.70"]
    assert targets.misses("chain", {"plain": None}) == []


def test_the_table():
    table = report.Table(("plain", "fast"), ["jax"])
    line = table.add(
        Row("layer", {"plain": 0.2, "fast": 0.1}, 0.15, {"plain": 1.35, "fast": 0.66}, 0.08, 0.14, {"jax": (0.12, 0.8)})
    )
    assert line == (
        "| layer | 200.00 | 100.00 | 150.00 | 1.35 | 0.66 | 0.95 / 0.78 | 80.00 | 1.25 | 140.00 | 120.00 | 0.80 |"
    )
    memory = Row("causal-memory", {"plain": 9e7, "fast": 6e7}, 6e7, {"plain": 1.5, "fast": 1.0})
    assert table.add(memory).startswith(
        "| causal-memory | 90 MB | 60 MB | 60 MB | 1.50 | 1.00 | 1.30 / 1.20 | - | - | - |"
    )
    assert table.closing() == "above what is wanted: layer plain 1.35 > 0.95, causal-memory plain 1.50 > 1.30"
    table.add(Row("chain", {"plain": 0.1, "fast": 0.1}, 0.1, {"plain": None, "fast": None}, None, 0.2))
    assert "| disturbed | disturbed | 0.70 / 0.70 |" in table.lines[-1] and table.withheld() == ["chain"]
    assert table.closing().endswith("; withheld as disturbed: chain")
    assert "| geometric mean of 2 | - | - | - | 1.42 | 0.81 | - |" in table.mean()
    columns = {line.count("|") for line in table.lines}
    assert columns == {13}


def test_the_mean_of_all_cases_has_a_target():
    table = report.Table(("plain",))
    for name in cases.CASES:
        table.add(Row(name, {"plain": 0.1}, 0.1, {"plain": 0.2}))
    assert table.missed() == [] and table.closing() == "no ratio is above what is wanted"
    assert "| 0.20 | 0.95 |" in table.mean()
    table.rows[0].ratios["plain"] = 1e30
    assert [line.split()[0] for line in table.missed()] == ["step", "mean"]


def test_a_system_that_cannot_measure_memory_has_an_empty_row(monkeypatch):
    import rows

    monkeypatch.setattr(rows.memory, "supported", lambda: False)
    row = rows.measure("causal-memory", timing.Place(1), ("plain",), 1)
    table = report.Table(("plain",))
    assert table.add(row) == "| causal-memory | - | - | - | 1.30 | - | - | - |" and row.sound
    assert "geometric mean of 0" in table.mean()


# --- the command line -----------------------------------------------------------------------------


def test_peers_that_cannot_run_are_named(monkeypatch):
    import against_pytorch as program

    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(program.shutil, "which", lambda name: None)
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    found, notes = program.usable_peers()
    assert found == [] and "no g++" in notes[0] and "jax is not installed" in notes[1]
    monkeypatch.setattr(program.shutil, "which", lambda name: name)
    assert program.usable_peers() == (["compiled"], notes[1:])


def test_nothing_is_timed_if_the_sides_differ(monkeypatch):
    import against_pytorch as program

    class Done:
        returncode = 1

    monkeypatch.setattr(program.subprocess, "run", lambda *_, **__: Done)
    with pytest.raises(SystemExit, match="do not agree in mode fast"):
        program.check(["chain"], "fast", timing.Place(1))


@pytest.mark.torch
def test_one_case_from_the_command_line(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, str(HERE / "against_pytorch.py"), "chain", "--rounds", "1", "--threads", "1"]
    command += ["--modes", "plain", "--write", str(tmp_path / "page.md")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode in (0, 1), done.stderr
    assert "kernel" in done.stdout and "load before" in done.stdout and "| chain |" in done.stdout
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| chain |" in page and "* chain: 900 small ops" in page and "minutes" in page
    assert all(len(line) <= 100 for line in page.splitlines() if not line.startswith("|"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--tf32"], "--tf32 is for GPUs: add --device cuda"),
        (["--device", "tpu"], "invalid choice"),
        (["layers"], "unknown case 'layers'"),
        (["--modes", "plain,quick"], "unknown mode 'quick'"),
        (["--device", "cuda", "--neighbours"], "--neighbours is for --device cpu"),
        (["--modes", "fast"], "no fast mode here"),
    ],
)
def test_what_cannot_be_run_is_said(options, message, monkeypatch, capsys):
    import against_pytorch

    monkeypatch.setattr(against_pytorch, "has_fast", lambda: False)
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
    monkeypatch.setattr(against_pytorch, "measure", None)
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
