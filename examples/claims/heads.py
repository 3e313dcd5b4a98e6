"""Claim 12: the heads of a Transformer do different things, and many of them can be spared.

A small encoder-decoder Transformer learns to translate sentences of which it is known what
translates what (`claims.aligned`). Of each head is measured what it looks at, and what is lost
without it (`claims.ablation`): one head removed, all but one of a layer, all of a layer (Michel et
al. 2019, arXiv:1905.10650; Voita et al. 2019, arXiv:1905.09418). Does the one tell the other? The
order of the heads by how sharply they look is compared with their order by the loss that their
removal adds (Spearman's rank correlation).

Then models of 1, 2, 4 and 8 heads are trained alike. They are equal in size: H heads of D / H
features have as many weights whatever H is.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import empty_figure, save_figure

import minitensor as mt
from claims.ablation import ELSEWHERE, PLACES, does, full_name, kind_of, name_of, take_apart
from claims.aligned import Corpus, learn, score, transformer
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed
from minitensor.models.explain.agreement import spearman

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "what heads do, and what is lost without them"

KINDS = {"encoder": "#1f4e8c", "decoder": "#2e8b57", "cross": "#d1662b"}
SHORT = ("prev.", "same", "next", "first", "last", "noun", "transl.")
SPARED = 0.01  # of the sentences: a head without which no more are lost can be spared
ALL = "sharpness, all"
LEARNT = 0.1  # nats a word
COLOURS = ("#c9cfd6", "#8fb0d9", "#1f4e8c", "#0b2239")  # of the numbers of heads


@dataclass(frozen=True)
class Settings:
    """Numbers of heads, the one that is looked into, and how many trainings there are of each."""

    heads: tuple[int, ...] = (1, 2, 4, 8)
    studied: int = 4
    trainings: int = 3
    d_model: int = 32
    n_layers: int = 2
    steps: int = 400
    max_tokens: int = 400
    learning_rate: float = 1e-2
    n_train: int = 3000
    n_test: int = 300

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((1, 2), 2, 1, d_model=8, n_layers=1, steps=60, max_tokens=200, n_train=300, n_test=40)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """What each training came to, and of those with the studied number of heads what each head does
    and what is lost without it.
    """
    s = settings
    calls = [(n_heads, s, seed, seed + k) for n_heads in (s.studied, *s.heads) for k in range(s.trainings)]
    runs = spread("heads", _train, list(dict.fromkeys(calls)), workers)
    runs.sort(key=lambda run: (run["n_heads"], run["seed"]))
    return {"studied": s.studied, "n_test": s.n_test, "runs": runs}


def _train(n_heads: int, settings: Settings, corpus_seed: int, seed: int) -> dict[str, Any]:
    s = settings
    corpus = Corpus(corpus_seed, s.n_train, s.n_test)
    mt.random.seed(seed)
    model = transformer(corpus, s.d_model, n_heads, s.n_layers)
    history = learn(model, corpus, s.steps, s.max_tokens, s.learning_rate, seed)
    model.eval()
    smooth = np.convolve(history.losses, np.ones(10) / 10, "valid")
    soon = np.flatnonzero(smooth < LEARNT)
    about = {
        "n_heads": n_heads,
        "seed": seed,
        "parameters": model.num_parameters(),
        "losses": history.losses,
        "learnt": int(soon[0]) + 10 if len(soon) else None,
        "whole": score(model, corpus.batch(corpus.test)),
    }
    return about | (take_apart(model, corpus) if n_heads == s.studied else {})


# --- telling --------------------------------------------------------------------------------------


def studied(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """The trainings whose heads were taken apart."""
    return [run for run in numbers["runs"] if "heads" in run]


def added(numbers: dict[str, Any], way: str) -> np.ndarray:
    """The loss that is added without each head, of all trainings: "zero" or "mean"."""
    return np.array([head[way]["loss"] - run["whole"]["loss"] for run in studied(numbers) for head in run["heads"]])


def correlations(numbers: dict[str, Any]) -> dict[str, tuple[float | None, int]]:
    """Rank correlations with the loss that is added without a head, and the number of heads: of
    all, and of those of one kind alone; None if ranks say nothing.
    """
    heads = [head for run in studied(numbers) for head in run["heads"]]
    zero, mean, sharp = added(numbers, "zero"), added(numbers, "mean"), _of(heads, "sharpness")
    kinds = np.array([kind_of(head["path"]) for head in heads])
    pairs = {ALL: (sharp, zero)} | {f"sharpness, {kind}": (sharp[kinds == kind], zero[kinds == kind]) for kind in KINDS}
    pairs["weight on the translated word, cross"] = (_of(heads, "translated")[kinds == "cross"], zero[kinds == "cross"])
    pairs["loss with the mean in its place, all"] = (mean, zero)
    found = {name: (spearman(x, y), len(x)) for name, (x, y) in pairs.items()}
    return {name: (value if np.isfinite(value) else None, n) for name, (value, n) in found.items()}


def _of(heads: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([head["habits"].get(name, np.nan) for head in heads])


def by_chance(n: int) -> float:
    """What a rank correlation of n unrelated pairs stays below in 19 of 20 cases, about."""
    return float(min(1.0, 1.96 / np.sqrt(n - 1)))


def by_number(numbers: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """The trainings by their number of heads."""
    found: dict[int, list[dict[str, Any]]] = {}
    for run in numbers["runs"]:
        found.setdefault(run["n_heads"], []).append(run)
    return found


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Heads and layers of the first training, the rank correlations, the numbers of heads."""
    run = studied(numbers)[0]
    rows = [
        (
            full_name(head),
            does(head),
            *(f"{head['habits'][name]:.2f}" if name in head["habits"] else "" for name in (*PLACES, "entropy")),
        )
        for head in run["heads"]
    ]
    lost = [
        (
            row[0],
            *(f"{head[way]['loss'] - run['whole']['loss']:+.3f}" for way in ("zero", "mean")),
            *(f"{head[way]['exact']:.0%}" for way in ("zero", "mean")),
        )
        for row, head in zip(rows, run["heads"], strict=True)
    ]
    layers = [
        (
            name_of(layer["path"]),
            f"{np.mean([head['zero']['exact'] for head in run['heads'] if head['path'] == layer['path']]):.0%}",
            *(f"{choose(one['exact'] for one in layer['alone']):.0%}" for choose in (max, min)),
            f"{layer['none']['exact']:.0%}",
        )
        for layer in run["layers"]
    ]
    orders = [
        (name, "equal" if value is None else f"{value:+.2f}", str(n), f"{by_chance(n):.2f}")
        for name, (value, n) in correlations(numbers).items()
    ]
    counts = [
        (
            f"{n_heads} head{'s' * (n_heads > 1)}",
            f"{runs[0]['parameters']:,}",
            *(", ".join(cells) for cells in zip(*((
                f"{run['whole']['loss']:.3f}", f"{run['whole']['exact']:.1%}", str(run["learnt"] or "never"),
            ) for run in runs), strict=True)),
        )
        for n_heads, runs in by_number(numbers).items()
    ]  # fmt: skip
    return [
        Table("where each head looks: its mean weight on some places", ("", "mostly", *SHORT, "entropy"), rows),
        Table(
            f"without the head: loss that is added to {run['whole']['loss']:.3f}, and what is exact of {run['whole']['exact']:.1%}",
            ("", "zero: loss", "mean: loss", "zero: exact", "mean: exact"),
            lost,
        ),
        Table(
            "sentences that are exact", ("", "without one", "best one alone", "worst one alone", "none left"), layers
        ),
        Table("rank correlation with the loss added without a head", ("", "", "heads", "by chance below"), orders),
        Table("trained alike", ("", "parameters", "loss (nats)", "exact", f"updates to {LEARNT} nats"), counts),
    ]


def conclusion(numbers: dict[str, Any]) -> str:
    """What heads do, what is lost without one and without a layer's, and what more heads give."""
    runs = studied(numbers)
    run, total = runs[0], sum(len(run["heads"]) for run in runs)
    whole = run["whole"]["exact"]
    if whole < ENOUGH:
        return f"{whole:.0%} of new sentences are translated exactly: too little was learnt to tell what heads do."
    counted = Counter(does(head) for head in run["heads"])
    told = [f"to the {name} {'word' if name in ('translated', 'noun') else 'position'} in {count}"
            for name, count in counted.most_common() if name != ELSEWHERE]  # fmt: skip
    spared = sum(head["zero"]["exact"] >= run["whole"]["exact"] - SPARED for run in runs for head in run["heads"])
    worst = min(run["heads"], key=lambda head: head["zero"]["exact"])
    layer = min(run["layers"], key=lambda layer: layer["none"]["exact"])
    words = (
        f"A model that translates {whole:.1%} of new sentences exactly has {len(run['heads'])} heads. More than half of the "
        f"weight goes {listed(told, 'nowhere in particular')}; {counted[ELSEWHERE]} look {ELSEWHERE}. {spared} of {total} "
        f"heads (of {len(runs)} trainings) can be removed, one at a time, for at most {SPARED:.0%} of the sentences. Without "
        f"the one that is missed most ({full_name(worst)}; mostly: {does(worst)}) {worst['zero']['exact']:.0%} are left, "
        f"without all heads of {name_of(layer['path'])} {layer['none']['exact']:.0%}. "
    )
    return words + _together(runs) + _predictive(numbers) + _more_heads(numbers)


def _together(runs: list[dict[str, Any]]) -> str:
    """Which layers can lose all heads, and whether those of a layer stand in for one another."""
    idle = [
        name_of(layers[0]["path"])
        for layers in zip(*(run["layers"] for run in runs), strict=True)
        if all(
            layer["none"]["exact"] >= run["whole"]["exact"] - SPARED for layer, run in zip(layers, runs, strict=True)
        )
    ]
    single, every = (
        float(np.mean([part[way]["loss"] - run["whole"]["loss"] for run in runs for part in run[parts]]))
        * len(runs[0][parts])
        for parts, way in (("heads", "zero"), ("layers", "none"))
    )
    relation = "stand in for one another" if every > 2 * single > 0 else "hardly stand in for one another"
    return (
        f"The layers whose heads can all be removed, in every training: {listed(idle)}. Removed one by one, the heads add "
        f"{single:.2f} nats in all, removed by whole layers {every:.2f}: those of a layer {relation}. "
    )


def _predictive(numbers: dict[str, Any]) -> str:
    """Whether how sharply a head looks tells what is lost without it: of all, and within a kind."""
    found = correlations(numbers)
    value, n = found[ALL]
    if value is None:
        return "How sharply a head looks cannot be compared with what is lost without it. "
    kinds = {kind: found[f"sharpness, {kind}"] for kind in KINDS}
    told = [f"{rank:.2f} {kind}" for kind, (rank, _) in kinds.items() if rank is not None]
    holds = [kind for kind, (rank, count) in kinds.items() if rank is not None and rank > by_chance(count)]
    words = (
        f"How sharply a head looks and the loss that is added without it correlate by {value:.2f} in rank over all {n} heads "
        f"(unrelated ones stay below {by_chance(n):.2f}), and among those of one kind by {listed(told, 'nothing to tell')}: "
    )
    if abs(value) <= by_chance(n):
        return words + "the one does not tell the other here. "
    if value < 0:
        return words + "heads that look more sharply are missed less. "
    if len(holds) == len(kinds):
        return words + "heads that look more sharply are missed more, of every kind. "
    return (
        words + f"heads that look more sharply are missed more; within a kind this is sure of {listed(holds)} alone. "
    )


def _more_heads(numbers: dict[str, Any]) -> str:
    """Whether more heads give more: beside the difference of trainings that are alike."""
    exact = {n: [run["whole"]["exact"] for run in runs] for n, runs in by_number(numbers).items()}
    told = [f"{np.mean(values):.1%} with {n}" for n, values in exact.items()]
    alike = max(max(values) - min(values) for values in exact.values())
    means = {n: np.mean(values) for n, values in exact.items()}
    best, least = max(means, key=lambda n: means[n]), min(means, key=lambda n: means[n])
    words = f"Models of equal size, trained alike, are exact in {listed(told)} head{'s' * (max(exact) > 1)}: "
    if means[best] - means[least] <= max(alike, SPARED):
        return words + "more heads give no more here than two trainings of the same differ by."
    return words + f"{best} are best, {least} worst, and further apart than trainings of the same."


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """What is exact without each head, sharpness against the loss that is added, and the trainings
    by their number of heads.
    """
    figure = empty_figure(10, 3.5)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    run = studied(numbers)[0]
    names = [name_of(layer["path"]) for layer in run["layers"]]
    grid = np.array([head["zero"]["exact"] for head in run["heads"]]).reshape(len(names), -1)
    axes_of(left, f"exact without the head (all: {run['whole']['exact']:.0%})", "head", "").grid(False)
    left.imshow(-grid, cmap="Oranges", vmin=-1, vmax=0, aspect="auto")
    for place, head in enumerate(run["heads"]):
        row, column = divmod(place, grid.shape[1])
        left.text(column, row, f"{grid[row, column]:.0%}\n{does(head)}", ha="center", va="center", fontsize=7)
    left.set_xticks(range(grid.shape[1]), [str(n + 1) for n in range(grid.shape[1])])
    left.set_yticks(range(len(names)), names)
    axes_of(middle, "each head of all trainings", "sharpness (largest weight)", "loss added without it (nats)")
    heads = [head for run in studied(numbers) for head in run["heads"]]
    sharp, loss = _of(heads, "sharpness"), added(numbers, "zero")
    for kind, colour in KINDS.items():
        chosen = [kind_of(head["path"]) == kind for head in heads]
        middle.scatter(sharp[chosen], loss[chosen], 18, color=colour, label=kind)
    middle.set_yscale("symlog", linthresh=0.01)
    middle.legend(frameon=False, fontsize=8)
    axes_of(right, "training (means)", "update", "loss (nats a word)")
    right.set_yscale("log")
    for (n_heads, runs), colour in zip(by_number(numbers).items(), COLOURS, strict=False):
        losses = np.mean([np.convolve(run["losses"], np.ones(20) / 20, "valid") for run in runs], axis=0)
        label = f"{n_heads} head{'s' * (n_heads > 1)}"
        right.plot(np.arange(0, len(losses), 4), losses[::4], color=colour, linewidth=1.5, label=label)
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
