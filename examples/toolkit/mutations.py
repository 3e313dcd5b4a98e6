"""Point mutations of a gene, by what they do to its protein.

    atg gaa tta agc tga  MELS     the gene
    atg gaa ttg agc tga  MELS     silent: another codon of the same amino acid
    atg gca tta agc tga  MALS     missense: another amino acid
    atg gaa tga agc tga  ME       nonsense: a stop
    atg gat taa gct ga   MD       frameshift: a base lost, or one more, and all codons behind it
    acg gaa tta agc tga           start lost: what is read begins at the next ATG, if there is one

A mutant is one base away from a gene, and its protein follows from the rule of `toolkit.genes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.english_french import Dice
from toolkit.genes import BASES, LENGTHS, START, codons, protein

__all__ = ["KINDS", "effect", "mutant", "mutants"]

KINDS = ("silent", "missense", "nonsense", "frameshift", "start lost")
TRIES = 300  # draws in vain after which a gene is taken to have no mutant of a kind


def effect(before: str, after: str) -> str:
    """What two proteins say of a mutation between them, without the DNA: "silent", "missense" (one
    amino acid), "nonsense" (the second is cut short), or "other".

    >>> effect("MELS", "MELS"), effect("MELS", "MALS"), effect("MELS", "ME"), effect("MELS", "MD")
    ('silent', 'missense', 'nonsense', 'other')
    """
    if before == after:
        return "silent"
    if len(before) == len(after):
        return "missense" if sum(a != b for a, b in zip(before, after, strict=True)) == 1 else "other"
    return "nonsense" if before.startswith(after) and after else "other"


def mutant(dna: str, kind: str, dice: Dice, longest: int) -> str | None:
    """``dna`` with a random mutation of a kind in what is read of it; None if none is found.

    Proteins of more than ``longest`` amino acids are passed over: frameshifts often run past the
    old stop, and would measure length.
    """
    start, made = dna.find(START), protein(dna)
    end = start + 3 * len(made)
    if len(made) < 2:  # there is nothing behind the start
        return None
    for _ in range(TRIES):
        first, behind = (start, start + 3) if kind == "start lost" else (start + 3, end)
        place = dice.pick(range(first, behind))
        found = _frameshift(dna, place, dice) if kind == "frameshift" else _substitution(dna, place, dice)
        if len(protein(found)) <= longest and (
            kind in ("frameshift", "start lost") or effect(made, protein(found)) == kind
        ):
            return found
    return None


def _substitution(dna: str, place: int, dice: Dice) -> str:
    return dna[:place] + dice.pick(BASES.replace(dna[place], "")) + dna[place + 1 :]


def _frameshift(dna: str, place: int, dice: Dice) -> str:
    """A base lost, or one more before ``place``."""
    return dna[:place] + dna[place + 1 :] if dice.chance(0.5) else dna[:place] + dice.pick(BASES) + dna[place:]


def mutants(genes: Sequence[str], seed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """For each kind, pairs of a gene and its mutant, of no more amino acids than the longest gene,
    or the longest made one to train on; genes without a start or a stop are left out.

    >>> [(before, after)] = mutants(["atggaattaagctga"])["nonsense"]
    >>> protein(before), protein(after) in ("M", "ME", "MEL")
    ('MELS', True)
    """
    dice = Dice(seed)
    longest = max([LENGTHS.stop - 1, *(len(protein(dna)) for dna in genes)])
    found: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    for dna in genes:
        start = dna.find(START)
        if start < 0 or len(protein(dna)) == len(codons(dna, start)):
            continue
        for kind in KINDS:
            changed = mutant(dna, kind, dice, longest)
            if changed:
                found[kind].append((dna, changed))
    return found
