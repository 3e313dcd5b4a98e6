"""Whatever ``mt.save`` takes comes back equal, and what could not is refused by ``save``."""

import enum
import sys
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import minitensor as mt
from minitensor import optim
from minitensor.files import safetensors
from minitensor.files import state as files


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "state.safetensors"


def there_and_back(path, state):
    """What load makes of it."""
    mt.save(path, state)
    return mt.load(path)


KINDS = ["?", "i1", "u1"] + [order + kind for order in "<>" for kind in ("f2", "f4", "f8", "i2", "u4", "i8", "u8")]


@given(
    array=st.sampled_from(KINDS).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    how=st.sampled_from(["as it is", "transposed", "reversed", "strided", "spread", "read-only"]),
    as_tensor=st.booleans(),
)
def test_arrays_of_any_type_order_and_layout(path, array, how, as_tensor):
    if how == "transposed":
        array = array.T
    elif how == "reversed" and array.ndim:
        array = array[::-1]
    elif how == "strided" and array.ndim:
        array = array[..., ::2]
    elif how == "spread":
        array = np.broadcast_to(array, (2, *array.shape))
    elif how == "read-only":
        array.flags.writeable = False
    back = there_and_back(path, {"a": mt.asarray(array) if as_tensor else array})["a"]
    assert isinstance(back, mt.Tensor) is as_tensor
    back = np.asarray(back)
    assert back.dtype == array.dtype.newbyteorder("=") and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_numbers_of_16_bits(path, dtype):
    pytest.importorskip("ml_dtypes")
    x = mt.tensor([[1.0, -2.5], [3e-5, 60000.0]], dtype=dtype)
    back = there_and_back(path, {"x": x, "rows": x.numpy()[::-1].T, "one": x.numpy()[0, 0, None].reshape(())})
    assert back["x"].dtype == back["rows"].dtype == back["one"].dtype == dtype and back["one"].shape == ()
    assert back["x"].tolist() == x.tolist() and back["rows"].tolist() == x.numpy()[::-1].T.tolist()
    read = safetensors.TensorFile(path).read("x")  # as programs that know no bfloat16 want it
    assert read.dtype == ("float32" if dtype == "bfloat16" else dtype) and read.tolist() == x.tolist()
    w = mt.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    w.grad = mt.ones((2,), dtype=dtype)
    optimizer = optim.Adam([w], lr=0.1)
    optimizer.step()
    mt.save(path, optimizer.state_dict())
    optim.Adam([w]).load_state_dict(mt.load(path))


def test_bfloat16_without_the_package_is_named(path, monkeypatch):
    pytest.importorskip("ml_dtypes")
    mt.save(path, {"x": mt.ones(2, dtype="bfloat16")})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="pip install ml_dtypes"):
        mt.load(path)


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
KEYS = TEXT | st.sampled_from(
    ["__metadata__", "$tensor", "$array", "$tuple", "$dict", "a.b", "", "state", "\0", "é", "\U0001f600", " a"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(state=VALUES, metadata=VALUES)
def test_nested_values_and_odd_keys(path, state, metadata):
    mt.save(path, state, metadata)
    assert mt.load(path) == state and files.read_metadata(path) == metadata


@given(keys=st.lists(KEYS, unique=True, min_size=1, max_size=6), nested=KEYS)
def test_tensors_under_odd_names(path, keys, nested):
    state = {key: mt.tensor([float(i)]) for i, key in enumerate(keys)}
    state[nested] = {key: np.array(i) for i, key in enumerate(keys)}
    back = there_and_back(path, state)
    assert list(back) == list(state) and list(back[nested]) == keys
    for i, key in enumerate(keys):
        assert (key == nested or back[key].tolist() == [float(i)]) and back[nested][key] == i


class Level(enum.IntEnum):
    """A number with a name."""

    LOW = 3


def test_relatives_of_plain_values_come_back_equal(path):
    Pair = namedtuple("Pair", "a b")
    state = {
        "ordered": OrderedDict(a=1), "pair": Pair(1, 2), "level": Level.LOW, np.str_("key"): np.str_("text"),
        "bool": np.bool_(True), "uint": np.uint64(2**64 - 1), "half": np.float16(0.5), "long": -(2**9000), "negative zero": -0.0,
    }  # fmt: skip
    back = there_and_back(path, state)
    assert back == state and np.signbit(back["negative zero"])


def chain(depth):
    """Lists in lists."""
    state = []
    for _ in range(depth):
        state = [state]
    return state


def test_depth(path):
    assert there_and_back(path, chain(99)) == chain(99)
    circle = {}
    circle["self"] = circle
    for endless in (circle, chain(500), chain(5000)):
        with pytest.raises(TypeError, match="more than 100 levels deep, or contains itself"):
            mt.save(path, endless)


class Labelled(np.ndarray):
    """An array of somebody's own class."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1j]), r"state\.x has dtype complex128"),
        (np.array(["a"]), "has dtype <U1"),
        (np.array([None]), "has dtype object"),
        (np.zeros(2, "f4,i4"), "has dtype"),
        (np.zeros(2, "M8[s]"), "has dtype datetime64"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "is a MaskedArray, which would come back as a plain array"),
        (np.zeros(2).view(Labelled), "is a Labelled"),
        (b"bytes", "is a bytes"),
        ({1, 2}, "is a set"),
        (1j, "is a complex"),
        (np.datetime64("2020-01-01"), "is a date"),
        (2**20_000, "is an integer of 20001 bits"),
        ("\ud800", r"'\\ud800', is no text"),
        ({"\ud83d\ude00": 1}, r"a key of state\.x, .* is no text"),
        ({1: 2}, "has the key 1"),
        (mt.nn.Linear(1, 1), "pass its state_dict"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else type(value).__name__,
)
def test_what_would_not_come_back_is_refused(path, value, message):
    path.unlink(missing_ok=True)
    with pytest.raises(TypeError, match=message):
        mt.save(path, {"x": value})
    with pytest.raises(TypeError, match="save: (metadata|a key of metadata)"):
        mt.save(path, {}, metadata={"x": value})
    assert not path.exists()


def test_long_doubles_are_refused(path):
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("no such type on this machine")
    with pytest.raises(TypeError, match="dtype float128|dtype float96|longdouble"):
        mt.save(path, {"x": np.ones(2, np.longdouble)})


def test_tensors_are_no_metadata(path):
    for value in (mt.ones(2), np.ones(2)):
        with pytest.raises(TypeError, match=r"metadata\.w is an? \w+; tensors and arrays belong into the state"):
            mt.save(path, {}, metadata={"w": value})


def test_a_header_beyond_the_formats_limit_is_refused(path, monkeypatch):
    monkeypatch.setattr(safetensors, "LARGEST_HEADER", 1000)
    with pytest.raises(ValueError, match="the format has room for 1000"):
        mt.save(path, {"x" * 1000: 1})


def test_memory_maps_are_saved(path, tmp_path):
    mapped = np.memmap(tmp_path / "map", dtype=">i4", mode="w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert there_and_back(path, {"m": mapped})["m"].tolist() == [1, 2, 3]
