"""Claim 2: what an RNN forgets in a few steps, gates keep; what gates cannot hold, attention looks up.

Two tasks (`claims.tasks`), each trained on all its distances at once, drawn log-uniformly, and tested at each by itself:

    recall    one symbol, seen k steps ago, behind random distractors (Hochreiter and Schmidhuber 1997, section 5.2)
    copy      ten symbols, each to be said k steps after it was seen (Hochreiter and Schmidhuber 1997; Arjovsky, Shah and Bengio
              2016, arXiv:1511.06464; Jing et al. 2017, arXiv:1612.05231)

A state of fixed size has to hold what will be asked for; a Transformer keeps every position and finds it by content and position
(Vaswani et al. 2017, table 1: path length 1 against n). All networks have equal parameter counts, see the same data for the same
number of updates by Adam with clipping, and each is trained at every rate of ``learning_rates``: what is reported is the training
that ended with the least loss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import GREY, empty_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import COLOURS, KINDS, NAMES, Shape, equal_shapes
from claims.report import ENOUGH, Table, axes_of, listed, reach
from claims.tasks import Batch, copy_batch, copy_vocab, log_uniform, recall_batch, recall_vocab
from claims.training import best_run, spread, train

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "long-range dependence"

N_SYMBOLS = 8
TASKS = ("recall", "copy")


@dataclass(frozen=True)
class Settings:
    """Where to test, and the budget of each training, which draws distances from the first to the last of those tested."""

    recall: tuple[int, ...] = (2, 5, 10, 25, 50, 100, 200)  # distances to test at
    copy: tuple[int, ...] = (10, 25, 50, 100, 200)
    budget: int = 20_000
    n_copied: int = 10
    steps: tuple[int, int] = (500, 1000)  # of recall, of copy
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    batch: int = 32
    sequences: int = 250  # of each test

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(
            (2, 8, 32), (4, 8, 32), 3_000, n_copied=3, steps=(150, 300), learning_rates=(1e-2,), batch=16, sequences=50
        )


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Accuracy by task, network and distance."""
    vocab_sizes = {"recall": recall_vocab(N_SYMBOLS), "copy": copy_vocab(N_SYMBOLS, settings.n_copied)}
    shapes = {task: equal_shapes(settings.budget, vocab_sizes[task], N_SYMBOLS) for task in TASKS}
    kinds = KINDS[::-1]  # the Transformer, which takes longest, first
    calls = [
        (task, shapes[task][kind], rate, settings, seed)
        for task in TASKS[::-1]
        for kind in kinds
        for rate in settings.learning_rates
    ]
    runs = list(spread(_train_once, calls, workers))
    found = {
        task: {kind: best_run(run for run in runs if (run["task"], run["kind"]) == (task, kind)) for kind in KINDS}
        for task in TASKS
    }
    distances = {"recall": list(settings.recall), "copy": list(settings.copy)}
    return {"distances": distances, "chance": 1 / N_SYMBOLS, "n_copied": settings.n_copied, "runs": found}


def _train_once(task: str, shape: Shape, rate: float, settings: Settings, seed: int) -> dict[str, Any]:
    mt.random.seed(seed)
    network = shape.build()
    generator = np.random.default_rng(seed)
    distances = settings.copy if task == "copy" else settings.recall
    asked = settings.n_copied if task == "copy" else 1  # positions of the answer

    def batch_of(distance: int, batch: int) -> Batch:
        if task == "copy":
            return copy_batch(generator, distance, batch, N_SYMBOLS, settings.n_copied)
        return recall_batch(generator, distance, batch, N_SYMBOLS)

    def loss_of(step: int) -> mt.Tensor:
        ids, targets = batch_of(log_uniform(generator, distances[0], distances[-1]), settings.batch)
        return F.cross_entropy(network(ids, last=asked), targets)

    steps = settings.steps[TASKS.index(task)]
    history = train(network, loss_of, steps, mt.optim.Adam(network.parameters(), lr=rate))
    accuracy = []
    for distance in distances:
        with mt.no_grad():
            ids, targets = batch_of(distance, settings.sequences)
            right = network(ids, last=asked).numpy().argmax(axis=-1) == targets  # (B, asked)
        accuracy.append(float(right.mean()))
    about = {"task": task, "kind": shape.kind, "parameters": network.num_parameters(), "learning_rate": rate}
    return about | {"loss": history.final, "accuracy": accuracy}


# --- telling ------------------------------------------------------------------------------------------------------------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Accuracy by distance, a table for each task."""
    made = []
    for task in TASKS:
        columns = ("network", "parameters", "learning rate", *(f"k = {k}" for k in numbers["distances"][task]))
        rows = []
        for kind, run in numbers["runs"][task].items():
            cells = (f"{accuracy:.0%}" for accuracy in run["accuracy"])
            rows.append((NAMES[kind], f"{run['parameters']:,}", f"{run['learning_rate']:g}", *cells))
        made.append(
            Table(f"{_what(task, numbers)}, said k steps later (chance {numbers['chance']:.1%})", columns, rows)
        )
    return made


def _what(task: str, numbers: dict[str, Any]) -> str:
    return "recall of one symbol" if task == "recall" else f"copy of {numbers['n_copied']} symbols"


def _reaches(task: str, numbers: dict[str, Any]) -> dict[str, int]:
    """By network the longest distance up to which it is able; 0 for none."""
    distances = numbers["distances"][task]
    return {kind: reach(run["accuracy"], distances) for kind, run in numbers["runs"][task].items()}


def conclusion(numbers: dict[str, Any]) -> str:
    """How far each network reaches in each task, and what that says about gates and attention."""
    recall, copy = _reaches("recall", numbers), _reaches("copy", numbers)
    gates = "lengthen" if max(recall["lstm"], recall["gru"]) > recall["rnn"] else "do not lengthen"
    state = max(copy[kind] for kind in KINDS if kind != "transformer")
    attention = "outlasts" if copy["transformer"] > state else "does not outlast"
    return (
        f"One symbol is recalled, with at least {ENOUGH:.0%} right, {_told('recall', numbers)}; {numbers['n_copied']} symbols are "
        f"copied {_told('copy', numbers)}. Gates {gates} the memory for one symbol, and after equal training attention {attention} "
        "every state of fixed size where there is more to hold."
    )


def _told(task: str, numbers: dict[str, Any]) -> str:
    """The reaches of one task in words, the longest first."""
    reaches = _reaches(task, numbers)
    names: dict[int, list[str]] = {}
    for kind in sorted(reaches, key=lambda kind: -reaches[kind]):
        names.setdefault(reaches[kind], []).append(f"the {NAMES[kind]}")
    shortest = numbers["distances"][task][0]
    return ", ".join(
        f"over {longest} steps by {listed(able)}" if longest else f"not even over {shortest} by {listed(able)}"
        for longest, able in names.items()
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Accuracy against distance, an axes for each task."""
    figure = empty_figure(10, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, task in zip(panels, TASKS, strict=True):
        distances = numbers["distances"][task]
        axes_of(
            axes, _what(task, numbers), "k, steps between seeing and saying", "accuracy" if task == "recall" else ""
        )
        axes.set_xscale("log")
        axes.set_xticks(distances, [str(k) for k in distances])
        axes.minorticks_off()
        axes.set_ylim(0, 1.04)
        axes.axhline(numbers["chance"], color=GREY, linewidth=1, linestyle=":")
        axes.text(distances[-1], numbers["chance"] - 0.045, "chance", color=GREY, fontsize=8, ha="right")
        for kind, run in numbers["runs"][task].items():
            axes.plot(distances, run["accuracy"], "o-", color=COLOURS[kind], label=NAMES[kind], markersize=4)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=len(KINDS), loc="outside lower center")
    figure.savefig(path)
