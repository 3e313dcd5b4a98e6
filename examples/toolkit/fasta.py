r"""FASTA files: sequences of DNA or RNA, and of proteins, each below a line that names it.

    >gene7 anything that is to be said of it
    CCATACTTAGAATGGAATTAAGC
    atgtactga

The name is the first word behind ``>``; a sequence may go over several lines, in capitals or not. A
line that starts with ``;`` is a comment, as in the oldest files (Lipman and Pearson 1985). Packed
files are unpacked, see `toolkit.reading`.

Sequences come in the letters of `toolkit.genes`: bases lower-case, U read as T; amino acids in
capitals, without the star that stands for the stop at the end. What stands for several bases or
amino acids, such as N or X, is refused, with its place: it has no one right translation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.blank import is_blank, stripped
from toolkit.console import UserError, and_more
from toolkit.copies import copies_note
from toolkit.corpus import Pair
from toolkit.genes import AMINO_ACIDS, BASES, protein
from toolkit.reading import lines_of, read_text

__all__ = ["Record", "dna_of", "protein_of", "read_fasta", "read_genes", "to_fasta"]

WIDTH = 60  # letters on a line that is written
SOME_BASES = "rykmswbdhv"  # of IUPAC's code, for several bases
AMBIGUOUS_BASES = SOME_BASES + "n"
AMBIGUOUS_AMINO_ACIDS = "BZJX"
RARE_AMINO_ACIDS = {"U": "selenocysteine", "O": "pyrrolysine"}  # codes that are stops elsewhere
LIKE_PROTEIN = set("EFILPQ*")  # amino acids that are no code for bases, not even for several; and a stop
NUCLEOTIDES = set("ACGTUN")  # as proteins are read: bases, U of RNA, and N for any


@dataclass(frozen=True)
class Record:
    """A sequence, the whole line that names it (without its ``>``), and the number of that line."""

    title: str
    sequence: str
    line: int

    @property
    def name(self) -> str:
        """The first word of the title."""
        return self.title.split()[0]


def read_fasta(path: str | os.PathLike[str], clean: Callable[[str, str], str], empty: bool = False) -> list[Record]:
    """The records of a file, "-" for standard input, each sequence put through ``clean(sequence,
    where)``: `dna_of` or `protein_of`.

    empty: whether a sequence may be, as the protein of DNA without a start is. Raises UserError for
    a file without a record, letters before the first name, an empty name or sequence, two records
    of one name, and what ``clean`` refuses.
    """
    where = "standard input" if str(path) == "-" else str(path)
    found: list[tuple[str, int, list[str]]] = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        line = stripped(line)
        if line.startswith(">"):
            if is_blank(line[1:]):
                raise UserError(f"{where} line {number} names no sequence; write a name behind the >")
            found.append((line[1:].strip(), number, []))
        elif line and not line.startswith(";"):
            if not found:
                raise UserError(
                    f"{where} line {number} is before the first name; a FASTA file starts with a line such as: >gene1"
                )
            found[-1][2].append(line)
    if not found:
        raise UserError(f"{where} holds no sequence; a FASTA file has a line such as >gene1, and its bases below")
    records = []
    for title, number, lines in found:
        if not (lines or empty):
            raise UserError(f"{where} line {number}: there is no sequence below >{title}")
        records.append(Record(title, clean("".join(lines), f"{where} line {number}, {title.split()[0]}"), number))
    _check_names(records, where)
    return records


def _check_names(records: Sequence[Record], where: str) -> None:
    lines: dict[str, int] = {}
    for record in records:
        first = lines.setdefault(record.name, record.line)
        if first != record.line:
            raise UserError(
                f"{where} line {record.line} names {record.name} again, after line {first}; rename one of them"
            )


def dna_of(text: str, where: str) -> str:
    """Lower-case bases, U as T, without blanks. Raises UserError for any other letter."""
    made = "".join(stripped(text).split()).lower().replace("u", "t")
    odd = [(place, letter) for place, letter in enumerate(made, start=1) if letter not in BASES]
    if odd:
        place, letter = odd[0]
        raise UserError(f"{where}: base {place} is {letter.upper()!r}{and_more(odd)}; {_about_base(made, letter)}")
    if not made:
        raise UserError(f"{where} is empty; write its bases, such as ATGGCATAA")
    return made


def _about_base(text: str, letter: str) -> str:
    if set(text.upper()) & LIKE_PROTEIN or 2 * sum(base in SOME_BASES for base in text) > len(text):
        return "this looks like a protein; a translation starts from DNA or RNA"
    if letter in AMBIGUOUS_BASES:
        return (
            "it stands for several bases, and has no one right translation; put in the base, or leave the sequence out"
        )
    return "write A, C, G and T (or U) alone, without gaps"


def protein_of(text: str, where: str) -> str:
    """Amino acids in capitals, without the star of a stop at the end. Raises UserError for any
    other letter.
    """
    made = "".join(stripped(text).split()).upper().removesuffix("*")
    odd = [(place, letter) for place, letter in enumerate(made, start=1) if letter not in AMINO_ACIDS]
    if odd:
        place, letter = odd[0]
        raise UserError(f"{where}: amino acid {place} is {letter!r}{and_more(odd)}; {_about_amino_acid(made, letter)}")
    return made


def _about_amino_acid(text: str, letter: str) -> str:
    if set(text) <= NUCLEOTIDES:
        return "this looks like RNA; write the amino acids of it"
    if letter in AMBIGUOUS_AMINO_ACIDS:
        return "it stands for several; put in the one, or leave the sequence out"
    if letter in RARE_AMINO_ACIDS:
        return f"it is {RARE_AMINO_ACIDS[letter]}, which no codon alone says; leave the sequence out"
    if letter == "*":
        return "a stop inside a protein is not known here; cut it off there, or leave the sequence out"
    return f"the {len(AMINO_ACIDS)} amino acids are {AMINO_ACIDS}"


def read_genes(dna: str, proteins: str | None, whole: bool = False) -> tuple[list[Pair], tuple[str, ...]]:
    """Pairs (DNA, protein) of a file of DNA, and notes on them: the proteins of the same names in
    another file, or what follows from the genetic code. A pair that is there several times is there
    once. whole: all are to be tested by, and there are no parts.

    The notes tell of what is there again, of empty proteins, and of proteins that the code does not
    give; the latter two are kept. Raises UserError for what `read_fasta` refuses, for a name that
    is in one of the files only, and for a protein that looks like DNA.
    """
    genes = read_fasta(dna, dna_of)
    notes: list[str] = []
    if proteins is None:
        pairs = [(gene.sequence, protein(gene.sequence)) for gene in genes]
    else:
        pairs, notes = _given(genes, dna, proteins)
    kept = list(dict.fromkeys(pairs))
    different, left_out = len({bases for bases, _ in pairs}), len(pairs) - len(kept)
    again = "protein" if proteins else ""
    notes += copies_note(dna, "sequence", len(genes), different, again, left_out, whole or not proteins)
    empty = sum(not made for _, made in kept)
    if empty:
        why = "" if proteins else ", where no start, ATG, is found; is it the strand that is read, without introns?"
        notes.append(f"{proteins or dna}: empty proteins: {empty:,} of {len(kept):,}{why}")
    return kept, tuple(notes)


def _given(genes: Sequence[Record], dna: str, proteins: str) -> tuple[list[Pair], list[str]]:
    """Pairs of genes, of the file ``dna``, and their proteins in another file, and notes; see
    `read_genes`.
    """
    given = {record.name: record for record in read_fasta(proteins, protein_of, empty=True)}
    names = [record.name for record in genes]
    for missing, what, where in (
        ([name for name in names if name not in given], "protein", proteins),
        (sorted(given.keys() - set(names)), "DNA", dna),
    ):
        if missing:
            raise UserError(f"{where} has no {what} of {missing[0]}{and_more(missing)}; both files need the same names")
    for gene in genes:
        made = given[gene.name]
        if set(made.sequence) <= NUCLEOTIDES and 3 * len(made.sequence) > len(gene.sequence):  # three bases make one
            raise UserError(
                f"{proteins} line {made.line}, {gene.name}: this looks like DNA, not like its protein; write amino acids,"
                " such as MELSMY"
            )
    pairs = [(gene.sequence, given[gene.name].sequence) for gene in genes]
    odd = [name for name, (bases, made) in zip(names, pairs, strict=True) if made != protein(bases)]
    if not odd:
        return pairs, []
    told = "is not what the standard genetic code gives from the first ATG on; it is taken as it is"
    return pairs, [f"{proteins}: the protein of {odd[0]}{and_more(odd)} {told}"]


def to_fasta(title: str, sequence: str) -> str:
    r"""A record, its lines ended.

    >>> to_fasta("gene7", "MELSMY")
    '>gene7\nMELSMY\n'
    """
    lines = [sequence[i : i + WIDTH] for i in range(0, len(sequence), WIDTH)] or [""]
    return "".join(line + "\n" for line in (f">{title}", *lines))
