"""What is told of a run on summaries: tables of scores beside those of simple methods, and whether
they are better by more than chance; what makes made minutes hard, some summaries; and pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.chance import mean_interval
from toolkit.console import counted
from toolkit.corpus import Corpus, Pair
from toolkit.plans import traits
from toolkit.plots import GREY, SCORE, TRAIN, VALIDATION, attention_heatmap, empty_figure, save_figure
from toolkit.rouge import rouge_l, rouge_n
from toolkit.runs import Run
from toolkit.summarizing import LEAD, RULE, Write, baselines, best_sentence
from toolkit.translator import Translator

__all__ = ["ATTENTION", "PICTURE", "draw_attention", "report"]

PICTURE, ATTENTION = "summaries.png", "attention.png"
NETWORK, BEST = "network", "best sentence, if known"
SHOWN = 3  # summaries of each test set that are printed
GROUPS = 5  # of equally many texts by their length, in the picture
FEWEST = 6  # texts that differ: so many coins fall alike in less than 5 of 100 cases
LEGIBLE = 60  # words of a text that a picture of attention has room for
WIDEST = 20  # letters of a word in that picture: what little training writes may have no blanks

ROUGE = ROUGE_1, ROUGE_2, ROUGE_L = "ROUGE-1", "ROUGE-2", "ROUGE-L"
EXACT = "exact"
MEASURES: dict[str, Callable[[str, str], float]] = {
    ROUGE_1: lambda made, wanted: rouge_n(made, wanted, 1),
    ROUGE_2: lambda made, wanted: rouge_n(made, wanted, 2),
    ROUGE_L: rouge_l,
    EXACT: lambda made, wanted: float(made == wanted),
}

# What each measure says of each summary, by method.
Scores = dict[str, dict[str, np.ndarray]]


def report(run: Run, translator: Translator, write: Write, loaded: Corpus, trained: Corpus | None, made: bool) -> str:
    """Print the tables, and draw the pictures into the run; returns the text that is looked at.

    write: how the network's summaries are written, see `way_of_writing`. trained: the run's own
    data, whose pairs to train on and to validate by give baselines, if they are known. made: the
    minutes, of which the rule is known.
    """
    simple = baselines(trained.train, trained.validation, made) if trained else baselines([], [], made)
    tests: dict[str, list[Pair]] = {}
    scores: dict[str, Scores] = {}
    for name, pairs in loaded.tests.items():
        tests[name], remark = translator.short_enough(pairs, name)
        texts = [text for text, _ in tests[name]]
        written = write(texts, f"{name} text")
        found = {NETWORK: written, **{method: [make(text) for text in texts] for method, make in simple.items()}}
        scores[name] = {method: _score(summaries, tests[name]) for method, summaries in found.items()}
        scores[name][BEST] = {ROUGE_L: np.array([best_sentence(*pair) for pair in tests[name]])}
        print(f"{name}: {counted(len(tests[name]), 'text')}{remark}")
        _print_some(tests[name], written)
    for name, found_scores in scores.items():
        _print_table(name, found_scores)
    for name, found_scores in scores.items():
        _print_verdicts(name, found_scores)
    if made:
        for name in tests:
            _print_traits(name, tests[name], scores[name][NETWORK][EXACT])
    _draw(tests, scores, made, run.picture(PICTURE))
    looked_at = _telling([text for pairs in tests.values() for text, _ in pairs], made)
    looked = draw_attention(translator, looked_at, run.picture(ATTENTION))
    print(f"see {run.picture(PICTURE)}" + (f" and {looked}" if looked else ""))
    return looked_at


def _score(summaries: Sequence[str], pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    wanted = [summary for _, summary in pairs]
    return {name: np.array(list(map(measure, summaries, wanted))) for name, measure in MEASURES.items()}


def _telling(texts: Sequence[str], made: bool) -> str:
    """A short text; of made minutes one with a change."""
    changed = [text for text in texts if traits(text) == ["1 change"]] if made else []
    return min(changed or texts, key=lambda text: abs(len(text.split()) - LEGIBLE // 2))


# --- tables ---------------------------------------------------------------------------------------


def _print_table(name: str, scores: Scores) -> None:
    """The mean of each measure by each method on a test set, in per cent."""
    width = max(28, len(name) + 8)
    print(f"{name + ', mean in %':{width + 2}}" + "".join(f"{measure:>9}" for measure in MEASURES))
    for method, found in scores.items():
        cells = (f"{100 * found[measure].mean():9.1f}" if measure in found else " " * 9 for measure in MEASURES)
        print(f"  {method:{width}}{''.join(cells)}".rstrip())


def _print_verdicts(name: str, scores: Scores) -> None:
    """Whether the network is better than the best of the simple methods, by each kind of ROUGE, and
    by more than chance.
    """
    simple = {method: found for method, found in scores.items() if method not in (NETWORK, RULE, BEST)}
    print(f"{name}: the network against the best simple method (where 95 % of other such test sets would be)")
    for measure in ROUGE:
        best = max(simple, key=lambda method: simple[method][measure].mean())
        differences = 100 * (scores[NETWORK][measure] - simple[best][measure])
        low, high = mean_interval(differences)
        told = "more than chance" if low > 0 or high < 0 else "no more than chance"
        told = "too few texts to tell" if np.count_nonzero(differences) < FEWEST else told
        side = f"{abs(differences.mean()):.1f} {'above' if differences.mean() >= 0 else 'below'} {best}"
        print(f"  {measure:9}{side:38} ({low:+.1f} to {high:+.1f}): {told}")


def _print_traits(name: str, pairs: Sequence[Pair], exact: np.ndarray) -> None:
    """How many texts of each of the `traits` have the right summary."""
    counts: dict[str, list[bool]] = {}
    for (text, _), right in zip(pairs, exact, strict=True):
        for trait in traits(text):
            counts.setdefault(trait, []).append(bool(right))
    print(f"exact of {name}:")
    for trait, rights in sorted(counts.items()):
        print(f"  {trait:24}{sum(rights):6} of {len(rights)}")


def _print_some(pairs: Sequence[Pair], written: Sequence[str]) -> None:
    """The first summaries, and the references of those that differ."""
    for (text, wanted), made in list(zip(pairs, written, strict=True))[:SHOWN]:
        print(f"  {text}\n    = {made}" + ("" if made == wanted else f"\n    reference: {wanted}"))


# --- pictures -------------------------------------------------------------------------------------


def draw_attention(translator: Translator, text: str, path: Path) -> Path | None:
    """Draw what each word of a summary looks at; returns the path, or None for a network without
    attention.
    """
    maps, *words = translator.attention(text)
    below, beside = ([word if len(word) <= WIDEST else word[: WIDEST - 1] + "…" for word in side] for side in words)
    return attention_heatmap(maps, below, beside, path, ("text", "summary")) if maps else None


def _draw(tests: dict[str, list[Pair]], scores: dict[str, Scores], made: bool, path: Path) -> None:
    """The scores by the length of the text, a line for each test set, and unless they are the share
    of exact ones a dashed line for the first sentences; and bars of all methods on the first test
    set.
    """
    figure = empty_figure(9, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    what, label = (EXACT, "exact summaries, %") if made else (ROUGE_L, "mean ROUGE-L, %")
    for (name, pairs), colour in zip(tests.items(), _colours(len(tests)), strict=True):
        lengths = np.array([len(text.split()) for text, _ in pairs])
        groups = [group for group in np.array_split(lengths.argsort(kind="stable"), GROUPS) if group.size]
        middle = [lengths[group].mean() for group in groups]
        for method, style in ((NETWORK, "o-"), (LEAD, "--"))[: 1 if made else 2]:  # no first sentence is exact
            values = [100 * scores[name][method][what][group].mean() for group in groups]
            told = f"{name.replace('_', ' ')}{'' if method == NETWORK else ', lead-1'}"
            left.plot(middle, values, style, color=colour, markersize=3, linewidth=1.3, label=told)
    _style(left, "words of the text", label)
    left.set_ylim(0, 103 if made else None)
    left.grid(axis="y", color="#e6e6e6")
    left.legend(frameon=False, fontsize=8)
    first = next(iter(scores))
    bars = right.barh(
        list(scores[first]), [100 * found[ROUGE_L].mean() for found in scores[first].values()], color=TRAIN
    )
    right.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    right.invert_yaxis()
    right.margins(x=0.18)
    _style(right, f"mean ROUGE-L of {first.replace('_', ' ')}, %", "")
    save_figure(figure, path)


def _colours(count: int) -> list[str]:
    return ([VALIDATION, "#2e8b57", SCORE, GREY] * count)[:count]


def _style(axes: Any, below: str, beside: str) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
