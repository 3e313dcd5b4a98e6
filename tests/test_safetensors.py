"""The safetensors format: against the library of its makers, and files that are not
what they say.
"""

import json
import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

import minitensor as mt
from minitensor.files.safetensors import NAMES, TensorFile, tensor_file, write_whole

numbers = st.sampled_from(
    [np.dtype(d) for d in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")]
)
some_array = numbers.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))


def content_of(tensors, metadata=None):
    return b"".join(bytes(piece) for piece in tensor_file(tensors, metadata))


def check(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@given(tensors=st.dictionaries(st.text(max_size=5), some_array, max_size=4))
def test_what_is_written_is_read(tmp_path_factory, tensors):
    tensors.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("files") / "x.safetensors"
    write_whole({path: tensor_file(tensors, {"a": "é"})})
    file = TensorFile(path)
    assert file.metadata == {"a": "é"} and set(file.shapes) == set(tensors)
    for name, array in tensors.items():
        check(file.read(name), array)


def test_the_library_of_the_format_reads_what_we_write_and_the_other_way(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    tensors = {f"{dtype}.{i}": np.arange(i * 3).reshape(3, i).astype(dtype) for dtype in NAMES for i in range(3)}
    tensors |= {"scalar": np.array(1.5), "transposed": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">i4")}
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_whole({ours: tensor_file(tensors, {"format": "pt"})})
    back = library.load_file(ours)
    library.save_file({name: one.copy() for name, one in tensors.items() if name != "big"}, theirs)
    for name in tensors:
        np.testing.assert_array_equal(back[name], tensors[name])
        if name != "big":
            check(TensorFile(theirs).read(name), tensors[name])


def test_arrays_begin_at_multiples_of_their_item_size():
    content = content_of({"a": np.ones(3, np.int8), "b": np.ones(1), "c": np.ones(1, np.float16)})
    size = int.from_bytes(content[:8], "little")
    begins = [entry["data_offsets"][0] for entry in json.loads(content[8 : 8 + size]).values()]
    assert size % 8 == 0 and begins == [0, 8, 10]


def test_what_is_computed_when_its_turn_comes():
    calls = []

    def late():
        calls.append(1)
        return np.ones((2, 1), np.float32)

    pieces = tensor_file({"x": (np.float32, (2, 1), late)}, None)
    next(pieces)
    assert not calls and bytes(next(pieces)) == np.ones(2, np.float32).tobytes() and calls


def damage(header, values=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\1\0\0", "shorter than its header"),
        (b"\xff" * 64, "shorter than its header"),
        (damage([1]), "not a table of tensors"),
        (damage(b'{"a": 1, "a": 1}'), '"a" stands twice, as 1 and as 1; leave one'),
        (damage(b'{"a": {"shape": [2], "shape": [3]}}'), r'"shape" stands twice, as \[2\] and as \[3\]'),
        (damage(b"\xff\xfe{}"), "utf-8"),
        (damage(b""), "shorter than its header"),
        (damage(b"[" * 5000), "nested too deeply"),
        (damage(b'{"a": 1' + b"0" * 5000 + b"}"), "a number of 5001 digits"),
        (damage(b'{"a": NaN}'), "has NaN, which is not JSON"),
        (damage({"\ud800": entry()}), "half a surrogate pair"),
        (damage({"a": 3}), "entry of a is 3, not a table"),
        (damage({"a": None}), "entry of a is None, not a table"),
        (damage({"a": ["F32", [2], [0, 8]]}), "entry of a is .*, not a table"),
        (damage({"a": {"dtype": "F32"}}), "entry of a has no shape and no data_offsets"),
        (damage({"a": {"shape": [2], "data_offsets": [0, 8]}}), "entry of a has no dtype"),
        (damage({"a": entry(shape=(-2,))}), r"the shape of a is \[-2\], not a list of integers from 0"),
        (damage({"a": entry(shape=(2.0,))}), r"the shape of a is \[2.0\]"),
        (damage({"a": entry(shape=(True, 2))}), r"the shape of a is \[True, 2\]"),
        (damage({"a": entry() | {"shape": None}}), "the shape of a is None"),
        (damage({"a": entry() | {"shape": {}}}), "the shape of a is {}"),
        (damage({"a": entry() | {"shape": "2"}}), "the shape of a is '2'"),
        (damage({"a": entry(dtype=3)}), "the dtype of a is 3"),
        (damage({"a": entry(dtype=["F32"])}), "the dtype of a is "),
        (damage({"a": entry() | {"data_offsets": [0, 4, 8]}}), r"the data_offsets of a are \[0, 4, 8\]"),
        (damage({"a": entry() | {"data_offsets": {}}}), "the data_offsets of a are {}"),
        (damage({"a": entry(begin=0.0)}), r"the data_offsets of a are \[0.0, 8\]"),
        (damage({"a": entry(begin=8, end=0)}), r"the data_offsets of a are \[8, 0\]"),
        (damage({"a": entry(shape=[1] * 64 + [2])}), "a has 65 axes; an array has at most 64"),
        (damage({"a": entry(shape=[2**33, 2**33])}), "the shape of a, .* of F32, is larger than any array"),
        (damage({"a": entry(shape=[0, 2**40, 2**40], end=0)}, b""), "the shape of a, .* is larger than any array"),
        (damage({"a": entry("F8_E4M3", [2**40, 2**40])}), "the shape of a, .* of F8_E4M3, is larger than any array"),
        (damage({"a": entry(shape=(3,))}), r"a has shape \(3,\) of F32 but 8 bytes"),
        (damage({"a": entry(begin=1, end=9)}), "a does not begin where"),
        (damage({"a": entry(), "b": entry(begin=4, end=12)}), "b does not begin where"),
        (damage({"a": entry()}, b"\0" * 7), "take 8 bytes, the file has 7"),
        (damage({"a": entry()}, b"\0" * 9), "take 8 bytes, the file has 9"),
        (damage({"__metadata__": {"a": 1}}, b""), "metadata is not text"),
        (damage({"__metadata__": []}, b""), "metadata is not text"),
        (damage({"__metadata__": "a"}, b""), "metadata is not text"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(mt.FileFormatError, match=f"x: not a safetensors file, or cut short or damaged .*{message}"):
        TensorFile(tmp_path / "x")


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "x").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 548105171\n", encoding="utf-8"
    )
    for read in (TensorFile, mt.load):
        with pytest.raises(
            mt.FileFormatError, match="x: a pointer of git-lfs, not the file itself: run `git lfs pull`"
        ):
            read(tmp_path / "x")


@pytest.mark.parametrize(
    "content",
    [
        damage({"__metadata__": None, "a": entry()}),
        damage({"a": entry() | {"more": [1.5, {"b": None}]}}),
        damage(b"  " + json.dumps({"a": entry()}).encode() + b"   "),
        damage({"a": entry(), "empty": entry(shape=(3, 0), begin=8)}),
        damage({"a": entry(shape=[1] * 63 + [2])}),
        damage({"": entry(shape=(1, 2))}),
        damage({"__metadata__": None}, b""),
        damage({}, b""),
    ],
)
def test_what_the_library_of_the_format_reads_is_read(tmp_path, content):
    library = pytest.importorskip("safetensors.numpy")
    (tmp_path / "x").write_bytes(content)
    file, expected = TensorFile(tmp_path / "x"), library.load_file(tmp_path / "x")
    assert file.metadata == {} and set(file.shapes) == set(expected)
    for name, array in expected.items():
        check(file.read(name), array)


def test_an_unknown_type_is_named_when_it_is_read(tmp_path):
    (tmp_path / "x").write_bytes(damage({"a": entry("F8_E4M3", (8,))}))
    with pytest.raises(mt.FileFormatError, match="a is of type F8_E4M3; those that can be read are F64, F32"):
        TensorFile(tmp_path / "x").read("a")


def test_random_damage_is_an_error_of_the_format_or_changes_numbers_alone(tmp_path):
    content, rng = content_of({"a": np.arange(4.0), "b": np.ones(3, np.float16)}, {"k": "v"}), random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] = rng.randrange(256)
        (tmp_path / "x").write_bytes(damaged)
        try:
            file = TensorFile(tmp_path / "x")
            values = [file.read(name) for name in file.shapes]
        except mt.FileFormatError:
            continue
        assert sum(value.nbytes for value in values) == 38


def test_a_file_cut_short_after_it_was_opened(tmp_path):
    write_whole({tmp_path / "x": tensor_file({"a": np.ones(4)}, None)})
    file = TensorFile(tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-3])
    with pytest.raises(mt.FileFormatError, match="cut short while it was read"):
        file.read("a")
