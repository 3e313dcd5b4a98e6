"""Claim 11: the loss of a Transformer falls as a power of its parameters N, and of its data D.

    L(N) = E + A / N^a        of D as they are             (Kaplan et al. 2020, arXiv:2001.08361;
    L(D) = E + B / D^b        of N as they are              Hoffmann et al. 2022, arXiv:2203.15556)

E is the loss that no network can get below, the entropy of the text. Of English nobody knows it, so
that a fit which finds it cannot be judged. Here the text is drawn from a source whose entropy is
computed (`markov.Source`), with statistics of a long tail, which is what such laws are
explained by (Hutter 2021, arXiv:2102.04074; Michaud et al. 2023, arXiv:2303.13506).

A causal Transformer of two layers (`networks.Network`) is trained at several widths on the same
number of tokens, each seen once, and at one width on fewer tokens, again and again: for at most
`epochs` of them, and at most as many updates as the others. What counts is the loss on a test, of
the weights whose loss on other validation sequences was the lowest: with little data a network
overfits if nothing stops it. N are all parameters, embeddings among them. Trainings are of equal
data, not of equal compute.

Each law is fitted by least squares of the logarithms, log(L - E) = log A - a log N, once with the
known E and once with the floor that fits best (`powers.fit`); by the bootstrap over points the
exponent gets an interval. What the fixed data leave of the loss, or the fixed size, adds to E in
the floor that fits. The test of a law is the largest point, predicted from all the others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.markov import Counts, Source
from claims.networks import Network, Shape
from claims.powers import Law, fits
from claims.processes import spread
from claims.report import Table, axes_of, listed
from claims.training import train

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "loss against parameters and against data"

N, D = "parameters", "data"
COLOURS = {N: "#1f4e8c", D: "#d1662b"}
WORDS = {N: "A / N^a", D: "B / D^b"}
CLOSE = 0.15  # an error below this share of what is predicted, the loss above E, counts as a prediction
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # of the picture, nats
FIRST = 2  # symbols that the next one depends on: what comes before them is not predicted


@dataclass(frozen=True)
class Settings:
    """The source, the networks, and the trainings."""

    vocab_size: int = 96
    widths: tuple[int, ...] = (4, 8, 12, 20, 32, 48, 72)
    width: int = 32  # of the networks that get less data
    data: tuple[int, ...] = (6_144, 19_456, 61_440, 194_560)  # tokens, beside those of all updates
    length: int = 16  # of a sequence
    batch: int = 64
    updates: int = 600
    epochs: int = 50
    sequences: int = 2500  # of the test; a tenth for validation
    seeds: int = 2
    resamples: int = 300

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(12, (4, 8, 12, 16), 8, (256, 1024, 2048), 8, 32, updates=10, epochs=4, sequences=100, resamples=30)

    @property
    def tokens(self) -> int:
        """Those that all updates take, each seen once."""
        return self.updates * self.batch * self.length


# --- measuring ------------------------------------------------------------------------------------


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """The test losses by size and seed, those of counting, and what is known of the source."""
    s = settings
    pairs = [(width, s.tokens) for width in s.widths] + [(s.width, tokens) for tokens in s.data]
    calls = [(width, tokens, s, seed, k) for width, tokens in pairs for k in range(s.seeds)]
    calls.sort(key=lambda call: call[0] * call[1], reverse=True)  # the slow ones first
    found: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    for call, loss in zip(calls, spread("scale", _train, calls, workers), strict=True):
        found[call[:2]].append(loss)
    sizes = {width: _shape(width, s).build().num_parameters() for width in (*s.widths, s.width)}
    points = {
        N: [{"size": sizes[width], "losses": found[width, s.tokens]} for width in s.widths],
        D: [{"size": tokens, "losses": found[s.width, tokens]} for tokens in (*s.data, s.tokens)],
    }
    source = source_of(s.vocab_size, seed)
    return {
        "entropy": source.entropy,
        "unigram": source.unigram,
        "tokens": s.tokens,
        "fixed": sizes[s.width],
        "points": points,
        "counting": [_counted(source, tokens, s, seed) for tokens in (*s.data, s.tokens)],
        "laws": {name: _laws(found_points, source.entropy, s, seed) for name, found_points in points.items()},
    }


@cache
def source_of(vocab_size: int, seed: int) -> Source:
    """The source, made once in each process."""
    return Source(vocab_size, seed)


def _shape(width: int, settings: Settings) -> Shape:
    return Shape("transformer", settings.vocab_size, settings.vocab_size, width, 4 * width)


def _sequences(source: Source, count: int, settings: Settings, seed: int, k: int, part: int) -> np.ndarray:
    """Sequences of a training (part 0), its validation (1) and its test (2), apart from each
    other.
    """
    return source.draw(np.random.default_rng([seed, k, part]), count, settings.length + 1)


def _loss(network: Network, ids: np.ndarray) -> mt.Tensor:
    """Mean nats of the symbols that have all they depend on before them."""
    return F.cross_entropy(network(ids[:, :-1])[:, FIRST - 1 :], ids[:, FIRST:])


def _train(width: int, tokens: int, settings: Settings, seed: int, k: int) -> float:
    """The test loss of training number ``k`` at this width, on so many tokens."""
    s = settings
    source = source_of(s.vocab_size, seed)
    trained = _sequences(source, tokens // s.length, s, seed, k, 0)
    validation = _sequences(source, max(1, s.sequences // 10), s, seed, k, 1)
    shuffler = np.random.default_rng([seed, k, 3])
    mt.random.seed(seed + k)
    network = _shape(width, s).build()
    per_epoch = max(1, len(trained) // s.batch)
    updates = min(s.updates, s.epochs * per_epoch)
    best: dict[str, Any] = {"loss": np.inf}

    @mt.no_grad
    def keep() -> None:
        loss = _loss(network, validation).item()
        if loss < best["loss"]:
            best.update(loss=loss, weights=[parameter.numpy().copy() for parameter in network.parameters()])

    def loss_of(step: int) -> mt.Tensor:
        if step % max(1, updates // 20) == 0:
            keep()
        place = step % per_epoch * s.batch
        if not place:
            shuffler.shuffle(trained)
        return _loss(network, trained[place : place + s.batch])

    train(network, loss_of, updates, mt.optim.Adam(network.parameters(), lr=_rate(width)))
    keep()
    for parameter, weight in zip(network.parameters(), best["weights"], strict=True):
        parameter.assign(weight)
    with mt.no_grad():
        return _loss(network, _sequences(source, s.sequences, s, seed, k, 2)).item()


def _rate(width: int) -> float:
    """The learning rate: the same up to a width of 32, then as its inverse (Yang et al. 2022,
    arXiv:2203.03466).
    """
    return 1e-2 * min(1.0, 32 / width)


def _counted(source: Source, tokens: int, settings: Settings, seed: int) -> float:
    """The test loss of counting the same sequences (`markov.Counts`)."""
    s = settings
    parts = [tokens // s.length, max(1, s.sequences // 10), s.sequences]
    trained, validation, test = (_sequences(source, count, s, seed, 0, part) for part, count in enumerate(parts))
    counts = Counts(trained, s.vocab_size)
    weight = min((1.0, 3.0, 10.0, 30.0, 100.0), key=lambda weight: counts.loss(validation, weight))
    return counts.loss(test, weight)


def _laws(points: list[dict[str, Any]], entropy: float, settings: Settings, seed: int) -> dict[str, dict[str, Any]]:
    sizes = np.repeat([point["size"] for point in points], [len(point["losses"]) for point in points]).astype(float)
    return fits(sizes, np.concatenate([point["losses"] for point in points]), entropy, settings.resamples, seed)


# --- telling --------------------------------------------------------------------------------------


def means(points: list[dict[str, Any]]) -> np.ndarray:
    """The mean loss at each size (P,)."""
    return np.array([np.mean(point["losses"]) for point in points])


def tables(numbers: dict[str, Any]) -> list[Table]:
    """The losses by size, and the laws."""
    entropy = numbers["entropy"]
    made = []
    for name, points in numbers["points"].items():
        counting = numbers["counting"] if name == D else [None] * len(points)
        rows = [
            (
                f"{point['size']:,}",
                f"{mean:.4f}",
                f"{min(point['losses']):.4f} to {max(point['losses']):.4f}",
                f"{mean - entropy:.4f}",
                *([] if counted is None else [f"{counted:.4f}"]),
            )
            for point, mean, counted in zip(points, means(points), counting, strict=True)
        ]
        title = {
            N: f"networks that see {numbers['tokens']:,} tokens, each once",
            D: f"a network of {numbers['fixed']:,} parameters, stopped where it is best",
        }[name]
        columns = (
            f"{name}",
            "test loss (nats)",
            "seeds",
            f"above E = {entropy:.4f}",
            *(["counting"] if name == D else []),
        )
        made.append(Table(title, columns, rows))
    rows = []
    for name, laws in numbers["laws"].items():
        measured = means(numbers["points"][name])[-1]
        for floor, law in laws.items():
            exponents = f"{law['exponent']:.2f} ({law['interval'][0]:.2f} to {law['interval'][1]:.2f})"
            rows.append(
                (
                    f"{name}, floor {floor}",
                    f"{law['floor']:.3f}",
                    exponents,
                    f"{law['predicted']:.4f}",
                    f"{measured:.4f}",
                )
            )
    columns = ("fit", "floor", "exponent (95 %)", "largest, predicted", "measured")
    return [*made, Table("the laws, and the largest point as the others predict it", columns, rows)]


def error(numbers: dict[str, Any], name: str, floor: str) -> float:
    """How far the largest point is from what the others predict, as a share of its loss above E."""
    measured = means(numbers["points"][name])[-1]
    return abs(numbers["laws"][name][floor]["predicted"] - measured) / abs(measured - numbers["entropy"])


def conclusion(numbers: dict[str, Any]) -> str:
    """What the exponents are, whether the floor is found, and whether the largest is predicted."""
    entropy = numbers["entropy"]
    words = (
        f"The source has {entropy:.3f} nats a symbol; who knows its frequencies alone has {numbers['unigram']:.3f}. "
    )
    for name, laws in numbers["laws"].items():
        points = numbers["points"][name]
        first, last = points[0]["size"], points[-1]["size"]
        known, free = laws["known"], laws["free"]
        words += (
            f"From {first:,} to {last:,} {'parameters' if name == N else 'tokens of data'} ({last / first:.0f} times as many) "
            f"the loss falls from {means(points)[0]:.3f} to {means(points)[-1]:.3f}, with the known floor as {WORDS[name]} with "
            f"an exponent of {known['exponent']:.2f} ({known['interval'][0]:.2f} to {known['interval'][1]:.2f}). A fit that has "
            f"to find the floor puts it at {free['floor']:.3f}, {abs(free['floor'] - entropy):.3f} "
            f"{'above' if free['floor'] > entropy else 'below'} the truth. "
        )
        errors = {floor: error(numbers, name, floor) for floor in laws}
        told = {"known": "the known floor", "free": "a free one"}
        falls = known["interval"][0] > 0
        good = [told[floor] for floor in laws if errors[floor] <= CLOSE and falls]
        words += (
            f"From the others the largest is predicted with an error of {errors['known']:.0%} of its loss above E with the "
            f"known floor, of {errors['free']:.0%} with a free one: "
        )
        if good:
            words += f"the law with {' and with '.join(good)} holds one step further. "
        else:
            words += f"no law to rely on{'' if falls else ', since the exponent may be 0'}. "
    counted, largest = numbers["counting"][-1], numbers["points"][N][-1]["size"]
    fixed, last = means(numbers["points"][D])[-1], means(numbers["points"][N])[-1]
    words += (
        f"On all the data counting comes to {counted:.3f}, networks of {numbers['fixed']:,} and {largest:,} parameters to "
        f"{fixed:.3f} and {last:.3f}: "
    )
    better = [f"{size:,}" for size, loss in ((numbers["fixed"], fixed), (largest, last)) if loss < counted]
    if not better:
        return words + "counting learns most from it."
    return words + f"with {listed(better)} parameters a network learns more from it."


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """The loss above the entropy against parameters and against data, with both fits."""
    figure = empty_figure(9.5, 4.2)
    entropy = numbers["entropy"]
    titles = {
        N: f"parameters, with {numbers['tokens']:,} tokens each",
        D: f"tokens of data, with {numbers['fixed']:,} parameters",
    }
    for axes, (name, points) in zip(figure.subplots(1, 2, sharey=True), numbers["points"].items(), strict=True):
        axes_of(axes, f"loss against {name}", titles[name], "nats above the entropy" if name == N else "")
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = np.array([point["size"] for point in points])
        for point in points:
            above = np.array(point["losses"]) - entropy
            axes.plot([point["size"]] * len(above), above, "o", color=COLOURS[name], markersize=4.5, alpha=0.8)
        x = np.geomspace(sizes[0], sizes[-1], 100)
        for floor, style in (("known", "-"), ("free", "--")):
            law = Law(*(numbers["laws"][name][floor][part] for part in ("floor", "scale", "exponent")))
            label = {
                "known": f"E + {WORDS[name]}, exponent {law.exponent:.2f}",
                "free": f"floor free, exponent {law.exponent:.2f}",
            }
            axes.plot(x, law.at(x) - entropy, style, color=COLOURS[name], linewidth=1.2, label=label[floor])
        if name == D:
            axes.plot(sizes, np.array(numbers["counting"]) - entropy, "s:", color=GREY, markersize=4, label="counting")
        axes.axhline(numbers["unigram"] - entropy, color=GREY, linewidth=1, linestyle=":")
        where = (sizes[-1], numbers["unigram"] - entropy)
        axes.text(*where, "frequencies alone", color=GREY, fontsize=8, va="bottom", ha="right")
        axes.xaxis.set_minor_formatter("")
        axes.yaxis.set_minor_formatter("")
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    save_figure(figure, path)
