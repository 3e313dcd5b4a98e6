"""``mt.profile()``: the block whose time is looked at, and what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitensor.backend import wait
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.settings import choice, flag
from minitensor.files.safetensors import write_whole
from minitensor.profiling import recorder as recording
from minitensor.profiling.rows import OVERHEAD, REST, Row, Tally, rows_of
from minitensor.profiling.table import text_of

__all__ = ["profile"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from minitensor.files.safetensors import FilePath

ORDERS: dict[str, Callable[[Row], Any]] = {
    "time": lambda row: -row.time,
    "forward": lambda row: -row.forward,
    "backward": lambda row: -row.backward,
    "calls": lambda row: -row.calls,
    "bytes": lambda row: -row.forward_bytes - row.backward_bytes,
    "floor": lambda row: -(row.floor or 0.0),
    "name": lambda row: row.name,
}


class profile:
    """Context manager: where the time of a block goes, by kind of op.

    ``print(p)`` shows a table: for each kind of op the time of its calls and of its gradients, how
    many there were, the memory that results and gradients took, its share of the block; and for
    what is made of matrix products (``linear``, ``matmul``, ``einsum``, attention, recurrent layers,
    convolutions) the *floor*: the time that the multiply-adds of its shapes would take at the speed
    of this machine's products, which is measured once in a process on two matrices of 512 x 512.
    ``rows`` has the same as data, ``save`` draws it.

    Time is exclusive: that of an op does not count the ops inside it, which have rows of their own,
    so that the rows add up to the block. Beside the ops there are the optimiser's step, clipping,
    random numbers, the engine's sums of gradients, ``Python and the rest``, which is what lies
    between all these, and what the profile itself cost. A gradient counts for the op whose input it
    is of. What ``mt.checkpoint`` computes again, and what a recorded backward pass
    (``create_graph=True``) computes, are calls like others.

    The profile sees the ops of the thread, or the asynchronous task and the tasks that it starts,
    that opened it; those of other threads are not in the table. Profiles may be open inside
    another: each sees all that runs within it. When the block ends, by an exception too, its
    figures stand still; a new block takes a new profile. Nothing is measured, and nothing costs
    time, while no profile is open; while one is, each op takes some microseconds more.

    synchronize: on a GPU, wait around each op until the device has done its work, so that times are
    those of the device; False measures how long the host takes to hand the work over. On the CPU
    it makes no difference.

    Raises RuntimeError if it is opened a second time.

    >>> import minitensor as mt
    >>> x = mt.ones((4, 3), requires_grad=True)
    >>> with mt.profile() as p:
    ...     (x @ x.mT).sum().backward()
    >>> [(row.name, row.forward_calls, row.backward_calls, row.flops) for row in p.rows if row.flops]
    [('matmul', 1, 1, 288)]
    """

    def __init__(self, synchronize: bool = True) -> None:
        self.synchronize = flag("profile", "synchronize", synchronize)
        self.is_open = False
        self.start = self.stop = 0.0
        self.overhead = 0.0  # seconds that went into measuring
        self.recomputed = 0.0
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._block: switched | None = None

    def __enter__(self) -> Self:
        if self._block is not None:
            raise RuntimeError("profile: this one has been opened before; write mt.profile() for each block")
        recorder = recording.Recorder(self, current_mode.get().profile)
        self._block = switched(profile=recorder)
        if recorder.synchronize:
            wait()
        self.is_open = True
        self._block.__enter__()
        self.start = recording.clock()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.is_open:
            return
        if self.synchronize:
            wait()
        self.stop = recording.clock()
        self.is_open = False
        self._block.__exit__()

    def tally(self, key: tuple[str, str, str]) -> Tally:
        """What has been added up under a name, kind and way; made on first use."""
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally()
        return found

    def places(self) -> list[tuple[str, Any]]:
        """On which devices and in which types matrices were multiplied."""
        return sorted({place for tally in list(self._tallies.values()) for place in list(tally.multiplied)}, key=str)

    # --- what it tells ----------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        """Seconds from the start of the block to its end, or to now if it is open."""
        return (recording.clock() if self.is_open else self.stop) - self.start

    @property
    def rows(self) -> list[Row]:
        """A row for each kind of op, and for what is not an op, by falling time; their times add up
        to ``wall``.
        """
        recorder = current_mode.get().profile
        return self._rows() if recorder is None else recorder.aside(self._rows)

    def _rows(self):
        wall, overhead = self.wall, self.overhead
        rows = rows_of(dict(self._tallies), wall)
        rest = max(0.0, wall - overhead - sum(row.time for row in rows))
        if self._block is not None:
            for name, seconds in ((REST, rest), (OVERHEAD, overhead)):
                rows.append(Row(name, "other", seconds, share=seconds / wall if wall else 0.0))
        return sorted(rows, key=ORDERS["time"])

    @property
    def floor(self) -> float:
        """Seconds that all matrix products of the block would take alone, at the speed of this
        machine's.
        """
        return sum(row.floor or 0.0 for row in self.rows)

    def table(self, sort: str = "time") -> str:
        """The rows as text, at most 100 columns wide.

        sort: "time", "forward", "backward", "calls", "bytes", "floor" (each with the greatest
        first) or "name".
        """
        order = ORDERS[choice("table", "sort", sort, ORDERS)]
        return text_of(sorted(self.rows, key=order), self)

    def save(self, path: FilePath) -> None:
        """Draw the rows as bars: ``.html``, one file that needs nothing else, or ``.png``, which
        takes matplotlib.

        The file is written whole or not at all. Raises ValueError for another ending, and
        ImportError with the cure if matplotlib is missing.
        """
        ending = Path(path).suffix.lower()
        if ending not in (".html", ".png"):
            raise ValueError(f"profile.save: {str(path)!r} must end in .html or .png")
        if ending == ".png":
            from minitensor.profiling.chart import chart as draw
        else:
            from minitensor.profiling.page import page as draw
        write_whole({path: [draw(self.rows, self)]})

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        state = "open" if self.is_open else "not opened yet" if self._block is None else f"{self.wall * 1e3:.2f} ms"
        return f"<profile, {state}>"
