"""Learning rates as functions of the number of steps taken.

Every schedule multiplies the learning rate that each group had when the schedule was made, and is
stepped after the optimiser:

    optimizer.step()
    schedule.step()
"""

from __future__ import annotations

import math
from typing import Any

from minitensor.backend.capture import capturing
from minitensor.engine.settings import integer, number
from minitensor.optim.optimizer import Optimizer

__all__ = ["CosineLR", "InverseSqrtLR", "LinearWarmup", "NoamLR", "Schedule", "StepLR"]


class Schedule:
    """Base: a subclass gives ``rate(base, n)``, the learning rate after n steps of a group made
    with the rate ``base``.

    The first rate, ``rate(base, 0)``, is set at once.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} takes an optimiser, such as optim.Adam(...), got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        self.steps = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._apply()

    def rate(self, base: float, n: int) -> float:
        """The learning rate for the step that follows n steps."""
        raise NotImplementedError(f"{type(self).__name__} must define rate(base, n)")

    def step(self) -> None:
        """Go on by one step."""
        if capturing() is not None:
            raise RuntimeError(
                f"{type(self).__name__}.step runs in Python, and once: call it after the step that is a CUDA graph, outside of it"
            )
        self.steps += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The present learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """``{"steps": n}``; the base rates are saved with the optimiser's groups."""
        return {"steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from where ``saved`` was taken."""
        if not isinstance(saved, dict) or "steps" not in saved:
            raise ValueError(f"{type(self).__name__}: this is no schedule.state_dict(): {str(saved)[:60]}")
        self.steps = integer(type(self).__name__, "steps", saved["steps"], least=0)
        self._apply()

    def _apply(self):
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            rate = self.rate(group["initial_lr"], self.steps)
            group["lr"] = number(type(self).__name__, "the rate", rate, least=0)


class NoamLR(Schedule):
    """``base * d_model^-0.5 * min(t^-0.5, t * warmup_steps^-1.5)`` in step t = 1, 2, ... (Vaswani
    et al. 2017, equation 3).

    The optimiser's own ``lr`` is the factor before the formula: ``lr=1.0`` gives the paper's rates.
    """

    def __init__(self, optimizer: Optimizer, d_model: int, warmup_steps: int = 4000) -> None:
        self.d_model = integer("NoamLR", "d_model", d_model, least=1)
        self.warmup_steps = integer("NoamLR", "warmup_steps", warmup_steps, least=1)
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See the class."""
        t = n + 1
        return base * self.d_model**-0.5 * min(t**-0.5, t * self.warmup_steps**-1.5)


class InverseSqrtLR(Schedule):
    """Linear from 0 to ``base`` over ``warmup_steps``, then ``base * sqrt(warmup_steps / t)``:
    Noam's curve with a named peak.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 4000) -> None:
        self.warmup_steps = integer("InverseSqrtLR", "warmup_steps", warmup_steps, least=1)
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See the class."""
        t = n + 1
        return base * min(t / self.warmup_steps, math.sqrt(self.warmup_steps / t))


class LinearWarmup(Schedule):
    """``base * min(1, t / warmup_steps)`` in step t = 1, 2, ...: up to ``base``, and there it
    stays.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int) -> None:
        self.warmup_steps = integer("LinearWarmup", "warmup_steps", warmup_steps, least=1)
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See the class."""
        return base * min(1.0, (n + 1) / self.warmup_steps)


class CosineLR(Schedule):
    """Half a cosine from ``base`` down to ``min_lr`` at ``total_steps`` (Loshchilov and Hutter,
    2017, arXiv:1608.03983).

        min_lr + (base - min_lr) * (1 + cos(pi * n / total_steps)) / 2          after n steps

    ``warmup_steps`` of the total first rise linearly to ``base``. The rate stays at ``min_lr``
    beyond the end.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> None:
        self.total_steps = integer("CosineLR", "total_steps", total_steps, least=1)
        self.warmup_steps = integer("CosineLR", "warmup_steps", warmup_steps, least=0, most=self.total_steps - 1)
        self.min_lr = number("CosineLR", "min_lr", min_lr, least=0)
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See the class."""
        if n < self.warmup_steps:
            return base * (n + 1) / self.warmup_steps
        done = min(1.0, (n - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * done)) / 2


class StepLR(Schedule):
    """``base * gamma^(n // step_size)`` after n steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = integer("StepLR", "step_size", step_size, least=1)
        self.gamma = number("StepLR", "gamma", gamma, least=0)
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See the class."""
        return base * self.gamma ** (n // self.step_size)
