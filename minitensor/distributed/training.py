"""One step of many: gradients added up, weights that are equal, rows that are shared out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from minitensor.backend import device_of, memory, move, namespace, np, on
from minitensor.distributed.group import Group
from minitensor.engine.loss_scale import UNSCALED
from minitensor.engine.settings import integer
from minitensor.optim.optimizer import Optimizer
from minitensor.optim.parameters import tensors_of

__all__ = ["check_agreement", "rows_of", "share_parameters", "sum_gradients"]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minitensor.optim.parameters import Tensors


def rows_of(group: Group, n: int) -> slice:
    """Which of the ``n`` rows of a batch are this rank's: neighbours, one more on the first ranks
    if they cannot be equally many. Of fewer rows than ranks the last ranks have none.
    """
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

    Raises RuntimeError if a `minitensor.optim.GradScaler` has unscaled the gradients: each rank
    would go by the overflows of its own rows, and some would skip a step that the others make.
    """
    numbers = [float(number) for number in numbers]
    late = any(_is_unscaled(parameter) for part in optimizer.param_groups for parameter in part["params"])
    if group.size == 1:
        _refuse(late)
        return numbers
    buffers = optimizer.bound_buffers()
    present = [buffer.fill() for buffer in buffers]
    flags = [float(flag) for flags in present for flag in flags]
    *told, ranks = group.sum([*numbers, *flags, float(late)])
    _refuse(ranks > 0)  # on all, or on none
    place = len(numbers)
    for buffer in buffers:
        stop = place + len(buffer.entries)
        some = [flag > 0 for flag in told[place:stop]]
        if any(some):
            with on(buffer.device):
                group.all_reduce(buffer.gradients)
        buffer.deposit(some)
        place = stop
    return told[: len(numbers)]


def _is_unscaled(parameter):
    watch = None if parameter.node is None else parameter.node.watch
    return watch is not None and watch.grad is not None and watch.scale == UNSCALED


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
