"""What clipping does, the second half of claim 1: when gradients explode, a step without it ruins
the weights.

An RNN that starts as the identity with relu (IRNN) learns to recall a symbol seen some steps ago,
by stochastic gradient descent as by Le et al. (2015, arXiv:1504.00941), here with momentum, whose
steps are proportional to the gradient: with its norm clipped (Pascanu, Mikolov and Bengio 2013,
arXiv:1211.5063, algorithm 1) and without, at each of several learning rates, because what clipping
allows at a high one could be had at a lower one too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import GREY, smooth

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import Case, Shape
from claims.processes import spread
from claims.report import Table, axes_of, listed, magnitude
from claims.tasks import recall_batch
from claims.training import MAX_NORM, train

__all__ = ["Settings", "conclusion", "draw", "measure", "table"]

NETWORK = Case("rnn", "relu", "identity")
MOMENTUM = 0.9
LOOKS = (("#1f4e8c", "clipped"), ("#d1662b", "not clipped"))
SMOOTHED = 20  # updates whose mean loss counts and is drawn
SHOWN = (1e-3, 1e2)  # losses in the picture


@dataclass(frozen=True)
class Settings:
    """What is trained, how often."""

    distance: int = 30
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    steps: int = 400
    batch: int = 32

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(distance=20, learning_rates=(3e-3, 1e-2), steps=200, batch=16)


def measure(settings: Settings, shape: Shape, seed: int, workers: int) -> dict[str, Any]:
    """Losses and norms of the trainings, by learning rate, with clipping and without."""
    rates = settings.learning_rates
    calls = [(settings, shape, rate, norm, seed) for rate in rates for norm in (MAX_NORM, math.inf)]
    runs = spread("clipping", _train_once, calls, workers)
    chance = math.log(shape.n_classes)  # the loss of equal probabilities
    return {"distance": settings.distance, "steps": settings.steps, "chance_loss": chance, "runs": runs}


def _train_once(settings: Settings, shape: Shape, rate: float, max_norm: float, seed: int) -> dict[str, Any]:
    mt.random.seed(seed)
    network = NETWORK.build(shape)
    generator = np.random.default_rng(seed)

    def loss_of(step: int) -> mt.Tensor:
        ids, targets = recall_batch(generator, settings.distance, settings.batch, shape.n_classes)
        return F.cross_entropy(network(ids, last=1), targets)

    optimizer = mt.optim.SGD(network.parameters(), lr=rate, momentum=MOMENTUM)
    history = train(network, loss_of, settings.steps, optimizer, max_norm)
    return {
        "learning_rate": rate,
        "clipped": max_norm < math.inf,
        "losses": history.losses,
        "largest_norm": max(history.norms, default=0.0),
        "diverged": history.diverged,
    }


def learnt_after(run: dict[str, Any], chance_loss: float) -> int | None:
    """The update from which the mean loss of the last ones is below half that of guessing; None if
    it does not end there.
    """
    steps, losses = _smoothed(run)
    if run["diverged"] or losses[-1] > chance_loss / 2:
        return None
    return int(steps[np.argmax(losses < chance_loss / 2)])


def _smoothed(run: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Updates and the mean losses around them."""
    losses = np.array(run["losses"])
    return smooth(np.arange(1, 1 + len(losses)), losses, min(SMOOTHED, len(losses)))


def _pairs(numbers: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The run with clipping and the run without, by learning rate."""
    clipped = [run for run in numbers["runs"] if run["clipped"]]
    free = [run for run in numbers["runs"] if not run["clipped"]]
    return list(zip(clipped, free, strict=True))


def table(numbers: dict[str, Any]) -> Table:
    """Last losses and largest norms by learning rate, with clipping and without."""
    rows = []
    for pair in _pairs(numbers):
        cells = [f"{pair[0]['learning_rate']:g}"]
        for run in pair:
            last = f"{_smoothed(run)[1][-1]:.3f}"
            cells.append(f"diverged, update {len(run['losses'])}" if run["diverged"] else last)
            cells.append(magnitude(run["largest_norm"]))
        rows.append(cells)
    columns = ("learning rate", "loss, clipped", "largest norm", "loss, not clipped", "largest norm")
    title = f"{NETWORK.name} by SGD over {numbers['distance']} steps (guessing: loss {numbers['chance_loss']:.2f})"
    return Table(title, columns, rows)


def conclusion(numbers: dict[str, Any]) -> str:
    """At which learning rates it learns, with and without."""
    rates = []  # those that work, clipped and not
    told = []
    for runs in zip(*_pairs(numbers), strict=True):
        after = {run["learning_rate"]: learnt_after(run, numbers["chance_loss"]) for run in runs}
        works = {rate: update for rate, update in after.items() if update is not None}
        rates.append(works)
        soonest = f" (soonest after {min(works.values())} updates)" if works else ""
        told.append(f"at {listed([f'{rate:g}' for rate in works], 'no rate')}{soonest}")
    lost = sum(run["diverged"] or _smoothed(run)[1][-1] > 0.95 * numbers["chance_loss"] for _, run in _pairs(numbers))
    clipped, free = (max(works, default=0.0) for works in rates)
    verdict = "Clipping does not allow larger steps here"
    if clipped > free:
        verdict = (
            f"Clipping allows rates {clipped / free:.0f} times as large" if free else "Only clipping makes it learn"
        )
    return (
        f"The {NETWORK.name} learns to recall over {numbers['distance']} steps by SGD with clipping {told[0]}, without "
        f"{told[1]}, where {lost} of {len(_pairs(numbers))} trainings diverged or ended no better than guessing. {verdict}."
    )


def draw(numbers: dict[str, Any], rates_axes: Any, course_axes: Any) -> None:
    """The last losses by learning rate, and the course of one pair: that of the highest rate at
    which clipping lets it learn.
    """
    pairs, chance = _pairs(numbers), numbers["chance_loss"]
    axes_of(rates_axes, f"{NETWORK.name} trained by SGD", "learning rate", f"loss at the end (≥ {SHOWN[0]:g})")
    rates_axes.set_xscale("log")
    for runs, (colour, label) in zip(zip(*pairs, strict=True), LOOKS, strict=True):
        ends = [SHOWN[1] if run["diverged"] else _smoothed(run)[1][-1] for run in runs]
        rates = [run["learning_rate"] for run in runs]
        rates_axes.plot(rates, np.maximum(ends, SHOWN[0]), "o-", color=colour, label=label, markersize=4)
    learning = [pair for pair in pairs if learnt_after(pair[0], chance) is not None]
    pair = (learning or pairs)[-1]
    axes_of(course_axes, f"at rate {pair[0]['learning_rate']:g}", "update", "loss (nats)")
    for run, (colour, _) in zip(pair, LOOKS, strict=True):
        steps, losses = _smoothed(run)
        course_axes.plot(steps, np.maximum(losses, SHOWN[0]), color=colour)
        if run["diverged"]:
            course_axes.plot(steps[-1], min(losses[-1], 0.8 * SHOWN[1]), "x", color=colour)
    for axes in (rates_axes, course_axes):
        axes.set_yscale("log")
        axes.set_ylim(0.7 * SHOWN[0], 1.3 * SHOWN[1])
        axes.axhline(chance, color=GREY, linewidth=1, linestyle=":")
    rates_axes.legend(frameon=False, fontsize=8)
