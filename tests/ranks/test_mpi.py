"""Processes of MPI train one model: the run is that of one process, whatever their number."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minitensor as mt

pytestmark = pytest.mark.mpi

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = Path(__file__).with_name("tiny.py")


def ranks(n, *command, code=0):
    """Run a script as ``n`` processes; returns what it said, on both streams."""
    beside = Path(sys.executable).with_name("mpiexec")
    start = str(beside) if beside.exists() else shutil.which("mpiexec")
    root = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **root, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [start, "-n", str(n), sys.executable, *map(str, command)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, env=environment)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == (code == 0) and code in (0, None, done.returncode), (done.returncode, said)
    return said


def records(folder):
    """What the log of a run says, but for the clock."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def same(one, other, tolerance=1e-9):
    """Whether the figures of two logs are the same."""
    assert len(one) == len(other) > 0
    for a, b in zip(one, other):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert value == (pytest.approx(b[key], rel=tolerance) if isinstance(value, float) else b[key]), (a, b)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def reference(folder):
    """A run of one process that nothing has disturbed."""
    ranks(1, SCRIPT, "run", folder / "reference")
    return records(folder / "reference")


def test_processes_talk():
    assert ranks(3, SCRIPT, "group", "x").count("said") == 1  # only rank 0 prints


def test_n_ranks_give_the_run_of_one(folder):
    for n in (1, 2, 4):
        ranks(n, SCRIPT, "steps", folder)
    one = np.load(folder / "1.npz")
    for n in (2, 4):
        many = np.load(folder / f"{n}.npz")
        for name in one:
            model, accumulate, number = name.split()
            gap = np.abs(many[name] - one[name]).max() / np.abs(one[name]).max()
            print(n, name, gap)
            assert gap <= (1e-12 if number == "1" else 1e-9), (n, name, gap)
            if number == "0":
                parts = one[f"{model} 3 0"]  # accumulated in parts, it is the same run as well
                assert np.allclose(many[name], parts, rtol=1e-9, atol=0) and len(parts) == 24


def test_a_dead_rank_ends_the_job_and_its_checkpoint_goes_on_with_any_number(folder, reference):
    said = ranks(4, SCRIPT, "run", folder / "dead", "--die", 2, 7, code=None)
    assert "KILLED" in said.upper() or "SIGNAL 9" in said.upper(), said
    step = mt.load(folder / "dead" / "checkpoints" / "last.safetensors")["position"]["step"]
    assert step in (6, 7)
    for n in (1, 2):
        shutil.copytree(folder / "dead", folder / f"dead{n}")
        ranks(n, SCRIPT, "run", folder / f"dead{n}")
        same(records(folder / f"dead{n}"), reference)


def test_a_signal_to_one_rank_stops_all_after_the_same_update(folder, reference):
    said = ranks(2, SCRIPT, "run", folder / "stopped", "--stop", 1, 5)
    assert all(f"rank {rank}: signal 15 at 6" in said for rank in (0, 1)), said
    ranks(2, SCRIPT, "run", folder / "stopped")
    same(records(folder / "stopped"), reference)


@pytest.mark.parametrize(
    "what, words",
    [
        ("--fail", ["rank 1 of 3:", "ValueError: a fault of this rank alone"]),
        ("--refuse", ["error: rank 1 of 3: a file is missing here"]),
    ],
)
def test_an_error_of_one_rank_is_told_and_ends_all(folder, what, words):
    said = ranks(3, SCRIPT, "run", folder / what[2:], what, 1, 4, code=None)
    assert all(said.count(word) == 1 for word in words), said


def test_an_error_in_a_loop_of_ones_own_ends_all():
    lines = ["import minitensor as mt", "group = mt.distributed.join()", "1 / (1 - group.rank)", "group.barrier()"]
    said = ranks(2, "-c", "\n".join(lines), code=None)
    assert "rank 1 of 2:" in said and said.count("ZeroDivisionError") == 1, said


def test_an_error_of_all_ranks_is_told_once(folder):
    said = ranks(2, SCRIPT, "run", folder / "diverged", "--diverge", 0, 4, code=2)
    assert said.count("training has diverged") == 1, said


def test_a_model_that_mixes_rows_is_refused_by_name(folder):
    said = ranks(2, SCRIPT, "mixing", folder / "mixing", code=2)
    assert "BatchNorm mixes the rows of a batch" in said, said


def test_ranks_that_differ_are_told(folder):
    said = ranks(2, SCRIPT, "agreement", folder / "agreement")
    assert "the parameters of rank 1 are not those of rank 0" in said, said
    assert "the weights of rank 1 are no longer those of rank 0" in said, said


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits are scikit-learn's")
def test_a_program_trains_on_several_ranks(folder):
    program = [ROOT / "examples" / "digits.py", "train", "--steps", 4, "--validate-every", 2, "--batch-size", 30]
    for n in (1, 3):
        ranks(n, *program, "--out", folder / f"digits{n}", "--distributed")
    same(records(folder / "digits1"), records(folder / "digits3"), 1e-4)
    said = ranks(2, *program[:2], "--out", folder / "digits3", "--resume", "--distributed")
    assert said.count("all 4 updates are done") == 1
    said = ranks(2, *program, "--out", folder / "digits3", "--distributed", code=2)
    assert "holds a run already" in said, said
    said = ranks(2, *program, "--out", folder / "apart", code=2)
    assert "give train --distributed" in said, said
