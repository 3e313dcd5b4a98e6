"""``mt.memory_report``: how much memory there is, how much is taken, and by what."""

from __future__ import annotations

from typing import NamedTuple

from minitensor.backend import as_device, memory_in_use
from minitensor.engine.holdings import Holding, holdings
from minitensor.engine.units import in_units

__all__ = ["MemoryReport", "memory_report"]


class MemoryReport(NamedTuple):
    """What ``memory_report`` found; printed, it is a table."""

    device: str
    used: int | None
    reserved: int | None
    free: int | None
    total: int | None
    limit: int | None
    holdings: tuple[Holding, ...]

    def __str__(self) -> str:
        known = {
            "in use": self.used,
            "reserved by the pool" if self.device != "cpu" else "most so far": self.reserved,
            "limit of the pool": self.limit,
            "free": self.free,
            "of": self.total,
        }
        head = ", ".join(f"{what} {in_units(count)}" for what, count in known.items() if count is not None)
        lines = [f"{self.device}: {head}"]
        lines += [f"  {holding}" for holding in self.holdings] or ["  no tensor, gradient or optimiser holds any"]
        return "\n".join(lines)


def memory_report(device: str = "cpu") -> MemoryReport:
    """Who holds the memory of a device: parameters, gradients, optimisers, the graph by op, other
    tensors.

    device: "cpu", "cuda" or "cuda:N". It looks at all objects of the process and takes a fraction
    of a second. Every stretch of memory is counted once, under the first name that fits: a
    parameter that an optimiser has laid into its flat array counts as "parameters", with all of
    that array. Raw arrays that only your own variables hold are in ``used`` alone. On a GPU the
    numbers of the pool are CuPy's (``cupy.get_default_memory_pool``), those of the device the
    driver's. The error of an op that finds no memory names the three largest holders.

    The report, which prints as a table, has ``device``; ``used``: bytes in arrays that are alive
    (on a CPU: of the process, which holds more than arrays); ``reserved``: bytes that the pool has
    taken, ``used`` among them (on a CPU: the most that the process has held so far); ``free`` and
    ``total`` of the whole device; ``limit``: the most that the pool may take; None for what is not
    known; and ``holdings``, each with ``what``, ``arrays`` (their number), ``bytes``, and ``shape``
    and ``dtype`` of the largest.

    >>> import minitensor as mt
    >>> x = mt.ones((256, 1024), requires_grad=True)
    >>> y = mt.reciprocal(x)
    >>> print(mt.memory_report())        # doctest: +ELLIPSIS
    cpu: ...
    ...reciprocal, kept for backward: 1.0 MiB (one array, (256, 1024) float32)...
    """
    name = as_device(device)
    used, reserved, free, total, limit = memory_in_use(name)
    held = tuple(holding for holding in holdings(name) if holding.bytes)
    return MemoryReport(name, used, reserved, free, total, limit, held)
