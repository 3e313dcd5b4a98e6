"""What people hand over as an array, on its way into a tensor: subclasses of NumPy's array, other
byte orders, nested lists.
"""

from __future__ import annotations

from minitensor.backend import as_dtype, cast, holds_numbers, is_array, move, np

__all__ = ["array_of", "holds_tensors", "leaves_of", "plain_array"]

_DEFAULT_DTYPES = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}


def array_of(data, dtype, device):
    """``data`` (no Tensor) as an array of ``dtype`` on ``device``, and whether it is a new one,
    that nobody else holds.
    """
    if not is_array(data) and (isinstance(data, np.generic) or hasattr(data, "__array__")):
        data = np.asarray(data)
    array = plain_array(data) if is_array(data) else _from_python(data, dtype)
    if dtype is not None:
        array = cast(array, as_dtype(dtype))
    moved = array if device is None else move(array, device)
    shared = is_array(data) and (array is data or (isinstance(data, np.ndarray) and np.may_share_memory(array, data)))
    return moved, not shared or moved is not array


def _from_python(data, dtype):
    if isinstance(data, (list, tuple)):
        data = _plain_parts(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"a tensor needs rows of equal length: {error}") from None
    if array.dtype == np.uint64 and (array > np.uint64(np.iinfo(np.int64).max)).any():
        raise OverflowError("an integer beyond 2**63 - 1 does not fit int64: write np.array(data), or a float")
    if not holds_numbers(array.dtype):
        raise TypeError(f"a tensor holds numbers or truth values, got {type(data).__name__} with {array.dtype}")
    wanted = np.dtype(_DEFAULT_DTYPES.get(array.dtype.kind, array.dtype)) if dtype is None else as_dtype(dtype)
    made = array.astype(wanted, copy=False)
    if made is not array and array.dtype.kind == "i" and wanted.kind in "iu" and (made != array).any():
        raise ValueError(f"{array[made != array].flat[0]} does not fit {wanted}: write a dtype that holds it")
    return made


def _plain_parts(data):
    """The nested list ``data`` with its arrays made plain: NumPy itself would take what stands
    behind a mask.
    """
    if not any(issubclass(kind, np.ndarray) for kind in _types_in(data)):
        return data
    return [
        _plain_parts(x) if isinstance(x, (list, tuple)) else plain_array(x) if isinstance(x, np.ndarray) else x
        for x in data
    ]


def plain_array(array):
    """The array (NumPy's or CuPy's) as one of numbers that every op can compute with, in the same
    memory if that is possible.

    A subclass (``np.matrix``, a memory map, a user's own) is taken for the plain array that it
    holds, since its operators may mean something else; a masked array only if nothing in it is
    masked. Bytes of another machine's order are turned. TypeError for what holds no numbers, and
    for masked elements.
    """
    if isinstance(array, np.ndarray) and array.__class__ is not np.ndarray:
        array = _without_class(array)
    dtype = array.dtype
    if not holds_numbers(dtype):
        cure = "; write array.astype(float) of numbers, mt.stack(list(array)) of tensors" if dtype.kind == "O" else ""
        raise TypeError(f"a tensor holds numbers or truth values, got {dtype}{cure}")
    # NumPy computes with files of other machines as well, but what it gives back is in this
    # machine's order.
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _without_class(array):
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise TypeError(
                f"a masked array with {np.ma.count_masked(array)} masked elements: a tensor knows no such mask, write "
                "array.filled(value) to say what stands there"
            )
        array = array.data
    return array.view(np.ndarray)


def holds_tensors(data):
    """Whether ``data`` is a list or tuple with a Tensor in it, however deep."""
    return isinstance(data, (list, tuple)) and any(hasattr(kind, "requires_grad") for kind in _types_in(data))


def _types_in(data):
    """The types of what a nested list or tuple holds, apart from the lists and tuples
    themselves.
    """
    found = set(map(type, data))
    nested = {kind for kind in found if issubclass(kind, (list, tuple))}
    if nested:
        found -= nested
        found.update(*[_types_in(item) for item in data if isinstance(item, (list, tuple))])
    return found


def leaves_of(data):
    """What a nested list or tuple holds, in order."""
    for item in data:
        if isinstance(item, (list, tuple)):
            yield from leaves_of(item)
        else:
            yield item
