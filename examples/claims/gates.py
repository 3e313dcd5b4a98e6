"""Claim 13: LSTM against GRU, at equal parameters and at equal size.

    LSTM    3 gates and a candidate, a cell beside the state       8 D^2 + 8 D parameters
    GRU     2 gates and a candidate, the state alone               6 D^2 + 6 D

Of as many units the GRU is the smaller by a quarter; of as many parameters it has more units. Both
are beside the same LSTM, on three tasks:

    recall      one symbol, some steps ago (`tasks.recall_batch`)
    counting    a^n b^n and a stop: from the first b on, is the next one a b or the stop? What is
                asked are words that are longer than any that was trained
    text        the next character of English, on the held-out end of it

Chung et al. (2014, arXiv:1412.3555) found both ahead of a tanh RNN, and neither ahead of the other
on all data; Jozefowicz et al. (2015) the GRU ahead but in language modelling, and an LSTM whose
forget gates start open as good; Greff et al. (2017, arXiv:1503.04069) no variant of the LSTM much
better than it. Weiss et al. (2018, arXiv:1805.04908) showed what does differ: a cell can count
without a bound, a state that is an average of values from -1 to 1 cannot.

The rate is chosen for each network and task by the loss of training, on a seed of its own; then
each trains on several others. One beats the other here if its worst seed is better than the other's
best: with four seeds each, two equal networks come to that in 2 of 70 cases.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from toolkit.plots import empty_figure, save_figure
from toolkit.text import Characters, Windows, load_text, split_text

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import Network, Shape, fit
from claims.processes import spread
from claims.report import Table, axes_of, listed
from claims.tasks import log_uniform, recall_batch, recall_vocab
from claims.timing import alternating, step_of
from claims.training import train

__all__ = ["TASKS", "TITLE", "WAYS", "Settings", "better", "conclusion", "count_batch", "draw", "measure", "tables"]

TITLE = "LSTM against GRU"

LSTM, PARAMETERS, UNITS = "LSTM", "GRU, as many parameters", "GRU, as many units"
WAYS = {LSTM: "#1f4e8c", PARAMETERS: "#2e8b57", UNITS: "#a9dfbf"}
TASKS = {"recall": "accuracy", "counting": "accuracy", "text": "loss"}  # and what is judged of each
N_SYMBOLS = 8
IGNORED = -100  # a target that does not count
A, B, STOP = range(3)

Batch = tuple[np.ndarray, np.ndarray]  # ids and targets, both (B, T)


@dataclass(frozen=True)
class Settings:
    """Sizes of networks, tasks and trainings."""

    units: int = 40  # D of the LSTM
    distance: int = 50  # of recall; shorter ones are trained along
    longest: int = 20  # n of a trained word; twice as long ones are asked for
    window: int = 40  # characters
    steps: int = 200
    batch: int = 32
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)
    seeds: int = 4
    sequences: int = 500  # of each test
    rounds: int = 15  # of timing

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(12, 4, 3, 8, steps=4, batch=8, learning_rates=(1e-2,), seeds=2, sequences=20, rounds=2)


def count_batch(lengths: np.ndarray) -> Batch:
    """Ids and targets, both (B, 2 max(n)), of the words a^n b^n with a stop behind, one for each n
    of ``lengths`` (B,).

    What counts is the target of each b: another b or the stop.
    """
    n = lengths[:, None]
    place = np.arange(2 * lengths.max())[None]  # (1, T)
    ids = np.where(place < n, A, np.where(place < 2 * n, B, STOP))
    targets = np.where(place < 2 * n - 1, B, STOP)
    return ids, np.where(ids == B, targets, IGNORED)


# --- measuring ------------------------------------------------------------------------------------


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Held-out loss and accuracy by task, network and seed, and the milliseconds of a step."""
    s = settings
    cases = [(task, way) for task in TASKS for way in WAYS]
    calls = [(task, way, rate, s, seed + s.seeds) for task, way in cases for rate in s.learning_rates]
    tried = dict(zip([call[:3] for call in calls], spread("gates, rates", _train, calls, workers), strict=True))

    def rate_of(task: str, way: str) -> float:
        return min(s.learning_rates, key=lambda rate: tried[task, way, rate]["final"])

    calls = [(task, way, rate_of(task, way), s, seed + k) for task, way in cases for k in range(s.seeds)]
    found = spread("gates", _train, calls, workers)
    runs: dict[str, dict[str, Any]] = {task: {way: [] for way in WAYS} for task in TASKS}
    for (task, way, *_), run in zip(calls, found, strict=True):
        runs[task][way].append({name: run[name] for name in ("rate", "loss", "accuracy")})
    shapes = _shapes("text", s)
    return {
        "distance": s.distance,
        "longest": s.longest,
        "updates": s.steps,
        "units": {way: shape.d_model for way, shape in shapes.items()},
        "parameters": {way: shape.build().num_parameters() for way, shape in shapes.items()},
        "milliseconds": _times(s, seed),
        "runs": runs,
    }


def _shapes(task: str, settings: Settings) -> dict[str, Shape]:
    """The three networks of a task."""
    if task == "recall":
        vocab_size, n_classes = recall_vocab(N_SYMBOLS), N_SYMBOLS
    else:
        vocab_size = n_classes = STOP + 1 if task == "counting" else _text()[0].vocab_size

    def make(kind: str, size: int) -> Shape:
        return Shape(kind, vocab_size, n_classes, size)

    lstm = make("lstm", settings.units)
    equal = fit(partial(make, "gru"), lambda shape: shape.build().num_parameters(), lstm.build().num_parameters())
    return {LSTM: lstm, PARAMETERS: equal, UNITS: make("gru", settings.units)}


@cache
def _text() -> tuple[Characters, list[int], list[int]]:
    """The characters, and the ids of the text to train on and of its held-out end."""
    text = load_text(None)
    characters = Characters.of(text)
    trained, held_out = split_text(text)
    return characters, characters.encode(trained), characters.encode(held_out)


def _train(task: str, way: str, rate: float, settings: Settings, seed: int) -> dict[str, Any]:
    s = settings
    mt.random.seed(seed)
    network = _shapes(task, s)[way].build()
    last = 1 if task == "recall" else None
    batch_of, test = _data(task, s, seed)

    def loss_of(step: int) -> mt.Tensor:
        ids, targets = batch_of(step)
        return F.cross_entropy(network(ids, last=last), targets)

    history = train(network, loss_of, s.steps, mt.optim.Adam(network.parameters(), lr=rate))
    loss, accuracy = _judged(network, *test, last, whole=task == "counting")
    return {"rate": rate, "final": history.final, "loss": loss, "accuracy": accuracy}


def _data(task: str, settings: Settings, seed: int) -> tuple[Callable[[int], Batch], Batch]:
    """What gives the batch of each step, and the test."""
    s = settings
    generator, test = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    if task == "recall":

        def recalled(step: int) -> Batch:
            return recall_batch(generator, log_uniform(generator, 2, s.distance), s.batch, N_SYMBOLS)

        return recalled, recall_batch(test, s.distance, s.sequences, N_SYMBOLS)
    if task == "counting":

        def counted(step: int) -> Batch:
            return count_batch(generator.integers(1, s.longest + 1, s.batch))

        return counted, count_batch(np.arange(s.longest + 1, 2 * s.longest + 1))
    _, trained, held_out = _text()
    windows = Windows(trained, s.window, s.batch, seed)
    per_epoch = len(windows.epoch(0))

    def read(step: int) -> Batch:
        batch = windows.epoch(step // per_epoch)[step % per_epoch]
        return batch["inputs"], batch["targets"]

    spread_out = len(held_out) // s.sequences
    starts = spread_out * np.arange(s.sequences)[:, None]
    ids = np.array(held_out)[starts + np.arange(s.window + 1)]  # (B, T + 1)
    return read, (ids[:, :-1], ids[:, 1:])


def _judged(
    network: Network, ids: np.ndarray, targets: np.ndarray, last: int | None, whole: bool
) -> tuple[float, float]:
    """Mean loss of the targets that count, and the share of them that is right; ``whole``: of the
    sequences without a mistake.
    """
    with mt.no_grad():
        logits = network(ids, last=last)
        loss = F.cross_entropy(logits, targets).item()
    counts = targets != IGNORED
    right = (logits.numpy().argmax(axis=-1) == targets) | ~counts
    return loss, float(right.all(axis=1).mean() if whole else right[counts].mean())


def _times(settings: Settings, seed: int) -> dict[str, float]:
    """Median milliseconds of a training step of the text, the networks taking turns."""
    mt.random.seed(seed)
    ids, targets = _data("text", settings, seed)[0](0)
    steps = {way: step_of(shape.build(), ids, targets) for way, shape in _shapes("text", settings).items()}
    return {way: 1e3 * seconds for way, seconds in alternating(steps, settings.rounds).items()}


# --- telling --------------------------------------------------------------------------------------


def better(ours: list[float], theirs: list[float], judged: str) -> bool:
    """Whether the worst of ``ours`` beats the best of ``theirs``: the lower loss, or the higher
    accuracy.

    >>> better([0.9, 0.95], [0.8, 0.85], "accuracy"), better([0.9, 0.95], [0.8, 0.91], "accuracy")
    (True, False)
    """
    return max(ours) < min(theirs) if judged == "loss" else min(ours) > max(theirs)


def _values(numbers: dict[str, Any], task: str, way: str, name: str) -> list[float]:
    return [run[name] for run in numbers["runs"][task][way]]


def _judgements(numbers: dict[str, Any], task: str, way: str) -> list[float]:
    return _values(numbers, task, way, TASKS[task])


def _verdict(numbers: dict[str, Any], task: str, way: str) -> str:
    """Which of the LSTM and a GRU is better in a task; "" if the spread hides it."""
    ours, theirs = _judgements(numbers, task, LSTM), _judgements(numbers, task, way)
    return LSTM if better(ours, theirs, TASKS[task]) else "GRU" if better(theirs, ours, TASKS[task]) else ""


def _shown(values: list[float], name: str) -> str:
    """The mean, and the least and the greatest of all seeds."""
    form = "{:.3f}" if name == "loss" else "{:.0%}"
    return f"{form.format(np.mean(values))} ({form.format(min(values))} to {form.format(max(values))})"


def _titles(numbers: dict[str, Any]) -> dict[str, str]:
    longest = numbers["longest"]
    return {
        "recall": f"one symbol, {numbers['distance']} steps ago",
        "counting": f"a^n b^n, n = {longest + 1} to {2 * longest}, trained to {longest}",
        "text": "the next character of English",
    }


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Sizes and time, and of each task the held-out loss and accuracy: means, and their range."""
    sizes = [
        (way, str(numbers["units"][way]), f"{numbers['parameters'][way]:,}", f"{numbers['milliseconds'][way]:.1f}")
        for way in WAYS
    ]
    made = [Table("the networks of the text", ("", "units", "parameters", "ms a step"), sizes)]
    for task, title in _titles(numbers).items():
        rows = [
            (
                way,
                *(_shown(_values(numbers, task, way, name), name) for name in ("loss", "accuracy")),
                f"{numbers['runs'][task][way][0]['rate']:g}",
            )
            for way in WAYS
        ]
        made.append(Table(f"{task}: {title}", ("", "held-out loss (nats)", "accuracy", "learning rate"), rows))
    return made


def conclusion(numbers: dict[str, Any]) -> str:
    """Where one beats the other, and where the spread of the seeds hides it."""
    seeds = len(numbers["runs"]["recall"][LSTM])
    told = []
    for way, equal in ((PARAMETERS, "as many parameters"), (UNITS, "as many units")):
        verdicts = {task: _verdict(numbers, task, way) for task in TASKS}
        parts = [
            f"the {name} is better at {listed([task for task in TASKS if verdicts[task] == name])}"
            for name in (LSTM, "GRU")
            if name in verdicts.values()
        ]
        same = {task: {*_judgements(numbers, task, LSTM), *_judgements(numbers, task, way)} for task in TASKS}
        nothing = [task for task in TASKS if same[task] == {0.0}]
        level = [task for task in TASKS if len(same[task]) == 1 and task not in nothing]
        hidden = [task for task in TASKS if not verdicts[task] and task not in (*level, *nothing)]
        if level:
            parts.append(f"they are level at {listed(level)}")
        if nothing:
            parts.append(f"neither is ever right at {listed(nothing)}")
        if hidden:
            parts.append(f"the spread of {seeds} seeds hides any difference at {listed(hidden)}")
        told.append(f"With {equal}, {', and '.join(parts)}.")
    longest, judged = numbers["longest"], "accuracy"
    counted = " and ".join(f"{np.mean(_values(numbers, 'counting', way, judged)):.0%}" for way in (LSTM, PARAMETERS))
    losses = [np.mean(_values(numbers, "text", way, "loss")) for way in (LSTM, PARAMETERS)]
    ratio = numbers["milliseconds"][PARAMETERS] / numbers["milliseconds"][LSTM]
    return (
        f"{' '.join(told)} All that is asked of counting are words a^n b^n with n from {longest + 1} to {2 * longest}, longer "
        f"than all that were trained: {counted} are right (LSTM, GRU of as many parameters); the losses of the text are "
        f"{losses[0]:.3f} and {losses[1]:.3f} nats after {numbers['updates']} updates, and that GRU's step takes {ratio:.2f} of "
        "the time of the LSTM's."
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Every seed of every network by task."""
    figure = empty_figure(10, 3.8)
    for axes, (task, title) in zip(figure.subplots(1, len(TASKS)), _titles(numbers).items(), strict=True):
        judged = TASKS[task]
        axes_of(axes, f"{task}: {title}", "", "held-out loss (nats)" if judged == "loss" else "accuracy")
        axes.title.set_fontsize(9)
        for place, (way, colour) in enumerate(WAYS.items()):
            values = _judgements(numbers, task, way)
            axes.plot([place] * len(values), values, "o", color=colour, markersize=6, alpha=0.8)
            axes.plot([place - 0.25, place + 0.25], 2 * [np.mean(values)], color=colour, linewidth=2)
        if judged == "accuracy":
            axes.set_ylim(-0.04, 1.04)
        axes.set_xlim(-0.6, len(WAYS) - 0.4)
        axes.set_xticks(range(len(WAYS)), [way.replace(", as many ", ",\nas many\n") for way in WAYS], fontsize=8)
    save_figure(figure, path)
