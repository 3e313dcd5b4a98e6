"""``vmap``: a function of one example, run for many at once."""

from __future__ import annotations

import functools
from operator import index
from typing import TYPE_CHECKING, Any

from minitensor import random
from minitensor.backend import is_array, np
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.settings import flag, integer
from minitensor.engine.tensor import Tensor, asarray
from minitensor.engine.trees import named_leaves, rebuilt, spread
from minitensor.ops.shape import broadcast_to, expand_dims, moveaxis
from minitensor.transforms.batched import Batched
from minitensor.transforms.level import Level
from minitensor.transforms.recording import check_function

__all__ = ["vmap"]

if TYPE_CHECKING:
    from collections.abc import Callable

DRAWS = (
    "mt.vmap: random numbers inside the function would be the same for all examples: draw them outside and pass them in, with "
    "an axis for the examples, or write mt.vmap(f, loop=True), which draws for each example"
)


def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_size: int | None = None,
    loop: bool = False,
) -> Callable[..., Any]:
    """A function that runs ``fun`` for many examples at once, which lie along an axis of its
    arguments.

    ``fun`` sees tensors of one example, without that axis, and its results get one. in_axes: the
    axis of each argument; an int or None for all of them, or a tuple (list) of one entry per
    positional argument, each an int, None, or a tree of them like the argument, which may end
    earlier. None: the argument is the same for all examples, and may be anything. Arguments by
    keyword have their examples along axis 0. out_axes: where the axis goes in the results, an int,
    or a tree of them like the result; None for what is the same for all examples. A result that is
    the same for all is repeated. axis_size: the number of examples; default: the length of the
    axes, which must be one.

    Each op runs once, for all examples. What has no rule for that (an op of one's own, a function
    that looks at values such as ``cross_entropy`` of targets) runs example by example inside, and
    is right. What cannot be known of many examples at once raises TypeError: an ``if`` on a value,
    ``.item()``, ``.numpy()``, ``assign``, ``backward``; and random numbers RuntimeError. loop: run
    ``fun`` example by example, one after the other: all this is allowed then, and nothing is won.

    Gradients go through it, from outside and from inside (``mt.vmap(mt.jacobian(f))``).

    Raises TypeError or ValueError if the axes do not fit the arguments, or differ in length.

    >>> import minitensor as mt
    >>> dot = mt.vmap(lambda x, y: (x * y).sum(), in_axes=(0, None))
    >>> dot(mt.ones((3, 2)), mt.tensor([1.0, 2.0]))
    tensor([3., 3., 3.])
    """
    loop = flag("vmap", "loop", loop)
    if axis_size is not None:
        axis_size = integer("vmap", "axis_size", axis_size, least=0)
    check_function("vmap", fun)
    if not _is_axis(in_axes) and not isinstance(in_axes, (tuple, list)):
        raise TypeError(f"vmap: in_axes is an int, None, or a tuple with an entry for each argument, got {in_axes!r}")
    _check_axes("in_axes", in_axes)
    _check_axes("out_axes", out_axes)

    @functools.wraps(fun, updated=())
    def run(*args, **keywords):
        leaves, axes = _taken(args, keywords, in_axes)
        size = _size(leaves, axes, axis_size)
        moved = [leaf if axis is None else moveaxis(leaf, axis, 0) for (_, leaf), axis in zip(leaves, axes)]
        mapped = [axis is not None for axis in axes]
        if loop:
            return _looped(fun, (args, keywords), moved, mapped, size, out_axes)
        level = Level(size, current_mode.get().observer)
        own = [Batched(x, level) if is_mapped else x for x, is_mapped in zip(moved, mapped)]
        args, keywords = rebuilt((args, keywords), own)
        with switched(observer=level, watched=True), random.refusing_draws(DRAWS):
            out = fun(*args, **keywords)
        return _given(out, out_axes, level)

    return run


# --- arguments ------------------------------------------------------------------------------------


def _is_axis(axis):
    if axis is None:
        return True
    try:
        index(axis)
    except TypeError:
        return False
    return not isinstance(axis, bool)


def _check_axes(name, axes):
    """Raise TypeError for a leaf that is no axis."""
    for place, axis in named_leaves(axes):
        if not _is_axis(axis):
            raise TypeError(f"vmap: {name}{place} must be an int or None, got {axis!r}")


def _taken(args, keywords, in_axes):
    """``((name, leaf), ...)`` of all arguments, and the axis of each leaf, not negative; leaves
    with an axis are Tensors.
    """
    if isinstance(in_axes, (tuple, list)):
        if len(in_axes) != len(args):
            raise ValueError(
                f"vmap: in_axes has {len(in_axes)} entries for {len(args)} positional arguments; one entry each, or one int"
            )
        args_axes = list(in_axes)
    else:
        args_axes = [in_axes] * len(args)
    leaves, axes = [], []
    for i, (arg, prefix) in enumerate(zip(args, args_axes)):
        leaves += [(f"argument {i}{place}", leaf) for place, leaf in named_leaves(arg)]
        axes += spread("vmap", prefix, arg, "in_axes", f"argument {i}")
    for name, arg in keywords.items():
        found = named_leaves(arg)
        leaves += [(f"argument {name}{place}", leaf) for place, leaf in found]
        axes += [0] * len(found)
    for i, ((name, leaf), axis) in enumerate(zip(leaves, axes)):
        if axis is None:
            continue
        if not (isinstance(leaf, Tensor) or is_array(leaf) or isinstance(leaf, (bool, int, float, np.generic))):
            raise TypeError(f"vmap: {name} is {a_kind(leaf)}, which has no axis of examples: give it None in in_axes")
        leaf = asarray(leaf)
        if not -leaf.ndim <= axis < leaf.ndim:
            raise ValueError(
                f"vmap: {name} has shape {leaf.shape}, and no axis {axis} of examples: give None in in_axes for what is the "
                "same for all"
            )
        leaves[i], axes[i] = (name, leaf), index(axis) % leaf.ndim
    return leaves, axes


def _size(leaves, axes, axis_size):
    """The number of examples."""
    sizes: dict[int, str] = {}
    for (name, leaf), axis in zip(leaves, axes):
        if axis is not None:
            sizes.setdefault(leaf.shape[axis], f"{name} has {leaf.shape[axis]} along axis {axis}")
    if axis_size is not None:
        sizes.setdefault(axis_size, f"axis_size is {axis_size}")
    if len(sizes) > 1:
        raise ValueError(f"vmap: the numbers of examples differ: {'; '.join(sizes.values())}")
    if not sizes:
        raise ValueError("vmap: no argument has an axis of examples: give one in in_axes, or say axis_size")
    return next(iter(sizes))


# --- results --------------------------------------------------------------------------------------


def _given(out, out_axes, level):
    """The results with the axis of examples where ``out_axes`` wants it."""
    leaves = named_leaves(out)
    axes = spread("vmap", out_axes, out, "out_axes", "the result")
    return rebuilt(out, [_with_axis(name, leaf, axis, level) for (name, leaf), axis in zip(leaves, axes)])


def _with_axis(name, leaf, axis, level):
    if axis is None:
        if level.mine(leaf):
            raise ValueError(
                f"vmap: out_axes is None for the result{name}, which differs from example to example: give it an axis"
            )
        return leaf
    if not (isinstance(leaf, Tensor) or is_array(leaf) or isinstance(leaf, (bool, int, float, np.generic))):
        raise TypeError(f"vmap: the function returned {a_kind(leaf)}{name and f' at {name}'}, not a tensor")
    leaf = leaf if isinstance(leaf, Tensor) else asarray(leaf)
    if not -leaf.ndim - 1 <= axis <= leaf.ndim:
        raise ValueError(
            f"vmap: out_axes is {axis} for the result{name}, which has the shape {leaf.shape} and one axis more"
        )
    out = leaf.value if level.mine(leaf) else broadcast_to(expand_dims(leaf, 0), (level.size, *leaf.shape))
    return moveaxis(out, 0, axis)


def _looped(fun, given, moved, mapped, size, out_axes):
    """``fun`` example by example, and the results stacked."""
    if not size:
        raise ValueError("vmap: loop=True has no example to run, and so no result")
    level = Level(size, None)
    own = [Batched(x, level) if is_mapped else x for x, is_mapped in zip(moved, mapped)]
    args, keywords = rebuilt(given, own)

    def run(*args, **keywords):
        out = fun(*args, **keywords)
        tensors = []
        for name, leaf in named_leaves(out):
            if not (isinstance(leaf, Tensor) or is_array(leaf) or isinstance(leaf, (bool, int, float, np.generic))):
                raise TypeError(f"vmap: the function returned {a_kind(leaf)}{name and f' at {name}'}, not a tensor")
            tensors.append(asarray(leaf))
        return rebuilt(out, tensors)

    return _given(level.one_by_one(run, args, keywords), out_axes, level)
