"""``mt.profile()``: the block whose time is looked at, and what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitensor.backend import wait
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.settings import choice, flag
from minitensor.files.safetensors import write_whole
from minitensor.profiling import recorder as recording
from minitensor.profiling.rows import Measured, Row
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
    what is made of matrix products (``linear``, ``matmul``, ``einsum``, attention, recurrent
    layers, convolutions) the *floor*: the time that the multiply-adds of its shapes would take at
    the speed of this machine's products, which is measured once in a process on two matrices of
    512 x 512. Larger ones may be quicker. ``rows`` has the same as data, ``save`` draws it.

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
    >>> [(row.name, row.calls, row.flops) for row in p.rows if row.flops]
    [('matmul', 2, 288)]
    """

    def __init__(self, synchronize: bool = True) -> None:
        self._measured = Measured(flag("profile", "synchronize", synchronize))
        self._block: switched | None = None

    def __enter__(self) -> Self:
        if self._block is not None:
            raise RuntimeError("profile: this one has been opened before; write mt.profile() for each block")
        measured = self._measured
        self._block = switched(observer=recording.Recorder(measured, current_mode.get().observer), watched=True)
        if measured.synchronize:
            wait()
        measured.is_open = True
        self._block.__enter__()
        measured.start = recording.clock()
        return self

    def __exit__(self, *error: object) -> None:
        measured = self._measured
        if measured.is_open and self._block is not None:
            if measured.synchronize:
                wait()
            measured.stop = recording.clock()
            measured.is_open = False
            self._block.__exit__()

    # --- what it tells ----------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        """Seconds from the start of the block to its end, or to now if it is open."""
        measured = self._measured
        return (recording.clock() if measured.is_open else measured.stop) - measured.start

    @property
    def rows(self) -> list[Row]:
        """A row for each kind of op, and for what is not an op, by falling time; their times add up
        to ``wall``.

        A row has: name; kind, "op" or "other"; time, forward and backward, in seconds; calls,
        forward_calls and backward_calls; forward_bytes, the new memory that the results took (views
        take none), and backward_bytes, that of the gradients; share, of the block's time; flops,
        two for each multiply-add of its matrix products, forward and backward; floor, the seconds
        that these take alone, and times_floor, ``time / floor``, both None without products.
        """
        observer = current_mode.get().observer
        return self._rows() if observer is None else observer.aside(self._rows)

    def _rows(self):
        return self._measured.rows(self.wall)

    @property
    def floor(self) -> float:
        """Seconds that all matrix products of the block would take alone, at the speed of this
        machine's.
        """
        return sum(row.floor or 0.0 for row in self.rows)

    @property
    def recomputed(self) -> float:
        """Seconds that went into running again what ``mt.checkpoint`` has not kept; they stand in
        the rows of the ops that ran.
        """
        return self._measured.recomputed

    def table(self, sort: str = "time") -> str:
        """The rows as text, at most 100 columns wide.

        sort: "time", "forward", "backward", "calls", "bytes", "floor" (each with the greatest
        first) or "name".
        """
        order = ORDERS[choice("table", "sort", sort, ORDERS)]
        return text_of(sorted(self.rows, key=order), self._measured)

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
        write_whole({path: [draw(self.rows, self._measured)]})

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        state = (
            "open"
            if self._measured.is_open
            else "not opened yet"
            if self._block is None
            else f"{self.wall * 1e3:.2f} ms"
        )
        return f"<profile, {state}>"
