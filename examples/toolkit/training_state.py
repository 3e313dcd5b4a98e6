"""What is trained, and how far a run has come."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import minitensor as mt
from minitensor import nn

__all__ = ["Clock", "Position", "Task"]


class Task(Protocol):
    """A training task: a model, its data, its loss."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    def epoch(self, number: int) -> Sequence[Any]:
        """The batches of an epoch, a function of its number alone; each has ``tokens``, a number of
        rows by ``len``, and ``rows(slice)``, some of them with the padding of the whole.
        """

    def loss(self, batch: Any, divide_by: int) -> mt.Tensor:
        """The loss of a batch, or of a part of one, summed over its tokens and divided by
        ``divide_by``.
        """

    def validate(self) -> dict[str, float]:
        """Figures of the model in evaluation mode; ``validation_loss`` is minimised."""


@dataclass
class Position:
    """How far a run has come; together with the arrays and the random state, all that there is to
    save.
    """

    step: int = 0  # updates done
    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    seconds: float = 0.0  # of training, validation and saving, all resumed parts together
    records: int = 0  # lines of the log
    recent_loss: float = 0.0  # sums over the updates since the last record
    recent_tokens: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    in_vain: int = 0  # validations since the best
    kept: list[int] = field(default_factory=list)  # steps whose weights are kept for averaging


class Clock:
    """Seconds of training, those of earlier parts of the run included."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before

    def __call__(self) -> float:
        return time.monotonic() - self.start
