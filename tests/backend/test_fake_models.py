"""Models and memory layouts on the fake device: what ``tests/gpu/test_gpu_models.py`` runs on a
real one.
"""

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
from minitensor.testing import check_op, gradcheck
from tests.backend import emulator, fake_device
from tests.backend.device_checks import (
    LAYOUTS,
    MORE_LAYOUTS,
    PRODUCTS,
    SEARCHES,
    Training,
    check_autocast,
    check_halves,
    check_layout,
    check_resumed,
    check_training_in_16_bits,
    check_written,
)
from tests.backend.parity import check_rounded_row
from tests.backend.test_fake_device import OVERRIDES

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with"
)


@pytest.fixture(scope="module", autouse=True)
def fake():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE if row.name != "to_device"])
def test_every_row_of_the_table_in_fewer_bits(row, dtype):
    check_rounded_row(row, 2, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "function, inputs, keywords", [pytest.param(*row[1:], id=row[0]) for row in OVERRIDES + MORE_LAYOUTS]
)
def test_kernels_take_any_layout(function, inputs, keywords, layout):
    check_layout(layout, function, inputs, keywords)


@pytest.mark.parametrize("search", SEARCHES)
def test_models_write_what_they_write_on_the_cpu(search):
    check_written(search, "cuda")


@pytest.mark.parametrize("device, other", [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_a_run_goes_on_from_a_file_on_another_device(tmp_path, device, other):
    check_resumed(tmp_path / "run.safetensors", device, other)


def test_a_step_of_a_translator_never_waits():
    run = Training("cuda", "float32")
    fake_device.SYNCS.clear()
    run.step()
    run.step()
    assert fake_device.SYNCS == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_with_dropout_is_repeated_bit_for_bit(dtype):
    (losses, weights), (again, same) = (Training("cuda", dtype).run(4) for _ in range(2))
    assert np.array_equal(losses, again) and len(set(losses)) == 4
    assert all(np.array_equal(weights[name], same[name]) for name in weights)


def test_checks_run_where_they_are_told():
    places = []

    def function(x, w):
        places.append((str(x.device), str(w.device)))
        return mt.tanh(x @ w)

    inputs = [np.array([[0.5, -1.0], [2.0, 0.25]]), np.array([[1.0, 0.5, -1.5], [0.25, 2.0, 1.0]])]
    assert check_op(function, inputs, device="cuda", dtype="float32").checked
    assert set(places) == {("cuda:0", "cuda:0")}
    with pytest.raises(AssertionError, match="by its rule but"):
        gradcheck(lambda x: x * x.detach(), inputs[:1], device="cuda")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_within_autocast(name, dtype):
    check_autocast(name, dtype, "cuda")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_float32_matrix_times_one_of_16_bits(dtype):
    check_halves(dtype, "cuda")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_run_in_16_bits(dtype):
    check_training_in_16_bits(dtype, "cuda")
