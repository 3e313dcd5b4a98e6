"""Matrix products on the device: the arguments that cuBLAS gets, by a simulation that reads memory
as cuBLAS would.
"""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitensor.backend import gemm, namespace
from tests.backend import fake_cublas, fake_device

SIDES = st.integers(1, 4)


@pytest.fixture(scope="module")
def xp():
    """The namespace of the fake device."""
    with fake_device.installed():
        yield namespace("cuda")


@st.composite
def stacks(draw, lead, rows, columns):
    """A (..., rows, columns) array, its axes in any order in memory, perhaps part of a wider one,
    perhaps not broadcast yet.
    """
    lead = tuple(n if draw(st.booleans()) else 1 for n in lead)[draw(st.integers(0, len(lead))) :]
    shape = (*lead, rows, columns)
    order = draw(st.permutations(range(len(shape))))
    step = draw(st.sampled_from([1, 1, 2]))
    margin = draw(st.sampled_from([0, 0, 3]))
    memory = [shape[axis] for axis in order]
    memory[-1] = memory[-1] * step + margin
    numbers = np.arange(float(np.prod(memory))).reshape(memory) % 7 - 3
    part = numbers[..., : memory[-1] - margin : step]
    return part.transpose(np.argsort(order))


@st.composite
def operands(draw):
    """Two stacks whose product exists."""
    lead = draw(st.lists(SIDES, min_size=1, max_size=3))
    rows, inner, columns = draw(SIDES), draw(SIDES), draw(SIDES)
    return draw(stacks(lead, rows, inner)), draw(stacks(lead, inner, columns))


def test_a_result_by_columns(xp):
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(2, 4, 5)
    for lead in (slice(None), 0):
        out = fake_device.ndarray(np.zeros((2, 5, 3))[lead].swapaxes(-1, -2))
        xp.matmul(fake_device.ndarray(a[lead].copy()), fake_device.ndarray(b[lead].copy()), out=out)
        assert np.array_equal(out.array, a[lead] @ b[lead])


@settings(max_examples=300 if os.environ.get("MINITENSOR_THOROUGH") else 100)
@given(operands(), st.sampled_from([np.float16, np.float32, np.float64]), st.booleans())
def test_any_layout_gives_numpys_product(xp, pair, dtype, strided_out):
    # fake_cublas reads and writes by address: a wrong flag, leading dimension or step gives a wrong
    # number.
    a, b = (fake_device.ndarray(strided_like(x, dtype)) for x in pair)
    expected = np.matmul(a.array.astype(np.float64), b.array.astype(np.float64))
    if strided_out and expected.ndim > 2:
        out = fake_device.ndarray(
            np.full((*expected.shape[1:-1], expected.shape[0], expected.shape[-1]), 99, dtype=dtype)
        )
        out = fake_device.ndarray(np.moveaxis(out.array, -2, 0))
        assert xp.matmul(a, b, out=out) is out
    else:
        out = xp.matmul(a, b)
    assert out.dtype == dtype
    assert np.array_equal(out.array, expected.astype(dtype))  # small whole numbers: exact in every type


def strided_like(x, dtype):
    """``x`` in another type, its strides counted in elements as they were."""
    base = x.base if x.base is not None else x
    while base.base is not None:
        base = base.base
    start = (x.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // x.itemsize
    item = np.dtype(dtype).itemsize
    flat = base.reshape(-1).astype(dtype)[start:]
    return np.lib.stride_tricks.as_strided(flat, x.shape, tuple(s // x.itemsize * item for s in x.strides))


def calls_of(xp, a, b, out=None):
    """The simulated calls that ``a @ b`` makes."""
    fake_cublas.CALLS.clear()
    xp.matmul(fake_device.ndarray(a), fake_device.ndarray(b), out=None if out is None else fake_device.ndarray(out))
    return list(fake_cublas.CALLS)


def test_swapped_axes_are_a_flag_and_not_a_copy(xp):
    a, b = np.ones((6, 3, 4), np.float32), np.ones((6, 5, 4), np.float32)
    assert calls_of(xp, a, b.swapaxes(1, 2)) == [(1, 0, 5, 3, 4, 6)]
    assert calls_of(xp, a.swapaxes(1, 2), a) == [(0, 1, 4, 4, 3, 6)]


def test_heads_are_copied_or_stepped_through_whatever_takes_less(xp):
    # (B, H, T, K) views of (B, T, H, K): no single step visits every head. Two are looped over;
    # twelve launches take longer than two copies.
    q, k = (np.ones((16, 7, 2, 5), np.float32).swapaxes(1, 2) for _ in range(2))
    assert calls_of(xp, q, k.swapaxes(-1, -2)) == [(1, 0, 7, 7, 5, 16)] * 2
    many = np.ones((16, 7, 12, 5), np.float32).swapaxes(1, 2)
    assert calls_of(xp, many, many.swapaxes(-1, -2)) == [(0, 0, 7, 7, 5, 192)]


def test_large_operands_are_not_copied_to_save_launches():
    lies, copy = gemm.Operand((64, 6, 8, 8), (384, 64, 8, 1)), gemm.Operand((64, 6, 8, 8), (384, 64, 8, 1))
    strided = gemm.Operand((64, 6, 8, 8), (384, 8, 48, 1))
    assert gemm.cheapest([[strided, copy, 64 * 384], [lies, copy, 0], [lies, copy, 0]])[0] == (True, False, False)
    assert len(gemm.cheapest([[strided, copy, 8 << 20], [lies, copy, 0], [lies, copy, 0]])[1]) == 6


@pytest.mark.parametrize("lead", [(), (3, 2)])
def test_products_of_16_bits_may_have_32(xp, lead):
    from minitensor.backend.cublas import product

    rng = np.random.default_rng(0)
    a, b = (rng.uniform(-1, 1, (*lead, 4, n)).astype(np.float16) for n in (5, 3))
    given = fake_device.ndarray(a.swapaxes(-1, -2)), fake_device.ndarray(b)
    out = product(*given)
    right = np.matmul(a.swapaxes(-1, -2).astype(np.float32), b.astype(np.float32))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.array, right, rtol=1e-6)
    home = fake_device.ndarray(np.zeros((*lead, 3, 5), np.float32).swapaxes(-1, -2))
    assert product(*given, out=home) is home
    np.testing.assert_allclose(home.array, right, rtol=1e-6)
    with pytest.raises(ValueError, match="do not match"):
        product(given[1], given[1])


def test_products_of_equal_shapes_are_planned_once(xp, monkeypatch):
    from minitensor.backend import cublas

    a, b = (fake_device.ndarray(np.ones((5, 3, 3), np.float32)) for _ in range(2))
    first = xp.matmul(a, b)
    monkeypatch.setattr(cublas, "_planned", None)
    assert np.array_equal(xp.matmul(b, a).array, first.array)


def test_a_stack_times_one_matrix_is_one_product(xp):
    assert calls_of(xp, np.ones((6, 3, 4), np.float32), np.ones((4, 5), np.float32)) == [(0, 0, 5, 18, 4, 1)]
    assert calls_of(xp, np.ones((6, 3, 4), np.float32), np.ones((1, 4, 5), np.float32)) == [(0, 0, 5, 3, 4, 6)]


def test_a_repeated_matrix_has_step_zero():
    a = gemm.Operand((6, 3, 4), (12, 4, 1))
    b = gemm.Operand((6, 4, 5), (0, 5, 1))
    (call,) = gemm.calls(a, b, gemm.Operand((6, 3, 5), (15, 5, 1)))
    assert (call.first_step, call.second_step, call.out_step) == (0, 12, 15)


@pytest.mark.parametrize("strides", [(4, 2), (0, 1), (1, 0), (0, 0), (-4, 1)])
def test_what_blas_cannot_read_must_be_copied(strides):
    assert gemm.layout(gemm.Operand((3, 4), strides)) is None


def test_shapes_that_do_not_match_are_named(xp):
    a, b = fake_device.ndarray(np.ones((2, 3, 4))), fake_device.ndarray(np.ones((2, 5, 6)))
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) and \(2, 5, 6\)"):
        xp.matmul(a, b)


def test_an_empty_inner_axis_gives_zeros(xp):
    out = xp.matmul(fake_device.ndarray(np.ones((2, 3, 0))), fake_device.ndarray(np.ones((2, 0, 4))))
    assert out.shape == (2, 3, 4) and not out.array.any()
