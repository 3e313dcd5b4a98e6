"""The Tensor: a light handle on an array and, if a gradient is wanted, a node of the graph.

Tensors are values: there is no item assignment and no in-place operator. Operators and the methods
that NumPy's arrays have too are attached in ``methods.py``, once the ops exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import copied, device_of, is_array, is_floating, memory, move, np, on
from minitensor.backend.capture import capturing
from minitensor.engine import library
from minitensor.engine.arraylike import array_of, holds_tensors
from minitensor.engine.autograd import Node, depositing, new_leaf, watch
from minitensor.engine.hooks import Handle
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import current_mode

__all__ = ["Tensor", "asarray", "tensor"]


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from numpy.typing import DTypeLike
    from typing_extensions import Self

    from minitensor.engine.attached import Attached, TensorLike
else:
    Attached = object

_NDARRAY = np.ndarray


class Tensor(Attached):
    """An n-dimensional array that can record where it came from. Make one with ``mt.tensor`` or
    ``mt.asarray``.

    Operators, and the methods ``all any argmax argmin argsort astype backward broadcast_to clip
    cumprod cumsum diagonal flatten max mean min prod put repeat reshape round sort squeeze std sum
    swapaxes take to to_device trace transpose var T mT``, are those of NumPy's arrays;
    ``engine/attached.pyi`` has their signatures, and each is documented at the function of its
    name.

    ``Tensor(array)`` itself copies nothing: it is for an array that nobody else will write to.
    ``data`` is the raw NumPy or CuPy array, for reading (the engine itself uses ``_array``, which
    can be written); ``node`` is the place in the graph, or None if no gradient is wanted.
    (``_data``, as a name, would be read by NumPy's masked arrays.)
    """

    __slots__ = ("_array", "node", "_name", "_frozen")
    _frozen: Node | None  # the place in the graph of a leaf that was frozen, for when it is wanted again
    of_parts: Callable[[Any], Tensor]  # a Tensor from a nested list that holds Tensors, attached in ops/methods.py

    def __init__(self, data: Any, node: Node | None = None) -> None:
        if node.__class__ is not Node and data.__class__ is not _NDARRAY and not is_array(data):
            raise TypeError(
                f"mt.Tensor holds an array that is made already: write mt.tensor(...) of {a_kind(data)}, "
                "mt.zeros(shape) for a tensor of a shape"
            )
        self._array = data
        self.node = node

    # --- what it is -------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The raw array, for reading: a view that refuses writes, since what is written past the
        engine would spoil gradients.

        CuPy knows no such arrays: on a GPU this is the array itself, and must be left as it is.
        Write by ``assign``.
        """
        return memory.read_only(self._array)

    @data.setter
    def data(self, value):
        raise TypeError("data is for reading: write x.assign(value), which keeps the shape and tells the engine")

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements, a NumPy dtype."""
        return self._array.dtype

    @property
    def device(self) -> str:
        """Where the array lives: "cpu" or "cuda:N"."""
        return device_of(self._array)

    @property
    def name(self) -> str | None:
        """The name used in messages; for a module's parameter its path, such as
        "encoder.layers.0.query.weight".
        """
        return getattr(self, "_name", None)

    @name.setter
    def name(self, name: str | None):
        self._name = name

    def __repr__(self) -> str:
        body = np.array2string(move(self._array, "cpu"), separator=", ", prefix="tensor(")
        notes = [] if self.dtype in (np.float32, np.int64, np.bool_) else [f"dtype={self.dtype}"]
        notes += [f'device="{self.device}"'] if self.device != "cpu" else []
        notes += ["requires_grad=True"] if self.node is not None else []
        return f"tensor({', '.join([body, *notes])})"

    # --- gradient ---------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether backward reaches this tensor."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool):
        self.requires_grad_(wanted)

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Make this a leaf whose gradient is wanted (or no longer wanted); returns the tensor
        itself.

        A leaf that is frozen forgets its gradient. Made one again it is the same leaf: its hooks
        are there, and graphs that were recorded before reach it.
        """
        if wanted and self.node is None and getattr(self, "_frozen", None) is not None:
            self.node, self._frozen = self._frozen, None
        elif wanted and self.node is None:
            if not is_floating(self.dtype):
                raise TypeError(
                    f"only floating tensors can require a gradient, this one is {self.dtype}: "
                    'write dtype="float32", or .astype("float32") first'
                )
            self.node = new_leaf(self._array)
        elif not wanted and self.node is not None:
            if self.node.pullback is not None:
                raise RuntimeError("requires_grad_(False) on the result of an op: write .detach() to get a constant")
            watch(self.node).grad = None
            self.node, self._frozen = None, self.node
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op made this tensor (or none was recorded)."""
        return self.node is None or self.node.pullback is None

    # To a checker ``Tensor | Any``, not ``Tensor | None``: nobody need ask, behind ``backward``,
    # whether there is one.
    @property
    def grad(self) -> Tensor | Any:
        """The gradient that ``backward`` deposited, a Tensor, or None; a later pass does not change
        what was read before.

        What is written to it (``x.grad.assign(0.0)``) counts, for the optimiser's step and for the
        next backward, as long as it is the gradient. Setting takes a copy of the Tensor given, or
        None.
        """
        self._look_at_gradient()
        if self.node is None or self.node.watch is None:
            return None
        watched = self.node.watch
        with depositing:
            value = watched.grad
            if value is not None and value.dtype != self.dtype:  # kept in float32, rounded when read
                value = (value if isinstance(value, Tensor) else Tensor(value)).astype(self.dtype)
                return value if value.node is not None else Shown(value._array)
            if value is not None and not isinstance(value, Tensor):
                # From now on the Tensor is the gradient, and belongs to the reader: the engine
                # writes to this memory no more.
                value = watched.grad = Tensor(copied(value) if value is watched.grad_buffer else value)
        return value

    @grad.setter
    def grad(self, value: Tensor | None):
        if value is not None and (not isinstance(value, Tensor) or value.shape != self.shape):
            raise (ValueError if isinstance(value, Tensor) else TypeError)(
                f"grad must be None or a Tensor of shape {self.shape}, got {a_kind(value)} of shape {np.shape(value)}"
            )
        self._look_at_gradient()
        if self.node is None:
            if value is None:
                return
            raise RuntimeError("this tensor does not require a gradient: write .requires_grad_() first")
        if value is not None and value.device != self.device:
            raise ValueError(f'grad is on {value.device}, the tensor on {self.device}: write .to("{self.device}")')
        kept = self.node.dtype  # float32 for values of 16 bits
        if value is not None and value.dtype != kept:
            value = value.astype(kept)
        watched = watch(self.node)
        watched.grad = value if value is None or value.node is not None else copied(value._array)
        watched.scale, watched.summed = None, False  # both are known of what backward deposits

    def _look_at_gradient(self):
        """Tell a CUDA graph that is captured that it depends on this tensor's gradient."""
        if (capture := capturing()) is not None:
            capture.parameters.append(self)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in ``.grad`` too."""
        self.check_tracked("retain_grad")
        watch(self.node).retains_grad = True

    def register_hook(self, hook: Callable[[Tensor], TensorLike | None]) -> Handle:
        """Call ``hook(gradient)`` when backward reaches this tensor; a Tensor that it returns
        replaces the gradient.

        What it is shown is for reading. Returns a ``Handle``, whose ``remove()`` takes the hook off
        again.
        """
        self.check_tracked("register_hook")

        def served(gradient):
            answer = hook(gradient if isinstance(gradient, Tensor) else Shown(memory.read_only(gradient)))
            if answer is None:
                return gradient
            return asarray(answer) if isinstance(gradient, Tensor) else asarray(answer)._array

        return Handle(watch(self.node).hooks, served)

    def check_tracked(self, wish: str) -> None:
        """Raise RuntimeError if no gradient reaches this tensor, so that ``wish`` cannot be
        granted.
        """
        if self.node is None:
            raise RuntimeError(
                f"{wish}: this tensor does not require a gradient; make an input with requires_grad=True, and compute it "
                "outside mt.no_grad()"
            )

    def detach(self) -> Tensor:
        """The same values as a constant."""
        return Tensor(self._array)

    def assign(self, value: TensorLike) -> None:
        """Overwrite the value of this leaf in place; backward then refuses graphs that had saved
        the old one.

        value: a tensor, array or number of the same shape (numbers are repeated); it is cast to the
        dtype held.
        """
        if not self.is_leaf:
            raise RuntimeError("assign on the result of an op; only leaves (parameters) are overwritten")
        if isinstance(self._array, np.ndarray) and not self._array.flags.writeable:
            raise RuntimeError(
                "assign: this tensor's memory is read-only (a memory map, or a gradient that a hook is shown); write "
                "mt.tensor(x) for a copy that can be overwritten"
            )
        given: Any = value._array if isinstance(value, Tensor) else value
        if library.doctor is not None and current_mode.get().anomaly:
            library.doctor.refuse_read("assign", (value,))
        if (capture := capturing()) is not None:
            capture.touched += [self, value] if isinstance(value, Tensor) else [self]
            capture.each_time(lambda: memory.record_write(self._array, self.name), lambda: None)
        if not isinstance(given, (bool, int, float, np.number)):
            given, _ = array_of(given, self.dtype, self.device)
            if given.shape != self.shape:
                raise ValueError(f"assign: {self.name or 'the tensor'} has shape {self.shape}, the value {given.shape}")
        with on(self._array):
            self._array[...] = given
        memory.record_write(self._array, self.name)

    # --- out of the library -----------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """A read-only NumPy view; TypeError on a GPU, where it would be a silent copy."""
        if self.device != "cpu":
            raise TypeError(f'this tensor is on {self.device}: write .to("cpu").numpy()')
        return memory.read_only(self._array)

    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs one element, this tensor has shape {self.shape}")
        return move(self._array, "cpu").item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return move(self._array, "cpu").tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        self.check_constant("np.asarray")
        array = self.numpy()
        dtype = array.dtype if dtype is None else np.dtype(dtype)
        if copy is False and dtype != array.dtype:
            raise ValueError(f"copy=False: an array of {dtype} from a tensor of {array.dtype} is a copy")
        return array.astype(dtype, copy=bool(copy))

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """The library, as the Python array API standard asks for it; its versions 2021.12 to
        2024.12.
        """
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ValueError(f"minitensor follows the array API standard up to version 2024.12, not {api_version!r}")
        return library.face

    def check_constant(self, taker: str) -> None:
        """Raise TypeError if this tensor requires a gradient, which ``taker`` would lose."""
        if self.node is not None:
            raise TypeError(
                f"{taker} of a tensor that requires a gradient would lose the gradient: write x.detach() for the same values as a "
                "constant, or x.numpy() for the array"
            )

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor can be an index, this one is {self.dtype}")
        if self.size != 1:
            raise TypeError(f"only a tensor of one element can be an index, this one has shape {self.shape}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth value of a tensor of shape {self.shape} is ambiguous: write .any() or .all()")
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    def __setitem__(self, index, value):
        raise TypeError(
            "tensors are values: write mt.where(mask, value, x), mt.put_along_axis, or mt.concat of the parts"
        )

    def __reduce__(self):
        wanted = self.requires_grad and self.is_leaf  # a copy has no graph
        return _rebuild, (type(self), move(self._array, "cpu").copy(), self.device, wanted, self.name)


class Shown(Tensor):
    """A gradient that is shown for reading: to a hook, or rounded to 16 bits. What is written to it
    would be lost.
    """

    __slots__ = ()

    def assign(self, value: TensorLike) -> None:
        """Refused, with what to write instead."""
        raise RuntimeError(
            "assign: this gradient is only shown; return the new one from the hook, or write x.grad = value"
        )

    def __reduce__(self):
        return (_rebuild, (Tensor, *super().__reduce__()[1][1:]))


def _rebuild(kind, array, device, requires_grad, name):
    made = kind.__new__(kind)
    Tensor.__init__(made, move(array, device))
    made.name = name
    return made.requires_grad_() if requires_grad else made


# --- making tensors -------------------------------------------------------------------------------


def asarray(
    data: TensorLike, dtype: DTypeLike | None = None, device: str | None = None, *, copy: bool | None = None
) -> Tensor:
    """``data`` as a Tensor: a tensor stays what it is; an array is copied, so that writing to it
    later changes no tensor.

    Only memory that nobody can write, such as a memory map opened with ``mode="r"``, is shared.
    Python numbers and lists become float32 (integers int64, truth values bool); arrays and tensors
    keep their dtype and device. A list that holds tensors is stacked, with its gradient; numbers in
    it take the type of the tensors. copy: True copies everything (with the gradient), False raises
    ValueError if a copy would be needed.
    """
    if holds_tensors(data):
        data = Tensor.of_parts(data)
    if isinstance(data, Tensor):
        made = data if dtype is None else data.astype(dtype)
        made = made if device is None else made.to(device)
        shared = made._array is data._array
    else:
        found, is_new = array_of(data, dtype, device)
        array = found if is_new else memory.private(found)
        made, shared = Tensor(array), array is found and not is_new
    if copy is False and not shared:
        raise ValueError(
            "asarray: copy=False, but these values must be copied to be a tensor of their own, of this type and place"
        )
    if copy and shared:
        return Tensor(copied(made._array)) if made.node is None else made * 1.0
    return made


def tensor(
    data: TensorLike, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new Tensor with its own copy of ``data`` (numbers, nested lists, an array, a tensor), on
    ``device`` ("cpu" if none).

    It is a constant, or a new leaf: of a tensor the values are taken, and TypeError is raised for a
    list of tensors that require a gradient, which ``mt.stack`` would keep.

    >>> tensor([[1, 2], [3, 4]], dtype="float32").shape
    (2, 2)
    """
    if holds_tensors(data):
        data = Tensor.of_parts(data)
        if data.requires_grad:
            raise TypeError(
                "mt.tensor makes a constant or a new leaf, and this list holds tensors that require a gradient: write "
                "mt.stack(list), or mt.asarray(list) of a nested one, to keep the gradient, or x.detach() in the list"
            )
    array, is_new = array_of(data._array if isinstance(data, Tensor) else data, dtype, device)
    made = Tensor(array if is_new else copied(array))
    return made.requires_grad_() if requires_grad else made
