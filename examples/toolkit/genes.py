"""Made-up genes, and the one right protein of each: the standard genetic code and the rule by which
a ribosome reads.

    leader       ORF: start, codons, stop           trailer
    ccatacttaga  atg gaa tta agc atg ... tac tga    ttgac
    (nothing)     M   E   L   S   M  ...  Y         (nothing)

The rule, `protein`: begin at the first ATG, wherever it is, read in threes, end at the first stop.
So the frame depends on the length of the leader; a stop triplet in another frame is none; an ATG
inside the frame is the amino acid M, and no new start; without an ATG there is no protein, and
without a stop it goes on as far as there are three bases. That is the reading of a single
messenger; what cells add to it (the letters around the start, splicing, other codes of
mitochondria) is left out.

Bases are lower-case and amino acids capitals, so that adenine "a" and alanine "A" differ.

>>> protein("ccatgatgtaaccctgaa")
'MM'
>>> made = corpus(n_train=50, n_validation=5, n_test=5)
>>> {name: len(pairs) for name, pairs in made.tests.items()}
{'unseen_genes': 5, 'unseen_codon_pairs': 5, 'longer_genes': 5, 'longer_leaders': 5}
"""

from __future__ import annotations

import hashlib
from itertools import product

from toolkit.corpus import Corpus, Pair
from toolkit.english_french import Dice

__all__ = [
    "AMINO_ACIDS",
    "BASES",
    "CODE",
    "START",
    "STOPS",
    "codons",
    "corpus",
    "draw",
    "has_held_out",
    "protein",
]

# The standard genetic code, table 1 of the NCBI ("The Genetic Codes", A. Elzanowski and J. Ostell),
# which has the codons in this order of their bases, and a star for a stop.
ORDER = "tcag"
STANDARD = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODE = dict(zip(map("".join, product(ORDER, repeat=3)), STANDARD, strict=True))

BASES = "acgt"
AMINO_ACIDS = "".join(sorted(set(STANDARD) - {"*"}))
START = "atg"
STOPS = tuple(codon for codon, letter in CODE.items() if letter == "*")
SENSE = tuple(codon for codon, letter in CODE.items() if letter != "*")

LEADER = range(25)  # bases before the start
LENGTHS = range(4, 13)  # amino acids, the first M included
TRAILER = range(12)  # bases behind the stop
LONGER_LEADER, LONGER = range(25, 41), range(13, 19)  # of the tests beyond what is trained on
NO_STOP = 0.1  # share of genes that are cut off before their stop
NO_START = 0.02  # share of what has no start at all
HELD_OUT = 40  # about one of so many pairs of codons is kept out of training


# --- the rule -------------------------------------------------------------------------------------


def codons(dna: str, start: int = 0) -> list[str]:
    """The whole triplets from ``start`` on."""
    return [dna[i : i + 3] for i in range(start, len(dna) - 2, 3)]


def protein(dna: str) -> str:
    """What a ribosome makes of ``dna``, of lower-case bases; see the head of this file. "" if there
    is no start.
    """
    start = dna.find(START)
    return read(dna, start) if start >= 0 else ""


def read(dna: str, start: int) -> str:
    """The amino acids of the triplets from ``start`` up to the first stop, or as far as they go."""
    return "".join(CODE[codon] for codon in codons(dna, start)).partition("*")[0]


# --- drawing --------------------------------------------------------------------------------------


def draw(dice: Dice, leader: range = LEADER, lengths: range = LENGTHS) -> str:
    """The DNA of a random gene; any of its parts after the leader may make another start, but none
    before it.
    """
    before = _without_start(dice, dice.pick(leader))
    count = dice.pick(lengths)
    whole = before + START + "".join(dice.pick(SENSE) for _ in range(count - 1))
    kind = dice.random()
    if kind < NO_START:
        return _without_start(dice, len(whole))
    if kind < NO_START + NO_STOP:
        return whole + _bases(dice, dice.pick(range(3)))
    return whole + dice.pick(STOPS) + _bases(dice, dice.pick(TRAILER))


def _bases(dice: Dice, count: int) -> str:
    return "".join(dice.pick(BASES) for _ in range(count))


def _without_start(dice: Dice, count: int) -> str:
    """Random bases, the last of an ATG always drawn again."""
    made = ""
    while len(made) < count:
        made += dice.pick(BASES)
        made = made[:-1] if made.endswith(START) else made
    return made


def is_held_out(first: str, second: str) -> bool:
    """Whether two codons are never neighbours in what is read of training: by a hash, so that no
    list is needed.
    """
    return hashlib.sha256(f"{first}{second}".encode()).digest()[0] * HELD_OUT < 256


def has_held_out(dna: str) -> bool:
    """Whether what is read of ``dna`` has two neighbouring codons that are held out."""
    start = dna.find(START)
    read_codons = codons(dna, start)[: len(protein(dna))] if start >= 0 else []
    return any(PAIRS[pair] for pair in zip(read_codons, read_codons[1:], strict=False))


PAIRS = {pair: is_held_out(*pair) for pair in product(SENSE, repeat=2)}


def corpus(seed: int = 0, n_train: int = 40_000, n_validation: int = 500, n_test: int = 1000) -> Corpus:
    """Pairs (DNA, protein), no DNA twice. The test sets, ``n_test`` of each:

    unseen_genes, drawn as those of training; unseen_codon_pairs, in which codons are neighbours
    that no gene of training has as neighbours; longer_genes and longer_leaders, of more amino
    acids, or more bases before the start, than any of training. The few without a start are in all
    but unseen_codon_pairs.
    """
    dice = Dice(seed)
    seen: set[str] = set()

    def collect(count: int, held_out: bool, **shape: range) -> list[Pair]:
        pairs: list[Pair] = []
        while len(pairs) < count:
            dna = draw(dice, **shape)
            if dna not in seen and has_held_out(dna) == held_out:
                seen.add(dna)
                pairs.append((dna, protein(dna)))
        return pairs

    tests = {
        "unseen_genes": collect(n_test, False),
        "unseen_codon_pairs": collect(n_test, True),
        "longer_genes": collect(n_test, False, lengths=LONGER),
        "longer_leaders": collect(n_test, False, leader=LONGER_LEADER),
    }
    return Corpus(collect(n_train, False), collect(n_validation, False), tests)
