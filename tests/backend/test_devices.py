"""Asking for a device: what is accepted, and the message if there is no device."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minitensor as mt
from minitensor.backend import as_device, cpu
from tests.backend import fake_cublas, fake_device


def test_importing_the_library_imports_no_cupy():
    code = "import sys, minitensor, minitensor.nn, minitensor.optim; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", 0, "CPU"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ValueError, match='write "cpu", "cuda" or "cuda:0"'):
        as_device(name)


def test_without_cupy_the_message_says_what_to_install(monkeypatch):
    with fake_device.installed(), monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cupy", None)
        with pytest.raises(ImportError, match=r'needs CuPy.*pip install "minitensor-autograd\[cuda13\]"'):
            mt.zeros((2,), device="cuda")


@pytest.mark.parametrize(
    "driver, devices, reason",
    [
        (0, 0, r"no NVIDIA driver is loaded.*pip install"),
        (12020, 1, r"the driver serves CUDA 12.2, this CuPy is built for 13.0; update the driver, or pip install"),
        (13000, 0, r'reports no GPU \(CUDA_VISIBLE_DEVICES is "": this process sees no others\)'),
    ],
)
def test_without_a_gpu_the_message_says_why(driver, devices, reason, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with fake_device.installed() as cupy:
        cupy.is_available = lambda: False
        cupy.cuda.runtime = SimpleNamespace(
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: 13000,
            getDeviceCount=lambda: devices,
            CUDARuntimeError=RuntimeError,
        )
        with pytest.raises(RuntimeError, match=reason + r'.*write device="cpu"'):
            mt.zeros((2,), device="cuda")


def test_a_hidden_gpu_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with fake_device.installed():
        with pytest.raises(RuntimeError, match=r'no "cuda:2": CuPy sees 1 GPU, "cuda:0" \(CUDA_VISIBLE_DEVICES is "2"'):
            mt.zeros((2,), device="cuda:2")


@pytest.mark.parametrize(
    "broken, step",
    [
        (lambda cupy: setattr(cupy, "RawModule", _missing), "a kernel cannot be compiled and run"),
        (lambda cupy: setattr(cupy.cuda.device, "get_cublas_handle", _missing), "matrices cannot be multiplied"),
    ],
)
def test_a_cupy_that_cannot_compute_says_so_at_once(broken, step):
    with fake_device.installed() as cupy:
        broken(cupy)
        for _ in range(2):
            with pytest.raises(
                RuntimeError, match=rf"sees a GPU, but {step} \(OSError: libx.so: cannot open\).*pip install"
            ):
                mt.zeros((2,), device="cuda")


def _missing(*args, **keywords):
    raise OSError("libx.so: cannot open")


def test_the_gpu_is_tried_once():
    with fake_device.installed():
        mt.zeros((2,), device="cuda")
        calls, waits = len(fake_cublas.CALLS), len(fake_device.SYNCS)
        mt.zeros((2,), device="cuda:0")
        assert (len(fake_cublas.CALLS), len(fake_device.SYNCS)) == (calls, waits)


def test_real_cupy_without_a_gpu_says_why():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RuntimeError, match='device "cuda" cannot be used'):
        mt.zeros((2,), device="cuda")


def test_real_cupy_has_every_name_that_the_namespace_offers():
    # What rules and kernels use of xp must exist in CuPy's namespace too; the table of ops runs
    # them all on the fake device, which lacks what CuPy lacks.
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    absent = {name for name in vars(cpu) if hasattr(np, name) and not hasattr(cupy, name)}
    assert fake_device.MISSING & set(vars(cpu)) <= absent


def test_moving_keeps_values_and_gradients():
    with fake_device.installed():
        x = mt.tensor([[1.0, 2.0]], requires_grad=True)
        y = x.to("cuda:0")
        assert (x.device, y.device) == ("cpu", "cuda:0") and y.to("cuda") is y
        (y * y).sum().backward()
        assert x.grad.device == "cpu" and x.grad.tolist() == [[2.0, 4.0]]
        assert mt.zeros_like(y).device == mt.full((1,), 2.0, device="cuda").device == "cuda:0"
        assert 'device="cuda:0"' in repr(y.detach())


def test_a_stale_value_is_noticed_on_a_device_too():
    with fake_device.installed():
        w = mt.ones((3,), device="cuda").requires_grad_()
        loss = (w * w).sum()
        w.assign(2.0)
        with pytest.raises(RuntimeError, match="overwritten"):
            loss.backward()


def test_the_simulated_cublas_has_cupys_signature_and_constants():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        from cupy_backends.cuda.api import runtime
        from cupy_backends.cuda.libs import cublas
    except ImportError as error:
        pytest.skip(f"no cuBLAS (CuPy with its [ctk] extra): {error}")

    assert {name: int(getattr(cublas, name)) for name in fake_cublas.CUBLAS} == fake_cublas.CUBLAS
    assert {name: int(getattr(runtime, name)) for name in fake_cublas.CUDA_R} == fake_cublas.CUDA_R
    # no GPU, or no such handle; a wrong number or type of arguments would be a TypeError
    with pytest.raises(RuntimeError):
        cublas.gemmStridedBatchedEx(0, 0, 1, 1, 1, 1, 8, 8, 0, 1, 1, 8, 0, 1, 1, 8, 8, 0, 1, 1, 1, 68, -1)
