"""The parts of a run on genes: the letters, settings, the trained model that translates, and what
it is compared with.

Letters: N genes, T amino acids, S bases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.batches import Units
from toolkit.console import UserError, and_more
from toolkit.corpus import Pair
from toolkit.genes import AMINO_ACIDS, BASES, START, codons, protein, read
from toolkit.made_pairs import MadePairSettings
from toolkit.runs import Run
from toolkit.settings import option
from toolkit.tokenizer import SPECIAL
from toolkit.translator import Translator

__all__ = ["LETTERS", "Letters", "Ribosome", "Settings", "baselines", "traits"]


class Letters:
    """A fixed alphabet as a vocabulary: each letter is a token, its id behind those of padding,
    start and stop.
    """

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self._ids = {letter: id for id, letter in enumerate(letters, start=len(SPECIAL))}

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(SPECIAL) + len(self.letters)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. Raises KeyError for a letter that there is not."""
        return [[self._ids[letter] for letter in text] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The letters of ids; special tokens are left out."""
        return "".join(self.letters[id - len(SPECIAL)] for id in ids if id >= len(SPECIAL))

    def labels(self, ids: Sequence[int]) -> list[str]:
        """The letter of each id, or the name of a special token."""
        return [self.decode([id]) or SPECIAL[id] for id in ids]


LETTERS = Letters(BASES + AMINO_ACIDS)


@dataclass(frozen=True, kw_only=True)
class Settings(MadePairSettings):
    """Hyper-parameters; the defaults suit the embedded genes, which are free of noise."""

    units = Units("gene", "letter", shorter="give a shorter piece")

    label_smoothing: float = option(0.1, "label smoothing", least=0, below=1)
    d_model: int = option(32, "features of each letter; recurrent: of an embedding", least=1)
    hidden: int = option(96, "recurrent: features of the states", least=1)
    input_feeding: bool = option(True, "recurrent: each step of the decoder also gets the last one's result")
    max_length: int = option(96, "longest sequence, in letters", least=2, below=100_000)
    max_tokens: int = option(2048, "positions in a batch, padding included, on either side", least=2)
    lr: float = option(6e-3, "peak learning rate of Adam", least=0, below=1e6)
    warmup: int = option(200, "updates of linear warm-up", least=1)
    steps: int | None = option(1250, "stop after so many updates", least=1)
    validate_every: int | None = option(250, "updates between validations; an epoch if not given", least=1)


class Ribosome(Translator):
    """A trained model that writes proteins."""

    def __init__(self, run: Run, weights: str = "", device: str = "cpu") -> None:
        super().__init__(run, weights, device, LETTERS)

    def proteins(self, genes: Sequence[str], names: Sequence[str] = ()) -> list[str]:
        """The protein that the model writes for each DNA. Raises UserError for one that is longer
        than the model allows, by its name, before any is translated.
        """
        self.check(genes, names)
        return self.translate(genes, where="DNA")

    @property
    def attends(self) -> bool:
        """Whether the network has attention, and so something to draw."""
        return self.settings.arch == "transformer" or self.settings.attention != "none"

    def check(self, genes: Sequence[str], names: Sequence[str] = ()) -> None:
        """Raise UserError for DNA that is too long for the model."""
        longest = self.settings.max_length - 1  # and its STOP
        long = [place for place, dna in enumerate(genes) if len(dna) > longest]
        if long:
            name = names[long[0]] if names else f"DNA {long[0] + 1}"
            raise UserError(
                f"{name} has {len(genes[long[0]])} bases{and_more(long)}, the model allows {longest}; give a shorter piece, or"
                " train on genes that long with a larger --max-length"
            )

    def looks_at(self, dna: str) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
        """What each amino acid looks at, (H, T, S) by layer, and the labels: bases, the start and
        the stop of the rule in capitals; amino acids.
        """
        self.check([dna])
        maps, bases, amino_acids = self.attention(dna, subwords=True)
        start = dna.find(START)
        if start >= 0:
            end = start + 3 * len(protein(dna))
            shown = dna[:start] + START.upper() + dna[start + 3 : end] + dna[end : end + 3].upper() + dna[end + 3 :]
            bases = [
                *(shown if len(codons(dna, end)) else dna[:start] + START.upper() + dna[start + 3 :]),
                *bases[len(dna) :],
            ]
        return maps, bases, amino_acids


# --- what it is compared with ---------------------------------------------------------------------


def baselines(train: Sequence[Pair], by_rule: bool = True) -> dict[str, Callable[[str], str]]:
    """Simple methods, and the rule itself, by name; it is the known best if the proteins of a test
    are ``by_rule``, and otherwise but the standard code.

    That of the commonest amino acid needs pairs of training, and is left out if there are none.
    """
    found: dict[str, Callable[[str], str]] = {}
    if train:
        usual = _commonest(train)
        found["commonest letters"] = lambda dna: usual
    found["from the first base"] = lambda dna: read(dna, 0)
    found["first ATG of frame 0"] = _first_of_frame_0
    found["the rule (known best)" if by_rule else "the standard code"] = protein
    return found


def _commonest(train: Sequence[Pair]) -> str:
    """A protein of the mean length, at each place the amino acid that is commonest there."""
    proteins = [made for _, made in train]
    length = round(sum(map(len, proteins)) / len(proteins))
    return "".join(Counter(made[i] for made in proteins if len(made) > i).most_common(1)[0][0] for i in range(length))


def _first_of_frame_0(dna: str) -> str:
    found = codons(dna)
    return read(dna, 3 * found.index(START)) if START in found else ""


def traits(dna: str) -> list[str]:
    """What may make a gene hard: its frame, an M inside, a stop triplet in another frame before its
    own stop; or that it has no start or no stop.
    """
    start, made = dna.find(START), protein(dna)
    if start < 0:
        return ["no start"]
    end = start + 3 * len(made)
    found = [f"start in frame {start % 3}"]
    found += ["M inside"] if "M" in made[1:] else []
    found += ["stop triplet out of frame"] if any(_stops(dna, start + shift, end) for shift in (1, 2)) else []
    return found + (["no stop"] if not codons(dna, end) else [])


def _stops(dna: str, start: int, end: int) -> bool:
    """Whether a frame has a stop triplet between two places."""
    return start + 3 * len(read(dna, start)) < end - 2
