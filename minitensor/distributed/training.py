"""One step of many: gradients added up, weights that are equal, rows that are shared out."""

from __future__ import annotations

import weakref
import zlib
from typing import TYPE_CHECKING

from minitensor.backend import device_of, memory, move, namespace, np, on
from minitensor.distributed.group import Group
from minitensor.engine.loss_scale import UNSCALED
from minitensor.engine.messages import a_kind
from minitensor.engine.settings import integer
from minitensor.optim.optimizer import Optimizer
from minitensor.optim.parameters import tensors_of

__all__ = ["check_agreement", "rows_of", "share_parameters", "sum_gradients"]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minitensor.optim.parameters import Tensors

# Of which optimisers it is known that all ranks have the same parameters.
_alike: weakref.WeakKeyDictionary[Optimizer, weakref.WeakSet[Group]] = weakref.WeakKeyDictionary()


def rows_of(group: Group, n: int) -> slice:
    """Which of the ``n`` rows of a batch are this rank's: neighbours, one more on the first ranks
    if they cannot be equally many. Of fewer rows than ranks the last ranks have none.
    """
    _check_group("rows_of", group)
    each, more = divmod(integer("rows_of", "n", n, least=0), group.size)
    start = each * group.rank + min(more, group.rank)
    return slice(start, start + each + (group.rank < more))


def sum_gradients(optimizer: Optimizer, group: Group, numbers: Sequence[float] = ()) -> list[float]:
    """Replace the gradients of the optimiser's parameters by their sums over all ranks; returns
    ``numbers`` (of a loss, say), added up likewise.

    One all-reduce of each flat buffer, which is one for all parameters of a dtype and device. A
    parameter has a gradient afterwards if it has one on any rank. The sum is that of the whole
    batch if each rank's loss is the *sum* over its targets divided by the number of targets of all
    (``divide_by``), and each has drawn what belongs to its rows (`minitensor.random.rows`).

    Raises ValueError if the ranks' optimisers have other parameters (looked at in the first call),
    and RuntimeError on a rank where a parameter is frozen that has a gradient on another, or if a
    `minitensor.optim.GradScaler` has unscaled the gradients: each rank would go by the overflows of
    its own rows, and some would skip a step that the others make. RuntimeError too for a gradient
    that is such a sum already: all ranks would add it up again.
    """
    _check_group("sum_gradients", group)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"sum_gradients takes an optimiser, whose parameters it serves, not {a_kind(optimizer)}")
    numbers = [float(number) for number in numbers]
    watched = _watches(optimizer)
    late = any(watch.scale == UNSCALED for watch in watched)
    if any(watch.summed for watch in watched):  # on all ranks: each has all sums
        raise RuntimeError(
            "sum_gradients: a gradient is a sum over all ranks already: call it once for each update, behind the last backward, "
            "with one optimiser for each parameter, and zero_grad() before the next"
        )
    if group.size == 1:
        _refuse(late)
        _mark(optimizer)
        return numbers
    buffers = optimizer.bound_buffers()
    _check_alike(optimizer, buffers, group, len(numbers))
    present = [buffer.fill() for buffer in buffers]
    flags = [float(flag) for flags in present for flag in flags]
    *told, ranks = group.sum([*numbers, *flags, float(late)])
    _refuse(ranks > 0)  # on all, or on none
    place = len(numbers)
    for buffer in buffers:
        stop = place + len(buffer.entries)
        some = [flag > 0 for flag in told[place:stop]]
        _check_frozen(buffer, some, group)
        if any(some):
            with on(buffer.device):
                group.all_reduce(buffer.gradients)
        buffer.deposit(some)
        place = stop
    _mark(optimizer)
    return told[: len(numbers)]


def _watches(optimizer):
    """What is known of the gradients that there are."""
    nodes = [parameter.node for part in optimizer.param_groups for parameter in part["params"]]
    return [node.watch for node in nodes if node is not None and node.watch is not None and node.watch.grad is not None]


def _mark(optimizer):
    """Write down that the gradients are sums."""
    for watch in _watches(optimizer):
        watch.summed = True


def _refuse(late):
    """Raise RuntimeError if gradients have been unscaled already."""
    if late:
        raise RuntimeError(
            "sum_gradients: the gradients have been unscaled, and whether they are finite was found out by this rank for itself: "
            "call sum_gradients before scaler.unscale_ and scaler.step"
        )


def share_parameters(parameters: Tensors, group: Group) -> None:
    """Give every rank the values of rank 0. Raises ValueError if the ranks have other parameters
    (in number, shape or dtype).
    """
    tensors = tensors_of("share_parameters", parameters)
    _check_group("share_parameters", group)
    if group.size == 1:
        return
    mine = [(tensor.name, tuple(tensor.shape), str(tensor.dtype)) for tensor in tensors]
    first = group.share(mine)
    wrong = [rank for rank, same in enumerate(group.gather(mine == first)) if not same]
    if wrong:
        raise ValueError(
            f"the parameters of rank {wrong[0]} are not those of rank 0: every rank must make the same model, with the "
            "same settings"
        )
    for tensor in tensors:
        array = tensor._array
        with on(array):
            sent = namespace(device_of(array)).ascontiguousarray(array).reshape(-1)
            group.broadcast(sent)
            array[...] = sent.reshape(array.shape)
            memory.record_write(array, tensor.name)


def check_agreement(parameters: Tensors, group: Group) -> None:
    """Raise RuntimeError on every rank unless all have the same weights, bit for bit."""
    tensors = tensors_of("check_agreement", parameters)
    _check_group("check_agreement", group)
    if group.size == 1:
        return
    mine = 0
    for tensor in tensors:
        mine = zlib.crc32(np.ascontiguousarray(move(tensor._array, "cpu")).tobytes(), mine)
    found = group.gather(mine)
    odd = [rank for rank, sum in enumerate(found) if sum != found[0]]
    if odd:
        raise RuntimeError(
            f"the weights of rank {odd[0]} are no longer those of rank 0: something has changed them on one rank alone, or "
            "a sum has come out differently there"
        )


def _check_group(owner, group):
    if not isinstance(group, Group):
        raise TypeError(f"{owner} takes a Group, such as mt.distributed.join() gives, not {a_kind(group)}")


def _check_alike(optimizer, buffers, group, numbers):
    """In the first sum of an optimiser's gradients: raise ValueError on every rank unless all have
    the same parameters in the same order, and so many numbers.
    """
    known = _alike.setdefault(optimizer, weakref.WeakSet())
    if group in known:
        return
    places = [(buffer.dtype.name, [tuple(e.parameter.shape) for e in buffer.entries]) for buffer in buffers]
    names = [[entry.parameter.name for entry in buffer.entries] for buffer in buffers]
    found = group.gather(f"{numbers} {zlib.crc32(repr((places, names)).encode())}")
    odd = [rank for rank, said in enumerate(found) if said != found[0]]
    if odd:
        raise ValueError(
            f"sum_gradients: the optimiser of rank {odd[0]} is not that of rank 0: all must have the same parameters in the "
            "same order, and give as many numbers"
        )
    known.add(group)


def _check_frozen(buffer, some, group):
    """Raise RuntimeError if a parameter has a gradient on another rank and is frozen on this one,
    where the step would leave it as it is.
    """
    for entry, there in zip(buffer.entries, some):
        if there and entry.parameter.node is None:
            raise RuntimeError(
                f"sum_gradients: {entry.label} has a gradient on another rank, and on rank {group.rank} it does not require "
                "one: freeze a parameter on all ranks or on none"
            )
