"""Claim 5: attention does not see order; positions tell it, and what is learnt of them ends where
the training ended.

    the cat sat on the mat   who?  cat
    the mat sat on the cat   who?  mat

The two sentences have the same words, so that attention, which is a weighted sum over a set, gives
the same answer to both (Vaswani et al. 2017, section 3.5). Adjectives make sentences longer: "the
old cat sat on the big red mat". Four Transformer encoders answer at the last word, "who?":

    no positions               the bag of words is all that there is; right in half of the cases
    no positions, causal       each word sees those before it alone: the mask itself tells the order
                               (Haviv et al. 2022, arXiv:2203.16634)
    sinusoidal positions       of any length (Vaswani et al. 2017)
    learned positions          a table, of which rows beyond the trained length stay as they were
                               drawn (Gehring et al. 2017, arXiv:1705.03122)

Each is trained ``seeds`` times on sentences of up to ``trained`` words, and tested on longer ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed, reach
from claims.training import train
from minitensor import nn

__all__ = ["KINDS", "TITLE", "Settings", "conclusion", "draw", "measure", "sentences", "tables"]

TITLE = "positions, and beyond the trained length"

NOUNS = ("cat", "mat", "dog", "rug", "hen", "box", "cow", "car")
ADJECTIVES = ("old", "big", "red", "wet", "hot", "new")
WORDS = (*NOUNS, *ADJECTIVES, "the", "sat", "on", "who?")
MEANT = ("the cat sat on the mat", "the mat sat on the cat")
SHORTEST = 7  # words of a sentence without adjectives, "who?" included
N_HEADS, N_LAYERS = 4, 2

KINDS = {"none": "no positions", "causal": "no positions, causal", "sinusoidal": "sinusoidal", "learned": "learned"}
COLOURS = {"none": "#888888", "causal": "#2e8b57", "sinusoidal": "#1f4e8c", "learned": "#d1662b"}


@dataclass(frozen=True)
class Settings:
    """Lengths, and the budget of each training."""

    trained: int = 16  # words of the longest sentence to train on
    lengths: tuple[int, ...] = (7, 10, 13, 16, 20, 24, 32, 48, 64)  # of the sentences to test by
    d_model: int = 32
    steps: int = 300
    learning_rate: float = 5e-3
    batch: int = 32
    sequences: int = 200  # of each test
    seeds: int = 2

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(9, (7, 9, 24), d_model=16, steps=100, learning_rate=1e-2, batch=16, sequences=100, seeds=1)


class Reader(nn.Module):
    """Words (B, T) to the logits of the noun that sat (B, nouns), read at the last word."""

    def __init__(self, kind: str, d_model: int, longest: int) -> None:
        self.causal = kind == "causal"
        self.embedding = nn.Embedding(len(WORDS), d_model)
        self.positions: Any = None
        if kind == "sinusoidal":
            self.positions = nn.SinusoidalPositionalEncoding(d_model)
        if kind == "learned":
            self.positions = nn.LearnedPositionalEncoding(longest, d_model)
        self.body = nn.TransformerEncoder(N_LAYERS, d_model, N_HEADS, 2 * d_model, dropout=0.0, norm_first=True)
        self.output = nn.Linear(d_model, len(NOUNS))

    def forward(self, ids: Any) -> mt.Tensor:
        """Logits (B, nouns) of ids (B, T)."""
        x = self.embedding(ids)  # (B, T, D)
        x = x if self.positions is None else self.positions(x)
        return self.output(self.body(x, is_causal=self.causal)[:, -1])


def sentences(generator: np.random.Generator, length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (count, length) of sentences of so many words, "who?" included, and which noun sat
    (count,).
    """
    the, sat, on, who = (WORDS.index(word) for word in ("the", "sat", "on", "who?"))
    first = generator.integers(0, len(NOUNS), count)
    second = (first + generator.integers(1, len(NOUNS), count)) % len(NOUNS)  # another one
    extra = length - SHORTEST
    before = generator.integers(0, extra + 1, count)  # adjectives of the first noun
    ids = generator.integers(len(NOUNS), len(NOUNS) + len(ADJECTIVES), (count, length))
    rows = np.arange(count)
    ids[:, 0], ids[:, -1] = the, who
    for shift, word in ((1, first), (2, sat), (3, on), (4, the)):
        ids[rows, before + shift] = word
    ids[:, -2] = second
    return ids, first


def swapped(ids: np.ndarray) -> np.ndarray:
    """The sentences (B, T) with their two nouns in each other's place."""
    made = ids.copy()
    for row in made:
        one, other = np.flatnonzero(row < len(NOUNS))
        row[[one, other]] = row[[other, one]]
    return made


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Accuracy by network, training and length; and how far the answers to two sentences of the
    same words differ.
    """
    calls = [(kind, settings, seed + number) for kind in KINDS for number in range(settings.seeds)]
    runs = spread("positions", _train_once, calls, workers)
    return {
        "lengths": list(settings.lengths),
        "trained": settings.trained,
        "runs": {kind: [run for run in runs if run["kind"] == kind] for kind in KINDS},
    }


def _train_once(kind: str, settings: Settings, seed: int) -> dict[str, Any]:
    mt.random.seed(seed)
    network = Reader(kind, settings.d_model, max(settings.lengths))
    generator = np.random.default_rng(seed)

    def loss_of(step: int) -> mt.Tensor:
        length = int(generator.integers(SHORTEST, settings.trained + 1))
        ids, targets = sentences(generator, length, settings.batch)
        return F.cross_entropy(network(ids), targets)

    train(network, loss_of, settings.steps, mt.optim.Adam(network.parameters(), lr=settings.learning_rate))
    accuracy = []
    with mt.no_grad():
        for length in settings.lengths:
            ids, targets = sentences(generator, length, settings.sequences)
            accuracy.append(float((network(ids).numpy().argmax(axis=-1) == targets).mean()))
        ids, _ = sentences(generator, SHORTEST, settings.sequences)
        one, other = (F.softmax(network(each)).numpy() for each in (ids, swapped(ids)))
        meant = [[WORDS.index(word) for word in (*text.split(), "who?")] for text in MEANT]
        said = [NOUNS[noun] for noun in network(np.array(meant)).numpy().argmax(axis=-1)]
    return {
        "kind": kind,
        "parameters": network.num_parameters(),
        "accuracy": accuracy,
        "said": said,
        "apart": float(np.abs(one - other).max(axis=-1).mean()),
    }


# --- telling --------------------------------------------------------------------------------------


def _means(numbers: dict[str, Any], kind: str) -> list[float]:
    """Accuracy at each length, the mean of the trainings."""
    return np.mean([run["accuracy"] for run in numbers["runs"][kind]], axis=0).tolist()


def _worst(numbers: dict[str, Any], kind: str) -> list[float]:
    """The same of the worst training at each length."""
    return np.min([run["accuracy"] for run in numbers["runs"][kind]], axis=0).tolist()


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Accuracy by length, and the difference between the answers to sentences of the same words."""
    rows = []
    for kind in KINDS:
        mean, worst = _means(numbers, kind), _worst(numbers, kind)
        rows.append((KINDS[kind], *(f"{share:.0%}" for share in mean)))
        if worst != mean:
            rows.append((f"  the worst of {len(numbers['runs'][kind])}", *(f"{share:.0%}" for share in worst)))
    title = (
        f"who sat? right answers by the number of words, trained on up to {numbers['trained']}; mean of the trainings"
    )
    made = [Table(title, ("network", *map(str, numbers["lengths"])), rows)]
    apart = [
        (KINDS[kind], f"{runs[0]['parameters']:,}", *runs[0]["said"], f"{_apart(numbers, kind):.3f}")
        for kind, runs in numbers["runs"].items()
    ]
    title = "who sat, by the first training; and how far the probabilities differ when nouns change places, in the mean"
    return [*made, Table(title, ("network", "parameters", *MEANT, "difference"), apart)]


def _apart(numbers: dict[str, Any], kind: str) -> float:
    """Mean over the trainings of the largest change of a probability when the nouns change
    places.
    """
    return float(np.mean([run["apart"] for run in numbers["runs"][kind]]))


def conclusion(numbers: dict[str, Any]) -> str:
    """What networks without positions can say, who answers up to the trained length, and who beyond
    it.
    """
    lengths, trained = numbers["lengths"], numbers["trained"]
    bag = np.mean(_means(numbers, "none"))
    same = _apart(numbers, "none") < 0.01
    reaches = {kind: reach(_worst(numbers, kind), lengths) for kind in KINDS}
    last = max(length for length in lengths if length <= trained)
    able = [KINDS[kind] for kind in KINDS if reaches[kind] >= last]
    order = "gives the same answer to" if same else "tells apart"
    ways = {"causal": "the causal mask", "sinusoidal": "sinusoidal positions", "learned": "learned positions"}
    beyond = ", ".join(f"{way} ({_told(reaches[kind], last, lengths[-1])})" for kind, way in ways.items())
    longer = [place for place, length in enumerate(lengths) if length > trained]
    ends = [longer[0], longer[-1]] if len(longer) > 1 else longer
    far = ", ".join(
        f"at {lengths[place]} words {_means(numbers, 'sinusoidal')[place]:.0%} with sinusoidal and "
        f"{_means(numbers, 'learned')[place]:.0%} with learned positions"
        for place in ends
    )
    return (
        f"Without positions attention {order} the cat on the mat and the mat on the cat, and is right in {bag:.0%}. "
        f"Up to {last} words, as trained, at least {ENOUGH:.0%} are right with {listed(able, 'none of them')}. "
        f"Beyond that length: {beyond}. Right are {far}; one of the two nouns, whichever, would be in 50%."
    )


def _told(length: int, last: int, longest: int) -> str:
    if length >= longest:
        return f"still at {longest} words"
    return f"up to {length} words" if length > last else "no further"


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Accuracy against length, a line for each network, with the range of its trainings."""
    figure = empty_figure(7, 3.6)
    axes = axes_of(figure.subplots(), "who sat?", "words of the sentence", "right answers")
    lengths = numbers["lengths"]
    axes.axvspan(lengths[0], numbers["trained"], color="#f2f2f2")
    axes.text(lengths[0] + 0.2, 0.02, "trained", color=GREY, fontsize=8)
    axes.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
    axes.text(lengths[0] + 0.2, 0.46, "one of the two nouns", color=GREY, fontsize=8, va="top")
    for kind in KINDS:
        runs = [run["accuracy"] for run in numbers["runs"][kind]]
        axes.fill_between(
            lengths, np.min(runs, axis=0), np.max(runs, axis=0), color=COLOURS[kind], alpha=0.15, linewidth=0
        )
        axes.plot(lengths, _means(numbers, kind), "o-", color=COLOURS[kind], label=KINDS[kind], markersize=4)
    axes.set_xscale("log")
    axes.set_xticks(lengths, map(str, lengths))
    axes.minorticks_off()
    axes.set_ylim(0, 1.04)
    figure.legend(frameon=False, ncols=len(KINDS), loc="outside lower center")
    save_figure(figure, path)
