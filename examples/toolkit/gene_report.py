"""What is told of a run on genes: tables of right proteins, by test set, by what makes a gene hard,
and of mutants; and pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.console import UserError, counted
from toolkit.corpus import Corpus, Pair
from toolkit.genes import LENGTHS, protein
from toolkit.mutations import KINDS, effect, mutants
from toolkit.plots import GREY, SCORE, TRAIN, VALIDATION, attention_heatmap, empty_figure, save_figure
from toolkit.ribosome import Ribosome, baselines, traits
from toolkit.runs import Run

__all__ = ["ATTENTION", "PICTURE", "draw_attention", "report"]

PICTURE, ATTENTION = "genes.png", "attention.png"
NETWORK = "network"
MUTATED = 200  # genes of the first test set of which mutants are translated
SHOWN = 3  # mistakes printed
LEGIBLE = 120  # letters that a picture of attention has room for: beyond, drawing takes minutes, and gigabytes

Right = list[bool]


def report(run: Run, ribosome: Ribosome, loaded: Corpus, train: Sequence[Pair]) -> str:
    """Print the tables, and draw the pictures into the run; returns the DNA that is looked at.

    train: the pairs of the training, for the simplest method; maybe none.
    """
    rights: dict[str, Right] = {}
    tests: dict[str, list[Pair]] = {}
    made: dict[str, list[str]] = {}
    for name, pairs in loaded.tests.items():
        tests[name], remark = ribosome.short_enough(pairs, name)
        made[name] = ribosome.proteins([dna for dna, _ in tests[name]])
        rights[name] = [one == wanted for one, (_, wanted) in zip(made[name], tests[name], strict=True)]
        print(f"{name}: {counted(len(tests[name]), 'gene')}{remark}")
    by_rule = all(wanted == protein(dna) for pairs in tests.values() for dna, wanted in pairs)
    _print_exact(tests, rights, baselines(train, by_rule))
    first = next(iter(tests))
    genes = [dna for dna, _ in tests[first]]
    _print_traits(first if by_rule else f"{first}, by what the standard code reads", genes, rights[first])
    changed = _mutants(ribosome, genes[:MUTATED]) if by_rule else {}
    _print_mutants(changed)
    if not by_rule:
        print("mutants are left out: their proteins follow from the standard code, which those of the tests do not")
    _print_mistakes(tests[first], made[first])
    _draw(tests, rights, changed, run.picture(PICTURE))
    looked_at = _telling(genes)
    looked = draw_attention(ribosome, looked_at, run.picture(ATTENTION)) if len(looked_at) <= LEGIBLE else None
    print(f"see {run.picture(PICTURE)}" + (f" and {looked}" if looked else ""))
    if len(looked_at) > LEGIBLE and ribosome.attends:
        print(
            f"there is no picture of the attention: it has room for {LEGIBLE} letters, and each gene of {first} has more"
        )
    return looked_at


def _telling(genes: Sequence[str]) -> str:
    """The shortest gene with a leader that shifts the frame and an M inside, that is not too long
    for a picture; if there is none, the first that is not, or the first.
    """
    short = [dna for dna in genes if len(dna) <= LEGIBLE] or genes
    shifted = (dna for dna in short if "M inside" in (found := traits(dna)) and "start in frame 0" not in found)
    return min(shifted, key=len, default=short[0])


# --- tables ---------------------------------------------------------------------------------------


def _print_exact(
    tests: dict[str, list[Pair]], rights: dict[str, Right], simple: dict[str, Callable[[str], str]]
) -> None:
    """The share of right proteins of each method on each test set."""
    rows = {NETWORK: [np.mean(right) for right in rights.values()]}
    for name, method in simple.items():
        rows[name] = [np.mean([method(dna) == wanted for dna, wanted in pairs]) for pairs in tests.values()]
    width = max(map(len, tests)) + 2
    print("proteins without a mistake, %")
    print(" " * 24 + "".join(f"{name:>{width}}" for name in tests))
    for name, shares in rows.items():
        print(f"  {name:22}" + "".join(f"{100 * share:{width}.1f}" for share in shares))


def _print_traits(name: str, genes: Sequence[str], right: Right) -> None:
    """How many genes of each of the `traits` are right."""
    counts: dict[str, Right] = {}
    for dna, hit in zip(genes, right, strict=True):
        for trait in traits(dna):
            counts.setdefault(trait, []).append(hit)
    print(f"right of {name}:")
    for trait, hits in sorted(counts.items()):
        print(f"  {trait:28}{sum(hits):6} of {len(hits)}")


def _mutants(ribosome: Ribosome, genes: Sequence[str]) -> dict[str, tuple[Right, Right]]:
    """For each kind of mutation that is found: which mutants are translated rightly; and of which
    the network's two proteins, right or wrong, differ as the right ones do, see `effect`: of a
    frameshift, which makes many changes, nearly any wrong protein does.
    """
    found = {kind: pairs for kind, pairs in mutants(genes).items() if pairs}
    before = dict(zip(genes, ribosome.proteins(genes), strict=True)) if found else {}
    results = {}
    for kind, pairs in found.items():
        after = ribosome.proteins([mutated for _, mutated in pairs])
        right = [one == protein(mutated) for one, (_, mutated) in zip(after, pairs, strict=True)]
        alike = [
            effect(before[gene], one) == effect(protein(gene), protein(mutated))
            for one, (gene, mutated) in zip(after, pairs, strict=True)
        ]
        results[kind] = right, alike
    return results


def _print_mutants(changed: dict[str, tuple[Right, Right]]) -> None:
    if changed:
        print("mutants, one base away       protein right   kind of change right, protein right or wrong")
    for kind, (right, alike) in changed.items():
        print(f"  {kind:16}{_share(right):>24}{_share(alike):>47}")


def _share(right: Right) -> str:
    return f"{100 * np.mean(right):.1f} % of {len(right)}"


def _print_mistakes(pairs: Sequence[Pair], made: Sequence[str]) -> None:
    wrong = [(*pair, one) for pair, one in zip(pairs, made, strict=True) if one != pair[1]]
    for dna, wanted, one in wrong[:SHOWN]:
        print(f"  {dna}\n    = {one}\n    right: {wanted}")


# --- pictures -------------------------------------------------------------------------------------


def draw_attention(ribosome: Ribosome, dna: str, path: Path) -> Path | None:
    """Draw which bases each amino acid looks at, of a network that does not end the first
    `LEGIBLE`; returns the path, or None for a network without attention. Raises UserError for DNA
    that is longer than a picture has room for.
    """
    if not ribosome.attends:
        return None
    if len(dna) > LEGIBLE:
        raise UserError(f"a picture has room for {LEGIBLE} bases, and these are {len(dna):,}; give a shorter piece")
    maps, bases, amino_acids = ribosome.looks_at(dna)
    shown = {name: weights[:, :LEGIBLE] for name, weights in maps.items()}
    beside = "protein" if len(amino_acids) <= LEGIBLE else f"protein, the first {LEGIBLE} of {len(amino_acids):,}"
    labels = "DNA, start and stop in capitals", beside
    return attention_heatmap(shown, bases, amino_acids[:LEGIBLE], path, labels)


def _draw(
    tests: dict[str, list[Pair]], rights: dict[str, Right], changed: dict[str, tuple[Right, Right]], path: Path
) -> None:
    """Right proteins by their length, a line for each test set; and of mutants, a bar for each
    kind.
    """
    figure = empty_figure(9, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.axvspan(LENGTHS.start - 0.5, LENGTHS.stop - 0.5, color="#f2f2f2")
    left.text(LENGTHS.start - 0.3, 3, "lengths of the embedded training", fontsize=8, color=GREY)
    for (name, pairs), colour in zip(tests.items(), _colours(len(tests)), strict=True):
        lengths, shares = _by_length([wanted for _, wanted in pairs], rights[name])
        left.plot(lengths, 100 * shares, "o-", color=colour, markersize=3, linewidth=1.3, label=name.replace("_", " "))
    _style(left, "amino acids of the protein", "proteins without a mistake, %")
    left.legend(frameon=False, fontsize=8, loc="center left")
    kinds = [kind for kind in KINDS if kind in changed]
    right.set_visible(bool(kinds))
    bars = right.barh(kinds, [100 * np.mean(changed[kind][0]) for kind in kinds], color=TRAIN)
    right.bar_label(bars, fmt="%.1f", padding=-30, fontsize=8)
    right.invert_yaxis()
    _style(right, "mutants translated without a mistake, %", "")
    right.set_xlim(0, 103)
    save_figure(figure, path)


def _colours(count: int) -> Iterable[Any]:
    return ([VALIDATION, "#2e8b57", SCORE, "#8e6bbf"] * count)[:count]


def _style(axes: Any, below: str, beside: str) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    axes.spines[["top", "right"]].set_visible(False)
    if beside:
        axes.set_ylim(0, 103)
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)


def _by_length(proteins: Sequence[str], right: Right) -> tuple[np.ndarray, np.ndarray]:
    """The lengths that there are, but 0, and the share of right ones of each."""
    lengths = np.array([len(made) for made in proteins])
    found: np.ndarray = np.unique(lengths[lengths > 0])
    return found, np.array([np.mean(np.array(right)[lengths == length]) for length in found])
