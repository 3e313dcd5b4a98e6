"""Claim 3: a recurrent network computes its steps one after the other, a Transformer all at once,
and pays for it with T^2.

    operations that have to wait for each other     RNN, LSTM, GRU: T          Transformer: 1
    operations in all, a layer                      T D^2                      T^2 D + T D^2

These counts are those of Vaswani et al. (2017, table 1).

What is timed is a whole training step (forward, loss at every position, backward, Adam) of a fixed
number of tokens, cut into T positions of tokens / T sequences: the same work for a recurrent
network at every T, in T products that grow thinner. The networks take turns, so that whatever else
the machine does hits all of them, and the median counts. Of the Transformer's step the quadratic
part is timed by itself: forward and backward of its layers' scaled dot-product attention.

What waiting costs depends on how much the machine could do at the same time: two cores are kept
busy by a product of a few rows.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.console import Progress
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import COLOURS, KINDS, N_HEADS, N_LAYERS, NAMES, Shape, equal_shapes
from claims.report import Table, axes_of, listed

__all__ = ["TITLE", "Settings", "alternating", "conclusion", "crossover", "draw", "measure", "tables"]

TITLE = "parallelism"

ATTENTION = "attention"  # the name of that part among the networks


@dataclass(frozen=True)
class Settings:
    """What is timed, how often."""

    lengths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    tokens: int = 4096
    budget: int = 200_000
    vocab_size: int = 64
    rounds: int = 7

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((8, 32, 128), 512, 10_000, rounds=3)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Median seconds of a step by network and length. ``workers`` is not used: what is timed has
    the machine for itself.
    """
    shapes = equal_shapes(settings.budget, settings.vocab_size, settings.vocab_size)
    seconds: dict[str, list[float]] = {name: [] for name in (*KINDS, ATTENTION)}
    networks = {kind: shape.build() for kind, shape in shapes.items()}
    optimizers = {kind: mt.optim.Adam(network.parameters()) for kind, network in networks.items()}
    generator = np.random.default_rng(seed)
    with Progress("parallelism", total=len(settings.lengths)) as progress:
        for length in settings.lengths:
            ids = generator.integers(0, settings.vocab_size, (settings.tokens // length, length))
            steps = {kind: _step(networks[kind], optimizers[kind], ids) for kind in KINDS}
            steps[ATTENTION] = _attention_step(shapes["transformer"], *ids.shape)
            for name, median in alternating(steps, settings.rounds).items():
                seconds[name].append(median)
            progress.advance()
    parameters = {kind: network.num_parameters() for kind, network in networks.items()}
    return {"lengths": list(settings.lengths), "tokens": settings.tokens, "parameters": parameters, "seconds": seconds}


def _step(network: mt.nn.Module, optimizer: mt.optim.Optimizer, ids: np.ndarray) -> Callable[[], None]:
    """A training step: predict each next id, the last one the first."""
    targets = np.roll(ids, -1, axis=1)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(ids), targets).backward()
        optimizer.step()

    return step


def _attention_step(shape: Shape, batch: int, length: int) -> Callable[[], None]:
    """Forward and backward of only the attention of all layers."""
    heads = (batch, N_HEADS, length, shape.d_model // N_HEADS)  # (B, H, T, K)
    cotangent, q, k, v = (mt.random.normal(heads).requires_grad_() for _ in range(4))

    def step() -> None:
        for _ in range(N_LAYERS):
            mt.grad(F.scaled_dot_product_attention(q, k, v, is_causal=True), [q, k, v], cotangent)

    return step


def alternating(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step; they take turns, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


# --- telling --------------------------------------------------------------------------------------


def crossover(lengths: list[int], ours: list[float], theirs: list[float]) -> float | None:
    """The length at which ``ours`` becomes and stays the smaller, between lengths by interpolation
    of the logarithms.

    The first length from which it always is; None if it is not at the last.

    >>> crossover([10, 100, 1000], [4.0, 4.0, 4.0], [1.0, 2.0, 8.0])
    316.22776601683796
    """
    gaps = [math.log(our / their) for our, their in zip(ours, theirs, strict=True)]
    if gaps[-1] >= 0:
        return None
    last = max((i for i, gap in enumerate(gaps) if gap >= 0), default=None)  # the last length at which it was not
    if last is None:
        return float(lengths[0])
    share = gaps[last] / (gaps[last] - gaps[last + 1])
    return lengths[last] * (lengths[last + 1] / lengths[last]) ** share


def attention_shares(numbers: dict[str, Any]) -> list[float]:
    """The share of attention in the Transformer's step, by length."""
    seconds = numbers["seconds"]
    return [part / whole for part, whole in zip(seconds[ATTENTION], seconds["transformer"], strict=True)]


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Milliseconds of a step by length, and the share of attention."""
    columns = ("network", "parameters", *(f"T = {length}" for length in numbers["lengths"]))
    rows = [
        (NAMES[kind], f"{numbers['parameters'][kind]:,}", *(f"{1e3 * value:.0f}" for value in numbers["seconds"][kind]))
        for kind in KINDS
    ]
    rows.append(("attention in it", "", *(f"{share:.0%}" for share in attention_shares(numbers))))
    return [Table(f"milliseconds of a training step of {numbers['tokens']:,} tokens", columns, rows)]


def conclusion(numbers: dict[str, Any]) -> str:
    """From which length on the Transformer is faster than each of the others, and what waiting and
    T^2 cost.
    """
    lengths, seconds = numbers["lengths"], numbers["seconds"]
    against = [
        f"the {NAMES[kind]} {_comparison(lengths, seconds['transformer'], seconds[kind])}" for kind in KINDS[:-1]
    ]
    growth = {kind: seconds[kind][-1] / seconds[kind][0] for kind in KINDS}
    grown = listed([f"{growth[kind]:.1f} for the {NAMES[kind]}" for kind in KINDS[:-1]])
    waiting = max(growth[kind] for kind in KINDS[:-1])
    verdict = "dearer than" if waiting > growth["transformer"] else "cheaper than"
    shares = attention_shares(numbers)
    return (
        f"The Transformer's step of {numbers['tokens']:,} tokens is faster than that of {'; of '.join(against)}. From T = "
        f"{lengths[0]} to {lengths[-1]} the work of a recurrent network is the same, so that what its time grows by is the price "
        f"of waiting: {grown}. The Transformer's grows by {growth['transformer']:.1f}, the price of T^2: attention takes "
        f"{shares[0]:.0%} of its step at T = {lengths[0]} and {shares[-1]:.0%} at {lengths[-1]}. On this machine waiting is "
        f"{verdict} T^2."
    )


def _comparison(lengths: list[int], ours: list[float], theirs: list[float]) -> str:
    """Where ``ours`` is faster, in words."""
    faster, slower = crossover(lengths, ours, theirs), crossover(lengths, theirs, ours)
    if faster is not None:
        return "at every T" if faster == lengths[0] else f"from T = {faster:.0f} on"
    return "nowhere" if slower is None or slower == lengths[0] else f"below T = {slower:.0f} alone"


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Time of a step against length, and the quadratic part; crossovers marked."""
    figure = empty_figure(8.5, 4.4)
    lengths, seconds = numbers["lengths"], numbers["seconds"]
    title = f"training step of {numbers['tokens']:,} tokens"
    axes = axes_of(figure.subplots(), title, "T, tokens in a sequence", "milliseconds")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    for kind in KINDS:
        axes.plot(lengths, 1e3 * np.array(seconds[kind]), "o-", color=COLOURS[kind], label=NAMES[kind], markersize=4)
    part = 1e3 * np.array(seconds[ATTENTION])
    axes.plot(lengths, part, "--", color=COLOURS["transformer"], label="its attention")
    for kind in KINDS[:-1]:
        where = crossover(lengths, seconds["transformer"], seconds[kind])
        if where is not None and where > lengths[0]:
            height = 1e3 * math.exp(np.interp(math.log(where), np.log(lengths), np.log(seconds[kind])))
            axes.plot(where, height, "o", color=GREY, markersize=11, fillstyle="none")
            axes.annotate(f"{where:.0f}", (where, height), (0, 9), textcoords="offset points", color=GREY, ha="center")
    figure.legend(frameon=False, fontsize=9, loc="outside right center")
    save_figure(figure, path)
