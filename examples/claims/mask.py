"""Claim 6: a decoder has to be kept from looking ahead while it is trained, or it learns to read
the answer instead of finding it.

A sequence is N symbols drawn at random, and then the same N once more:

    read      start  a  c  b     a  c  b       target    a  c  b     a  c  b     stop

All positions are trained at once, each on the symbol that comes next (teacher forcing), and the
next symbol is also the next input: without a mask every position sees it one step ahead (Vaswani et
al. 2017, section 3.2.3). What no honest network can know are the first N symbols, so that its loss
is at least

    N log(A) / (2N + 1)  nats a symbol

for A symbols that are equally likely. A lower one has been copied from the future.

Two Transformers of the same weights at the start are trained on the same sequences, one with the
mask. Each then writes: it gets the first half, and goes on with its own most probable symbols.
There is no future to look at then, with or without a mask.
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
from claims.networks import Network, equal_shapes
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of
from claims.training import train

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables", "twice"]

TITLE = "what the mask of the decoder is for"

COLOURS = {"with": "#1f4e8c", "without": "#c0392b"}


@dataclass(frozen=True)
class Settings:
    """A symbols, N of them said twice; how long, and on how many sequences it is measured."""

    n_symbols: int = 8
    n_copied: int = 8
    budget: int = 20_000
    steps: int = 600
    batch: int = 32
    sequences: int = 500

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(n_symbols=4, n_copied=3, budget=3_000, steps=220, batch=24, sequences=100)


def twice(generator: np.random.Generator, batch: int, n_symbols: int, n_copied: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and targets, both (B, 2 N + 1): N random symbols twice, behind the start token A, and
    before the stop token, which is A too.
    """
    symbols, end = generator.integers(0, n_symbols, (batch, n_copied)), np.full((batch, 1), n_symbols)
    return np.concatenate([end, symbols, symbols], axis=1), np.concatenate([symbols, symbols, end], axis=1)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Losses of training, and shares of right symbols and sequences, with the mask and without."""
    s = settings
    networks = spread("mask", _measure, [(s, seed, masked) for masked in (True, False)], workers)
    best = s.n_copied * math.log(s.n_symbols) / (2 * s.n_copied + 1)
    return {"n_copied": s.n_copied, "chance": 1 / s.n_symbols, "best": best, "networks": networks}


def _measure(settings: Settings, seed: int, masked: bool) -> dict[str, Any]:
    s, n = settings, settings.n_copied
    mt.random.seed(seed)
    network = equal_shapes(s.budget, s.n_symbols + 1, s.n_symbols + 1)["transformer"].build()
    generator = np.random.default_rng(seed)

    def loss_of(step: int) -> mt.Tensor:
        ids, targets = twice(generator, s.batch, s.n_symbols, n)
        return F.cross_entropy(network(ids, is_causal=masked), targets)

    history = train(network, loss_of, s.steps, mt.optim.Adam(network.parameters(), lr=3e-3))
    ids, targets = twice(generator, s.sequences, s.n_symbols, n)
    with mt.no_grad():
        taught = network(ids, is_causal=masked).numpy().argmax(axis=-1)  # (B, 2 N + 1)
    written, second = write(network, ids[:, : n + 1], n, masked), targets[:, n : 2 * n]
    return {
        "mask": "with" if masked else "without",
        "losses": history.losses,
        "final": history.final,
        "first": float((taught == targets)[:, :n].mean()),
        "second": float((taught[:, n : 2 * n] == second).mean()),
        "symbols": float((written == second).mean()),
        "exact": float((written == second).all(axis=1).mean()),
    }


@mt.no_grad
def write(network: Network, ids: np.ndarray, count: int, masked: bool) -> np.ndarray:
    """The ``count`` symbols (B, count) that the network goes on with after ``ids`` (B, T)."""
    start = ids.shape[1]
    for _ in range(count):
        logits = network(ids, last=1, is_causal=masked).numpy()  # (B, 1, C)
        ids = np.concatenate([ids, logits.argmax(axis=-1)], axis=1)
    return ids[:, start:]


# --- telling --------------------------------------------------------------------------------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Loss, and what is right while the answer stands in the input and when it does not."""
    columns = (
        "mask in training", "loss at the end", "random half, taught", "repeated half, taught", "symbols, by itself", "exact",
    )  # fmt: skip
    rows = [
        (n["mask"], f"{n['final']:.3f}", *(f"{n[name]:.1%}" for name in ("first", "second", "symbols", "exact")))
        for n in numbers["networks"]
    ]
    title = f"the least loss that is possible without the future: {numbers['best']:.3f} nats a symbol"
    return [Table(title, columns, rows)]


def conclusion(numbers: dict[str, Any]) -> str:
    """Whether the network without the mask cheats, and what becomes of it."""
    held, free = numbers["networks"]
    best = numbers["best"]
    cheats, fails = free["final"] < 0.9 * best, free["exact"] < 0.5 * held["exact"]
    words = (
        f"No network that sees the past alone can get below {best:.2f} nats a symbol. With the mask training ends at "
        f"{held['final']:.2f}, without it at {free['final']:.2f}: "
    )
    if cheats:
        words += f"it names {free['first']:.0%} of the symbols that are drawn at random, since it reads them one place ahead. "
    else:
        words += "it did not learn to read ahead. "
    words += (
        f"Left to write by itself it repeats {free['exact']:.0%} of the sequences without an error, the one with the mask "
        f"{held['exact']:.0%}. "
    )
    if cheats and fails:
        return words + "So a low loss without the mask is worth nothing: what was learnt was to copy the answer."
    if held["exact"] < ENOUGH:
        return words + "So both have learnt too little to tell."
    if cheats:
        return words + "So here a network that cheats writes as well all the same."
    return words + "So here the mask makes no difference."


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Losses of training with what is possible, and the shares of right symbols."""
    figure = empty_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    axes_of(left, "training, teacher forcing", "update", "loss (nats a symbol)")
    for network in numbers["networks"]:
        losses = np.convolve(network["losses"], np.ones(10) / 10, "valid")
        left.plot(losses, color=COLOURS[network["mask"]], label=f"{network['mask']} the mask")
    left.axhline(numbers["best"], color=GREY, linestyle="--", linewidth=1)
    updates = len(numbers["networks"][0]["losses"])
    where: dict[str, Any] = dict(xytext=(0, -12), textcoords="offset points", color=GREY, ha="right")
    left.annotate("the least without the future", (updates, numbers["best"]), **where)
    left.set_ylim(0, None)
    left.legend(frameon=False)
    axes_of(right, "right symbols", "", "share")
    names = {
        "first": "random half,\ntaught",
        "second": "repeated half,\ntaught",
        "symbols": "repeated half,\nby itself",
    }
    for place, network in enumerate(numbers["networks"]):
        shares = [network[name] for name in names]
        right.bar(np.arange(3) + 0.38 * place - 0.19, shares, 0.36, color=COLOURS[network["mask"]])
    right.axhline(numbers["chance"], color=GREY, linestyle="--", linewidth=1)
    right.annotate("chance", (3.1, numbers["chance"]), (0, 4), textcoords="offset points", color=GREY, ha="right")
    right.set_xlim(-0.6, 3.1)
    right.set_xticks(range(3), list(names.values()), fontsize=9)
    save_figure(figure, path)
