"""Arrays of the fake device (``fake_device.py``): they lie in host memory, on one of several GPUs
by name.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import SimpleNamespace

import numpy as np

NOTES: list = [None]  # while a graph is captured, a list of functions that do again what was launched


class Syncs(list):
    """A list of names, to which nothing can be added while a graph is captured."""

    def append(self, what):
        """Count a wait."""
        if NOTES[0] is not None:
            raise RuntimeError(f"the current stream is capturing, so synchronous API calls are disallowed ({what})")
        super().append(what)


SYNCS = Syncs()  # what made the host wait: names of methods, in order
CURRENT = [0]  # the number of the current GPU
# Parameters that CuPy takes as Python's or NumPy's integers alone: its arrays have no __index__.
INTEGERS = frozenset(
    "axis axes axis1 axis2 shape newshape shift k repeats reps pad_width source destination indices_or_sections num n N M "
    "ddof decimals".split()
)


def noted(function):
    """Run what is launched; while a graph is captured, note it too."""
    function()
    if NOTES[0] is not None:
        NOTES[0].append(function)


def note(result, function, inputs, written=False):
    """While a graph is captured: note that ``function`` gives the content of ``result``, which is a
    device array or several. Views are no work; ``written``: it writes to its inputs.
    """
    if NOTES[0] is None:
        return result
    found = [one for one in flat([result]) if isinstance(one, ndarray)]
    roots = {id(root_of(x.array)) for x in flat(inputs) if isinstance(x, ndarray)}
    new = [id(root_of(one.array)) not in roots for one in found]

    def again():
        values = function()
        values = list(flat([values])) if isinstance(values, (tuple, list)) else [values]
        arrays = [value for value in values if isinstance(value, (np.ndarray, np.generic))]
        for one, value, fresh in zip(found, arrays, new):
            if fresh:
                one.array[...] = value

    if any(new) or not found or written:
        NOTES[0].append(again)
    return result


def launch(*values):
    """Refuse what would run on the current GPU with an array of another."""
    for x in flat(values):
        if isinstance(x, ndarray) and x.device.id != CURRENT[0]:
            raise AssertionError(f"launched on GPU {CURRENT[0]} with an array on GPU {x.device.id}")


class ndarray:  # noqa: N801  CuPy's name
    """An array "on the device"."""

    __hash__ = None

    def __init__(self, array, base=None, dtype=None):
        if not isinstance(array, (np.ndarray, np.generic)):  # (shape, dtype), as CuPy's own
            array, base = np.empty(array, base if dtype is None else dtype), None
        self.array = array
        self.base = base
        self.device = SimpleNamespace(id=CURRENT[0]) if base is None else base.device

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion of a device array to a NumPy array")

    def __array_function__(self, function, types, args, kwargs):
        if not all(issubclass(kind, (ndarray, np.ndarray)) for kind in types):
            return NotImplemented
        raise TypeError(f"numpy.{function.__name__} called on a device array")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if any(is_foreign(x) for x in inputs):
            return NotImplemented
        # np.float32(2) * array, as CuPy allows
        if method == "__call__" and any(isinstance(x, np.generic) for x in inputs):
            return run(ufunc, *inputs, **kwargs)
        raise TypeError(f"numpy.{ufunc.__name__} called on a device array")

    @property
    def __cuda_array_interface__(self):
        """What CuPy's arrays are told by."""
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3}

    @property
    def data(self):
        """The memory, as CuPy shows it: an object with the address."""
        address = self.array.__array_interface__["data"][0]
        return SimpleNamespace(ptr=address, copy_from_device_async=self._copy, array=self)

    def _copy(self, source, size):
        launch(self)
        assert self.flags.c_contiguous and source.array.flags.c_contiguous and size == self.array.nbytes
        noted(lambda: np.copyto(self.array, source.array.array))

    @property
    def flags(self):
        """Contiguity and ownership."""
        flags = self.array.flags
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=self.base is None, writeable=True
        )

    @property
    def _c_contiguous(self):
        return self.array.flags.c_contiguous

    def __getattr__(self, name):
        if name.startswith("__") or name in ("ctypes", "getfield", "setfield", "resize", "setflags", "to_device"):
            raise AttributeError(name)
        value = getattr(self.array, name)
        if not callable(value):
            return wrap(value, (self,))
        if name in ("item", "tolist", "nonzero", "tobytes"):
            SYNCS.append(name)
            return lambda *args: value(*args) if name != "nonzero" else wrap(value(), ())
        if name in ("fill", "sort", "partition", "put"):
            launch(self)

        def method(*args, **kwargs):
            by_position = args if name in ("reshape", "transpose", "swapaxes", "squeeze", "repeat") else ()
            refuse_as_integers([*by_position, *(kwargs[key] for key in INTEGERS & set(kwargs))])
            args, kwargs = unwrap(args), unwrap(kwargs)
            changes = name in ("fill", "sort", "partition", "put") or "out" in kwargs
            return note(wrap(value(*args, **kwargs), (self,)), lambda: value(*args, **kwargs), (self,), changes)

        return method

    def get(self):
        """A copy in host memory."""
        SYNCS.append("get")
        return self.array.copy()

    def __getitem__(self, index):
        note_mask(index, "read")
        found = wrapped_round(unwrap(index), self.shape)
        value = self.array[found]
        if isinstance(value, np.generic):  # a view, as CuPy has it
            value = self.array[(*found, ...) if isinstance(found, tuple) else (found, ...)]
        return note(wrap(value, (self,)), lambda: self.array[wrapped_round(unwrap(index), self.shape)], (self,))

    def __setitem__(self, index, value):
        note_mask(index, "write")
        launch(self, index, value)
        index, value = unwrap(index), unwrap(value)
        noted(lambda: self.array.__setitem__(index, value))

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"device {self.array!r}"


def note_mask(index, what):
    """Reading by a mask, and writing by one, even a number, must count the true places,
    and waits.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, ndarray) and part.dtype == bool for part in parts):
        SYNCS.append(f"{what} by a mask")


def wrapped_round(index, shape):
    """``index`` with ids out of range silently brought into it, as CuPy does."""
    parts = index if isinstance(index, tuple) else (index,)
    taken = [0 if p is None or p is Ellipsis or p is True or p is False else p.ndim if is_mask(p) else 1 for p in parts]
    made, axis = [], 0
    for part, count in zip(parts, taken):
        if isinstance(part, np.ndarray) and part.ndim and not is_mask(part):
            part = part % max(shape[axis], 1)
        made.append(part)
        axis += len(shape) - sum(taken) if part is Ellipsis else count
    return tuple(made) if isinstance(index, tuple) else made[0]


def is_mask(part):
    """Whether a part of an index is an array of truth values."""
    return isinstance(part, np.ndarray) and part.dtype == bool


def refuse_as_integers(values):
    """Raise CuPy's TypeError if one of its arrays is given as an axis, a length or a count, also
    within tuples and lists.
    """
    if any(isinstance(value, ndarray) for value in flat(values)):
        raise TypeError("'ndarray' object cannot be interpreted as an integer")


@cache
def signature_of(function):
    """The signature of a function of NumPy, or None if it has none."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def is_foreign(value):
    """Whether ``value`` is of a class with its own ufuncs, to which CuPy leaves the work."""
    return hasattr(value, "__array_ufunc__") and not isinstance(value, (ndarray, np.ndarray, np.generic))


def unwrap(value):
    """``value`` with device arrays as host arrays; a host array among them is an error."""
    if isinstance(value, ndarray):
        return value.array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return (list if isinstance(value, list) else tuple)(unwrap(item) for item in value)
    if isinstance(value, slice):  # its bounds may lie on the device: CuPy reads them
        bounds = value.start, value.stop, value.step
        return slice(*(int(bound) if isinstance(bound, ndarray) else bound for bound in bounds))
    return {key: unwrap(item) for key, item in value.items()} if isinstance(value, dict) else value


def wrap(value, inputs):
    """A NumPy result as a device array; a view knows whose memory it shares."""
    if isinstance(value, (tuple, list)) and any(isinstance(item, (np.ndarray, np.generic)) for item in value):
        items = [wrap(item, inputs) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    root = root_of(value)
    for x in inputs:
        if isinstance(x, ndarray) and root is root_of(x.array):
            return x if value is x.array else ndarray(value, x if x.base is None else x.base)
    launch(*inputs)
    return ndarray(value)


def root_of(array):
    """The array that owns the memory of ``array``."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def run(function, *args, **kwargs):
    """``function`` of NumPy on device arrays."""
    if "out" in kwargs:
        launch(args, kwargs["out"])
    signature = signature_of(function)
    named = kwargs if signature is None else signature.bind_partial(*args, **kwargs).arguments
    refuse_as_integers([named[key] for key in INTEGERS & set(named)])
    inputs = (*flat(args), *flat(kwargs.values()))
    args, kwargs = unwrap(args), unwrap(kwargs)
    return note(wrap(function(*args, **kwargs), inputs), lambda: function(*args, **kwargs), inputs, "out" in kwargs)


def flat(values):
    """All items of nested tuples and lists."""
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from flat(value)
        else:
            yield value


def operator(name, truth=False):
    """A dunder method that runs NumPy's; one that gives a Python value waits."""

    def method(self, *others):
        if truth:
            SYNCS.append(name)
            return getattr(self.array, name)()
        if "matmul" in name and NOTES[0] is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        launch(self, others)
        if any(map(is_foreign, others)):
            return NotImplemented
        others = unwrap(others)
        if name.startswith("__i") and name != "__invert__":
            noted(lambda: getattr(self.array, name)(*others))
            return self
        result = getattr(self.array, name)(*others)
        if result is NotImplemented:
            return result
        return note(wrap(result, (self,)), lambda: getattr(self.array, name)(*others), (self,))

    return method


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for _prefix in ("", "r", "i"):
        setattr(ndarray, f"__{_prefix}{_name}__", operator(f"__{_prefix}{_name}__"))
for _name in "eq ne lt le gt ge neg pos abs invert".split():
    setattr(ndarray, f"__{_name}__", operator(f"__{_name}__"))
for _name in "bool int float".split():  # there is no __index__
    setattr(ndarray, f"__{_name}__", operator(f"__{_name}__", truth=True))
