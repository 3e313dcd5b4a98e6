"""Saving and loading: tensors in the safetensors format, everything else as JSON in its header,
never pickle.

Whenever the process or the machine dies during ``save``, ``path`` holds either the old file or the
new one, whole. A checksum tells a damaged file from a good one.

The header's entry "minitensor" is JSON ``{"version", "checksum", "state", "metadata"}``. In "state"
there stands

    {"$tensor": name}   for a Tensor, with the name of its values in the file
    {"$array": name}    for a NumPy array
    {"$tuple": [...]}   for a tuple
    {"$dict": {...}}    for a dict with a key that begins with "$"

and "metadata" is written alike, without tensors.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import TYPE_CHECKING, Any

from minitensor.backend import as_device, is_array, memory, move, np
from minitensor.engine.messages import a_kind
from minitensor.engine.tensor import Tensor
from minitensor.files.json_text import parse
from minitensor.files.safetensors import (
    CURE,
    FileFormatError,
    TensorFile,
    can_store,
    stored_bytes,
    tensor_file,
    write_whole,
)

__all__ = ["FileFormatError", "load", "read_metadata", "save"]

if TYPE_CHECKING:
    from minitensor.files.safetensors import FilePath

VERSION = 1
DEEPEST = 100  # levels of nesting
LONGEST = 10_000  # bits of an integer; Python refuses to read much longer ones from text
_KEY = "minitensor"


def save(path: FilePath, state: Any, metadata: Any = None) -> None:
    """Write ``state`` to ``path`` so that the file is never seen half-written.

    state: dicts with string keys, lists and tuples, nested as you like, of tensors, NumPy arrays,
    numbers, strings, truth values and None, such as ``{"model": model.state_dict(), "optimizer":
    optimizer.state_dict(), "step": 100}``. A tensor that occurs more than once (a tied weight) is
    written once, and is one tensor again after ``load``. Tensors on a GPU are copied to the host,
    and arrays of another machine's byte order get this one's. What comes back equals what was
    saved, or ``save`` refuses. metadata: the same without tensors and arrays, which
    ``read_metadata`` gets without reading the tensors. Raises TypeError naming the place of a value
    that cannot be saved, OSError if the disk refuses; the old file then stands.

    >>> import minitensor as mt, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> mt.save(path, {"w": mt.ones(2), "step": 3})
    >>> mt.load(path)
    {'w': tensor([1., 1.]), 'step': 3}
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"save: the path comes first and the state second, got {type(path).__name__} as the path")
    tensors = _Tensors()
    header = {
        "version": VERSION,
        "state": _encode(state, "state", tensors),
        "metadata": _encode(metadata, "metadata", None),
    }
    header["checksum"] = _checksum(header, tensors.arrays)
    write_whole({path: tensor_file(tensors.arrays, {_KEY: json.dumps(header)})})


def load(path: FilePath, device: str | None = None) -> Any:
    """The state that ``save`` wrote to ``path``; tensors on ``device`` ("cpu" if none), none of
    them requiring a gradient.

    Raises FileNotFoundError, or FileFormatError for a file that is damaged, cut short or not of
    this kind.
    """
    device = as_device(device)
    header, arrays = _read(path)
    if header.get("checksum") != _checksum(header, arrays):
        raise FileFormatError(
            f"{path}: the content does not match its checksum: it was damaged after it was saved; {CURE}"
        )
    tensors = {}

    def fetch(name):
        if name not in tensors:
            tensors[name] = Tensor(move(arrays[name], device))
        return tensors[name]

    return _decode(header["state"], fetch, arrays)


def read_metadata(path: FilePath) -> Any:
    """The ``metadata`` that was given to ``save``, or None; the tensors are not read."""
    return _decode(_read(path, only_header=True)[0].get("metadata"), None, None)


# --- the file -------------------------------------------------------------------------------------


def _read(path, only_header=False):
    """Our part of the header, and the arrays by name."""
    file = TensorFile(path)
    written = file.metadata.get(_KEY)
    if written is None:
        raise FileFormatError(
            f"{path}: a safetensors file, but not one that mt.save wrote; read it by minitensor.files.safetensors.TensorFile(path)"
        )
    try:
        header = parse(written)
        version = header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path}: the header is damaged ({error}); {CURE}") from None
    if version != VERSION:
        raise FileFormatError(f"{path}: written in format {version}, this version of minitensor reads format {VERSION}")
    return header, {} if only_header else {name: file.read(name, exact=True) for name in file.shapes}


def _checksum(header, arrays):
    """CRC-32 of the header's state and metadata, and of each array's name, dtype, shape
    and bytes.
    """
    total = zlib.crc32(json.dumps([header.get("state"), header.get("metadata")]).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(stored_bytes(array).data, total)
    return total


# --- nested state to JSON and back ----------------------------------------------------------------


class _Tensors:
    """The arrays to be written, each memory once, by name."""

    def __init__(self):
        self.arrays = {}
        self.names = {}
        self.alive = []  # keeps the memory that ``names`` knows by address

    def name_of(self, value, path):
        """Enter the array of ``value`` under its ``path`` in the state; the earlier name if it is
        known already.
        """
        array = value._array if isinstance(value, Tensor) else value
        if not can_store(array.dtype):
            raise TypeError(
                f"save: {path} has dtype {array.dtype}; numbers of up to 64 bits and truth values can be saved"
            )
        if isinstance(array, np.ndarray) and type(array) not in (np.ndarray, np.memmap):
            raise TypeError(f"save: {path} is {a_kind(array)}, which would come back as a plain array: save that")
        key = _identity(array)
        if key not in self.names:
            self.alive.append(array)
            name = path.partition(".")[2] or path  # without the leading "state"
            while name in self.arrays or name == "__metadata__":  # which means something else in such a file
                name += "_"
            self.names[key] = name
            host = np.asarray(move(array, "cpu"))
            self.arrays[name] = np.ascontiguousarray(host, host.dtype.newbyteorder("=")).reshape(array.shape)
        return self.names[key]


def _identity(array):
    """Equal for two arrays exactly if they are the same elements of the same memory."""
    if array.size == 0:
        return id(array)
    return memory.span(array), array.shape, array.strides, array.dtype.str


def _encode(value, path, tensors, depth=0):
    """``value`` as JSON values, its tensors entered in ``tensors``; they are refused if this is
    None.
    """
    if depth > DEEPEST:
        raise TypeError(f"save: {path[:80]}... is nested more than {DEEPEST} levels deep, or contains itself")

    def encode(item, name):
        return _encode(item, f"{path}.{name}", tensors, depth + 1)

    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"save: {path} has the key {key!r}; keys must be strings: write str(key)")
            _check_text(key, f"a key of {path}")
        encoded = {key: encode(item, key) for key, item in value.items()}
        return {"$dict": encoded} if any(key.startswith("$") for key in encoded) else encoded
    if isinstance(value, tuple):
        return {"$tuple": [encode(item, i) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [encode(item, i) for i, item in enumerate(value)]
    if isinstance(value, Tensor) or is_array(value):
        if tensors is None:
            raise TypeError(f"save: {path} is {a_kind(value)}; tensors and arrays belong into the state")
        return {"$tensor" if isinstance(value, Tensor) else "$array": tensors.name_of(value, path)}
    return _number(value, path)


def _number(value, path):
    """A number, string, truth value or None as it is; NumPy's as Python's."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        _check_text(value, path)
    if isinstance(value, int) and value.bit_length() > LONGEST:
        raise TypeError(f"save: {path} is an integer of {value.bit_length()} bits; up to {LONGEST} can be saved")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    hint = "; pass its state_dict()" if hasattr(value, "state_dict") else ""
    raise TypeError(f"save: {path} is {a_kind(value)}, which cannot be saved{hint}")


def _check_text(text, place):
    """Raise if ``text`` holds half a character, which no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError(
            f"save: {place}, {text!r}, is no text that can be written: it holds half a surrogate pair"
        ) from None


def _decode(value, fetch, arrays):
    """The inverse of ``_encode``."""
    if isinstance(value, list):
        return [_decode(item, fetch, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "$tensor":
            return fetch(inner)
        if key == "$array":
            return arrays[inner]
        if key == "$tuple":
            return tuple(_decode(item, fetch, arrays) for item in inner)
        if key == "$dict":
            return {name: _decode(item, fetch, arrays) for name, item in inner.items()}
    return {key: _decode(item, fetch, arrays) for key, item in value.items()}
