"""The one training loop of all claims, and the choice of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minitensor as mt

__all__ = ["SOLVED", "History", "first_solved", "lowest", "train"]

MAX_NORM = 1.0  # of the gradient, if it is clipped
SOLVED = 0.01  # nats a symbol: the loss below which `first_solved` looks no further
WARM_UP = 0.05  # the part of the steps in which the learning rate rises; then it falls along a cosine


@dataclass
class History:
    """The record of a training of at most ``steps`` steps: loss and gradient norm (before clipping)
    of each finite one.
    """

    steps: int
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    diverged: bool = False  # ended by a loss or a gradient that was not finite

    @property
    def final(self) -> float:
        """The mean loss of as many last steps as are a tenth of all; infinite for a training that
        diverged, or has not come so far.
        """
        tenth = max(1, self.steps // 10)
        return math.inf if self.diverged or len(self.losses) < tenth else float(np.mean(self.losses[-tenth:]))


def train(
    model: mt.nn.Module,
    loss_of: Callable[[int], mt.Tensor],
    steps: int,
    optimizer: mt.optim.Optimizer,
    max_norm: float = MAX_NORM,
    solved: float = 0.0,
    guessing: float = math.inf,
) -> History:
    """Train ``model`` for so many steps of ``loss_of(step)``; it ends early if the loss or the
    gradient is not finite, if `History.final` falls below ``solved``, or if after three quarters of
    the steps it is still that of ``guessing``, to a hundredth.

    The learning rate rises linearly, then falls along a cosine to zero. max_norm: of the clipped
    gradient, inf for no clipping.
    """
    history, parameters = History(steps), list(model.parameters())
    schedule = mt.optim.CosineLR(optimizer, steps, warmup_steps=int(WARM_UP * steps))
    for step in range(steps):
        optimizer.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            loss = loss_of(step)
            loss.backward()
            norm = float(mt.optim.clip_grad_norm_(parameters, max_norm))
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            history.diverged = True
            break
        optimizer.step()
        schedule.step()
        history.losses.append(loss.item())
        history.norms.append(norm)
        learnt_nothing = step + 1 == 3 * steps // 4 and history.final > 0.99 * guessing
        if history.final < solved or learnt_nothing:
            break
    return history


def first_solved(train_at: Callable[[float], dict[str, Any]], rates: Iterable[float]) -> dict[str, Any]:
    """The choice of a learning rate: ``train_at(rate)`` of each in turn, up to the first whose
    ``"loss"`` is below `SOLVED`; if none is, that with the lowest. Without that entry.
    """
    runs: list[dict[str, Any]] = []
    for rate in rates:
        runs.append(train_at(rate))
        if runs[-1]["loss"] < SOLVED:
            break
    return lowest(runs)


def lowest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of trainings that differ in the learning rate alone, that with the lowest ``"loss"`` at its
    end; without that entry.
    """
    best = min(runs, key=lambda run: run["loss"])
    return {name: value for name, value in best.items() if name != "loss"}
