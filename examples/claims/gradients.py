"""Claim 1: through many steps of an RNN gradients vanish or explode; gates, and attention more so,
let them through.

    d loss / d x_t = d loss / d h_T (prod_{s = t + 1 .. T} d h_s / d h_{s - 1}) d h_t / d x_t

has a factor per step, so that its norm falls or grows geometrically with the distance T - t, by
about the recurrent weights' scale times the slope of the nonlinearity (Bengio, Simard and Frasconi
1994; Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063). An identity matrix with relu has factor 1
to begin with (IRNN; Le, Jaitly and Hinton 2015, arXiv:1504.00941), an LSTM its open forget gate
(Hochreiter and Schmidhuber 1997), and from any position of a Transformer there is a path of one
step (Vaswani et al. 2017, table 1).

The loss is that of the last position, which is asked for the first symbol (`tasks.recall_batch`).
x_t is a leaf with a gradient, so the engine itself says what is plotted: the root mean square over
the sequences of the norm of d loss / d x_t, in float64. The symbol asked for is drawn at random,
not the one that was seen, because a network that answers right has no loss to look at. Each network
is measured as it begins, and after training on all distances up to T by Adam with clipping, the
plain RNNs at rate 1e-3, the others at 3e-3: one rate for each kind, where other claims try
several.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims import clipping
from claims.networks import COLOURS, KINDS, Case, Network, Shape, equal_shapes
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed, magnitude
from claims.tasks import log_uniform, recall_batch, recall_vocab
from claims.training import train

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "vanishing and exploding gradients"

N_SYMBOLS = 8
LEARNING_RATES = {"rnn": 1e-3, "lstm": 3e-3, "gru": 3e-3, "transformer": 3e-3}
SHORTEST = 5  # distance in training
REDS = ("#f5b7b1", "#ec7063", "#cb4335", "#943126", "#641e16")  # by gain
RELU = "#7d3c98"
SHOWN = (1e-12, 1e6)  # norms in the picture
LOST, BLOWN_UP = 1e-3, 1e3  # of the nearest gradient's norm: where the furthest is called vanished, or exploded


@dataclass(frozen=True)
class Settings:
    """What is measured; ``gains`` are the scales of the tanh RNN's orthogonal matrix, all its
    singular values.
    """

    distance: int = 99
    budget: int = 20_000
    gains: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    sequences: int = 64
    steps: int = 500
    batch: int = 32
    clipping: clipping.Settings = clipping.Settings()

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(40, 3_000, (0.5, 3.0), sequences=8, steps=40, batch=16, clipping=clipping.Settings.quick())


def cases(gains: tuple[float, ...]) -> list[Case]:
    """All networks of the comparison."""
    scaled = [Case("rnn", "tanh", "orthogonal", gain) for gain in gains]
    relu = [Case("rnn", "relu", "orthogonal"), Case("rnn", "relu", "identity")]
    return scaled + relu + [Case(kind) for kind in KINDS[1:]]


# --- measuring ------------------------------------------------------------------------------------


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Norms by distance of each case, before and after training, and what clipping does."""
    shapes = equal_shapes(settings.budget, recall_vocab(N_SYMBOLS), N_SYMBOLS)
    calls = [(case, shapes[case.kind], settings, seed) for case in reversed(cases(settings.gains))]  # the slow first
    found = spread("gradients", _measure_case, calls, workers)[::-1]
    clipped = clipping.measure(settings.clipping, shapes["rnn"], seed, workers)
    return {"distance": settings.distance, "chance": 1 / N_SYMBOLS, "cases": found, "clipping": clipped}


def _measure_case(case: Case, shape: Shape, settings: Settings, seed: int) -> dict[str, Any]:
    mt.random.seed(seed)
    network = case.build(shape)
    initial = gradient_norms(network, settings, seed)
    generator = np.random.default_rng(seed)

    def loss_of(step: int) -> mt.Tensor:
        distance = log_uniform(generator, SHORTEST, settings.distance)
        ids, targets = recall_batch(generator, distance, settings.batch, N_SYMBOLS)
        return F.cross_entropy(network(ids, last=1), targets)

    train(network, loss_of, settings.steps, mt.optim.Adam(network.parameters(), lr=LEARNING_RATES[case.kind]))
    with mt.no_grad():
        ids, targets = recall_batch(generator, settings.distance, settings.sequences, N_SYMBOLS)
        right = network(ids, last=1).numpy().argmax(axis=-1) == targets
    return {
        "name": case.name,
        "kind": case.kind,
        "parameters": network.num_parameters(),
        "initial": initial,
        "trained": gradient_norms(network, settings, seed),
        "accuracy": float(right.mean()),
    }


def gradient_norms(network: Network, settings: Settings, seed: int) -> list[float]:
    """The norm of d loss / d x_t at the distances 0, 1, ... from the last position: root mean
    squares over the sequences.
    """
    generator = np.random.default_rng(seed)
    ids, targets = recall_batch(generator, settings.distance, settings.sequences, N_SYMBOLS)
    targets = generator.integers(0, N_SYMBOLS, targets.shape)  # see the head of this file
    network.astype(mt.float64)  # whose exponents reach to 1e-308: what vanishes can be seen vanishing
    x = network.embedding(ids).detach().requires_grad_()  # (B, T, D)
    gradient = mt.grad(F.cross_entropy(network.read(x, last=1), targets, reduction="sum"), x).numpy()
    network.astype(mt.float32)
    norms = np.sqrt((gradient**2).sum(axis=2).mean(axis=0))  # (T,)
    return norms[::-1].tolist()


# --- telling --------------------------------------------------------------------------------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Factors and ratios of each case; what clipping does."""
    columns = ("network", "parameters", "factor a step", "far : near", "trained, far : near", "recalls it")
    rows = []
    for case in numbers["cases"]:
        found = f"{factor(case['initial']):.3f}", magnitude(ratio(case["initial"])), magnitude(ratio(case["trained"]))
        rows.append((case["name"], f"{case['parameters']:,}", *found, f"{case['accuracy']:.0%}"))
    title = f"norm of d loss / d x_t, near: distance 1, far: {numbers['distance']} (chance of recall {numbers['chance']:.1%})"
    return [Table(title, columns, rows), clipping.table(numbers["clipping"])]


def ratio(norms: list[float]) -> float:
    """The norm at the greatest distance, in units of that at distance 1 (the question is at 0, and
    has its own path).

    0 if no gradient comes even there, as in a relu network that died.
    """
    return norms[-1] / norms[1] if norms[1] else 0.0


def factor(norms: list[float]) -> float:
    """The factor by which a step changes the norm: the geometric mean over the steps."""
    return ratio(norms) ** (1 / (len(norms) - 2))


def conclusion(numbers: dict[str, Any]) -> str:
    """Which networks lose the gradient, which blow it up, which keep it; which learn; what clipping
    does.
    """
    distance = numbers["distance"]
    fates: dict[str, list[str]] = {"vanishes": [], "explodes": [], "survives": []}
    able: list[str] = []
    unable: list[str] = []
    for case in numbers["cases"]:
        name, change = f"the {case['name']}", ratio(case["initial"])
        fate = "vanishes" if change < LOST else "explodes" if change > BLOWN_UP else "survives"
        fates[fate].append(f"{name}, {factor(case['initial']):.2f} a step")
        (able if case["accuracy"] >= ENOUGH else unable).append(name)
    told = [f"{fate} in {'; '.join(names)}" for fate, names in fates.items() if names]
    return (
        f"At initialisation, over {distance - 1} steps, the gradient {'. It '.join(told)}. After training, a symbol {distance} "
        f"steps back is recalled by {listed(able)}; not by {listed(unable)}. {clipping.conclusion(numbers['clipping'])}"
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Norms against distance, before and after training, and losses with and without clipping."""
    figure = empty_figure(13, 5.4)
    panels = figure.subplot_mosaic([["initial", "trained", "rates"], ["initial", "trained", "course"]])
    for key, title in (("initial", "at initialisation"), ("trained", "after training")):
        axes = axes_of(
            panels[key], title, "distance from the loss (steps)", "norm of d loss / d x" if key == "initial" else ""
        )
        axes.set_yscale("log")
        axes.set_ylim(*SHOWN)
        for case, (colour, style) in zip(numbers["cases"], _looks(numbers["cases"]), strict=True):
            axes.plot(case[key], style, color=colour, label=case["name"])
    clipping.draw(numbers["clipping"], panels["rates"], panels["course"])
    figure.legend(*panels["initial"].get_legend_handles_labels(), frameon=False, ncols=5, loc="outside lower center")
    save_figure(figure, path)


def _looks(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Colour and line style of each case: reds that darken with the gain, broken lines for relu."""
    reds = iter(REDS)
    looks = []
    for case in found:
        if case["kind"] != "rnn":
            looks.append((COLOURS[case["kind"]], "-"))
        elif case["name"].startswith("relu"):
            looks.append((RELU, "--" if "orthogonal" in case["name"] else "-"))
        else:
            looks.append((next(reds, COLOURS["rnn"]), "-"))
    return looks
