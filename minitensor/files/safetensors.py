"""The safetensors format, with NumPy alone: tensors by name in one file, never pickle
(github.com/huggingface/safetensors).

    8 bytes     N, the size of the header, little-endian
    N bytes     JSON {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
                      "__metadata__": {text: text}}
    the rest    the values of each tensor, row by row, little-endian; offsets count from here and
                leave no gap

bfloat16, which NumPy has through ``ml_dtypes`` alone, is widened to float32 on reading, if it is
not asked for; that is exact.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitensor.backend import as_dtype, np
from minitensor.files.json_text import parse

__all__ = [
    "FileFormatError", "TensorFile", "can_store", "refuse_pointer", "replace", "stored_bytes", "tensor_file", "write_whole",
]  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    FilePath: TypeAlias = str | os.PathLike[str]

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items() if name != "BF16"}
LARGEST_HEADER = 100_000_000  # bytes, as the format has it
LONGEST_NUMBER = 19  # digits: 64 bits hold no more
LARGEST_ARRAY = 2**63 - 1  # bytes, as NumPy has it
MOST_AXES = 64  # likewise
POINTER = b"version https://git-lfs.github.com/spec/"  # how a file begins that git-lfs left in the place of a large one
IN_USE = (5, 32)  # what Windows says of a file that somebody reads: ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION
PAUSES = (0.01, 0.05, 0.2, 0.75)  # seconds until such a file is tried again
CURE = "take a backup, or save or download it again"


class FileFormatError(ValueError):
    """A file that is not of the kind wanted, or that was cut short or damaged since it
    was written.
    """


class TensorFile:
    """A safetensors file: what it holds is known at once, and the values of a tensor are read when
    ``read`` asks for them.

    ``metadata`` is a dict of strings, ``shapes`` and ``dtypes`` (such as "F32") are dicts by name.
    Raises FileNotFoundError, or FileFormatError for a file that is damaged, cut short or of another
    kind.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file to load")
        refuse_pointer(self.path)
        try:
            self._start, header = _read_header(self.path)
            self.metadata = _checked_metadata(header.pop("__metadata__", None))
            for name, entry in header.items():
                _check_entry(name, entry)
            _check_layout(header, self.path.stat().st_size - self._start)
        except ValueError as error:
            problem = f"{path}: not a safetensors file, or cut short or damaged ({error}); {CURE}"
            raise FileFormatError(problem) from None
        self.shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        self.dtypes = {name: entry["dtype"] for name, entry in header.items()}
        self._begins = {name: entry["data_offsets"][0] for name, entry in header.items()}

    def read(self, name: str, exact: bool = False) -> np.ndarray:
        """A new array with the values of tensor ``name``. exact: bfloat16 stays so; TypeError if
        ml_dtypes is missing.
        """
        stored = self.dtypes[name]
        if stored not in DTYPES:
            raise FileFormatError(
                f"{self.path}: {name} is of type {stored}; those that can be read are {', '.join(DTYPES)}"
            )
        array = np.empty(self.shapes[name], DTYPES[stored])
        with open(self.path, "rb") as file:
            file.seek(self._start + self._begins[name])
            if file.readinto(_bytes_of(array)) != array.nbytes:
                raise FileFormatError(f"{self.path}: cut short while it was read; {CURE}")
        if stored == "BF16" and exact:
            return array.astype(np.uint16, copy=False).view(as_dtype("bfloat16"))
        if stored == "BF16":  # the upper half of a float32
            return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return array.astype(array.dtype.newbyteorder("="), copy=False)


def can_store(dtype: np.dtype[Any]) -> bool:
    """Whether the format has numbers of this type, in whatever byte order."""
    return _stored(dtype) is not None


def _stored(dtype):
    """The format's name of ``dtype``; None if it has none."""
    return "BF16" if dtype.name == "bfloat16" else NAMES.get(np.dtype(dtype).newbyteorder("<"))


def stored_bytes(array: np.ndarray) -> np.ndarray:
    """The values of ``array`` row by row, little-endian: a contiguous array of bytes."""
    if array.dtype.name == "bfloat16":
        array = array.view(np.uint16)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)


def tensor_file(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> Iterator[Any]:
    """The pieces of a safetensors file, to be written one behind the other: the header, then each
    array in turn.

    arrays: ``{name: array}``, or for what is to be computed only when its turn comes ``{name:
    (dtype, shape, function)}``. metadata: a dict of strings.
    """
    plans = {
        name: one if isinstance(one, tuple) else (one.dtype, one.shape, lambda one=one: one)
        for name, one in arrays.items()
    }
    # The widest numbers first, so that each tensor begins at a multiple of its own item size.
    names = sorted(plans, key=lambda name: (-np.dtype(plans[name][0]).itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    begin = 0
    for name in names:
        dtype, shape, _ = plans[name]
        end = begin + math.prod(shape) * np.dtype(dtype).itemsize
        stored = _stored(np.dtype(dtype))
        header[name] = {"dtype": stored, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise ValueError(
            f"what stands beside the tensors takes {len(text)} bytes; the format has room for {LARGEST_HEADER}"
        )
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        dtype, shape, compute = plans[name]
        yield stored_bytes(np.asarray(compute(), dtype))


def write_whole(files: Mapping[Any, Iterable[Any]]) -> None:
    """Make each path hold its content, all of it or none: write beside them, flush to the disk,
    rename, flush the folder.

    files: ``{path: iterable of pieces of bytes}``, in one folder. Whenever the process dies, each
    path holds the old content or the new one, whole; the renaming of several comes when all are
    written.
    """
    files = {Path(path): pieces for path, pieces in files.items()}
    folder = next(iter(files)).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"cannot save {next(iter(files))}: {folder} is not a folder; create it first")
    for path in files:
        if path.is_dir():
            raise IsADirectoryError(f"cannot save {path}: it is a folder; name a file, such as one in it")
    # One name for each, so that what a killed save left is overwritten by the next.
    beside = {path: path.with_name(f".{path.name}.tmp") for path in files}
    try:
        for path, pieces in files.items():
            with open(beside[path], "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            replace(beside[path], path)
    except BaseException:
        for path in files:
            beside[path].unlink(missing_ok=True)
        raise
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # without it the new names themselves may be lost with the power
        finally:
            os.close(descriptor)


def replace(source: FilePath, target: FilePath) -> None:
    """``os.replace``, which Windows refuses while somebody reads the target: there it is tried
    again for a second.
    """
    for pause in PAUSES:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE:
                raise
        time.sleep(pause)
    os.replace(source, target)


def refuse_pointer(path: FilePath) -> None:
    """Raise FileFormatError if the file at ``path`` is a pointer that git-lfs leaves for a file
    that it has not fetched.
    """
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise FileFormatError(
                f"{path}: a pointer of git-lfs, not the file itself: run `git lfs pull` in its folder, or download the file"
            )


def _bytes_of(array):
    """The memory of a contiguous array as a row of bytes."""
    return array.reshape(-1).view(np.uint8)


def _read_header(path):
    """Where the values begin, and the header."""
    with open(path, "rb") as file:
        first = file.read(8)
        size = int.from_bytes(first, "little")
        if len(first) < 8 or not 2 <= size <= min(LARGEST_HEADER, path.stat().st_size - 8):
            raise ValueError("it is shorter than its header")
        text = file.read(size).decode("utf-8")
    header = parse(text, _check_names, parse_int=_integer, parse_constant=_no_constant)
    if not isinstance(header, dict):
        raise ValueError("its header is not a table of tensors")
    return 8 + size, header


def _check_names(table):
    if any(re.search("[\ud800-\udfff]", name) for name in table):
        raise ValueError("its header has a name that is no text: it holds half a surrogate pair")


def _integer(text):
    if len(text) > LONGEST_NUMBER + 1:
        raise ValueError(f"its header has a number of {len(text)} digits")
    return int(text)


def _no_constant(text):
    raise ValueError(f"its header has {text}, which is not JSON")


def _checked_metadata(metadata):
    """The table of texts beside the tensors; a file may say ``null`` for none."""
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata is not text")
    return metadata


def _check_entry(name, entry):
    """Raise ValueError for what the header says of a tensor, if no tensor can be so."""
    if not isinstance(entry, dict):
        raise ValueError(f"the header's entry of {name} is {entry!r}, not a table of dtype, shape and data_offsets")
    lost = [field for field in ("dtype", "shape", "data_offsets") if field not in entry]
    if lost:
        raise ValueError(f"the header's entry of {name} has no {' and no '.join(lost)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise ValueError(f"the dtype of {name} is {dtype!r}, not the name of one")
    if not _are_sizes(shape):
        raise ValueError(f"the shape of {name} is {shape!r}, not a list of integers from 0")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"the data_offsets of {name} are {offsets!r}, not where it begins and ends")
    if len(shape) > MOST_AXES:
        raise ValueError(f"{name} has {len(shape)} axes; an array has at most {MOST_AXES}")
    itemsize = np.dtype(DTYPES.get(dtype, "|u1")).itemsize
    if math.prod(n or 1 for n in shape) * itemsize > LARGEST_ARRAY:  # NumPy counts so, even if another axis is empty
        raise ValueError(f"the shape of {name}, {tuple(shape)} of {dtype}, is larger than any array")


def _are_sizes(values):
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)


def _check_layout(header, size):
    """Raise unless the tensors follow each other without gaps through all ``size`` bytes, each as
    long as its shape says.
    """
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        shape, dtype = entry["shape"], entry["dtype"]
        if begin != position:
            raise ValueError(f"{name} does not begin where the tensor before it ends")
        if dtype in DTYPES and end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
            raise ValueError(f"{name} has shape {tuple(shape)} of {dtype} but {end - begin} bytes")
        position = end
    if position != size:
        raise ValueError(f"the tensors take {position} bytes, the file has {size}")
