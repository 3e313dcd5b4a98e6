"""The Python array API standard, version 2024.12: every name of it is here or left out
on purpose.
"""

import warnings

import numpy as np
import pytest

import minitensor as mt

NAMES = """
__array_namespace_info__ e inf nan newaxis pi bool complex64 complex128 float32 float64 int8 int16 int32 int64 uint8 uint16
uint32 uint64 arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like tril triu zeros
zeros_like astype can_cast finfo iinfo isdtype result_type broadcast_arrays broadcast_to abs acos acosh add asin asinh atan
atan2 atanh bitwise_and bitwise_left_shift bitwise_invert bitwise_or bitwise_right_shift bitwise_xor ceil clip conj copysign cos
cosh divide equal exp expm1 floor floor_divide greater greater_equal hypot imag isfinite isinf isnan less less_equal log log1p
log2 log10 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply negative nextafter not_equal
positive pow real reciprocal remainder round sign signbit sin sinh square sqrt subtract tan tanh trunc take take_along_axis
matmul matrix_transpose tensordot vecdot concat expand_dims flip moveaxis permute_dims repeat reshape roll squeeze stack tile
unstack argmax argmin count_nonzero nonzero searchsorted where unique_all unique_counts unique_inverse unique_values argsort
sort cumulative_prod cumulative_sum max mean min prod std sum var all any diff
""".split()  # fmt: skip
LINALG = """
cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose outer pinv qr slogdet
solve svd svdvals tensordot trace vecdot vector_norm
""".split()  # fmt: skip
OMITTED = {"complex64", "complex128", "conj", "imag", "real"}  # there are no complex numbers


def test_every_name_of_the_standard_is_here_or_left_out_on_purpose():
    assert {name for name in NAMES if not hasattr(mt, name)} == OMITTED
    assert all(hasattr(mt.linalg, name) for name in LINALG) and not hasattr(mt, "fft")
    said = __import__("importlib").import_module("minitensor.ops.dtypes").__doc__
    assert all(f"``{name}``" in said for name in OMITTED | {"fft"})


def test_methods_of_the_array_object():
    x = mt.tensor([[1.0, 2.0, 3.0]])
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2024.12") is mt
    with pytest.raises(ValueError, match="array API standard up to version 2024.12, not '2030.12'"):
        x.__array_namespace__(api_version="2030.12")
    assert (x.ndim, x.size, x.shape, x.dtype, x.device) == (2, 3, (1, 3), mt.float32, "cpu")
    assert x.mT.shape == x.T.shape == (3, 1) and x.to_device("cpu") is x


def test_what_the_library_tells_of_itself():
    info = mt.__array_namespace_info__()
    assert info.default_device() == "cpu" and "cpu" in info.devices() and info.capabilities()["boolean indexing"]
    assert (
        info.default_dtypes()["real floating"] == mt.ones(1).dtype
        and info.default_dtypes()["indexing"] == mt.argmax(mt.ones(1)).dtype
    )
    assert info.dtypes(kind="real floating") == {"float32": np.dtype("f4"), "float64": np.dtype("f8")}
    assert set(info.dtypes(kind=("bool", "signed integer"))) == {"bool", "int8", "int16", "int32", "int64"}
    assert len(info.dtypes()) == 11 and info.dtypes(kind="complex floating") == {}
    with pytest.raises(ValueError, match="dtypes: kind must be one of"):
        info.dtypes(kind="real")


DTYPES = ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", DTYPES)
def test_result_type_is_what_addition_gives(first, second):
    x, y = mt.ones((2,), dtype=first), mt.ones((2,), dtype=second)
    assert mt.result_type(x, second) == mt.result_type(np.dtype(first), y) == mt.add(x, y).dtype
    assert mt.result_type(x, 2.0) == (x * 2.0).dtype


def test_types_and_their_ranges():
    assert mt.finfo(mt.float32).eps == mt.finfo(mt.ones(1)).eps == np.finfo("f4").eps and mt.iinfo("uint8").max == 255
    assert mt.finfo("bfloat16").bits == 16 if pytest.importorskip("ml_dtypes") else True
    for call, message in (
        (lambda: mt.finfo("int8"), "write mt.iinfo"),
        (lambda: mt.iinfo(mt.ones(1)), "write mt.finfo"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    assert mt.can_cast("int32", "float64") and not mt.can_cast(mt.ones(1), "int8") and mt.can_cast("int8", "int16")
    assert (
        mt.isdtype(mt.float32, "real floating")
        and mt.isdtype("int8", ("bool", "integral"))
        and mt.isdtype("int8", mt.int8)
    )
    assert mt.isdtype("uint8", "unsigned integer")
    assert not mt.isdtype("bool", "numeric") and not mt.isdtype("float64", "complex floating")
    with pytest.raises(ValueError, match="result_type: at least one"):
        mt.result_type()
    x = mt.ones((2,), requires_grad=True)
    assert mt.astype(x, "float32") is x and mt.grad(mt.astype(x, mt.float64).sum(), x).dtype == "float32"
    assert mt.empty((2, 0)).shape == (2, 0) and mt.empty_like(x, dtype="int8").dtype == "int8"
    assert mt.ones((2,))[mt.newaxis].shape == (1, 2) and mt.sin(mt.tensor(mt.pi)).item() == pytest.approx(0, abs=1e-6)


def test_slopes_far_out_and_at_the_origin():
    x = mt.tensor(np.array([1e200, 1e-200, 0.0, 3.0]), requires_grad=True)
    y = mt.tensor(np.array([1e200, 1e-200, 0.0, 4.0]), requires_grad=True)
    for function, right in ((mt.hypot, [0.5**0.5, 0.5**0.5, 0.0, 0.6]), (mt.atan2, [0.5e-200, 0.5e200, 0.0, 0.16])):
        plain = mt.grad(function(x, y).sum(), x)
        recorded = mt.grad(function(x, y).sum(), x, create_graph=True)
        np.testing.assert_allclose(plain.data, right, rtol=1e-12)
        np.testing.assert_allclose(recorded.data, right, rtol=1e-12)
    assert mt.grad(mt.asinh(x).sum(), x).data[0] == pytest.approx(1e-200)
    assert mt.reciprocal(mt.tensor([2])).tolist() == [0.5] and mt.bitwise_invert(mt.tensor([1, -1])).tolist() == [-2, 0]


def test_sets_with_ties_nan_and_gradients():
    x = mt.tensor([[3.0, 1.0], [3.0, float("nan")], [float("nan"), 1.0]], requires_grad=True)
    values, indices, inverse, counts = mt.unique_all(x)
    assert (
        values.tolist()[:2] == [1, 3]
        and counts.tolist() == [2, 2, 1, 1]
        and inverse.tolist()[0] == [1, 0]
        and inverse.shape == x.shape
    )
    assert mt.grad((values[:2] * mt.tensor([2.0, 5.0])).sum(), x).tolist() == [
        [5, 2],
        [0, 0],
        [0, 0],
    ] and indices.tolist()[:2] == [1, 0]


# --- DLPack ---------------------------------------------------------------------------------------


def test_memory_of_others_is_copied_in():
    a = np.arange(3.0)
    x = mt.from_dlpack(a)
    a[0] = 9
    assert x.tolist() == [0, 1, 2] and x.dtype == "float64" and x.device == "cpu"
    fixed = np.frombuffer(a.tobytes())
    assert np.shares_memory(mt.from_dlpack(fixed).data, fixed) and np.shares_memory(
        mt.from_dlpack(fixed, copy=False).data, fixed
    )
    assert not np.shares_memory(mt.from_dlpack(fixed, copy=True).data, fixed)
    assert np.shares_memory(mt.from_dlpack(x).data, x.data) and not np.shares_memory(
        mt.from_dlpack(x, copy=True).data, x.data
    )
    with pytest.raises(ValueError, match="from_dlpack: copy=False, but the array's owner can write to it"):
        mt.from_dlpack(a, copy=False)
    with pytest.raises(TypeError, match="from_dlpack: needs an array with __dlpack__, got list"):
        mt.from_dlpack([1.0])
    with pytest.raises(TypeError, match="numbers or truth values, got complex128"):
        mt.from_dlpack(a + 1j)


def test_our_memory_goes_out_as_a_copy_or_read_only():
    x = mt.tensor([1.0, 2.0])
    assert x.__dlpack_device__() == (1, 0)
    out = np.from_dlpack(x)
    assert not np.shares_memory(out, x.data) and out.tolist() == [1, 2]
    shared = np.from_dlpack(x, copy=False)
    assert np.shares_memory(shared, x.data) and not shared.flags.writeable
    with pytest.raises(BufferError):
        x.__dlpack__(copy=False)  # a consumer that knows no flag for read-only memory
    with pytest.raises(TypeError, match=r"DLPack of a tensor that requires a gradient .* write x.detach\(\)"):
        np.from_dlpack(mt.tensor([1.0], requires_grad=True))
    with pytest.raises(TypeError, match=r"write x.detach\(\)"):
        mt.from_dlpack(mt.tensor([1.0], requires_grad=True))


@pytest.mark.torch
def test_torch_both_ways():
    torch = pytest.importorskip("torch")
    t = torch.arange(3, dtype=torch.float32)
    x = mt.from_dlpack(t)
    t[0] = 9
    assert x.tolist() == [0, 1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = torch.from_dlpack(x)
    back[0] = 9
    assert x.tolist() == [0, 1, 2] and back.tolist() == [9, 1, 2]
    with pytest.raises(BufferError, match="require gradient"):
        mt.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="from_dlpack: .*bfloat16 cannot be taken: convert it first"):
        mt.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
