"""Claim 10: a Transformer is trained on all positions of a sequence at once, but writes one token
after the other; a cache of keys and values is what makes that bearable.

    training on T tokens          1 pass                                 T D^2 + T^2 D operations
    writing T, with a cache       T passes of one token                  as many, one after another
    writing T, without one        T passes of 1, 2, ..., T tokens        T^2 D^2 + T^3 D operations

A GPT of two layers is timed beside a GRU of as many parameters, whose state is all that it keeps:
one sequence at a time, so that nothing but its own length gives it work to share. Training is
forward, loss and backward; reading is the forward pass alone (what a chat does with a prompt).
Medians of several rounds, in which all take turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.console import Progress
from toolkit.plots import empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import Network, Shape, fit
from claims.report import Table, axes_of
from claims.timing import alternating
from minitensor.models.gpt import GPT, GPTConfig

__all__ = ["TITLE", "WAYS", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "training is parallel, writing is not"

WAYS = {
    "Transformer, training": "#7d3c98",
    "Transformer, reading": "#1f4e8c",
    "Transformer, writing": "#d1662b",
    "Transformer, writing without a cache": "#c0392b",
    "GRU, training": "#a9dfbf",
    "GRU, writing": "#2e8b57",
}


@dataclass(frozen=True)
class Settings:
    """Sizes, and the lengths that are timed."""

    lengths: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    vocab_size: int = 64
    d_model: int = 64
    rounds: int = 3

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((4, 16, 64), d_model=16, rounds=1)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Median tokens a second by way and length. ``workers`` is not used: what is timed has the
    machine for itself.
    """
    s = settings
    mt.random.seed(seed)
    shape: dict[str, Any] = dict(
        d_model=s.d_model, n_layers=2, n_heads=4, dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0
    )
    gpt = GPT(GPTConfig(vocab_size=s.vocab_size, max_length=max(s.lengths) + 1, **shape)).eval()

    def make(size: int) -> Shape:
        return Shape("gru", s.vocab_size, s.vocab_size, size)

    gru = fit(make, lambda made: made.build().num_parameters(), gpt.num_parameters()).build()
    generator = np.random.default_rng(seed)
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    with Progress("inference", total=len(s.lengths)) as progress:
        for length in s.lengths:
            ids = generator.integers(0, s.vocab_size, (1, length + 1))
            for way, seconds in alternating(_work(gpt, gru, ids), s.rounds).items():
                speeds[way].append(length / seconds)
            progress.advance()
    parameters = {"Transformer": gpt.num_parameters(), "GRU": gru.num_parameters()}
    return {"lengths": list(s.lengths), "parameters": parameters, "speeds": speeds}


def _work(gpt: GPT, gru: Network, ids: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What is timed, of the sequence ``ids`` (1, T + 1)."""
    start, length = ids[:, :1], ids.shape[1] - 1

    def training(network: Callable[[Any], mt.Tensor]) -> None:
        F.cross_entropy(network(ids[:, :-1]), ids[:, 1:]).backward()

    @mt.no_grad
    def writing_without_a_cache() -> np.ndarray:
        written = start
        for _ in range(length):
            logits = gpt(written)[:, -1].numpy()  # (1, V)
            written = np.concatenate([written, logits.argmax(axis=-1, keepdims=True)], axis=1)
        return written

    @mt.no_grad
    def writing_by_a_state() -> np.ndarray:
        written, state = start, None
        for _ in range(length):
            output, state = gru.body(gru.embedding(written[:, -1:]), state)  # (1, 1, D)
            logits = gru.output(output)[:, -1].numpy()  # (1, V)
            written = np.concatenate([written, logits.argmax(axis=-1, keepdims=True)], axis=1)
        return written

    work = (
        lambda: training(gpt),
        lambda: mt.no_grad(gpt)(ids[:, :-1]),
        lambda: gpt.generate(start, length),
        writing_without_a_cache,
        lambda: training(gru),
        writing_by_a_state,
    )
    return dict(zip(WAYS, work, strict=True))


# --- telling --------------------------------------------------------------------------------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Tokens a second by length."""
    rows = [(way, *(f"{speed:,.0f}" for speed in numbers["speeds"][way])) for way in WAYS]
    sizes = " and ".join(f"{name} {count:,}" for name, count in numbers["parameters"].items())
    return [Table(f"tokens a second; parameters: {sizes}", ("", *(f"T = {n}" for n in numbers["lengths"])), rows)]


def conclusion(numbers: dict[str, Any]) -> str:
    """How much faster a sequence is trained on than written, and what the cache and a state do."""
    lengths, speeds = numbers["lengths"], numbers["speeds"]
    training, reading, cached, bare, gru_training, state = (speeds[way] for way in WAYS)
    ratio = [train / write for train, write in zip(training, cached, strict=True)]
    gain = [a / b for a, b in zip(cached, bare, strict=True)]
    fall = cached[0] / cached[-1]
    words = (
        f"At T = {lengths[-1]} the Transformer trains on {training[-1]:,.0f} tokens a second and writes {cached[-1]:,.0f}: "
        f"training is {ratio[-1]:.1f} times as fast, though it does three times the work; at T = {lengths[0]} it is "
        f"{ratio[0]:.1f} times as fast. Reading a prompt is {reading[-1] / cached[-1]:.0f} times as fast as writing. "
    )
    if gain[-1] > gain[0]:
        costs = ", so that it costs time there" if gain[-1] < 1 else " (below 1 it costs time)" if gain[0] < 1 else ""
        words += (
            f"What the cache gives grows with the length: with it writing is {gain[0]:.1f} times as fast at T = {lengths[0]} and "
            f"{gain[-1]:.1f} times at {lengths[-1]}{costs}. "
        )
    else:
        words += f"The cache gives no more at T = {lengths[-1]} ({gain[-1]:.1f}) than at {lengths[0]} ({gain[0]:.1f}). "
    words += (
        f"With it a token costs {fall:.1f} times as much at T = {lengths[-1]} as at {lengths[0]}, in the GRU "
        f"{state[0] / state[-1]:.1f} times; the GRU, which waits for each step in training too, trains "
        f"{gru_training[-1] / state[-1]:.1f} times as fast as it writes."
    )
    return words


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Tokens a second against length."""
    figure = empty_figure(8.5, 4.2)
    lengths = numbers["lengths"]
    axes = axes_of(figure.subplots(), "one sequence at a time", "T, tokens of the sequence", "tokens a second")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    for way, colour in WAYS.items():
        axes.plot(lengths, numbers["speeds"][way], "o-", color=colour, label=way, markersize=4)
    figure.legend(frameon=False, fontsize=9, loc="outside right center")
    save_figure(figure, path)
