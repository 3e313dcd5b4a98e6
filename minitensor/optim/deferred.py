"""Steps that only finite numbers reach, though nobody waits for a GPU to see them."""

from __future__ import annotations

import math
import weakref
from typing import Any

from minitensor.backend import move, namespace, np, on
from minitensor.backend.capture import capturing
from minitensor.engine.tensor import Tensor
from minitensor.optim.ema import EMA
from minitensor.optim.optimizer import Optimizer

__all__ = ["DeferredCheck"]

ROOM = 1 << 10  # numbers that are noted on the GPU until they must be read


class DeferredCheck:
    """Makes the steps of an optimiser that follow from finite numbers, a loss and the norm of its
    gradient, and tells of the first that does not when it is asked.

    A GPU decides by itself: from the first step with a NaN or an infinity on, all that follow
    change nothing until ``read`` is called. The parameters, the optimiser's state and its numbers
    of steps, and the averages, are then as they were before that step, so that it can be run again
    and looked into. Reading the loss in each step would make the host wait for the GPU each time.
    On the CPU the numbers are looked at at once, to the same effect.

    ema: averages that are updated after each step, in step with it.

    >>> import minitensor as mt
    >>> w = mt.tensor([1.0], requires_grad=True)
    >>> optimizer = mt.optim.SGD([w], lr=0.5)
    >>> check = DeferredCheck(optimizer)
    >>> for factor in (1.0, float("inf"), 1.0):
    ...     optimizer.zero_grad()
    ...     loss = (w * factor).sum()
    ...     loss.backward()
    ...     check.step(loss)
    >>> check.read()
    ([[1.0], [inf], [0.5]], 1)
    >>> w
    tensor([0.5], requires_grad=True)
    """

    def __init__(self, optimizer: Optimizer, ema: EMA | None = None) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"DeferredCheck takes an optimiser, such as optim.Adam(...), got {type(optimizer).__name__}"
            )
        if ema is not None and not isinstance(ema, EMA):
            raise TypeError(f"DeferredCheck: ema must be an optim.EMA or None, got {type(ema).__name__}")
        self.optimizer, self.ema = optimizer, ema
        self._rows: list[_Row] = []  # one of each step since the last read()
        self._bad: int | None = None  # which of them is the first that was not made, once that is known
        self._told: Any = None  # on a GPU: (place of the first bad number, the numbers)
        self._device = "cpu"  # where that is
        self._place = 1  # of the next number
        settle = weakref.WeakMethod(self._look)
        for owner in (optimizer, ema):
            if owner is not None:
                owner._settle = lambda: (look := settle()) and look()

    def step(self, *numbers: Tensor) -> None:
        """``optimizer.step()``, and ``ema.update()``, if the numbers are finite and those of all
        steps since the last ``read`` were.

        numbers: tensors of one element. The norm that ``clip_grad_norm_`` returns is finite only if
        all gradients are. Raises RuntimeError in a CUDA graph: call it behind the graph.
        """
        if capturing() is not None:
            raise RuntimeError("DeferredCheck.step counts in Python: call it behind the CUDA graph, outside of it")
        if not numbers:
            raise TypeError("DeferredCheck.step takes the numbers that must be finite, such as the loss, and got none")
        for number in numbers:
            if not isinstance(number, Tensor) or number.size != 1:
                what = number.shape if isinstance(number, Tensor) else type(number).__name__
                raise TypeError(f"DeferredCheck.step takes tensors of one number, such as a loss, got {what}")
        device = next((b.device for b in self.optimizer.bound_buffers() if b.device != "cpu"), "cpu")
        row = _Row(len(numbers))
        self._note(device, numbers, row)
        self._rows.append(row)
        if self._bad is None:
            self._make(row, None if row.values is not None else self._told[:1].reshape(()))

    def read(self) -> tuple[list[list[float]], int | None]:
        """The numbers of each step since the last ``read``, and which step was the first not to be
        made, counted from 0: None if all were. Waits for the GPU.

        The next step is made again if its numbers are finite.
        """
        self._look()
        rows, bad = [row.values for row in self._rows], self._bad
        self._rows, self._bad = [], None
        return rows, bad

    def _note(self, device, numbers, row):
        """Write down the numbers of a step, on the GPU if there is one."""
        if device == "cpu":
            row.values = [float(number) for number in numbers]
            if self._bad is None and not all(map(math.isfinite, row.values)):
                self._bad = len(self._rows)
            return
        if device != self._device or self._place + row.count > len(self._told):
            self._look()
            with on(device):
                self._told = namespace(device).zeros(max(ROOM, 1 + row.count), dtype=np.float64)
            self._device = device
        with on(device):
            for number in numbers:
                namespace(device).note(move(number._array, device), self._told, self._place)
                self._place += 1

    def _make(self, row, unless):
        """The step, and the update of the averages; both void where ``unless`` is not 0."""
        optimizer, ema = self.optimizer, self.ema
        before = [entry.steps for entry in optimizer._entries]
        buffers = optimizer.bound_buffers()
        try:
            for buffer in buffers:
                buffer.unless = None if unless is None else move(unless, buffer.device)
            optimizer.step()
        finally:
            for buffer in buffers:
                buffer.unless = None
        row.stepped = [entry for entry, steps in zip(optimizer._entries, before) if entry.steps != steps]
        if ema is not None:
            try:
                ema._unless = unless
                ema.update()
            finally:
                ema._unless = None
            row.averaged = True

    def _look(self):
        """Read what the GPU has noted; take back the counts of the steps that it has not made."""
        if self._place == 1:
            return
        with on(self._told):
            numbers = move(self._told[: self._place], "cpu").tolist()
            self._place = 1
            if numbers[0]:
                self._told.fill(0)
        place = 1
        for i, row in enumerate(self._rows):
            if row.values is not None:
                continue
            row.values = numbers[place : place + row.count]
            if self._bad is None and place <= numbers[0] < place + row.count:
                self._bad = i
            if self._bad is not None:
                self._take_back(row)
            place += row.count

    def _take_back(self, row):
        for entry in row.stepped:
            entry.steps -= 1
        if row.averaged and self.ema is not None:
            self.ema.updates -= 1
        row.stepped, row.averaged = [], False

    def __reduce__(self) -> Any:
        raise TypeError("a DeferredCheck is neither copied nor pickled: make one for the copy of the optimiser")


class _Row:
    """One step: its numbers, once they are known, and what has counted it."""

    __slots__ = ("count", "values", "stepped", "averaged")

    def __init__(self, count):
        self.count = count
        self.values: Any = None
        self.stepped: list[Any] = []
        self.averaged = False
