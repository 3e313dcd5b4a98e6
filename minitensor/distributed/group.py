"""What the processes of a training say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import is_array, np
from minitensor.engine.messages import a_kind
from minitensor.engine.settings import integer

__all__ = ["Group"]

if TYPE_CHECKING:
    from collections.abc import Sequence


class Group:
    """The processes that train together, each of which is a *rank*, a number from 0 to ``size`` -
    1. This class itself is a process that is alone; what `join` returns is one of many.

    Every rank calls the same methods in the same order: each of them, but for ``abort``, waits for
    the others. Arrays are raw ones (NumPy's, CuPy's), each in one piece of memory, and are written
    to in place.

    >>> import numpy as np
    >>> from minitensor.distributed import Group
    >>> group, x = Group(), np.array([1.0, 2.0])
    >>> group.all_reduce(x)
    >>> group.rank, group.size, x.tolist(), group.sum([3.0]), group.gather("here")
    (0, 1, [1.0, 2.0], [3.0], ['here'])
    """

    rank: int = 0
    size: int = 1

    def all_reduce(self, array: Any) -> None:
        """Replace ``array`` by the sum of those of all ranks, the same bits on each of them."""
        self._check("all_reduce", array)

    def broadcast(self, array: Any, root: int = 0) -> None:
        """Replace ``array`` by that of the rank ``root``."""
        self._check("broadcast", array, root)

    def share(self, thing: Any, root: int = 0) -> Any:
        """A small object of the rank ``root`` (what pickle can write), on every rank. Waits without
        using its core.
        """
        self._check_root("share", root)
        return thing

    def gather(self, thing: Any) -> list[Any]:
        """The small objects of all ranks, in their order, on every rank."""
        return [thing]

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """A few numbers of each rank, added up place by place in float64."""
        return [float(number) for number in numbers]

    def barrier(self) -> None:
        """Wait until all ranks are here, without using its core meanwhile."""

    def abort(self, code: int = 1) -> None:
        """End the processes of all ranks at once, whatever they are doing, with the exit status
        ``code``.
        """
        raise SystemExit(code)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank {self.rank} of {self.size})"

    def _check(self, what, array, root=0):
        """Raise if ``array`` is nothing that can be sent as it is."""
        if not is_array(array):
            cure = ": write x.data" if type(array).__name__ in ("Tensor", "Parameter") else ""
            raise TypeError(f"{what} takes an array, which it writes to, not {a_kind(array)}{cure}")
        if array.dtype.hasobject or not array.dtype.isnative:
            kind = (
                "objects" if array.dtype.hasobject else f"{array.dtype}, in another order of bytes than this machine's"
            )
            raise TypeError(f"{what}: an array of {kind} cannot be sent as it is")
        if not array.flags.c_contiguous:
            raise ValueError(f"{what}: the array must lie in one piece, so that it can be sent as it is")
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ValueError(f"{what}: the array is written to, and this one is read-only")
        self._check_root(what, root)

    def _check_root(self, what, root):
        integer(what, "root", root, least=0, most=self.size - 1)
