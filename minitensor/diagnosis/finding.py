"""What is found: the cause, in plain words, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minitensor.diagnosis.cures import cure_of
from minitensor.tracing.record import Line

__all__ = ["Finding", "Step"]


@dataclass(frozen=True)
class Step:
    """An op on the way from the first bad value to the loss. line: None if it is not known."""

    op: str
    module: str = ""
    line: Line | None = None

    def __str__(self) -> str:
        return " ".join([self.op, *([f"({self.module})"] if self.module else [])])


@dataclass
class Finding:
    """Why a value is NaN or infinite. ``print`` shows all of it.

    cause: a short name, one of ``minitensor.diagnosis.cures.CAUSES``. what: what happened, with
    the numbers. cure: what to do. op: the op that made the first bad value, and phase: in
    "forward", in "backward" (its gradient rule) or in an "update". index: the first bad element, in
    ``of``, an operand or the "result"; None if it is not known. rows: of bad data, the places on
    the first axis. module, line: where the op was called. chain: the ops from the first bad value
    to the loss, this one first. loss_scale: of an overflow of 16 bits, the greatest power of two
    that would do as far as is known. notes: what is known beside, and what could not be known.
    dtype: the type that the op computed for, if it has 16 bits. idle: the bad element of a gradient
    is one that a 0 came to.
    """

    cause: str
    what: str
    op: str = ""
    phase: str = "forward"
    index: tuple[int, ...] | None = None
    of: str = "result"
    rows: tuple[int, ...] = ()
    module: str = ""
    line: Line | None = None
    chain: list[Step] = field(default_factory=list)
    loss_scale: float | None = None
    notes: list[str] = field(default_factory=list)
    dtype: Any = None
    idle: bool = False

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.loss_scale is not None:
            scale = f"a loss scale of {self.loss_scale:g} or less (mt.optim.GradScaler finds one)"
            return f"use {scale}; or compute this part in float32 or bfloat16"
        return cure_of(self.cause, self.op, self.phase, self.dtype)

    def __str__(self) -> str:
        lines = [f"Why NaN: {self.cause}", f"  {self.what}", f"  cure: {self.cure}"]
        if self.op:
            place = f"  where: {self.op}, {self.phase}" + (f", in module {self.module}" if self.module else "")
            lines.append(place)
        if self.line is not None:
            lines.append(f"  line: {self.line.path}:{self.line.number}: {self.line.text}")
        if self.index is not None:
            lines.append(f"  first bad element: {self.index} of {self.of}")
        if self.rows:
            shown = ", ".join(map(str, self.rows[:10])) + (", ..." if len(self.rows) > 10 else "")
            lines.append(f"  rows of the batch: {shown}")
        if len(self.chain) > 1:
            names = [str(step) for step in self.chain]
            names = names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]
            lines.append("  from there to the loss: " + " > ".join(names))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
