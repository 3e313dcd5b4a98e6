"""What type a result has: float64 comes only from float64 or if it is asked for, and scalars never
widen.
"""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F


def test_astype_casts_up_and_down_and_gives_the_gradient_in_the_first_type():
    for start in ("float16", "float32", "float64"):
        for end in ("float16", "float32", "float64"):
            x = mt.tensor([1.0, 2.0], dtype=start, requires_grad=True)
            y = x.astype(end)
            assert y.dtype == end
            (y * y).sum().backward()
            assert x.grad.dtype == start and x.grad.tolist() == [2.0, 4.0]
    assert mt.tensor([1, 2]).astype("float64").dtype == "float64"


def test_integers_carry_no_gradient():
    x = mt.tensor([1.5, 2.5], requires_grad=True)
    assert not x.astype("int64").requires_grad and not x.astype(bool).requires_grad
    with pytest.raises(TypeError, match="not complex128"):
        x.astype(complex)


@pytest.mark.parametrize("scalar", [2, 2.0, True, np.float64(2), np.float32(2), np.sqrt(4), np.int64(2)])
def test_scalars_do_not_widen(scalar):
    x = mt.ones(3)
    for y in (x * scalar, scalar * x, x / scalar, x**scalar, mt.maximum(x, scalar), mt.where(x > 0, x, scalar)):
        assert y.dtype == "float32"


def test_numbers_alone_are_float32():
    assert mt.sqrt(2.0).dtype == mt.add(1.0, 2).dtype == mt.sum(3.0).dtype == "float32"


def test_integers_meet_floats_in_fused_ops_as_elsewhere():
    assert F.linear(mt.tensor([[1, 2]]), mt.ones((3, 2))).dtype == "float32"


def test_scalar_exponents_are_exact_in_every_derivative():
    x = mt.tensor(np.array([3.0, 0.7]), requires_grad=True)
    first = mt.grad((x**0.3).sum(), x, create_graph=True)
    np.testing.assert_allclose(first.data, 0.3 * x.data**-0.7, rtol=1e-15)
    second = mt.grad(first.sum(), x)
    np.testing.assert_allclose(second.data, 0.3 * -0.7 * x.data**-1.7, rtol=1e-15)


def test_arrays_of_the_other_byte_order_are_turned():
    x = mt.tensor(np.array([1.0, 1 / 3], dtype=np.dtype("f8").newbyteorder()))
    assert x.dtype.isnative and (x * x).dtype == "float64" and float(x[1]) == 1 / 3


def test_an_integer_too_large_for_int64_is_refused():
    with pytest.raises(OverflowError, match="does not fit int64"):
        mt.tensor([2**63])


def test_operators_of_truth_values_refuse_integers():
    flags = mt.tensor([True, False])
    assert (flags & True).tolist() == [True, False] and (~flags).tolist() == [False, True]
    assert (np.array([True, True]) ^ flags).tolist() == [False, True]
    for call in (lambda: mt.tensor([6]) & 3, lambda: ~mt.tensor([6]), lambda: flags | mt.tensor([1, 0])):
        with pytest.raises(TypeError, match="combines truth values, got int64|got <class 'int'>"):
            call()


def test_random_numbers_of_every_floating_type():
    for dtype in ("float16", "float32", "float64"):
        x = mt.random.Generator(1).uniform(1000, dtype=dtype)
        assert x.dtype == dtype and 0 <= float(x.data.min()) and float(x.data.max()) < 1
    with pytest.raises(TypeError, match="uniform draws floating numbers, not int64"):
        mt.random.uniform(3, dtype="int64")
    with pytest.raises(ValueError, match="range from 0 up to 1000 does not fit int8"):
        mt.random.integers(0, 1000, 3, dtype="int8")
    with pytest.raises(ValueError, match="must be an integer, got 2.5"):
        mt.random.integers(0, 2.5, 3)


TAKES_DTYPE = {
    "tensor": lambda dtype: mt.tensor([1.0], dtype=dtype),
    "asarray": lambda dtype: mt.asarray(np.ones(2), dtype=dtype),
    "zeros": lambda dtype: mt.zeros((2,), dtype=dtype),
    "ones": lambda dtype: mt.ones((2,), dtype=dtype),
    "full": lambda dtype: mt.full((2,), 1.0, dtype=dtype),
    "arange": lambda dtype: mt.arange(3, dtype=dtype),
    "linspace": lambda dtype: mt.linspace(0, 1, 3, dtype=dtype),
    "eye": lambda dtype: mt.eye(2, dtype=dtype),
    "zeros_like": lambda dtype: mt.zeros_like(mt.ones(2), dtype=dtype),
    "ones_like": lambda dtype: mt.ones_like(mt.ones(2), dtype=dtype),
    "full_like": lambda dtype: mt.full_like(mt.ones(2), 2.0, dtype=dtype),
    "empty": lambda dtype: mt.empty((2,), dtype=dtype),
    "astype": lambda dtype: mt.astype(mt.ones(2), dtype),
    "method": lambda dtype: mt.ones(2).astype(dtype),
    "module": lambda dtype: mt.nn.Linear(2, 2).astype(dtype).weight,
    "sum": lambda dtype: mt.sum(mt.ones(2), dtype=dtype),
    "mean": lambda dtype: mt.mean(mt.ones(2), dtype=dtype),
    "prod": lambda dtype: mt.prod(mt.ones(2), dtype=dtype),
    "cumsum": lambda dtype: mt.cumsum(mt.ones(2), axis=0, dtype=dtype),
    "normal": lambda dtype: mt.random.normal(shape=(2,), dtype=dtype),
    "uniform": lambda dtype: mt.random.uniform((2,), dtype=dtype),
}


@pytest.mark.parametrize("take", TAKES_DTYPE.values(), ids=TAKES_DTYPE)
def test_whatever_takes_a_dtype_takes_16_bits_and_refuses_what_there_is_not(take):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("float16", "bfloat16"):
        assert take(name).dtype.name == name
        assert take(take(name).dtype).dtype.name == name
    assert take(">f4").dtype == np.dtype("float32") and take(">f4").dtype.isnative
    kinds = ["bf16", "torch.float16", "float8_e4m3fn", ml_dtypes.float8_e5m2, "complex64", "O", "U3", "f4,f4", 3]
    for odd in kinds + ["longdouble"] * (np.dtype("longdouble").itemsize > 8):
        with pytest.raises(
            TypeError, match="the types of tensors are float16, bfloat16, float32, float64, int8 to int64"
        ):
            take(odd)


@pytest.mark.parametrize("make", [mt.tensor, mt.asarray, lambda value, dtype: mt.full((2,), value, dtype=dtype)])
@pytest.mark.parametrize(
    ("value", "dtype"), [(300, "uint8"), (-1, "uint8"), (128, "int8"), (2**40, "int32"), (-1, "uint64")]
)
def test_numbers_that_do_not_fit_are_refused(make, value, dtype):
    with pytest.raises(ValueError, match=f"{value} does not fit {dtype}"):
        make(value, dtype=dtype)
    assert make(127, dtype=dtype).data.max() == 127


@pytest.mark.parametrize(
    "make",
    [
        lambda **dtype: mt.zeros(2, **dtype), lambda **dtype: mt.ones(2, **dtype), lambda **dtype: mt.empty(2, **dtype),
        lambda **dtype: mt.full(2, 1.5, **dtype), lambda **dtype: mt.eye(2, **dtype), lambda **dtype: mt.arange(2.0, **dtype),
        lambda **dtype: mt.linspace(0, 1, 3, **dtype), lambda **dtype: mt.tensor([1.0], **dtype),
        lambda **dtype: mt.random.normal((2,), **dtype), lambda **dtype: mt.random.uniform((2,), **dtype),
    ],
)  # fmt: skip
def test_none_is_the_default_dtype(make):
    assert make(dtype=None).dtype == make().dtype == np.float32
