"""The one training loop of all claims, the choice of the learning rate, and work that is spread
over processes.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from toolkit.console import Progress

import minitensor as mt

__all__ = ["MOST_WORKERS", "History", "best_run", "fresh_pool", "spread", "train"]

MAX_NORM = 1.0  # of the gradient, if it is clipped
MOST_WORKERS = 60 if sys.platform == "win32" else 1000  # Windows cannot wait for the end of more processes at a time
WARM_UP = 0.05  # the part of the steps in which the learning rate rises; then it falls along a cosine


@dataclass
class History:
    """The record of a training: loss and gradient norm (before clipping) of each finite step."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    diverged: bool = False  # ended by a loss or a gradient that was not finite

    @property
    def final(self) -> float:
        """The mean loss of the last tenth; infinite for a training that diverged."""
        return math.inf if self.diverged else float(np.mean(self.losses[-max(1, len(self.losses) // 10) :]))


def train(
    model: mt.nn.Module,
    loss_of: Callable[[int], mt.Tensor],
    steps: int,
    optimizer: mt.optim.Optimizer,
    max_norm: float = MAX_NORM,
) -> History:
    """Train ``model`` for so many steps of ``loss_of(step)``; it ends early if the loss or the
    gradient is not finite.

    The learning rate rises linearly, then falls along a cosine to zero. max_norm: of the clipped
    gradient, inf for no clipping.
    """
    history = History()
    schedule = mt.optim.CosineLR(optimizer, steps, warmup_steps=int(WARM_UP * steps))
    for step in range(steps):
        optimizer.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            loss = loss_of(step)
            loss.backward()
            norm = float(mt.optim.clip_grad_norm_(model.parameters(), max_norm))
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            history.diverged = True
            break
        optimizer.step()
        schedule.step()
        history.losses.append(loss.item())
        history.norms.append(norm)
    return history


def best_run(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of trainings that differ only in the learning rate, the one with the lowest final ``"loss"``,
    without that entry.
    """
    best = min(runs, key=lambda run: run["loss"])
    return {name: value for name, value in best.items() if name != "loss"}


# --- work for several processes -------------------------------------------------------------------


def spread(label: str, function: Callable[..., Any], calls: list[tuple[Any, ...]], workers: int) -> list[Any]:
    """``function(*call)`` for each call, in their order, by so many processes of one BLAS thread
    each, with a bar for those done.

    The matrices here are too small for BLAS to share them among cores, so whole trainings are
    shared out instead.
    """
    results = []
    with Progress(label, total=len(calls)) as progress:
        for result in _results(function, calls, workers):
            results.append(result)
            progress.advance()
    return results


def _results(function: Callable[..., Any], calls: list[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    if workers == 1:
        yield from (function(*call) for call in calls)
        return
    with fresh_pool(workers, dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")) as pool:
        yield from pool.imap(_call, [(function, call) for call in calls])


@contextmanager
def fresh_pool(workers: int, environment: dict[str, str]) -> Iterator[Any]:
    """A pool of new processes that have these variables in their environment: NumPy and minitensor
    read them when a process loads them.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with multiprocessing.get_context("spawn").Pool(workers, _ignore_interrupt) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _call(work: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, call = work
    return function(*call)


def _ignore_interrupt() -> None:
    """Ctrl-C goes to all processes of a terminal: only the parent handles it, and ends the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
