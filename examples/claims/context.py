"""Claim 9: a table has one vector for "point"; the states of a Transformer have one for each use of
it.

A small causal Transformer is trained on made sentences (`senses`), to foresee the next word of
sentences about points, and in texts with two countries the language behind "that country", which
nobody can foresee who does not know what country that is. Its states are then read where "point",
or the "country" of "that country", stands, behind each layer: layer 0 is the word's vector in the
table, the same in all sentences.

    point      a linear probe, fitted by ridge regression to states and senses of sentences as they
               were trained on, says "noun" or "verb" of others
    country    one fitted to the country that is meant says which of the two named it is
    attention  of what "country" looks at either named country with, the share of the right one; of
               all heads, and of the one head of the layer that has the two furthest apart in texts
               as they were trained on

All is measured on unseen sentences and on unseen combinations, and of the same network before
training too: random layers mix neighbours into a state as well, so that a probe finds in them
whatever stands near. What they cannot do is to know a noun that the probe has not met, or to find
who came from where. Chance is 50 %; for a person and a country that are never together in training
less, since whoever cannot find the country still knows where that person never comes from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
import minitensor.nn.functional as F
from claims.probes import Reader, fit_probe
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed
from claims.senses import COUNTRIES, IDS, LANGUAGES, PAD, Texts, country_texts, other_sentences, point_sentences
from claims.training import train

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "words in context: which point, which country"

NOTABLE = 0.1  # a difference of shares that is more than chance makes
NETWORKS = ("untrained", "trained")
KINDS = {"point": ("unseen", "new"), "country": ("unseen", "combination")}  # of sentences that are tested
NAMES = {
    ("point", "unseen"): "point: unseen sentences", ("point", "new"): "point: nouns never beside it",
    ("country", "unseen"): "country: unseen texts", ("country", "combination"): "country: unseen person and country",
}  # fmt: skip
COLOURS = {"untrained": "#888888", "trained": "#1f4e8c"}


@dataclass(frozen=True)
class Settings:
    """The network, the budget of each training, and of how many sentences a probe is made."""

    d_model: int = 32
    n_layers: int = 3
    steps: int = 2400
    sentences: int = 4  # one update in so many is of sentences, the others of texts about countries
    batch: int = 48
    learning_rate: float = 5e-3
    corpus: int = 4000  # texts about countries, and as many sentences, half of them with "point"
    fitted: int = 600  # sentences a probe is fitted to
    tested: int = 400
    seeds: int = 3

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(32, 1, 150, sentences=1, batch=24, learning_rate=2e-2, corpus=600, fitted=200, tested=100, seeds=1)


# --- measuring ------------------------------------------------------------------------------------


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Right answers of the probes by network, word, kind of sentence and layer; the share of
    attention by layer; for each seed.
    """
    runs = spread("context", _measure_once, [(settings, seed + number) for number in range(settings.seeds)], workers)
    return {"layers": settings.n_layers, "runs": runs}


def _measure_once(settings: Settings, seed: int) -> dict[str, Any]:
    s = settings
    mt.random.seed(seed)
    network, generator = Reader(s.d_model, s.n_layers), np.random.default_rng(seed)
    found = {"untrained": examine(network, s, seed)}
    points = point_sentences(generator, s.corpus // 2, "training").ids
    sentences = [points, other_sentences(generator, s.corpus // 2)]
    texts = country_texts(generator, s.corpus, "training")
    end = int(texts.place[0]) + 1

    def loss_of(step: int) -> mt.Tensor:
        if step % s.sentences:  # the language, of which all is known
            rows = generator.integers(0, len(texts.ids), s.batch)
            return F.cross_entropy(network(texts.ids[rows, :end], last=1), texts.ids[rows, end : end + 1])
        kind = sentences[step // s.sentences % 2]
        ids = kind[generator.integers(0, len(kind), s.batch)]
        return F.cross_entropy(network(ids[:, :-1]), ids[:, 1:], ignore_index=PAD)

    train(network, loss_of, s.steps, mt.optim.Adam(network.parameters(), lr=s.learning_rate))
    found["trained"] = examine(network, s, seed)
    return found


def examine(network: Reader, settings: Settings, seed: int) -> dict[str, Any]:
    """Probes of all layers, attention, and how often the network names the language that is
    meant.
    """
    generator = np.random.default_rng([seed, 2])
    found: dict[str, Any] = {}
    for word, made, classes in (("point", point_sentences, 2), ("country", country_texts, len(COUNTRIES))):
        fitted = made(generator, settings.fitted, "training")
        states, weights = network.states(fitted)
        probes = [fit_probe(x, fitted.labels, classes) for x in states]
        if word == "country":
            heads = [int(np.subtract(*attention_to(seen, fitted)).argmax()) for seen in weights]
            found |= {"attention": {}, "head": {}, "language": {}}
        found[word] = {}
        for kind in KINDS[word]:
            texts = made(generator, settings.tested, kind)
            states, weights = network.states(texts)
            found[word][kind] = [_right(probe(x), texts) for probe, x in zip(probes, states, strict=True)]
            if word == "country":
                named = [attention_to(seen, texts) for seen in weights]
                found["attention"][kind] = [float(right.sum() / (right + wrong).sum()) for right, wrong in named]
                found["head"][kind] = [
                    float(right[head] / (right + wrong)[head])
                    for head, (right, wrong) in zip(heads, named, strict=True)
                ]
                found["language"][kind] = _names_language(network, texts)
    return found


def _right(scores: np.ndarray, texts: Texts) -> float:
    """The share of texts whose label has the higher score of the two that it could be; ties are
    half.
    """
    rows = np.arange(len(scores))
    gap = scores[rows, texts.labels] - scores[rows, texts.others]
    return float(np.mean(np.where(np.abs(gap) < 1e-9, 0.5, gap > 0)))


def attention_to(weights: np.ndarray, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the texts of the attention (N, H, T) to the country that is meant and to the
    other one, (H,) each.
    """
    names = np.array([IDS[name] for name in COUNTRIES])
    rows = np.arange(len(weights))
    right, wrong = (
        weights[rows, :, (texts.ids == names[which][:, None]).argmax(axis=1)].mean(axis=0)
        for which in (texts.labels, texts.others)
    )
    return right, wrong


@mt.no_grad
def _names_language(network: Reader, texts: Texts) -> float:
    """How often the network itself gives the language that is meant more than the other."""
    logits = network(texts.ids[:, : texts.place[0] + 1], last=1).numpy()[:, 0]
    return _right(logits[:, [IDS[name] for name in LANGUAGES]], texts)


# --- telling --------------------------------------------------------------------------------------


def _over(numbers: dict[str, Any], network: str, word: str, kind: str) -> np.ndarray:
    """The entries of all trainings, (seeds, layers)."""
    return np.array([run[network][word][kind] for run in numbers["runs"]])


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Probes by layer, attention by layer, and what the networks say themselves."""
    layers, n_seeds = numbers["layers"], len(numbers["runs"])
    rows = []
    for word, kind in NAMES:
        for network in NETWORKS:
            found = _over(numbers, network, word, kind)
            rows.append((f"{NAMES[word, kind]}, {network}", *(f"{x:.0%} ({y:.0%})" for x, y in _mean_and_worst(found))))
    title = f"right answers of a linear probe by layer, mean of {n_seeds} trainings (the worst); 50% is chance"
    made = [Table(title, ("", "table", *(f"layer {k + 1}" for k in range(layers))), rows)]
    rows = []
    for what, name in (("attention", "all heads"), ("head", "the head")):
        for kind in KINDS["country"]:
            for network in NETWORKS:
                shares = _mean_and_worst(_over(numbers, network, what, kind))
                rows.append(
                    (f"{NAMES['country', kind]}, {name}, {network}", *(f"{x:.0%} ({y:.0%})" for x, y in shares))
                )
    title = 'attention of "country" to the two named ones, the share of the right one, likewise'
    made.append(Table(title, ("", *(f"layer {k + 1}" for k in range(layers))), rows))
    rows = []
    for network in NETWORKS:
        cells = [np.array([run[network]["language"][kind] for run in numbers["runs"]]) for kind in KINDS["country"]]
        rows.append((network, *(f"{cell.mean():.0%} ({cell.min():.0%})" for cell in cells)))
    title = "the language behind it, named by the network itself, of the two that it could be"
    return [*made, Table(title, ("", *(NAMES["country", kind] for kind in KINDS["country"])), rows)]


def _mean_and_worst(found: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(found.mean(axis=0).tolist(), found.min(axis=0).tolist(), strict=True))


def conclusion(numbers: dict[str, Any]) -> str:
    """What the table, random layers and trained ones know of the sense, and of the country."""
    best = {
        (network, *name): float(_over(numbers, network, *name).mean(axis=0).max())
        for network in NETWORKS
        for name in NAMES
    }
    static = _over(numbers, "trained", "point", "unseen")[:, 0].mean()
    seen, new, guess = (
        best["trained", "point", "unseen"],
        best["trained", "point", "new"],
        best["untrained", "point", "new"],
    )
    random = best["untrained", "point", "unseen"]
    why = ", since random layers mix in the neighbours too" if random >= 0.5 + NOTABLE else ""
    words = (
        f'The table has one vector for "point", by which {static:.0%} of its uses are told apart. In the best layer a probe '
        f"tells {seen:.0%} of unseen sentences, and of a network that was never trained "
        f"{random:.0%}{why}. With nouns that are never beside it in training it is {new:.0%} against {guess:.0%}: "
    )
    words += (
        "there the trained one knows what kind of noun it is. "
        if new - guess >= NOTABLE
        else "so training adds nothing here. "
    )
    found = _over(numbers, "trained", "country", "unseen")  # (seeds, layers)
    other = best["untrained", "country", "unseen"]
    able = [seed for seed, shares in enumerate(found) if shares.max() >= ENOUGH]
    if not able:
        return words + (
            f'The country of "that country" is told by no layer in {ENOUGH:.0%}: {found.max():.0%} at most, {other:.0%} '
            "untrained. The networks have not learnt to find it."
        )
    firsts = [int((found[seed] >= ENOUGH).argmax()) for seed in able]
    heads = _over(numbers, "trained", "head", "unseen")
    shares = [heads[seed, max(first, 1) - 1] for seed, first in zip(able, firsts, strict=True)]
    words += (
        f'"That country" is told from the other one named in at least {ENOUGH:.0%} by {len(able)} of {len(found)} trained '
        f"networks, first behind layer {listed(list(map(str, firsts)))} (untrained {other:.0%} at most). In that layer the "
        f"head that tells most takes {listed([f'{share:.0%}' for share in shares])} of its attention to the two from the "
        f"right one: it shows what is meant in {sum(share >= ENOUGH for share in shares)} of {len(able)}. "
    )
    return words + (
        f"With a person and a country that were never together in training it is "
        f"{best['trained', 'country', 'combination']:.0%} (untrained {best['untrained', 'country', 'combination']:.0%})."
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """The probes against the layer, the mean of the trainings with their range; and for each
    training what the telling head looks at.
    """
    figure = empty_figure(8.6, 3.4)
    axes = figure.subplots(1, 3, sharey=True)
    layers = range(numbers["layers"] + 1)
    titles = ('which "point"? probe', 'which "country"? probe', "the telling head, each training")
    labels = ("right answers", "", "attention to the right one")
    for one, title, label in zip(axes, titles, labels, strict=True):
        axes_of(one, title, "layer (0: the table)" if one is not axes[2] else "layer", label)
        one.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
        one.set_xticks(layers)
        one.set_ylim(0, 1.04)
    for one, word in zip(axes, KINDS, strict=False):
        for network in NETWORKS:
            for kind, style in zip(KINDS[word], ("-", "--"), strict=True):
                found, colour = _over(numbers, network, word, kind), COLOURS[network]
                one.plot(layers, found.mean(axis=0), style, color=colour)
                one.vlines(layers, found.min(axis=0), found.max(axis=0), color=colour, linewidth=1)
    for network in NETWORKS:
        axes[2].plot(
            layers[1:], _over(numbers, network, "head", "unseen").T, color=COLOURS[network], linewidth=1, marker="."
        )
    for network in NETWORKS:
        for style, name in (("-", "unseen sentences"), ("--", "unseen combinations")):
            axes[0].plot([], [], style, color=COLOURS[network], label=f"{network}, {name}")
    figure.legend(frameon=False, fontsize=8, ncols=4, loc="outside lower center")
    save_figure(figure, path)
