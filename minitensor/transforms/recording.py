"""A function run on inputs of its own, recorded, so that its derivative can be asked for.

The inputs get nodes of their own: no gradient is deposited anywhere, and a graph that an input came
from goes on through it. What is given back is recorded itself only if something outside requires a
gradient (an input, a parameter that the function uses, a cotangent), and only outside
``mt.no_grad()``.

Inside a ``vmap`` every input is made one that differs from example to example, so that its gradient
is one for each of them.
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import copied, is_array, is_floating, memory, np
from minitensor.engine.autograd import backward_pass
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import current_mode, enable_grad
from minitensor.engine.op import alias
from minitensor.engine.tensor import Tensor, asarray
from minitensor.engine.trees import mapped, matched, named_leaves, rebuilt
from minitensor.ops.creation import ones_like, zeros_like
from minitensor.transforms.batched import Batched
from minitensor.transforms.level import levels, of_all, of_one

__all__ = ["Recording", "as_tangent", "check_function", "is_differentiable", "one_like"]


class Recording:
    """``function`` run on the trees ``primals``.

    names: what errors call the primals. out: the tree that the function returned, to be handed
    out; aux likewise. inputs, outputs: the leaves, of all examples.
    """

    def __init__(
        self, owner: str, function: Any, primals: tuple[Any, ...], names: list[str], has_aux: bool, call: Any = None
    ) -> None:
        check_function(owner, function)
        self.owner, self.primals = owner, primals
        self.levels, began = levels(), next(memory.clock)
        given = [
            differentiated(owner, name + place, leaf)
            for name, tree in zip(names, primals)
            for place, leaf in named_leaves(tree)
        ]
        with enable_grad():
            self.inputs = [_own(of_all(x, self.levels)) for x in given]
            own = rebuilt(primals, [of_one(x, self.levels) for x in self.inputs])
            returned = function(*own) if call is None else call(own)
        returned, aux = _parted(owner, returned) if has_aux else (returned, None)
        self.tree = returned
        named = [(name, _tensor(owner, name, leaf)) for name, leaf in named_leaves(returned)]
        self.names, leaves = [name for name, _ in named], [leaf for _, leaf in named]
        with enable_grad():
            self.outputs = [of_all(leaf, self.levels) for leaf in leaves]
        self.depends = any(_is_older(x, began) for x in (*self.inputs, *self.outputs))
        self.out = rebuilt(returned, [_handed_out(leaf, began) for leaf in leaves])
        self.aux = mapped(lambda leaf: _handed_out(leaf, began), aux)

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """The shape of one example of a tensor of all."""
        return x.shape[len(self.levels) :]

    def pull(self, cotangents: list[Any], recorded: bool | None = None) -> list[Tensor]:
        """The gradients of the inputs, of all examples, for cotangents of the outputs (None: 0)."""
        pairs = [(x, g) for x, g in zip(self.outputs, cotangents) if g is not None]
        return pulled(pairs, self.inputs, self.recorded(cotangents) if recorded is None else recorded)

    def recorded(self, given: list[Any]) -> bool:
        """Whether what follows from these tensors is to be recorded."""
        tracked = self.depends or any(g is not None and g.node is not None for g in given)
        return tracked and current_mode.get().grad

    def input_trees(self, leaves: list[Any]) -> tuple[Any, ...]:
        """Tensors of all examples, one for each leaf of the primals, as trees of one example."""
        return rebuilt(self.primals, [of_one(leaf, self.levels) for leaf in leaves])

    def cotangents(self, tree: Any) -> list[Any]:
        """The leaves of ``tree``, like the outputs, of all examples; None for one without a
        derivative.
        """
        parts = matched(self.owner, self.tree, tree, "the cotangent", "the output")
        found: list[Any] = []
        for name, like, part in zip(self.names, self.outputs, parts):
            if not is_floating(like.dtype):
                if part is not None:
                    raise TypeError(
                        f"{self.owner}: the output{name} is {like.dtype}, which has no derivative: its cotangent must be None"
                    )
                found.append(None)
                continue
            shape = self.shape_of(like)
            part = as_tangent(self.owner, f"the cotangent{name}", part, shape, like.dtype, like.device, "the output")
            found.append(of_all(part, self.levels))
        return found


def check_function(owner: str, function: Any) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(function):
        raise TypeError(f"{owner}: the first argument must be a function, got {function!r}")


def pulled(pairs: list[tuple[Tensor, Any]], inputs: list[Tensor], recorded: bool) -> list[Tensor]:
    """The gradients of ``inputs`` for ``(output, its gradient)``: zeros if none arrives."""
    pairs = [(x, g) for x, g in pairs if x.node is not None]
    roots = [x.node for x, _ in pairs]
    seeds = [g if recorded else g._array for _, g in pairs]
    found = backward_pass(
        roots, seeds, wanted={x.node for x in inputs}, retain_graph=True, create_graph=recorded
    ) if pairs else {}  # fmt: skip
    return [_gradient(found.get(x.node), x) for x in inputs]


def _gradient(value, x):
    """What a pass found for ``x``, as a Tensor of its type that nobody else holds."""
    if value is None:
        return zeros_like(x.detach())
    if not isinstance(value, Tensor):
        value = Tensor(value)
    elif value.node is None:
        value = Tensor(copied(value._array))
    return value if value.dtype == x.dtype else value.astype(x.dtype)


def _own(x):
    """``x`` with a node of its own, behind the one that it has."""
    return alias(x) if x.node is not None else Tensor(x._array).requires_grad_()


def _base(x):
    while isinstance(x, Batched):
        x = x.value
    return x


def _is_older(x, began):
    """Whether the graph of ``x`` reaches back to before ``began``: to what is outside."""
    node = _base(x).node
    seen, stack = {node}, [] if node is None else [node]
    while stack:
        node = stack.pop()
        if node.order < began:
            return True
        fresh = [parent for parent in node.parents if parent not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return False


def _handed_out(leaf, began):
    """A leaf of what the function returned: a constant, unless it leads to what is outside."""
    if not isinstance(leaf, Tensor) or (current_mode.get().grad and _is_older(leaf, began)):
        return leaf
    return leaf.detach()


def is_differentiable(leaf: Any) -> bool:
    """Whether a leaf is made of floating numbers."""
    if isinstance(leaf, Tensor) or is_array(leaf):
        return is_floating(leaf.dtype)
    return isinstance(leaf, (float, np.floating))


def differentiated(owner: str, name: str, leaf: Any) -> Tensor:
    """A leaf of an argument that is differentiated, as a Tensor.

    Raises TypeError for what is not made of floating numbers.
    """
    if is_differentiable(leaf):
        return asarray(leaf)
    dtype = getattr(leaf, "dtype", None)
    kind = type(leaf).__name__ if dtype is None else dtype
    if dtype is None and not isinstance(leaf, (bool, int)):
        raise TypeError(
            f"{owner}: {name} is {a_kind(leaf)}: tensors, arrays and floats are differentiated, and trees of them"
        )
    argnums = "leave it out of argnums, " if owner in ("value_and_grad", "jacobian", "hessian") else "close over it, "
    raise TypeError(
        f'{owner}: {name} is {kind}, and only floating numbers have a derivative: {argnums}or write .astype("float32")'
    )


def as_tangent(
    owner: str, name: str, value: Any, shape: tuple[int, ...], dtype: Any, device: str, like: str
) -> Any:  # fmt: skip
    """A tangent or cotangent as a Tensor; it has the shape, type and device of its like."""
    if isinstance(value, (bool, int, float)):
        value = asarray(value, dtype=dtype, device=device)
    if not isinstance(value, Tensor) and not is_array(value) and not isinstance(value, np.generic):
        raise TypeError(f"{owner}: {name} is {a_kind(value)}, it must be a tensor like {like}")
    value = asarray(value)
    for what, have, want in (("shape", value.shape, shape), ("type", value.dtype, dtype)):
        if have != want:
            kind = ValueError if what == "shape" else TypeError
            raise kind(f"{owner}: {name} has the {what} {have}, {like} {want}: they must be equal")
    if value.device != device:
        raise TypeError(f'{owner}: {name} is on {value.device}, {like} on {device}: write .to("{device}")')
    return value


def one_like(x: Tensor) -> Tensor:
    """Ones of the shape, type and device of a tensor of all examples."""
    return ones_like(x.detach())


def _parted(owner, returned):
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"{owner}: with has_aux=True the function returns a pair (output, aux), got {a_kind(returned)}")
    return returned


def _tensor(owner, name, leaf):
    """A leaf of what the function returned as a Tensor."""
    if isinstance(leaf, Tensor) or is_array(leaf) or isinstance(leaf, (bool, int, float, np.generic)):
        return asarray(leaf)
    raise TypeError(f"{owner}: the function returned {a_kind(leaf)}{name and f' at {name}'}, not a tensor")
