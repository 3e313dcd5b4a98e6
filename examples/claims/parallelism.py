"""Claim 3: a recurrent network computes its steps one after the other, a Transformer all at once,
and pays for it with T^2.

    operations that have to wait for each other     RNN, LSTM, GRU: T          Transformer: 1
    operations in all, a layer                      T D^2                      T^2 D + T D^2

These counts are those of Vaswani et al. (2017, table 1).

What is timed is a whole training step (forward, loss at every position, backward, Adam), in two
ways. A fixed number of tokens is cut into T positions of tokens / T sequences: the same work for a
recurrent network at every T, in T products that grow thinner. And one sequence of T: nothing but
its own positions gives a network something to do at the same time. The networks take turns, so that
whatever else the machine does hits all of them, and the median counts. Of the Transformer's step
the quadratic part is timed by itself: forward and backward of its layers' scaled dot-product
attention.

What waiting costs depends on how much the machine could do at the same time: two cores are kept
busy by a product of a few rows. So the same is timed on several variants (`timing`), each a process
of its own: NumPy and compiled kernels on one thread, the kernels on two, and CUDA. One that the
machine lacks is reported as missing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.console import Progress
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.networks import COLOURS, KINDS, N_HEADS, N_LAYERS, NAMES, Shape, equal_shapes
from claims.report import Table, axes_of, listed
from claims.timing import PLAIN, VARIANTS, Variant, alternating, step_of

__all__ = ["TITLE", "Settings", "conclusion", "crossover", "draw", "measure", "tables"]

TITLE = "parallelism"

ATTENTION = "attention"  # the name of that part among the networks
NEAR = 1.5  # lengths whose labels would lie on each other
MANY, ONE = "many", "one"  # sequences in a step: as many as make up the tokens, or one


@dataclass(frozen=True)
class Settings:
    """What is timed, how often."""

    lengths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    tokens: int = 4096
    budget: int = 200_000
    vocab_size: int = 64
    rounds: int = 3  # three times as many of one sequence
    variants: tuple[Variant, ...] = VARIANTS

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((8, 64), 256, 10_000, rounds=2, variants=(PLAIN, Variant("a million threads", 1_000_000)))


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Median seconds of a step by variant, sequences, network and length, and why a variant is
    missing. ``workers`` is not used: what is timed has the machine for itself.
    """
    s = settings
    missing = {variant: variant.missing() for variant in s.variants}
    seconds: dict[Variant, dict[str, dict[str, list[float]]]] = {
        variant: {MANY: {name: [] for name in (*KINDS, ATTENTION)}, ONE: {name: [] for name in KINDS}}
        for variant, reason in missing.items()
        if not reason
    }
    with Progress("parallelism", total=len(s.lengths) * len(seconds)) as progress, ExitStack() as stack:
        processes = {variant: stack.enter_context(variant.process()) for variant in seconds}
        for length in s.lengths:
            for variant, process in processes.items():
                found = process.result(time_steps, s, variant, length, seed)
                for sequences, medians in found.items():
                    for name, median in medians.items():
                        seconds[variant][sequences][name].append(median)
                progress.advance()
    shapes = equal_shapes(s.budget, s.vocab_size, s.vocab_size)
    return {
        "lengths": list(s.lengths),
        "tokens": s.tokens,
        "parameters": {kind: shape.build().num_parameters() for kind, shape in shapes.items()},
        "seconds": {variant.name: found for variant, found in seconds.items()},
        "missing": {variant.name: reason for variant, reason in missing.items() if reason},
    }


def time_steps(settings: Settings, variant: Variant, length: int, seed: int) -> dict[str, dict[str, float]]:
    """Median seconds at one length by sequences and network, as this process computes. Raises
    ImportError if the compiled kernels that a variant asks for cannot be used.
    """
    if variant.compiled:
        mt.backend.use_compiled()  # they would else give way to NumPy with a warning
    s = settings
    shapes = equal_shapes(s.budget, s.vocab_size, s.vocab_size)
    ids = np.random.default_rng(seed).integers(0, s.vocab_size, (s.tokens // length, length))
    found = {}
    for sequences, rows, rounds in ((MANY, len(ids), s.rounds), (ONE, 1, 3 * s.rounds)):
        targets = np.roll(ids[:rows], -1, axis=1)  # of the last one the first
        batch = [mt.tensor(values, device=variant.device) for values in (ids[:rows], targets)]
        steps = {kind: step_of(shape.build().to(variant.device), *batch) for kind, shape in shapes.items()}
        if sequences == MANY:
            steps[ATTENTION] = _attention_step(shapes["transformer"], rows, length, variant.device)
        found[sequences] = alternating(steps, rounds)
    return found


def _attention_step(shape: Shape, batch: int, length: int, device: str) -> Callable[[], None]:
    """Forward and backward of only the attention of all layers."""
    heads = (batch, N_HEADS, length, shape.d_model // N_HEADS)  # (B, H, T, K)
    cotangent, q, k, v = (mt.random.normal(heads).to(device).requires_grad_() for _ in range(4))

    def step() -> None:
        for _ in range(N_LAYERS):
            mt.grad(F.scaled_dot_product_attention(q, k, v, is_causal=True), [q, k, v], cotangent)

    return step


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


def attention_shares(seconds: dict[str, list[float]]) -> list[float]:
    """The share of attention in the Transformer's step, by length."""
    return [part / whole for part, whole in zip(seconds[ATTENTION], seconds["transformer"], strict=True)]


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Milliseconds of a step by length, the share of attention, and where the Transformer is
    faster.
    """
    columns = ("network", "parameters", *(f"T = {length}" for length in numbers["lengths"]))
    made = []
    for variant, by_sequences in numbers["seconds"].items():
        for sequences, seconds in by_sequences.items():
            rows = [
                (NAMES[kind], f"{numbers['parameters'][kind]:,}", *(_milliseconds(value) for value in seconds[kind]))
                for kind in KINDS
            ]
            if sequences == MANY:
                rows.append(("attention in it", "", *(f"{share:.0%}" for share in attention_shares(seconds))))
            made.append(Table(f"milliseconds of a step of {_told(numbers, sequences)}: {variant}", columns, rows))
    rows = [
        (variant, _told(numbers, sequences), *(_faster(numbers, variant, sequences, kind) for kind in KINDS[:-1]))
        for sequences in (MANY, ONE)
        for variant in numbers["seconds"]
    ]
    rows += [(variant, f"missing: {reason}", "", "", "") for variant, reason in numbers["missing"].items()]
    heads = ("", "a step", *(f"than the {NAMES[kind]}" for kind in KINDS[:-1]))
    return [*made, Table("where the Transformer's step is faster", heads, rows)]


def _milliseconds(seconds: float) -> str:
    """Three digits, or all before the point."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def _told(numbers: dict[str, Any], sequences: str) -> str:
    return "one sequence" if sequences == ONE else f"{numbers['tokens']:,} tokens"


def _faster(numbers: dict[str, Any], variant: str, sequences: str, kind: str) -> str:
    seconds = numbers["seconds"][variant][sequences]
    return _comparison(numbers["lengths"], seconds["transformer"], seconds[kind])


def conclusion(numbers: dict[str, Any]) -> str:
    """From which length on the Transformer is faster, by variant, and what waiting and T^2 cost."""
    lengths, words = numbers["lengths"], ""
    for sequences in (MANY, ONE):
        places: dict[str, list[str]] = {}
        for variant in numbers["seconds"]:
            places.setdefault(_faster(numbers, variant, sequences, "lstm"), []).append(variant)
        told = [f"{where} with {listed(with_these)}" for where, with_these in places.items()]
        words += f"The Transformer's step of {_told(numbers, sequences)} is faster than the LSTM's: {'; '.join(told)}. "
    overtaken = {kind: _overtaken(numbers, kind) for kind in KINDS[:-1]}
    if any(overtaken.values()):
        told = [f"the {NAMES[kind]} with {listed(where)}" for kind, where in overtaken.items() if where]
        spared = [f"the {NAMES[kind]}" for kind, where in overtaken.items() if not where]
        words += f"So the crossover that the articles promise is here: the Transformer overtakes {'; '.join(told)}"
        words += f"; {listed(spared)} nowhere. " if spared else ". "
    else:
        words += f"So the crossover that the articles promise lies beyond this machine, or beyond T = {lengths[-1]}. "
    if numbers["missing"]:
        absent = listed([f"{variant} ({reason})" for variant, reason in numbers["missing"].items()])
        words += f"Missing here, and not timed: {absent}. "
    return words + _growth(numbers)


def _overtaken(numbers: dict[str, Any], kind: str) -> list[str]:
    """The variants with which the Transformer is the faster at the greatest length."""
    return [
        f"{variant}, {_told(numbers, sequences)}"
        for sequences in (MANY, ONE)
        for variant, seconds in numbers["seconds"].items()
        if crossover(numbers["lengths"], seconds[sequences]["transformer"], seconds[sequences][kind]) is not None
    ]


def _growth(numbers: dict[str, Any]) -> str:
    """What waiting and T^2 cost, with the tokens of a step fixed."""
    lengths, told = numbers["lengths"], []
    dearer: dict[bool, list[str]] = {True: [], False: []}
    for variant, by_sequences in numbers["seconds"].items():
        seconds = by_sequences[MANY]
        growth = {kind: seconds[kind][-1] / seconds[kind][0] for kind in KINDS}
        slowest = max(KINDS[:-1], key=lambda kind: growth[kind])
        told.append(
            f"{growth[slowest]:.1f} for the {NAMES[slowest]} and {growth['transformer']:.1f} for the Transformer, at last "
            f"{attention_shares(seconds)[-1]:.0%} of it attention, with {variant}"
        )
        dearer[growth[slowest] > growth["transformer"]].append(variant)
    verdicts = [
        f"{word} than T^2 with {listed(dearer[key])}"
        for key, word in ((True, "dearer"), (False, "cheaper"))
        if dearer[key]
    ]
    return (
        f"From T = {lengths[0]} to {lengths[-1]} the step of {numbers['tokens']:,} tokens grows by {'; by '.join(told)}: "
        f"waiting is {', '.join(verdicts)}."
    )


def _comparison(lengths: list[int], ours: list[float], theirs: list[float]) -> str:
    """Where ``ours`` is faster, in words."""
    faster, slower = crossover(lengths, ours, theirs), crossover(lengths, theirs, ours)
    if faster is not None:
        return "at every T" if faster == lengths[0] else f"from T = {faster:.0f} on"
    return "nowhere" if slower is None or slower == lengths[0] else f"below T = {slower:.0f} alone"


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Time of a step against length by variant, above of the fixed tokens, below of one sequence;
    crossovers marked.
    """
    variants = list(numbers["seconds"])
    figure = empty_figure(1.5 + 3.4 * len(variants), 6.4)
    panels = figure.subplots(2, len(variants), squeeze=False, sharex=True, sharey="row")
    for row, sequences in enumerate((MANY, ONE)):
        for axes, variant in zip(panels[row], variants, strict=True):
            first = axes is panels[row][0]
            axes_of(axes, variant if row == 0 else "", "", f"ms a step of {_told(numbers, sequences)}" if first else "")
            _draw_steps(axes, numbers["lengths"], numbers["seconds"][variant][sequences])
    for axes in panels[1]:
        axes.set_xlabel("T, tokens in a sequence")
    figure.legend(*panels[0][0].get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside right center")
    save_figure(figure, path)


def _draw_steps(axes: Any, lengths: list[int], seconds: dict[str, list[float]]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(lengths, [str(length) for length in lengths], fontsize=8)
    axes.minorticks_off()
    for kind in KINDS:
        axes.plot(lengths, 1e3 * np.array(seconds[kind]), "o-", color=COLOURS[kind], label=NAMES[kind], markersize=4)
    if ATTENTION in seconds:
        part = 1e3 * np.array(seconds[ATTENTION])
        axes.plot(lengths, part, "--", color=COLOURS["transformer"], label="its attention")
    found = []
    for kind in KINDS[:-1]:
        where = crossover(lengths, seconds["transformer"], seconds[kind])
        if where is not None and where > lengths[0]:
            height = 1e3 * math.exp(np.interp(math.log(where), np.log(lengths), np.log(seconds[kind])))
            axes.plot(where, height, "o", color=GREY, markersize=11, fillstyle="none")
            found.append((where, height))
    for group in _near(sorted(found)):
        (first, _), (last, _), height = group[0], group[-1], max(height for _, height in group)
        text = f"{first:.0f}" if f"{first:.0f}" == f"{last:.0f}" else f"{first:.0f} to {last:.0f}"
        behind = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=0.5)
        axes.annotate(text, (first, height), (0, 9), textcoords="offset points", color=GREY, ha="center", bbox=behind)


def _near(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Points in groups whose labels would lie on each other."""
    groups: list[list[tuple[float, float]]] = []
    for point in points:
        if groups and point[0] < NEAR * groups[-1][-1][0]:
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups
