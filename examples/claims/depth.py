"""Claim 7: residual connections and layer norms are what lets a Transformer be deep.

A sublayer f (self-attention, or a feed-forward network) is put into the stack in one of five ways:

    plain                 f(x)
    norm alone            f(norm(x))
    residual alone        x + f(x)
    post-norm             norm(x + f(x))        (Vaswani et al. 2017)
    pre-norm              x + f(norm(x))        (Xiong et al. 2020, arXiv:2002.04745)

Through L plain layers the gradient passes 2 L products, and falls or grows geometrically with L; a
residual connection gives it a path without any (He et al. 2016, arXiv:1512.03385). At
initialisation the norm of d loss / d x is measured at the input of each layer, for stacks of
several depths, in float64. Then each is trained, with the same updates at the same rate, to recall
the first symbol of a sequence at its last place (`tasks.recall_batch`): a shallow stack and a
deep one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed, magnitude
from claims.tasks import recall_batch, recall_vocab
from claims.training import train
from minitensor import nn

__all__ = ["TITLE", "WAYS", "Settings", "Stack", "conclusion", "draw", "measure", "tables"]

TITLE = "residual connections, layer norms and depth"

N_SYMBOLS = 8
LEARNING_RATE = 1e-3
WAYS = {
    "plain": "#7f8c8d", "norm alone": "#7d3c98", "residual alone": "#2e8b57", "post-norm": "#d1662b", "pre-norm": "#1f4e8c",
}  # fmt: skip
STRAIGHT = 100.0  # a gradient that grows or falls by less from the last layer to the first has come through
SHOWN = (1e-36, 1e6)  # norms in the picture


@dataclass(frozen=True)
class Settings:
    """Depths at which gradients are measured, and those that are trained."""

    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    trained: tuple[int, ...] = (2, 16)
    d_model: int = 32
    distance: int = 10
    sequences: int = 32
    steps: int = 300
    batch: int = 32

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((2, 12), (1, 3), d_model=8, distance=4, sequences=8, steps=10, batch=8)


class Stack(nn.Module):
    """Ids (B, T) to logits (B, 1, C) of the last place, through ``depth`` layers of width D, whose
    sublayers are connected in one of the `WAYS`.
    """

    def __init__(self, way: str, depth: int, d_model: int) -> None:
        if way not in WAYS:
            raise ValueError(f"unknown way {way!r}; write one of: {', '.join(WAYS)}")
        self.way = way
        self.embedding = nn.Embedding(recall_vocab(N_SYMBOLS), d_model)
        self.positions = nn.SinusoidalPositionalEncoding(d_model)
        self.attentions = [nn.MultiHeadAttention(d_model, 4) for _ in range(depth)]
        self.networks = [nn.FeedForward(d_model, 4 * d_model, 0.0) for _ in range(depth)]
        self.norms = [nn.LayerNorm(d_model) for _ in range(2 * depth)] if "norm" in way else []
        self.last = nn.LayerNorm(d_model) if way == "pre-norm" else None
        self.output = nn.Linear(d_model, N_SYMBOLS)

    def connect(self, x: mt.Tensor, sublayer: Callable[[mt.Tensor], mt.Tensor], place: int) -> mt.Tensor:
        """What goes on behind the sublayer number ``place``, in the way of this stack."""
        norm: Any = self.norms[place] if self.norms else None
        match self.way:
            case "plain":
                return sublayer(x)
            case "norm alone":
                return sublayer(norm(x))
            case "residual alone":
                return x + sublayer(x)
            case "post-norm":
                return norm(x + sublayer(x))
            case _:
                return x + sublayer(norm(x))

    def forward(self, ids: Any, seen: list[mt.Tensor] | None = None) -> mt.Tensor:
        """Logits of the last place; ``seen`` gets the input (B, T, D) of each layer, and what comes
        out of the last.
        """
        x = self.positions(self.embedding(ids))  # (B, T, D)
        for place, (attention, network) in enumerate(zip(self.attentions, self.networks, strict=True)):
            if seen is not None:
                seen.append(x)
            x = self.connect(x, attention, 2 * place)
            x = self.connect(x, network, 2 * place + 1)
        if seen is not None:
            seen.append(x)
        x = x[:, -1:]
        return self.output(x if self.last is None else self.last(x))


# --- measuring ------------------------------------------------------------------------------------


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Norms of gradients by layer for each way and depth, and what training came to."""
    s = settings
    norms = {way: [gradient_norms(way, depth, s, seed) for depth in s.depths] for way in WAYS}
    calls = [(way, depth, s, seed) for depth in sorted(s.trained, reverse=True) for way in WAYS]
    found = dict(zip([call[:2] for call in calls], spread("depth", _train, calls, workers), strict=True))
    runs = {way: [found[way, depth] for depth in s.trained] for way in WAYS}
    return {"depths": list(s.depths), "trained": list(s.trained), "chance": 1 / N_SYMBOLS, "norms": norms, "runs": runs}


def gradient_norms(way: str, depth: int, settings: Settings, seed: int) -> list[float]:
    """The norm of d loss / d x at the input of each layer and behind the last, at the start."""
    mt.random.seed(seed)
    stack = Stack(way, depth, settings.d_model).astype("float64")
    ids, targets = recall_batch(np.random.default_rng(seed), settings.distance, settings.sequences, N_SYMBOLS)
    seen: list[mt.Tensor] = []
    loss = F.cross_entropy(stack(ids, seen), targets)
    return [float(mt.linalg.norm(gradient).item()) for gradient in mt.grad(loss, seen)]


def _train(way: str, depth: int, settings: Settings, seed: int) -> dict[str, Any]:
    s = settings
    mt.random.seed(seed)
    stack = Stack(way, depth, s.d_model)
    generator = np.random.default_rng(seed)

    def loss_of(step: int) -> mt.Tensor:
        ids, targets = recall_batch(generator, s.distance, s.batch, N_SYMBOLS)
        return F.cross_entropy(stack(ids), targets)

    history = train(stack, loss_of, s.steps, mt.optim.Adam(stack.parameters(), lr=LEARNING_RATE))
    ids, targets = recall_batch(generator, s.distance, 8 * s.sequences, N_SYMBOLS)
    with mt.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        right = stack(ids).numpy().argmax(axis=-1) == targets
    return {"losses": history.losses, "diverged": history.diverged, "accuracy": float(right.mean())}


# --- telling --------------------------------------------------------------------------------------


def passed(norms: list[float]) -> float:
    """The gradient at the input of the first layer, as a multiple of that behind the last."""
    return norms[0] / norms[-1] if norms[-1] else 0.0


def tables(numbers: dict[str, Any]) -> list[Table]:
    """What is left of the gradient by depth, and what was learnt."""
    depths, trained = numbers["depths"], numbers["trained"]
    left = [(way, *(magnitude(passed(norms)) for norms in numbers["norms"][way])) for way in WAYS]
    right = [(way, *(f"{run['accuracy']:.0%}" for run in numbers["runs"][way])) for way in WAYS]
    return [
        Table(
            "gradient at the first layer, as a multiple of that behind the last",
            ("", *(f"{d} layers" for d in depths)),
            left,
        ),
        Table("recalled after training", ("", *(f"{d} layers" for d in trained)), right),
    ]


def conclusion(numbers: dict[str, Any]) -> str:
    """Through which ways the gradient comes, and which of them learn when they are deep."""
    deepest = numbers["depths"][-1]
    last = {way: passed(numbers["norms"][way][-1]) for way in WAYS}
    ends = {
        "vanishes in": [way for way in WAYS if last[way] < 1 / STRAIGHT],
        "explodes in": [way for way in WAYS if last[way] > STRAIGHT],
        "comes through in": [way for way in WAYS if 1 / STRAIGHT <= last[way] <= STRAIGHT],
    }
    told = [
        f"{verb} {listed([f'{way} ({magnitude(last[way])})' for way in ways])}" for verb, ways in ends.items() if ways
    ]
    able = [
        [way for way in WAYS if numbers["runs"][way][k]["accuracy"] >= ENOUGH] for k in range(len(numbers["trained"]))
    ]
    shallow, deep = numbers["trained"][0], numbers["trained"][-1]
    lost = [way for way in able[0] if way not in able[-1]]
    words = (
        f"From the last of {deepest} layers to the first the gradient {'; it '.join(told)}. After the same training the task "
        f"is solved with {shallow} layers by {listed(able[0])}, with {deep} by {listed(able[-1])}. "
    )
    if not able[0]:
        return words + "So too little was learnt to tell what depth costs."
    if lost:
        return words + f"So depth is lost on {listed(lost)}, and not on {listed(able[-1], 'others')}."
    return words + "So at this depth none is lost."


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Gradients by layer in the deepest stack, and losses of the deep training."""
    figure = empty_figure(9, 3.9)
    left, right = figure.subplots(1, 2)
    axes_of(left, f"{numbers['depths'][-1]} layers at initialisation", "layer", "norm of the gradient of its input")
    left.set_yscale("log")
    axes_of(right, f"training with {numbers['trained'][-1]} layers", "update", "loss (nats)")
    for way, colour in WAYS.items():
        norms = np.clip(numbers["norms"][way][-1], *SHOWN)
        left.plot(range(1, len(norms) + 1), norms, color=colour, label=way)
        losses = numbers["runs"][way][-1]["losses"]
        if len(losses) >= 10:
            wide = 4 if way == "plain" else None  # to be seen below another that learns as little
            right.plot(np.convolve(losses, np.ones(10) / 10, "valid"), color=colour, linewidth=wide)
    right.set_ylim(0, 3)
    figure.legend(frameon=False, fontsize=9, loc="outside right center")
    save_figure(figure, path)
