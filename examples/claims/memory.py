"""Claim 2: what an RNN cannot learn to remember, gates do; what gates cannot hold, attention looks
up.

Two tasks (`claims.tasks`), in three trainings:

    recall         one symbol, seen k steps ago, behind random distractors (Hochreiter and
                   Schmidhuber 1997, section 5.2); a training for each k, in which nothing shorter
                   can be learnt first (Bengio, Simard and Frasconi 1994)
    curriculum     the same task, but one training on all distances at once, drawn log-uniformly
    copy           ten symbols, each to be said k steps after it was seen, by one training on all
                   distances (Hochreiter and Schmidhuber 1997; Arjovsky, Shah and Bengio 2016,
                   arXiv:1511.06464; Jing et al. 2017, arXiv:1612.05231)

The first is limited by the gradient, the last by what a state of fixed size can hold; a Transformer
keeps every position, and finds it in one step (Vaswani et al. 2017, table 1). All networks have
equal parameter counts, and at most the same number of updates, of the same size, by Adam with
clipping. A training ends when the mean loss of a tenth of these updates is below
`claims.training.SOLVED`, since then nothing is left to learn, and after three quarters of them if
it is still that of guessing, since from then on the learning rate is small. Each is tried at
``learning_rates``, one after the other; the first that is solved is reported, and if none is, that
with the lowest loss at its end.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import COLOURS, KINDS, NAMES, Shape, equal_shapes
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed, reach
from claims.tasks import Batch, copy_batch, copy_vocab, log_uniform, recall_batch, recall_vocab
from claims.training import SOLVED, first_solved, train

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "long-range dependence"

N_SYMBOLS = 8
WIDTHS = {"rnn": 1.8, "lstm": 5.0, "gru": 3.2, "transformer": 1.4}  # of lines, which often lie on each other
TASKS = ("recall", "curriculum", "copy")


@dataclass(frozen=True)
class Settings:
    """Distances, and the budget of each training."""

    recall: tuple[int, ...] = (5, 10, 25, 50, 100, 200)  # distances of recall, with curriculum and without
    copy: tuple[int, ...] = (10, 25, 50, 100, 200)
    budget: int = 20_000
    n_copied: int = 10
    steps: tuple[int, int, int] = (400, 800, 1200)  # updates, by task
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 1e-3)  # in the order in which they are tried
    batch: int = 32
    sequences: int = 250  # of each test

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((2, 12), (4, 16), 3_000, n_copied=4, steps=(300, 200, 300), learning_rates=(1e-2,), sequences=50)

    def spans(self, task: str) -> list[tuple[int, ...]]:
        """The trainings of a task: the distances that each of them is tested at, and draws its own
        between.
        """
        if task == "copy":
            return [self.copy]
        return [self.recall] if task == "curriculum" else [(distance,) for distance in self.recall]


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Accuracy by task, network and distance."""
    recall = equal_shapes(settings.budget, recall_vocab(N_SYMBOLS), N_SYMBOLS)
    copy = equal_shapes(settings.budget, copy_vocab(N_SYMBOLS, settings.n_copied), N_SYMBOLS)
    calls = [
        (task, span, (copy if task == "copy" else recall)[kind], settings, seed)
        for task in TASKS
        for span in settings.spans(task)
        for kind in KINDS
    ]
    calls.sort(key=lambda call: (TASKS.index(call[0]), call[1][-1]), reverse=True)  # the slow ones first
    runs = spread("memory", _train_at_rates, calls, workers)
    return {
        "distances": {task: [distance for span in settings.spans(task) for distance in span] for task in TASKS},
        "chance": 1 / N_SYMBOLS,
        "n_copied": settings.n_copied,
        "parameters": {kind: recall[kind].build().num_parameters() for kind in KINDS},
        "runs": {task: {kind: _joined(runs, task, kind) for kind in KINDS} for task in TASKS},
    }


def _joined(runs: list[dict[str, Any]], task: str, kind: str) -> dict[str, Any]:
    """The trainings of all spans, as lists over all distances."""
    found = sorted((run for run in runs if (run["task"], run["kind"]) == (task, kind)), key=lambda run: run["span"])
    return {
        "accuracy": [accuracy for run in found for accuracy in run["accuracy"]],
        "learning_rates": [run["learning_rate"] for run in found for _ in run["accuracy"]],
    }


def _train_at_rates(task: str, span: tuple[int, ...], shape: Shape, settings: Settings, seed: int) -> dict[str, Any]:
    return first_solved(lambda rate: _train_once(task, span, shape, rate, settings, seed), settings.learning_rates)


def _train_once(
    task: str, span: tuple[int, ...], shape: Shape, rate: float, settings: Settings, seed: int
) -> dict[str, Any]:
    mt.random.seed(seed)
    network = shape.build()
    generator = np.random.default_rng(seed)
    asked = settings.n_copied if task == "copy" else 1  # positions of the answer

    def batch_of(distance: int, batch: int) -> Batch:
        if task == "copy":
            return copy_batch(generator, distance, batch, N_SYMBOLS, settings.n_copied)
        return recall_batch(generator, distance, batch, N_SYMBOLS)

    def loss_of(step: int) -> mt.Tensor:
        ids, targets = batch_of(log_uniform(generator, span[0], span[-1]), settings.batch)
        return F.cross_entropy(network(ids, last=asked), targets)

    steps = settings.steps[TASKS.index(task)]
    optimizer = mt.optim.Adam(network.parameters(), lr=rate)
    history = train(network, loss_of, steps, optimizer, solved=SOLVED, guessing=math.log(N_SYMBOLS))
    accuracy = []
    for distance in span:
        with mt.no_grad():
            ids, targets = batch_of(distance, settings.sequences)
            right = network(ids, last=asked).numpy().argmax(axis=-1) == targets  # (B, asked)
        accuracy.append(float(right.mean()))
    about = {"task": task, "span": span, "kind": shape.kind, "learning_rate": rate}
    return about | {"loss": history.final, "accuracy": accuracy}


# --- telling --------------------------------------------------------------------------------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Accuracy by distance, a table for each task."""
    made = []
    for task in TASKS:
        rows = [
            (NAMES[kind], f"{numbers['parameters'][kind]:,}", *(f"{accuracy:.0%}" for accuracy in run["accuracy"]))
            for kind, run in numbers["runs"][task].items()
        ]
        columns = ("network", "parameters", *(f"k = {k}" for k in numbers["distances"][task]))
        title = f"{_titles(numbers)[task]} (chance {numbers['chance']:.1%})"
        made.append(Table(title, columns, rows))
    return made


def _titles(numbers: dict[str, Any]) -> dict[str, str]:
    return {
        "recall": "recall of one symbol, a training for each k",
        "curriculum": "recall of one symbol, one training on all k",
        "copy": f"copy of {numbers['n_copied']} symbols, one training on all k",
    }


def _reaches(task: str, numbers: dict[str, Any]) -> dict[str, int]:
    """By network the longest distance up to which it is able; 0 for none."""
    distances = numbers["distances"][task]
    return {kind: reach(run["accuracy"], distances) for kind, run in numbers["runs"][task].items()}


def _gates(recall: dict[str, int]) -> str:
    """Whose gates reach further than the RNN."""
    gain = [kind for kind in ("lstm", "gru") if recall[kind] > recall["rnn"]]
    if len(gain) != 1:
        return f"gates {'lengthen' if gain else 'do not lengthen'} what can be learnt"
    (rest,) = {"lstm", "gru"} - {*gain}
    return f"the gates of the {NAMES[gain[0]]} lengthen what can be learnt, those of the {NAMES[rest]} do not"


def conclusion(numbers: dict[str, Any]) -> str:
    """How far each network reaches in each task, and what that says about gates, curricula and
    attention.
    """
    recall, curriculum, copy = (_reaches(task, numbers) for task in TASKS)
    helped = [f"the {NAMES[kind]}" for kind in KINDS if curriculum[kind] > recall[kind]]
    learning = f"what limits {listed(helped)} is learning, not memory" if helped else "no network reaches further"
    state = max(copy[kind] for kind in KINDS if kind != "transformer")
    attention = "outlasts" if copy["transformer"] > state else "does not outlast"
    near = {task: distances[0] for task, distances in numbers["distances"].items()}
    return (
        f"With at least {ENOUGH:.0%} right, one symbol is recalled {_told(recall, near['recall'])}: {_gates(recall)}. "
        f"Where shorter distances are trained along, {_told(curriculum, near['curriculum'])}: {learning}. "
        f"{numbers['n_copied']} symbols are copied {_told(copy, near['copy'])}: after at most as many updates attention "
        f"{attention} a state of fixed size."
    )


def _told(reaches: dict[str, int], shortest: int) -> str:
    """Reaches in words, the longest first."""
    names: dict[int, list[str]] = {}
    for kind in sorted(reaches, key=lambda kind: -reaches[kind]):
        names.setdefault(reaches[kind], []).append(f"the {NAMES[kind]}")
    return ", ".join(
        f"over {longest} steps by {listed(able)}" if longest else f"not even over {shortest} by {listed(able)}"
        for longest, able in names.items()
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Accuracy against distance, an axes for each task."""
    figure = empty_figure(13, 4.4)
    panels = figure.subplots(1, len(TASKS), sharey=True)
    for axes, task in zip(panels, TASKS, strict=True):
        distances = numbers["distances"][task]
        label = "accuracy" if axes is panels[0] else ""
        axes_of(axes, _titles(numbers)[task], "k, steps between seeing and saying", label)
        axes.set_xscale("log")
        axes.set_xticks(distances, [str(k) for k in distances])
        axes.minorticks_off()
        axes.set_ylim(0, 1.04)
        axes.axhline(numbers["chance"], color=GREY, linewidth=1, linestyle=":")
        axes.text(distances[-1], numbers["chance"] - 0.045, "chance", color=GREY, fontsize=8, ha="right")
        for kind, run in numbers["runs"][task].items():
            look = dict(color=COLOURS[kind], label=NAMES[kind], linewidth=WIDTHS[kind], markersize=2.5 + WIDTHS[kind])
            axes.plot(distances, run["accuracy"], "o-", **look)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=len(KINDS), loc="outside lower center")
    save_figure(figure, path)
