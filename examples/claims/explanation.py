"""Claim 14: attention shows where a model looks, which is not the same as what it needs.

A GRU with additive attention and a Transformer learn to translate sentences of which it is known
what translates what (`claims.aligned`). For each word that they write right, attention, occlusion
and gradients (`claims.saliency`) each name an English word: the one with the largest weight, the
one that is dearest to hide, the one with the steepest gradient. Is it the word that was translated,
or at least one that the form of the French word depends on? Beside them stand chance, and the
diagonal, which names the word at the same place.

Jain and Wallace 2019, "Attention is not Explanation", arXiv:1902.10186, found that attention agrees
weakly with occlusion, and that other weights leave the output much as it is; Serrano and Smith
2019, arXiv:1906.03731, that the words most looked at are often not those that decide; Wiegreffe
and Pinter 2019, "Attention is not not Explanation", arXiv:1908.04626, that this depends on what is
compared. Here rank correlations are taken, the word that a measure names is hidden, and the weights
are made equal or permuted.

A twentieth of the English words is hidden in training, so that a hidden one is nothing new.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import GREY, empty_figure, save_figure

import minitensor as mt
from claims.aligned import KINDS, Corpus, Sentence, learn, recurrent, score, transformer
from claims.naming import MOVED, REFERENCES, hits, named, ranks, references
from claims.networks import COLOURS, NAMES
from claims.report import ENOUGH, Table, axes_of, listed
from claims.saliency import (
    ATTENTION,
    Model,
    attention_of,
    difference,
    evenly,
    gradients,
    hidden,
    left_out,
    permuted,
    replay,
)
from claims.training import spread

__all__ = ["CELLS", "TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "attention as explanation: beside occlusion, gradients and the known alignment"

CELLS = ("gru", "transformer")
OCCLUSION = "occlusion: hidden"
ALIKE = 0.8  # rank correlation from which two orders are called much the same
RELATED = 0.5


@dataclass(frozen=True)
class Settings:
    """Sizes, and on how many sentences and permutations it is measured."""

    d_model: int = 32
    steps: int = 600
    max_tokens: int = 400
    learning_rate: float = 1e-2
    hidden: float = 0.05
    n_train: int = 3000
    n_test: int = 150
    permutations: int = 10

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls(d_model=16, steps=100, max_tokens=200, n_train=300, n_test=30, permutations=2)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """For each of the models what its measures name, how they agree, and what other weights do."""
    models = spread("explanation", _measure, [(cell, settings, seed) for cell in CELLS], workers)
    return {"n_test": settings.n_test, "hidden": settings.hidden, "models": dict(zip(CELLS, models, strict=True))}


def _measure(cell: str, settings: Settings, seed: int) -> dict[str, Any]:
    s = settings
    corpus = Corpus(seed, s.n_train, s.n_test)
    mt.random.seed(seed)
    model: Model = recurrent(corpus, s.d_model) if cell == "gru" else transformer(corpus, s.d_model)
    learn(model, corpus, s.steps, s.max_tokens, s.learning_rate, seed, s.hidden)
    model.eval()
    found = score(model, corpus.batch(corpus.test))
    about = {
        "parameters": model.num_parameters(),
        "loss": found["loss"],
        "exact": found["exact"],
        "words": found["words"],
    }
    best = best_head(model, corpus, corpus.train[: s.n_test])
    return about | examine(model, corpus, corpus.test, best, s.permutations, seed)


# --- one model ------------------------------------------------------------------------------------


def best_head(model: Model, corpus: Corpus, sentences: list[Sentence]) -> str:
    """The head whose largest weight is oftenest on the translated word; "" if there is only one."""
    maps = attention_of(model, corpus.batch(sentences))
    heads = {name: hits(named(maps[name], sentences), sentences)[0] for name in maps if name.startswith("layer")}
    return max(heads, key=lambda name: heads[name], default="")


def examine(
    model: Model, corpus: Corpus, sentences: list[Sentence], best: str, permutations: int, seed: int
) -> dict[str, Any]:
    """All that is measured of a model, on the words that it writes right."""
    batch = corpus.batch(sentences)
    usual = replay(model, batch)  # (N, T, V)
    right = usual.argmax(axis=-1) == batch.target_out
    right &= np.arange(right.shape[1]) < np.array([[len(one.french)] for one in sentences])  # (N, T), without the end
    effects, changed = hidden(model, batch)
    maps = attention_of(model, batch)
    scores = {name: weights for name, weights in maps.items() if name.startswith("attention")}
    if best:
        scores["attention, best head"] = maps[best]
    scores |= {OCCLUSION: effects, "occlusion: left out": left_out(model, batch)[0]} | gradients(model, batch)
    names = {name: named(values, sentences) for name, values in scores.items()}
    measures = {}
    for name, values in scores.items():
        at = np.take_along_axis(changed, np.maximum(names[name], 0)[..., None], axis=-1)[..., 0]  # (N, T)
        measures[name] = {
            "hits": hits(names[name], sentences, right),
            "by_kind": {kind: hits(names[name], sentences, right, kind) for kind in (*KINDS, MOVED)},
            "rank": ranks(values, effects, sentences, right),
            "changed": float(at[right].mean()),
        }
    generator = np.random.default_rng(seed)
    others = [replay(model, batch, permuted(batch, generator)) for _ in range(permutations)]
    return {
        "best_head": best,
        "counted": int(right.sum()),
        "references": references(sentences, right),
        "measures": measures,
        "changed_any": float(np.nanmean(np.where(np.isfinite(effects), changed, np.nan)[right])),
        "even": difference([replay(model, batch, evenly)], usual, right),
        "permuted": difference(others, usual, right),
        "example": example(corpus, sentences, right, maps[ATTENTION], effects),
    }


def example(
    corpus: Corpus, sentences: list[Sentence], right: np.ndarray, weights: np.ndarray, effects: np.ndarray
) -> dict[str, Any] | None:
    """The word for which hiding what attention names and what occlusion names differ most in cost;
    None if they always name the same.
    """
    looked, needed = named(weights, sentences), named(effects, sentences)
    found = [
        (effects[n, t, needed[n, t]] - effects[n, t, looked[n, t]], n, t)
        for n, t in np.argwhere(right & (looked != needed))
    ]
    if not found:
        return None
    _, n, t = max(found)
    one = sentences[n]
    told = {"english": " ".join(one.english), "french": " ".join(one.french), "word": one.french[t]}
    for name, s in (("looked", looked[n, t]), ("needed", needed[n, t])):
        told[name] = {"word": one.english[s], "weight": float(weights[n, t, s]), "cost": float(effects[n, t, s])}
    return told


# --- telling --------------------------------------------------------------------------------------


def name_of(cell: str) -> str:
    """A model for a reader."""
    return f"{NAMES[cell]} with attention" if cell == "gru" else NAMES[cell]


def rows_of(model: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """What each measure and each reference hits, of all words."""
    return {name: one["hits"] for name, one in model["measures"].items()} | model["references"]


def tables(numbers: dict[str, Any]) -> list[Table]:
    """What the measures name, by kind of word; how they agree with occlusion; what other weights
    change; the example.
    """
    found = []
    for cell, model in numbers["models"].items():
        blank = ("",) * (len(KINDS) + 3)
        rows = [
            (
                name,
                *(f"{share:.0%}" for share in one["hits"]),
                *(f"{one['by_kind'][kind][0]:.0%}" for kind in (*KINDS, MOVED)),
                "all equal" if one["rank"] is None else f"{one['rank']:.2f}",
                f"{one['changed']:.0%}",
            )
            for name, one in model["measures"].items()
        ]
        rows += [(name, *(f"{share:.0%}" for share in hit), *blank) for name, hit in model["references"].items()]
        columns = ("", "translated", "needed", "article", "adj.", "noun", "verb", MOVED, "rank", "changed")
        title = (
            f"{name_of(cell)}: {model['exact']:.1%} of new sentences exact, {model['counted']} right words; for them the word "
            "named is the translated one, or a needed one"
        )
        found.append(Table(title, columns, rows))
    shares = [
        (
            name_of(cell),
            f"{model['changed_any']:.0%}",
            *(cell for way in ("even", "permuted") for cell in (f"{model[way]['variation']:.2f}", f"{model[way]['changed']:.0%}")),
        )
        for cell, model in numbers["models"].items()
    ]  # fmt: skip
    heads = ("", "any word hidden: changed", "even: variation", "changed", "permuted: variation", "changed")
    return [*found, Table("words that become others, and how far probabilities move", heads, shares)]


def shortest(rank: float | None) -> str:
    """A rank correlation in words."""
    if rank is None:
        return "cannot be compared with occlusion"
    degree = "agrees with" if rank >= ALIKE else "agrees in part with" if rank >= RELATED else "agrees little with"
    return f"{degree} occlusion ({rank:.2f} in rank)"


def conclusion(numbers: dict[str, Any]) -> str:
    """Which measures find the alignment, and whether attention explains."""
    told, able = [], []
    for cell, model in numbers["models"].items():
        if model["words"] < ENOUGH:
            told.append(f"The {name_of(cell)} gets {model['words']:.0%} of the words right: too few to tell.")
            continue
        able.append(cell)
        told.append(_about(name_of(cell), model))
    if not able:
        return " ".join(told)
    models = {cell: numbers["models"][cell] for cell in able}
    ahead = [
        cell for cell, model in models.items() if _best(model, "attention") >= _best(model, ("occlusion", "gradient"))
    ]
    who = listed([f"the {name_of(cell)}" for cell in ahead])
    behind = listed([f"the {name_of(cell)}" for cell in able if cell not in ahead])
    verdict = f"So no measure finds the alignment better than attention in {who}" if ahead else ""
    if len(ahead) < len(able):
        verdict = f"{verdict}, but one does in {behind}" if ahead else f"So attention is not the best guide in {behind}"
    return " ".join([*told, f"{verdict}.", _example(models)])


def _best(model: dict[str, Any], start: str | tuple[str, ...]) -> float:
    """The largest share of translated words named by a measure whose name starts so."""
    return max(one["hits"][0] for name, one in model["measures"].items() if name.startswith(start))


def _about(name: str, model: dict[str, Any]) -> str:
    """What the measures of one model come to."""
    hit, measures = rows_of(model), model["measures"]
    best = model["best_head"]
    said = f" ({hit['attention, best head'][0]:.0%} in its best head, {best})" if best else ""
    dearer = measures[OCCLUSION]["changed"] - measures[ATTENTION]["changed"]
    return (
        f"In the {name} the word most looked at is the one translated for {hit[ATTENTION][0]:.0%} of the words{said}, the word "
        f"dearest to hide for {hit[OCCLUSION][0]:.0%}, that of the steepest gradient for {hit['gradient'][0]:.0%}; the diagonal "
        f"for {hit['diagonal'][0]:.0%}, chance {hit['chance'][0]:.0%}. One that the form needs is named by attention for "
        f"{hit[ATTENTION][1]:.0%}, by occlusion for {hit[OCCLUSION][1]:.0%}. Attention {shortest(measures[ATTENTION]['rank'])}. "
        f"Hiding the word most looked at changes {measures[ATTENTION]['changed']:.0%} of the words written, hiding the one that "
        f"occlusion names {abs(dearer):.0%} {'more' if dearer >= 0 else 'fewer'}, any one {model['changed_any']:.0%}. With equal "
        f"weights {model['even']['changed']:.0%} become others, with permuted ones {model['permuted']['changed']:.0%}: other "
        f"weights {'do not leave' if model['permuted']['changed'] >= 0.5 else 'mostly leave'} the output as it is."
    )


def _example(models: dict[str, Any]) -> str:
    """Where attention and occlusion differ most, in words."""
    for cell, model in models.items():
        one = model["example"]
        if one is not None:
            looked, needed = one["looked"], one["needed"]
            return (
                f'An example, of the {name_of(cell)}: for "{one["word"]}" in "{one["french"]}" ("{one["english"]}") it looks '
                f'most at "{looked["word"]}" ({looked["weight"]:.0%}), and hiding that costs {looked["cost"]:.2f} nats; hiding '
                f'"{needed["word"]}" ({needed["weight"]:.0%}) costs {needed["cost"]:.2f}.'
            )
    return "Attention and occlusion always name the same word."


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """The shares of words for which each measure names the translated one, and a needed one; and
    how many words become others if words are hidden or weights changed.
    """
    figure = empty_figure(11, 4.2)
    models = sorted(numbers["models"].values(), key=lambda model: -len(model["measures"]))  # the longest list in order
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
    axes_of(
        left, "the English word that is named: translated (full), or needed (pale)", "", "share of the words written"
    )
    names = [*dict.fromkeys(name for model in models for name in model["measures"]), *REFERENCES]
    for k, (cell, model) in enumerate(numbers["models"].items()):
        hit = rows_of(model)
        there = [place for place, name in enumerate(names) if name in hit]
        at = np.array(there) + 0.38 * k - 0.19
        for column, alpha in ((1, 0.35), (0, 1.0)):
            shares = [hit[names[place]][column] for place in there]
            left.bar(at, shares, 0.36, color=COLOURS[cell], alpha=alpha, label=None if column else name_of(cell))
    left.set_xticks(range(len(names)), [name.replace(", ", ",\n").replace(": ", ":\n") for name in names], fontsize=7)
    left.set_ylim(0, 1.02)
    left.legend(frameon=False, fontsize=8, loc="upper right")
    axes_of(right, "words that become others", "", "share of the words written")
    ways = ["most looked\nat, hidden", "dearest,\nhidden", "any one,\nhidden", "equal\nweights", "permuted\nweights"]
    for k, (cell, model) in enumerate(numbers["models"].items()):
        hidden_ones = [model["measures"][name]["changed"] for name in (ATTENTION, OCCLUSION)]
        shares = [*hidden_ones, model["changed_any"], model["even"]["changed"], model["permuted"]["changed"]]
        right.bar(np.arange(len(ways)) + 0.38 * k - 0.19, shares, 0.36, color=COLOURS[cell])
    right.set_xticks(range(len(ways)), ways, fontsize=7, color=GREY)
    right.set_ylim(0, 1.02)
    save_figure(figure, path)
