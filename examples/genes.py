#!/usr/bin/env python3
"""Translate DNA into protein, as a ribosome does: a recurrent network that has to find the start,
keep the reading frame, know the genetic code, and end at a stop.

    python examples/genes.py                          train on made-up genes, show what came of it
    python examples/genes.py train --data genes.fa --out runs/genes   (FASTA, maybe packed)
    python examples/genes.py train --data genes.fa --proteins proteins.fa
    python examples/genes.py train --resume --out runs/genes
    python examples/genes.py evaluate --run runs/genes
    python examples/genes.py translate --run runs/genes ccataatggaattaagctgatt
    python examples/genes.py translate --run runs/genes --input more.fa > proteins.fa
    python examples/genes.py attention --run runs/genes ccataatggaattaagctgatt

The made-up genes follow the standard genetic code: what is read begins at the first ATG, goes on in
threes and ends at the first stop of that frame; the network sees letters alone and is told none of
that. The proteins of --data follow from the same rule, unless --proteins gives those of the same
names. Genes to be tested by are in no other part; in one test set codons are neighbours that no
gene of training has as neighbours, in two the proteins or the leaders are longer than in training.
And mutants one base away show what a change of a base does. The run folder holds config.json,
weights.safetensors, log.jsonl, loss.png, genes.png, attention.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from toolkit import console
from toolkit.console import UserError, and_more, counted, note
from toolkit.corpus import Corpus, split_pairs
from toolkit.fasta import dna_of, read_fasta, read_genes, to_fasta
from toolkit.gene_report import ATTENTION, PICTURE, draw_attention, report
from toolkit.genes import corpus, protein
from toolkit.other_data import load_to_test, tell_seen
from toolkit.plots import picture_path
from toolkit.program import Data, Program
from toolkit.ribosome import LETTERS, Ribosome, Settings
from toolkit.runs import Run
from toolkit.settings import refuse_options
from toolkit.translation import RECURRENT_ONLY, TRANSFORMER_ONLY, Task, fingerprint

# In the place of the defaults, which are those of a recurrent network.
TRANSFORMER = dict(
    d_model=64, layers=2, d_ff=128, pre_norm=True, input_feeding=False, lr=3e-3, steps=1900, validate_every=380
)


class Genes(Program):
    """Train on DNA and its proteins; report how many proteins of unseen DNA are right, beside
    simple methods.
    """

    name, settings = "genes", Settings
    files = (PICTURE, ATTENTION)
    data_help = "FASTA file of DNA or RNA (made-up genes)"
    loss_label = "loss per amino acid (nats)"

    # --- data -------------------------------------------------------------------------------------

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        help = "FASTA file of their proteins, of the same names (by the genetic code)"
        parser.add_argument("--proteins", type=console.path, metavar="PATH", help=help)

    def describe(self, options: argparse.Namespace) -> Data:
        """Where the proteins are; those of made-up genes follow from the code."""
        if options.proteins and options.data is None:
            raise UserError("--proteins is for genes of a file; give that by --data")
        return {"proteins": options.proteins and os.path.abspath(options.proteins)}

    def load(self, data: Data) -> Corpus:
        """The made-up genes, or those of a file, of which a twentieth each is held out to validate
        and to test by.
        """
        if data["path"] is None:
            return corpus()
        pairs, notes = read_genes(data["path"], data["proteins"])
        made = replace(split_pairs(data["path"], pairs, what="sequence"), notes=notes)
        if not any(protein for _, protein in made.train):
            genes = f"each of {counted(len(made.train), 'gene')} to train on"
            if data["proteins"]:
                raise UserError(
                    f"{data['proteins']}: the protein of {genes} is empty; there is nothing to learn: write amino acids on"
                    " the lines below the names"
                )
            raise UserError(
                f"{data['path']}: the protein of {genes} is empty, since none has a start, ATG; there is nothing to learn:"
                " give the strand that is read, without introns"
            )
        return made

    def load_whole(self, data: Data) -> Corpus:
        name = f"genes of {Path(data['path']).name}"  # some of them may have been trained on
        pairs, notes = read_genes(data["path"], data["proteins"], whole=True)
        return Corpus([], [], {name: pairs}, notes=notes)

    def where(self, data: Data) -> str:
        """The file of DNA, and that of the proteins."""
        return " or ".join(filter(None, (super().where(data), data["proteins"])))

    def tested(self, loaded: Corpus) -> list[str]:
        return [dna for pairs in loaded.tests.values() for dna, _ in pairs]

    def trained(self, loaded: Corpus) -> set[str]:
        return {dna for dna, _ in (*loaded.train, *loaded.validation)}

    def fingerprint(self, loaded: Corpus) -> str:
        return fingerprint(loaded)

    def notes(self, loaded: Corpus) -> Sequence[str]:
        return loaded.notes

    # --- train ------------------------------------------------------------------------------------

    def presets(self, data: Data, given: dict[str, object]) -> dict[str, object]:
        """What suits the architecture."""
        arch = given.get("arch", Settings.arch)
        transformer = arch == "transformer"
        refuse_options(given, RECURRENT_ONLY if transformer else TRANSFORMER_ONLY, f"--arch {arch}")
        return dict(TRANSFORMER) if transformer else {}

    def make_task(self, loaded: Corpus, settings: Settings, run: Run | None) -> Task:
        return Task(loaded, LETTERS, settings)

    def sizes(self, task: Task) -> str:
        long = f"; left out {task.dropped:,} of more than {task.longest - 1} letters" if task.dropped else ""
        return f"{counted(len(task.batches), 'gene')} to train on, {super().sizes(task)}{long}"

    def report(self, run: Run, loaded: Corpus, task: Task) -> None:
        """Tables, mistakes and pictures of a trained run."""
        ribosome = Ribosome(run, device=run.settings.device)
        shown = report(run, ribosome, loaded, loaded.train)
        print("translate by:")
        print(f"  {self.advice('translate', {'--run': run.folder}, shown)}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "how many proteins are right, beside those of simple methods")
        help = "FASTA file of other DNA, of which all is translated, or where that of the run is now"
        made.add_argument("--data", type=console.path, metavar="PATH", help=help)
        self.add_data_options(made)

        made = add("translate", self.translate, "the proteins of DNA, or a FASTA file of them for one of DNA")
        made.add_argument("dna", nargs="*", metavar="DNA")
        made.add_argument(
            "--input", type=console.path, metavar="FILE", help="FASTA file of DNA or RNA; - is standard input"
        )

        made = add("attention", self.attention, "a picture of the bases that each amino acid looks at")
        made.add_argument("dna", metavar="DNA")
        help = "where to write the picture; into the run if not given"
        made.add_argument("--output", type=console.path, metavar="PNG", help=help)

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the figures of a run, and draw them."""
        if options.proteins and not options.data:
            raise UserError("--proteins is for genes of a file; give that by --data")
        run, ribosome = self._open(options)
        others = self._proteins(options, run) if options.data else {}
        loaded, own = load_to_test(self, run, options.data, **others)
        trained = loaded if own else tell_seen(self, run, loaded)
        report(run if own else run.tested_on(options.data), ribosome, loaded, trained.train if trained else [])

    def _proteins(self, options: argparse.Namespace, run: Run) -> Data:
        """Where the proteins of other genes are. Raises UserError if none are given though the run
        had some, and the genes are not at the place of its own: its code may be another.
        """
        data = run.about["data"]
        if options.proteins or not data["proteins"]:
            return self.describe(options)
        if os.path.realpath(options.data) != os.path.realpath(data["path"]):
            raise UserError(
                f"{run.folder} was trained on the proteins in {data['proteins']}; give those of {options.data} by --proteins"
            )
        return {}

    def translate(self, options: argparse.Namespace) -> None:
        """Print the protein of each DNA; of a file as FASTA, with the titles of the DNA. Where the
        network is wrong is told, unless it has learnt proteins of a file, maybe by another code.
        """
        if bool(options.dna) == bool(options.input):
            raise UserError("give DNA to translate, or a FASTA file of it by --input FILE (- is standard input)")
        records = read_fasta(options.input, dna_of) if options.input else []
        if options.input:
            genes, names = [record.sequence for record in records], [record.name for record in records]
        else:
            genes = [dna_of(text, f"DNA {number}") for number, text in enumerate(options.dna, start=1)]
            names = [f"DNA {number}" for number in range(1, len(genes) + 1)]
        run, ribosome = self._open(options)
        made = ribosome.proteins(genes, names)
        if options.input:
            print("".join(to_fasta(record.title, one) for record, one in zip(records, made, strict=True)), end="")
        else:
            print("".join(f"{one}\n" for one in made), end="")
        odd = [name for name, dna, one in zip(names, genes, made, strict=True) if one != protein(dna)]
        if odd and not run.about["data"]["proteins"]:
            note(f"{odd[0]}{and_more(odd)} of {len(names)}: the network is wrong by the standard genetic code")

    def attention(self, options: argparse.Namespace) -> None:
        """Draw what the amino acids of a DNA look at."""
        dna = dna_of(options.dna, "DNA 1")
        run, ribosome = self._open(options)
        path = picture_path(options.output or run.path(ATTENTION))
        drawn = draw_attention(ribosome, dna, path)
        if drawn is None:
            raise UserError(f"{run.folder} was trained with --attention none: there is nothing to draw")
        print(drawn)

    def _open(self, options: argparse.Namespace) -> tuple[Run, Ribosome]:
        """The run given by --run, and its network."""
        run, device = self.open(options)
        return run, Ribosome(run, options.weights, device)


main = Genes().main

if __name__ == "__main__":
    sys.exit(console.run(main))
