"""What a profile has measured, by kind of op."""

from __future__ import annotations

from dataclasses import dataclass

from minitensor.profiling.speed import speed

__all__ = ["OVERHEAD", "REST", "Measured", "Row"]

REST, OVERHEAD = "Python and the rest", "the profile itself"


@dataclass(frozen=True)
class Row:
    """One kind of op, or something that is not an op, in a profile. Times are in seconds, each
    without that of the ops inside.

    name: of the op. kind: "op" or "other". time: all of it; of an op it is ``forward +
    backward``. forward, backward: time of the calls, and of the gradients pulled back. calls,
    forward_calls, backward_calls: how many. forward_bytes: of new memory that the results took
    (views take none). backward_bytes: that of the gradients. share: of the time of the block.
    flops: two for each multiply-add of its matrix products, forward and backward. floor: the time
    of these flops at the speed of this machine's products; None if there are none.
    """

    name: str
    kind: str
    time: float
    forward: float = 0.0
    backward: float = 0.0
    calls: int = 0
    forward_calls: int = 0
    backward_calls: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0
    share: float = 0.0
    flops: int = 0
    floor: float | None = None

    @property
    def times_floor(self) -> float | None:
        """``time / floor``; None without matrix products."""
        return self.time / self.floor if self.floor else None


class Tally:
    """The sums over the calls of one kind while they grow."""

    __slots__ = ("seconds", "calls", "made", "multiplied")

    def __init__(self):
        self.seconds, self.calls, self.made = 0.0, 0, 0
        self.multiplied = {}  # (device, dtype): multiply-adds

    def add(self, seconds, made, multiplied):
        """Enter a call."""
        self.seconds += seconds
        self.calls += 1
        self.made += made
        if multiplied is not None:
            place, count = multiplied
            self.multiplied[place] = self.multiplied.get(place, 0) + count


class Measured:
    """What one profile knows. start, stop: readings of the clock. overhead: seconds that went into
    measuring; recomputed: that ``mt.checkpoint`` took to run again what it has not kept.
    """

    def __init__(self, synchronize):
        self.synchronize = synchronize
        self.is_open = False
        self.start = self.stop = self.overhead = self.recomputed = 0.0
        self.tallies = {}  # by name, kind ("op" or "other"), and, of an op, "forward" or "backward"

    def tally(self, key):
        """The tally of a name, kind and way; made on first use."""
        found = self.tallies.get(key)
        if found is None:
            found = self.tallies[key] = Tally()
        return found

    def places(self):
        """``(device, dtype)`` of all matrix products."""
        return sorted({place for tally in list(self.tallies.values()) for place in list(tally.multiplied)}, key=str)

    def rows(self, wall):
        """A row for each name and kind, by falling time, of a block that has taken so many
        seconds.
        """
        tallies, overhead = dict(self.tallies), self.overhead
        rows = [_row(*kind, tallies, wall) for kind in dict.fromkeys((name, kind) for name, kind, _ in tallies)]
        rest = max(0.0, wall - overhead - sum(row.time for row in rows))  # of rounding errors may be less than 0
        for name, seconds in ((REST, rest), (OVERHEAD, overhead)):
            rows.append(Row(name, "other", seconds, share=seconds / wall if wall else 0.0))
        return sorted(rows, key=lambda row: -row.time)


def _row(name, kind, tallies, wall):
    none = Tally()
    forward, backward, other = (tallies.get((name, kind, way), none) for way in ("forward", "backward", ""))
    seconds = forward.seconds + backward.seconds + other.seconds
    multiplied = [item for tally in (forward, backward) for item in list(tally.multiplied.items())]
    return Row(
        name=name,
        kind=kind,
        time=seconds,
        forward=forward.seconds,
        backward=backward.seconds,
        calls=forward.calls + backward.calls + other.calls,
        forward_calls=forward.calls,
        backward_calls=backward.calls,
        forward_bytes=forward.made,
        backward_bytes=backward.made,
        share=seconds / wall if wall else 0.0,
        flops=2 * sum(count for _, count in multiplied),
        floor=sum(count / speed(*place) for place, count in multiplied) if multiplied else None,
    )
