"""Claim 14: does attention explain what was written? It is put beside occlusion, gradients and the
known alignment.

A GRU with additive attention and a Transformer learn to translate sentences of which it is known
what translates what (`claims.aligned`). For each word that they write right, attention, occlusion
and gradients (`claims.saliency`) each name an English word: the one with the largest weight, the
one that is dearest to hide, the one with the steepest gradient. Is it the word that was translated,
or at least one that the form of the French word depends on? Of an article or an adjective, which
agree with their noun, is the noun among the first two? Beside them stand chance, and the diagonal,
which names the word at the same place.

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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.plots import empty_figure, save_figure

import minitensor as mt
from claims.aligned import KINDS, Corpus, learn, recurrent, score, transformer
from claims.naming import BEST, LEFT_OUT, MOVED, OCCLUSION, REFERENCES, best_head, examine
from claims.networks import COLOURS, NAMES
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed
from claims.saliency import ATTENTION, Model

__all__ = ["CELLS", "TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "attention as explanation: beside occlusion, gradients and the known alignment"

CELLS = ("gru", "transformer")
OTHERS = ("occlusion", "gradient")  # how the names of the other measures begin


@dataclass(frozen=True)
class Settings:
    """Sizes, how many trainings, and on how many sentences and permutations it is measured."""

    trainings: int = 3
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
        return cls(1, d_model=16, steps=100, max_tokens=200, n_train=300, n_test=30, permutations=2)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """For each of the models what its measures name, how they agree, and what other weights do."""
    s = settings
    calls = [(cell, s, seed, seed + k) for cell in CELLS for k in range(s.trainings)]
    runs = spread("explanation", _measure, calls, workers)
    models = {cell: runs[k * s.trainings : (k + 1) * s.trainings] for k, cell in enumerate(CELLS)}
    return {"n_test": s.n_test, "hidden": s.hidden, "models": models}


def _measure(cell: str, settings: Settings, corpus_seed: int, seed: int) -> dict[str, Any]:
    s = settings
    corpus = Corpus(corpus_seed, s.n_train, s.n_test)
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


# --- telling --------------------------------------------------------------------------------------


def name_of(cell: str) -> str:
    """A model for a reader."""
    return f"{NAMES[cell]} with attention" if cell == "gru" else NAMES[cell]


def averaged(runs: Sequence[Any]) -> Any:
    """The same for several trainings: numbers in their mean, over those that have one."""
    first = runs[0]
    if isinstance(first, dict):
        return {name: averaged([run[name] for run in runs]) for name in first if name != "example"}
    if isinstance(first, (list, tuple)):
        return [averaged(values) for values in zip(*runs, strict=True)]
    known = [value for value in runs if isinstance(value, (int, float))]
    return float(np.mean(known)) if known else first


def means(numbers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each model the mean of its trainings."""
    return {cell: averaged(runs) for cell, runs in numbers["models"].items()}


def rows_of(model: dict[str, Any]) -> dict[str, Sequence[float]]:
    """What each measure and each reference hits, of all words."""
    return {name: one["hits"] for name, one in model["measures"].items()} | model["references"]


def tables(numbers: dict[str, Any]) -> list[Table]:
    """What the measures name, by kind of word; how they agree with occlusion; what other weights
    change.
    """
    found, shares = [], []
    for cell, model in means(numbers).items():
        runs, measures = numbers["models"][cell], model["measures"]
        rows = [
            (
                name,
                *_hit(name, one["hits"], runs),
                f"{one['agreeing']:.0%}",
                "equal" if one["rank"] is None else f"{one['rank']:.2f}",
                f"{one['changed']:.0%}",
            )
            for name, one in measures.items()
        ]
        rows += [(name, *_hit(name, hit, runs), "", "", "") for name, hit in model["references"].items()]
        title = (
            f"{name_of(cell)}, {model['exact']:.1%} of new sentences exact: how often the word named for each of "
            f"{model['counted']:.0f} right words is the translated one, or a needed one (mean of {len(runs)})"
        )
        found.append(Table(title, ("", "translated", "worst", "needed", "agreeing", "rank", "changed"), rows))
        kinds = (*KINDS, MOVED)
        parts = [(name, *(f"{one['by_kind'][kind][0]:.0%}" for kind in kinds)) for name, one in measures.items()]
        found.append(Table(f"{name_of(cell)}: translated, by the kind of word", ("", *kinds), parts))
        changes = [(f"{model[way]['changed']:.0%}", f"{model[way]['variation']:.2f}") for way in ("even", "permuted")]
        shares.append((name_of(cell), f"{model['changed_any']:.0%}", *changes[0], *changes[1]))
    heads = ("", "one hidden", "even weights", "moved by", "permuted", "moved by")
    return [*found, Table("words that become others, and the total variation that moves them", heads, shares)]


def _hit(name: str, hit: Sequence[float], runs: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Cells: translated, the same of the worst training, needed."""
    return f"{hit[0]:.0%}", f"{min(rows_of(run)[name][0] for run in runs):.0%}", f"{hit[1]:.0%}"


def conclusion(numbers: dict[str, Any]) -> str:
    """Which measures find the alignment, and whether attention explains."""
    models, told, able = means(numbers), [], []
    for cell, model in models.items():
        if model["words"] < ENOUGH:
            told.append(f"The {name_of(cell)} gets {model['words']:.0%} of the words right: too few to tell.")
            continue
        able.append(cell)
        told.append(_about(name_of(cell), model))
    if not able:
        return " ".join(told)
    ahead = [cell for cell in able if _best(models[cell], "attention") >= _best(models[cell], OTHERS)]
    who = listed([f"the {name_of(cell)}" for cell in ahead])
    behind = listed([f"the {name_of(cell)}" for cell in able if cell not in ahead])
    verdict = (
        f"So no measure finds the alignment better than attention, by the best of its rows, in {who}" if ahead else ""
    )
    if len(ahead) < len(able):
        verdict = f"{verdict}, but one does in {behind}" if ahead else f"So attention is not the best guide in {behind}"
    return " ".join([*told, f"{verdict}.", _example({cell: numbers["models"][cell] for cell in able})])


def _best(model: dict[str, Any], start: str | tuple[str, ...]) -> float:
    """The largest share of translated words named by a measure whose name starts so."""
    return max(one["hits"][0] for name, one in model["measures"].items() if name.startswith(start))


def _about(name: str, model: dict[str, Any]) -> str:
    """What the measures of one model come to."""
    hit, measures = rows_of(model), model["measures"]
    best = f" ({hit[BEST][0]:.0%} in the best head)" if BEST in hit else ""
    dearer = measures[OCCLUSION]["changed"] - measures[ATTENTION]["changed"]
    rank, ceiling = measures[ATTENTION]["rank"], measures[LEFT_OUT]["rank"]
    orders = "Attention cannot be compared with occlusion by ranks"
    if rank is not None and ceiling is not None:
        orders = f"In rank attention and occlusion correlate by {rank:.2f}, two ways of occlusion by {ceiling:.2f}"
    kept = "do not leave" if model["permuted"]["changed"] >= 0.5 else "mostly leave"
    return (
        f"In the {name} the word most looked at is the one translated for {hit[ATTENTION][0]:.0%} of the words{best}, the word "
        f"dearest to hide for {hit[OCCLUSION][0]:.0%}, that of the steepest gradient for {hit['gradient'][0]:.0%}; the diagonal "
        f"for {hit['diagonal'][0]:.0%}, chance {hit['chance'][0]:.0%}. The noun that an article or adjective agrees with is "
        f"among the first two by attention in {measures[ATTENTION]['agreeing']:.0%}, by occlusion in "
        f"{measures[OCCLUSION]['agreeing']:.0%} (by chance in {2 * hit['chance'][0]:.0%}). {orders}. Hiding the word most "
        f"looked at changes {measures[ATTENTION]['changed']:.0%} of the words written, hiding the one that occlusion names "
        f"{100 * abs(dearer):.0f} points "
        f"{'more' if dearer >= 0 else 'less'}, any one {model['changed_any']:.0%}. With equal weights "
        f"{model['even']['changed']:.0%} become others, with permuted ones {model['permuted']['changed']:.0%}: other weights "
        f"{kept} the output as it is."
    )


def _example(models: dict[str, Any]) -> str:
    """Where attention and occlusion differ most, in words: of the examples of all trainings the one
    in which the weights, too, are furthest apart.
    """

    def apart(pair: tuple[str, dict[str, Any]]) -> float:
        looked, needed = pair[1]["looked"], pair[1]["needed"]
        return float((looked["weight"] - needed["weight"]) * (needed["cost"] - looked["cost"]))

    found = [(cell, run["example"]) for cell, runs in models.items() for run in runs if run["example"] is not None]
    if not found:
        return "Attention and occlusion always name the same word."
    cell, one = max(found, key=apart)
    looked, needed = one["looked"], one["needed"]
    return (
        f'An example, of the {name_of(cell)}: for "{one["word"]}" in "{one["french"]}" ("{one["english"]}") it looks most at '
        f'"{looked["word"]}" ({looked["weight"]:.0%}), and hiding that costs {looked["cost"]:.2f} nats; hiding '
        f'"{needed["word"]}" ({needed["weight"]:.0%}) costs {needed["cost"]:.2f}.'
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """The shares of words for which each measure names the translated one, and a needed one; and
    how many words become others if words are hidden or weights changed.
    """
    figure = empty_figure(11, 4.2)
    models = means(numbers)
    ordered = sorted(models.values(), key=lambda model: -len(model["measures"]))  # the longest list gives the order
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
    axes_of(
        left, "the English word that is named: translated (full), or needed (pale)", "", "share of the words written"
    )
    names = [*dict.fromkeys(name for model in ordered for name in model["measures"]), *REFERENCES]
    for k, (cell, model) in enumerate(models.items()):
        hit = rows_of(model)
        there = [place for place, name in enumerate(names) if name in hit]
        at = np.array(there) + 0.38 * k - 0.19
        for column, alpha in ((1, 0.35), (0, 1.0)):
            shares = [hit[names[place]][column] for place in there]
            left.bar(at, shares, 0.36, color=COLOURS[cell], alpha=alpha, label=None if column else name_of(cell))
    left.set_xticks(
        range(len(names)),
        [name.replace(", ", ",\n").replace(": ", ":\n").replace(" x ", "\nx ") for name in names],
        fontsize=7,
    )
    left.set_ylim(0, 1.02)
    left.legend(frameon=False, fontsize=8, loc="upper right")
    axes_of(right, "words that become others", "", "share of the words written")
    ways = ["most looked\nat, hidden", "dearest,\nhidden", "any one,\nhidden", "equal\nweights", "permuted\nweights"]
    for k, (cell, model) in enumerate(models.items()):
        hidden_ones = [model["measures"][name]["changed"] for name in (ATTENTION, OCCLUSION)]
        shares = [*hidden_ones, model["changed_any"], model["even"]["changed"], model["permuted"]["changed"]]
        right.bar(np.arange(len(ways)) + 0.38 * k - 0.19, shares, 0.36, color=COLOURS[cell])
    right.set_xticks(range(len(ways)), ways, fontsize=7)
    right.set_ylim(0, 1.02)
    save_figure(figure, path)
