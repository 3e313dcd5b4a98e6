"""Claim 8: a table of vectors that was trained on nothing but neighbours puts words that are used
alike close together: king and queen, not king and apple.

A table is trained on a made corpus (`usage`) by skip-grams with negative sampling (Mikolov et al.
2013, arXiv:1310.4546): with v the vector of a word, u that of a neighbour and u' of K words drawn
at random, the loss of a pair is

    - log sigmoid(u . v) - sum_k log sigmoid(- u'_k . v)

It is looked at beside the same table before training, beside the counts of neighbours themselves,
without any training (positive pointwise mutual information, what skip-grams factorise: Levy and
Goldberg 2014), and, if ``vectors`` names a file or folder, beside published vectors.

"king - man + woman = queen" is commonly said of a ranking from which the three words that are asked
with are kept out. They are among the nearest themselves, and with them out the nearest
neighbour of "king", without any arithmetic, may be the answer already (Linzen 2016,
arXiv:1606.07736; Rogers et al. 2017). So three shares are given: with the three kept out, with
nothing kept out, and for the neighbour of the third word.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from toolkit.console import UserError
from toolkit.plots import GREY, empty_figure, save_figure
from toolkit.published_vectors import read_vectors

import minitensor as mt
from claims.processes import spread
from claims.report import Table, axes_of, listed
from claims.skipgrams import Budget, SkipGram, counted, fit
from claims.usage import KINDS, PAIRS, PHRASES, Corpus, analogies, key_of, make_corpus
from claims.vectors import Vectors, principal

__all__ = ["TITLE", "Settings", "conclusion", "draw", "look", "measure", "tables"]

TITLE = "king, queen and apple: vectors of words by their neighbours"

ASKED = ("man", "woman", "king", "queen")  # a, b, c and d of "c - a + b = d"
SHOWN = ("king", "queen", "apple", "france", "horse")  # whose neighbours are shown
NEAREST = 4  # of them
SAME = ("king", "queen")
DIFFERENT = (("king", "apple"), ("queen", "apple"))
BEFORE, COUNTS, TRAINED, PUBLISHED = "before training", "counts alone", "trained", "published"
WAYS = {"out": "three words kept out", "in": "nothing kept out", "third": "neighbour of the third word"}
COLOURS = {"male": "#1f4e8c", "female": "#c0392b", "fruit": "#2e8b57", "animal": "#d1662b", "place": "#7d3c98"}
NOTABLE = 0.1  # a difference of shares that is more than chance makes
PUBLISHED_WORDS = 50_000  # of a person's own file, the first; such files are sorted by frequency


@dataclass(frozen=True)
class Settings:
    """The corpus, and the budget of each training."""

    sentences: int = 20_000
    window: int = 5  # places to either side that count as neighbours
    budget: Budget = Budget()
    seeds: int = 3
    vectors: str = ""  # a file or folder of published ones

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(sentences=2000, budget=Budget(5e-3, d_model=12, steps=150, batch=256, learning_rate=0.1), seeds=1)


# --- measuring ------------------------------------------------------------------------------------


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """What each table says of its words, by its name, for each seed; the published one once."""
    published = {}
    if settings.vectors:  # first: a file that cannot be read is known before the work
        published = {PUBLISHED: [look(_published(settings.vectors))]}
    runs = spread("embeddings", _measure_once, [(settings, seed + number) for number in range(settings.seeds)], workers)
    tables = {name: [run[name] for run in runs] for name in (BEFORE, COUNTS, TRAINED)} | published
    return {"tables": tables, "maps": runs[0]["maps"], "vectors": Path(settings.vectors).name}


def _published(path: str) -> Vectors:
    """A person's own vectors. Raises UserError if they lack a word that is asked for."""
    vectors = Vectors(*read_vectors(path, PUBLISHED_WORDS))
    wanted = *ASKED, DIFFERENT[0][1]
    missing = [word for word in wanted if word not in vectors]
    if missing:
        raise UserError(
            f"{path} has no vector of {listed(missing)} among its first {len(vectors.words):,} words; give a table of "
            "English words in small letters"
        )
    flat = [word for word in wanted if not np.any(vectors[word])]
    if flat:
        raise UserError(f"{path}: the vector of {listed(flat)} is zero, which has no direction; give another table")
    return vectors


def _measure_once(settings: Settings, seed: int) -> dict[str, Any]:
    s = settings
    corpus = make_corpus(seed, s.sentences)
    pairs = corpus.pairs(s.window)
    mt.random.seed(seed)
    network = SkipGram(len(corpus.words), s.budget.d_model)
    found = {BEFORE: _look_at(network, corpus)}
    fit(network, pairs, s.budget, seed)
    counts = counted(pairs, len(corpus.words))
    found[COUNTS] = look(Vectors(corpus.words, counts)) | {"withheld": fitting(counts, corpus)}
    found[TRAINED] = _look_at(network, corpus)
    vectors = Vectors(corpus.words, network.words.weight.numpy())
    people = [noun for pair in PAIRS for noun in pair]
    return found | {"maps": [_map(vectors, list(KINDS)), _map(vectors, people)]}


def _map(vectors: Vectors, words: list[str]) -> dict[str, list[float]]:
    """The place of each word among ``words`` in their two principal components."""
    return dict(zip(words, principal(np.array([vectors[word] for word in words])), strict=True))


def _look_at(network: SkipGram, corpus: Corpus) -> dict[str, Any]:
    words, neighbours = network.words.weight.numpy(), network.neighbours.weight.numpy()
    return look(Vectors(corpus.words, words)) | {"withheld": fitting(words @ neighbours.T, corpus)}


def fitting(scores: np.ndarray, corpus: Corpus) -> float:
    """For what was withheld from a noun: the share of nouns of other kinds that fit the key of the
    phrase less well than the noun does, by ``scores`` (V, V) of word and neighbour; ties are half.
    """
    numbers = {word: number for number, word in enumerate(corpus.words)}
    shares = []
    for noun, phrase in corpus.withheld:
        kind = next(kind for kind, phrases in PHRASES.items() if phrase in phrases)
        others = [numbers[other] for other, kinds in KINDS.items() if kind not in kinds]
        own, rest = scores[numbers[noun], numbers[key_of(phrase)]], scores[others, numbers[key_of(phrase)]]
        shares.append(np.mean((own > rest) + 0.5 * (own == rest)))
    return float(np.mean(shares))


def look(vectors: Vectors) -> dict[str, Any]:
    """Cosines, neighbours, the rank of "queen", and right answers to the analogies whose words the
    table has.
    """
    a, b, c, d = ASKED
    answers = {
        "out": vectors.ranking(vectors.offset(a, b, c), without=(a, b, c)),
        "in": vectors.ranking(vectors.offset(a, b, c)),
        "third": vectors.ranking(vectors[c], without=(a, b, c)),
    }
    known = [asked for asked in analogies() if all(word in vectors for word in asked)]
    right = np.zeros(len(WAYS))
    for one, other, third, fourth in known:
        offset, three = vectors.offset(one, other, third), {one, other, third}
        right += [
            vectors.nearest(offset, three) == fourth,
            vectors.nearest(offset) == fourth,
            vectors.nearest(vectors[third], three) == fourth,
        ]
    return {
        "words": len(vectors.words),
        "cosines": {f"{one}, {other}": vectors.cosine(one, other) for one, other in (SAME, *DIFFERENT)},
        "neighbours": {
            word: vectors.ranking(vectors[word], without=(word,))[:NEAREST] for word in SHOWN if word in vectors
        },
        "ranks": {way: 1 + ranking.index(d) for way, ranking in answers.items()},
        "said": {way: ranking[0] for way, ranking in answers.items()},
        "analogies": len(known),
        "right": dict(zip(WAYS, (right / len(known)).tolist(), strict=True)),
    }


# --- telling --------------------------------------------------------------------------------------


def _mean(runs: list[dict[str, Any]], *names: str) -> float:
    """The mean over the trainings of an entry of `look`."""
    return float(np.mean([functools.reduce(dict.__getitem__, names, run) for run in runs]))


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Cosines and what was withheld, neighbours, the one analogy, and all of them."""
    found = numbers["tables"]
    pairs = list(next(iter(found.values()))[0]["cosines"])
    n_seeds = len(found[TRAINED])
    made = []
    for name, runs in found.items():
        withheld = f"{_mean(runs, 'withheld'):.0%}" if "withheld" in runs[0] else "-"
        made.append(
            (name, f"{runs[0]['words']:,}", *(f"{_mean(runs, 'cosines', pair):.2f}" for pair in pairs), withheld)
        )
    columns = ("", "words", *pairs, "withheld")
    close = Table(
        f"cosines, and what was withheld put on the right side; mean of {n_seeds} corpora and trainings", columns, made
    )
    rows = [
        (name, *(" ".join(runs[0]["neighbours"].get(word, ["-"])) for word in SHOWN)) for name, runs in found.items()
    ]
    near = Table("nearest neighbours, by the first training", ("", *SHOWN), rows)
    a, b, c, d = ASKED
    rows = [(name, *(", ".join(_answers(runs, way)) for way in WAYS)) for name, runs in found.items()]
    title = f"{c} - {a} + {b}: the rank of {d} and the first word, for each training"
    one = Table(title, ("", *WAYS.values()), rows)
    rows = [
        (name, str(runs[0]["analogies"]), *(f"{_mean(runs, 'right', way):.0%}" for way in WAYS))
        for name, runs in found.items()
    ]
    every = Table("all analogies of a man's and a woman's word: right answers", ("", "analogies", *WAYS.values()), rows)
    return [close, near, one, every]


def _answers(runs: list[dict[str, Any]], way: str) -> list[str]:
    return [f"{run['ranks'][way]} {run['said'][way]}" for run in runs]


def conclusion(numbers: dict[str, Any]) -> str:
    """Whether like uses make near vectors, what the analogy is worth, and what published vectors
    say.
    """
    found = numbers["tables"]
    before, trained, counts = (found[name] for name in (BEFORE, TRAINED, COUNTS))
    same = ", ".join(SAME)
    near, far = (_mean(trained, "cosines", ", ".join(pair)) for pair in (SAME, DIFFERENT[0]))
    words = (
        f"The cosine of king and queen is {near:.2f} after training, of king and apple {far:.2f}; the former is the "
        f"greater, and greater than that of queen and apple, in {_closer(trained)} of {len(trained)} trained tables, and in "
        f"{_closer(before)} of {len(before)} before training. Of what was never said of a word, but of its like, the trained "
        f"table finds {_mean(trained, 'withheld'):.0%} on the right side (counts alone {_mean(counts, 'withheld'):.0%}). "
    )
    out, inside, third = (_mean(trained, "right", way) for way in WAYS)
    a, b, c, d = ASKED
    words += (
        f"{c} - {a} + {b}: {d} is first in {_first(trained, 'out')} of {len(trained)} with the three words kept out and in "
        f"{_first(trained, 'in')} with nothing kept out. Of all {trained[0]['analogies']} analogies {out:.0%} and {inside:.0%} "
        f"are right; the nearest neighbour of the third word would be in {third:.0%}. "
    )
    if out - third < NOTABLE:
        words += "So here the arithmetic gives hardly more than neighbourhood does. "
    elif out - inside < NOTABLE:
        words += "So here the arithmetic gives more than neighbourhood does, also with nothing kept out. "
    else:
        words += (
            "So here the arithmetic gives more than neighbourhood does, but much of it by the words that are kept out. "
        )
    other, alone = (_mean(counts, "right", way) for way in ("out", "third"))
    words += f"Counts without any training answer {other:.0%}, {alone:.0%} by neighbourhood."
    for run in found.get(PUBLISHED, ()):
        which = "closer than" if _closer([run]) else "no closer than"
        words += (
            f" In {numbers['vectors']}, of which {run['words']:,} words were read, king and queen "
            f"({run['cosines'][same]:.2f}) are {which} each of them and apple; "
            f"{d} has rank {run['ranks']['out']} with the three kept out, {run['ranks']['in']} with nothing kept out, and "
            f"{run['ranks']['third']} among the neighbours of {c}."
        )
    return words


def _closer(runs: list[dict[str, Any]]) -> int:
    """In how many king and queen are closer than either is to apple."""
    same = ", ".join(SAME)
    return sum(
        all(run["cosines"][same] > value for pair, value in run["cosines"].items() if pair != same) for run in runs
    )


def _first(runs: list[dict[str, Any]], way: str) -> int:
    """In how many the answer is the first."""
    return sum(run["ranks"][way] == 1 for run in runs)


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """The nouns of the first trained table in their two principal components, all of them and then
    those of people, with the step from each man's word to the woman's; and the shares of right
    analogies.
    """
    figure = empty_figure(10, 3.7)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.3, 1))
    everything, people = numbers["maps"]
    women = {woman for _, woman in PAIRS}
    for axes, places, title in (
        (left, everything, "nouns, two principal components"),
        (middle, people, "people alone"),
    ):
        axes_of(axes, title, "", "").grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.25 if places is people else 0.15, 0.15)
        for noun, place in places.items():
            colour = next(COLOURS[kind] for kind in KINDS[noun] if kind in COLOURS)
            axes.plot(*place, "o", color=colour, markersize=3)
            if places is people or noun in SHOWN:
                side: dict[str, Any] = dict(xytext=(3, 2), ha="left")
                if places is people and noun in women:  # beyond the point of the arrow
                    side = dict(xytext=(-3, 2), ha="right")
                axes.annotate(noun, place, textcoords="offset points", fontsize=8, color=colour, **side)
    for man, woman in PAIRS:
        middle.annotate("", people[woman], people[man], arrowprops=dict(arrowstyle="->", color="#cccccc"))
    axes_of(right, "right analogies", "", "share")
    found = numbers["tables"]
    for number, (way, name) in enumerate(WAYS.items()):
        shares = [_mean(runs, "right", way) for runs in found.values()]
        colour = ("#1f4e8c", "#9db8d9", GREY)[number]
        right.bar(np.arange(len(found)) + 0.27 * (number - 1), shares, 0.25, color=colour, label=name)
    right.set_xticks(range(len(found)), [name.replace(" ", "\n") for name in found], fontsize=8)
    right.set_ylim(0, 1.02)
    figure.legend(frameon=False, ncols=3, fontsize=9, loc="outside lower right")
    save_figure(figure, path)
