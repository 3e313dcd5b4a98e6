"""A module's state: ``Parameter``, which is trained, and ``Buffer``, which is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.engine.autograd import raw, watch
from minitensor.engine.mode import current_mode
from minitensor.engine.settings import flag
from minitensor.engine.tensor import Tensor, asarray
from minitensor.engine.tensor import tensor as copied

__all__ = ["Buffer", "Parameter", "replace_array"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


def _own_array(data):
    """A copy of ``data``; inside ``nn.init.shapes_only`` a stand-in for it."""
    return copied(data)._array if current_mode.get().memory else asarray(data)._array


class Parameter(Tensor):
    """A leaf tensor that a module trains.

    Its value is changed by ``assign``; ``to`` and ``astype`` of its module keep the object.

    data: numbers, an array or a tensor of a floating type; copied. TypeError for a list of tensors
    that require a gradient.
    """

    __slots__ = ()

    def __init__(self, data: TensorLike, requires_grad: bool = True) -> None:
        super().__init__(_own_array(data))
        self.requires_grad_(flag("Parameter", "requires_grad", requires_grad))


class Buffer(Tensor):
    """A tensor that a module saves, loads and moves, but does not train: a running mean, a table.

    data: numbers, an array or a tensor; copied. With ``persistent=False`` it is moved, but neither
    saved nor loaded. Its value is changed by ``assign``, or by assigning a tensor to the attribute
    of the module that holds it.

    >>> from minitensor import nn
    >>> class Counter(nn.Module):
    ...     def __init__(self):
    ...         self.calls = nn.Buffer([0])
    ...     def forward(self, x):
    ...         self.calls = self.calls + 1
    ...         return x
    >>> counter = Counter()
    >>> counter(1), counter.state_dict()
    (1, {'calls': tensor([1])})
    """

    __slots__ = ("persistent",)

    def __init__(self, data: TensorLike, persistent: bool = True) -> None:
        super().__init__(_own_array(data))
        self.persistent = flag("Buffer", "persistent", persistent)

    def __reduce__(self):
        return _rebuild_buffer, (*super().__reduce__(), self.persistent)


def _rebuild_buffer(build, arguments, persistent):
    made = build(*arguments)
    made.persistent = persistent
    return made


def replace_array(tensor, change):
    """Give ``tensor`` a changed array; a leaf gets a new node, with its gradient and hooks."""
    array = change(tensor._array)
    if array is tensor._array:
        return
    is_frozen = tensor.node is None
    old, tensor._array = getattr(tensor, "_frozen", None) if is_frozen else tensor.node, array
    if old is None:
        return
    tensor.node = tensor._frozen = None
    tensor.requires_grad_()
    kept, before = watch(tensor.node), watch(old)
    kept.hooks, before.hooks = before.hooks, {}
    if before.grad is not None:
        kept.grad, kept.scale, kept.summed = change(raw(before.grad)), before.scale, before.summed
    name = tensor.name or "a parameter"

    def refuse(gradient):
        raise RuntimeError(f"{name} was moved or cast between forward and backward: run the forward pass again")

    # A pass through an older graph would put the gradient where nobody reads it.
    before.hooks[refuse] = refuse
    if is_frozen:
        tensor.requires_grad_(False)
