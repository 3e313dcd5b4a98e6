"""The genetic code and its rule, made-up genes, FASTA files, mutants, and the script on genes."""

import argparse
import doctest
import gzip
import json
import math
import re
import shutil
from collections import Counter
from types import SimpleNamespace

import genes
import numpy as np
import pytest
from scripts import caller, refuser
from toolkit import fasta, gene_report, mutations
from toolkit import genes as code
from toolkit.console import UserError
from toolkit.english_french import Dice
from toolkit.fasta import dna_of, protein_of, read_fasta, read_genes, to_fasta
from toolkit.genes import CODE, corpus, draw, has_held_out, protein
from toolkit.mutations import KINDS, effect, mutants
from toolkit.other_data import load_to_test
from toolkit.ribosome import LETTERS, Settings, baselines, traits
from toolkit.runs import Run

call = caller(genes.main)
refused = refuser(call)

TINY = "--d-model 8 --hidden 16 --max-length 40 --max-tokens 400 --warmup 5 --lr 0.02 --validate-every 20".split()


@pytest.mark.parametrize("module", [code, fasta, mutations])
def test_the_examples_in_the_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


# --- the rule -------------------------------------------------------------------------------------


def test_the_code_is_the_standard_one():
    degeneracy = Counter(Counter(CODE.values()).values())
    assert len(CODE) == 64 and degeneracy == {
        6: 3,
        4: 5,
        3: 2,
        2: 9,
        1: 2,
    }  # L S R; A G P T V; I and the stops; M and W
    assert {codon for codon, letter in CODE.items() if letter == "*"} == {"taa", "tag", "tga"} == set(code.STOPS)
    assert CODE["atg"] == "M" and CODE["tgg"] == "W" and CODE["aga"] == CODE["cgc"] == "R" and CODE["ata"] == "I"
    assert protein("gccatggccctgtggatgcgcctcctgcccctgctggcg") == "MALWMRLLPLLA"  # the beginning of human insulin


@pytest.mark.parametrize(
    ("dna", "wanted"),
    [
        ("atgaaataa", "MK"),
        ("catgaaataa", "MK"),  # another frame
        ("ccatgatgtaacc", "MM"),  # an ATG inside the frame is no new start
        ("atgataatga", "MIM"),  # neither is one that is out of frame, nor is a stop there a stop
        ("atgctaactgaa", "MLTE"),
        ("atgaaa", "MK"),
        ("atgaaaac", "MK"),
        ("atgtaaatgaaataa", "M"),  # what follows the stop is not read
        ("acgtacgtac", ""),
        ("", ""),
    ],
)
def test_the_ribosomes_rule(dna, wanted):
    assert protein(dna) == wanted


def test_genes_are_drawn_as_asked():
    dice = Dice(3)
    made = [draw(dice, leader=range(20, 21), lengths=range(5, 6)) for _ in range(400)]
    with_start = [dna for dna in made if "atg" in dna]
    assert all(dna.index("atg") == 20 and len(protein(dna)) == 5 for dna in with_start)
    assert 0 < len(made) - len(with_start) < 30  # some have no start
    stopped = [dna for dna in with_start if dna[35:38] in code.STOPS]
    assert 0.8 < len(stopped) / len(with_start) < 0.97
    assert all(len(dna) < 38 for dna in set(with_start) - set(stopped))
    starts = [draw(dice).find("atg") for _ in range(200)]
    assert {start % 3 for start in starts if start >= 0} == {0, 1, 2} and -1 in starts


def test_the_parts_of_the_corpus_share_nothing():
    made = corpus(n_train=700, n_validation=30, n_test=30)
    assert made == corpus(n_train=700, n_validation=30, n_test=30)
    parts = [made.train, made.validation, *made.tests.values()]
    genes_of = [dna for pairs in parts for dna, _ in pairs]
    assert len(set(genes_of)) == len(genes_of) == 700 + 30 + 4 * 30
    assert all(wanted == protein(dna) for pairs in parts for dna, wanted in pairs)
    assert [len(dna) for dna, _ in corpus(seed=1, n_train=40, n_validation=1, n_test=1).train] != [
        len(dna) for dna, _ in made.train[:40]
    ]

    def pairs_of(dna):
        start = dna.find("atg")
        read = code.codons(dna, start)[: len(protein(dna))] if start >= 0 else []
        return set(zip(read, read[1:]))

    trained = set().union(*(pairs_of(dna) for dna, _ in made.train))
    kept_out = {pair for pair, held_out in code.PAIRS.items() if held_out}
    assert len(trained) > 1500 and not trained & kept_out and 60 < len(kept_out) < 140
    assert all(pairs_of(dna) & kept_out for dna, _ in made.tests["unseen_codon_pairs"])
    assert {codon for pair in trained for codon in pair} == set(code.SENSE)  # each codon by itself is known
    longest = max(len(wanted) for _, wanted in made.train)
    assert all(len(wanted) > longest for dna, wanted in made.tests["longer_genes"] if wanted)
    assert all(dna.find("atg") > 24 for dna, wanted in made.tests["longer_leaders"] if wanted)
    assert not has_held_out("cccc")


def test_simple_methods_by_hand():
    found = baselines([("", "MAC"), ("", "MAD"), ("", "MCD")])
    dna = "catgatgaaataa"  # frame 1: M M K; frame 0: cat, gat, gaa, ata
    assert {name: method(dna) for name, method in found.items()} == {
        "commonest letters": "MAD",
        "from the first base": "HDEI",
        "first ATG of frame 0": "",
        "the rule (known best)": "MMK",
    }
    assert list(baselines([], by_rule=False))[-1] == "the standard code"
    assert baselines([])["first ATG of frame 0"]("ccatgaatgaaataa") == "MK" != protein("ccatgaatgaaataa")
    assert baselines([])["first ATG of frame 0"]("cccatgaaataa") == "MK"


def test_what_makes_a_gene_hard():
    assert traits("catgatgaaataa") == ["start in frame 1", "M inside", "stop triplet out of frame"]
    assert traits("atgcccgggtaa") == ["start in frame 0"]
    assert traits("ccatgccc") == ["start in frame 2", "no stop"]
    assert traits("cccc") == ["no start"]


# --- mutants --------------------------------------------------------------------------------------


def test_mutants_are_one_base_away_and_do_what_they_are_called():
    dice = Dice(9)
    whole = [draw(dice) for _ in range(60)]
    found = mutants(whole)
    assert tuple(found) == KINDS
    for kind, pairs in found.items():
        assert len(pairs) > 25
        for before, after in pairs:
            start, old, new = before.find("atg"), protein(before), protein(after)
            differ = [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
            if kind == "frameshift":
                assert abs(len(before) - len(after)) == 1
                # The same up to a base, and behind it.
                place = differ[0] if differ else min(len(before), len(after))
                behind = max(len(before), len(after)) - place - 1
                assert start + 3 <= place and (not behind or before[-behind:] == after[-behind:])
                assert after.find("atg") == start
            else:
                assert len(before) == len(after) and len(differ) == 1
                assert (start <= differ[0] < start + 3) == (kind == "start lost")
                if kind == "start lost":
                    assert after.find("atg") != start
                else:
                    assert effect(old, new) == kind and len(new) == (differ[0] - start) // 3 or kind != "nonsense"
            assert len(new) < code.LENGTHS.stop
    assert all(mutants(["atg" + "gaattaagc" * 20 + "tga"]).values())  # one's own may be longer than all that are made
    assert mutants(["cccc", "atgaaaccc", "atgtaa"]) == {kind: [] for kind in KINDS}  # without a start, a stop, a codon


def test_what_proteins_say_of_a_mutation():
    assert [effect("MKLP", after) for after in ("MKLP", "MKVP", "MK", "MVVP", "MKLPA", "", "ML")] == [
        *("silent", "missense", "nonsense", "other", "other", "other", "other"),
    ]


# --- FASTA ----------------------------------------------------------------------------------------


def test_reading_fasta(tmp_path):
    text = "; a comment\r\n\r\n>one of them\r\nCCAT\r\n\r\n  gaug \r\n>two\r\nTaa ccc\r\n"
    (tmp_path / "a.fa").write_bytes(text.encode())
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.fa", "a.fa.gz"):
        found = read_fasta(tmp_path / name, dna_of)
        assert [(r.name, r.title, r.sequence) for r in found] == [
            ("one", "one of them", "ccatgatg"),
            ("two", "two", "taaccc"),
        ]
    long = "MK" * 70
    assert to_fasta("long one", long).split("\n") == [">long one", long[:60], long[60:120], long[120:], ""]
    (tmp_path / "p.fa").write_text(to_fasta("long one", long.lower() + "*"), encoding="utf-8")
    assert read_fasta(tmp_path / "p.fa", protein_of)[0].sequence == long


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sequence"),
        (";c\n", "holds no sequence"),
        ("ACGT\n", "line 1 is before the first name; a FASTA file starts with a line such as: >gene1"),
        (">\nACGT\n", "line 1 names no sequence"),
        (">a\n>b\nAC\n", "line 1: there is no sequence below >a"),
        (">a\nAC\n>b\nAC\n>a x\nCC\n", "line 5 names a again, after line 1"),
        (">a\nACGN\nNT\n", "line 1, a: base 4 is 'N' (and 1 more); it stands for several bases"),
        (">a\nAC-GT\n", "base 3 is '-'; write A, C, G and T (or U) alone, without gaps"),
        (">a\nMELSMY\n", "base 1 is 'M' (and 5 more); this looks like a protein"),
        (">a\nMK*V\n", "this looks like a protein"),
        (">a\nMKVA\n", "base 1 is 'M' (and 2 more); this looks like a protein"),
    ],
)
def test_bad_fasta(tmp_path, text, message):
    (tmp_path / "bad.fa").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)):
        read_fasta(tmp_path / "bad.fa", dna_of)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MXK", "amino acid 2 is 'X'; it stands for several"),
        ("MU", "amino acid 2 is 'U'; it is selenocysteine"),
        ("AUGNCA", "amino acid 2 is 'U'; this looks like RNA"),
        ("M*K", "amino acid 2 is '*'; a stop inside a protein is not known here"),
        ("M1", "the 20 amino acids are ACDEFGHIKLMNPQRSTVWY"),
    ],
)
def test_bad_proteins(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        protein_of(text, "p")


def test_proteins_of_the_same_names(tmp_path):
    dna, proteins = tmp_path / "dna.fa", tmp_path / "proteins.fa"
    dna.write_text(">a\nATGAAATAA\n>b\nCATGTGATAA\n>c\nATGAAATAA\n", encoding="utf-8")
    note = f"{dna}: of 3 sequences 1 repeats another; copies are left out"
    assert read_genes(str(dna), None) == ([("atgaaataa", "MK"), ("catgtgataa", "M")], (note,))
    proteins.write_text(">b other code\nMW\n>a\nMK*\n>c\nMK\n", encoding="utf-8")
    pairs, notes = read_genes(str(dna), str(proteins))
    assert pairs == [("atgaaataa", "MK"), ("catgtgataa", "MW")]
    assert "the protein of b is not what the standard genetic code gives" in notes[0]
    assert "copies stay in one part, and those with the same protein, 1, are left out" in notes[1]
    proteins.write_text(">b\nMW\n>a\nMK\n>c\nMW\n", encoding="utf-8")
    pairs, notes = read_genes(str(dna), str(proteins))
    assert len(pairs) == 3
    assert "of 3 sequences 1 repeats another; copies stay in one part, and all are kept" in notes[1]
    proteins.write_text(dna.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(f"{proteins} line 1, a: this looks like DNA, not like its protein")):
        read_genes(str(dna), str(proteins))
    proteins.write_text(
        ">a\nA\n>b\nGCT\n>c\nTAG\n", encoding="utf-8"
    )  # as short as proteins are, and so taken for some
    assert [made for _, made in read_genes(str(dna), str(proteins))[0]] == ["A", "GCT", "TAG"]
    proteins.write_text(">b\nMW\n", encoding="utf-8")
    with pytest.raises(UserError, match=re.escape("has no protein of a (and 1 more)")):
        read_genes(str(dna), str(proteins))
    proteins.write_text(">a\nMK\n>b\nM\n>c\nMK\n>d\nMK\n", encoding="utf-8")
    with pytest.raises(UserError, match="has no DNA of d"):
        read_genes(str(dna), str(proteins))


def test_an_empty_protein_is_written_and_read(tmp_path):
    dna, proteins = tmp_path / "dna.fa", tmp_path / "proteins.fa"
    dna.write_text(">a\nCCC\n>b\nATGAAA\n", encoding="utf-8")
    pairs, notes = read_genes(str(dna), None)
    assert notes[0].startswith(f"{dna}: empty proteins: 1 of 2, where no start, ATG, is found")
    proteins.write_text("".join(map(to_fasta, "ab", ("", "MK"))), encoding="utf-8")
    assert pairs == [("ccc", ""), ("atgaaa", "MK")]
    assert read_genes(str(dna), str(proteins)) == (pairs, (f"{proteins}: empty proteins: 1 of 2",))


def test_genes_without_a_start_teach_nothing(tmp_path, capsys):
    (tmp_path / "none.fa").write_text("".join(f">g{i}\nCC{'A' * i}C\n" for i in range(30)), encoding="utf-8")
    arguments = "train", "--data", tmp_path / "none.fa", "--out", tmp_path / "run"
    assert call(*arguments) == 2
    told = capsys.readouterr().err
    assert "the protein of each of 28 genes to train on is empty, since none has a start, ATG; there is" in told


def test_a_long_gene_has_no_picture(monkeypatch, capsys):
    """Of 900 letters it takes minutes, and gigabytes."""
    assert gene_report._telling(["c" * 900, "c" * 120, "catgatg"]) == "catgatg"
    assert gene_report._telling(["c" * 900, "c" * 800]) == "c" * 900
    with pytest.raises(UserError, match="a picture has room for 120 bases, and these are 900; give a shorter piece"):
        gene_report.draw_attention(SimpleNamespace(attends=True), "c" * 900, "a.png")
    drawn = []
    monkeypatch.setattr(gene_report, "attention_heatmap", lambda *given: drawn.append(given))
    endless = {"0.cross": np.zeros((1, 500, 4))}, list("ccc") + ["<stop>"], ["W"] * 500
    gene_report.draw_attention(SimpleNamespace(attends=True, looks_at=lambda _: endless), "ccc", "a.png")
    ((maps, _, rows, _, labels),) = drawn
    assert maps["0.cross"].shape == (1, 120, 4) and len(rows) == 120
    assert labels[1] == "protein, the first 120 of 500"


def test_a_wrong_protein_of_a_frameshift_is_not_counted_as_right(capsys):
    """One that shifts too, and goes on wrongly, differs from the gene's as the right one does."""

    class Ribosome:
        """It is right of whole genes, and writes one wrong letter behind all others."""

        def proteins(self, genes):
            return [protein(dna) if dna in whole else protein(dna) + "W" for dna in genes]

    dice = Dice(3)
    whole = [dna for dna in (draw(dice) for _ in range(30)) if "no stop" not in traits(dna)]
    changed = gene_report._mutants(Ribosome(), whole)
    assert not any(any(right) for right, _ in changed.values())
    shares = {kind: sum(alike) / len(alike) for kind, (_, alike) in changed.items()}
    assert shares["frameshift"] > 0.8 and shares["silent"] == shares["missense"] == 0
    gene_report._print_mutants({"frameshift": changed["frameshift"]})
    head, row = capsys.readouterr().out.splitlines()
    assert re.split(" {2,}", head)[1:] == ["protein right", "kind of change right, protein right or wrong"]
    assert row.startswith("  frameshift") and len(row) == len(head) and " 0.0 % of " in row


# --- the script -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Short genes, so that they are learned in seconds."""
    dice = Dice(2)
    made = dict.fromkeys(draw(dice, leader=range(3), lengths=range(2, 4)) for _ in range(400))
    path = tmp_path_factory.mktemp("data") / "genes.fa"
    path.write_text("".join(to_fasta(f"g{i} made", dna.upper()) for i, dna in enumerate(made)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY, "--steps", 40) == 0
    return folder


def test_letters():
    assert LETTERS.vocab_size == 27
    ids = LETTERS.encode_batch(["acgt", "MA", ""])
    assert [LETTERS.decode(each) for each in ids] == ["acgt", "MA", ""] and min(ids[0] + ids[1]) == 3
    assert ids[0][0] != ids[1][1]  # adenine and alanine
    assert LETTERS.labels([3, 2]) == ["a", "<stop>"]


def test_it_learns_and_says_how_well(run, data, capsys):
    records = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [record["validation_loss"] for record in records if "validation_loss" in record]
    assert losses[-1] < 0.75 * math.log(20) and losses[-1] < losses[0]
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    count = int(re.search(r"^test: (\d+) genes$", printed, re.M)[1])
    rows = dict(re.findall(r"^  (\S.*?) +(\d+\.\d)$", printed, re.M))
    assert list(rows) == [
        *("network", "commonest letters", "from the first base", "first ATG of frame 0", "the rule (known best)")
    ]
    assert rows["the rule (known best)"] == "100.0"
    traits_told = dict(re.findall(r"^  (start in frame \d|no start) +\d+ of (\d+)$", printed, re.M))
    assert sum(map(int, traits_told.values())) == count
    assert re.search(r"^  nonsense +\d+\.\d % of \d+ +\d+\.\d % of \d+$", printed, re.M)
    for name in ("genes.png", "attention.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"


def test_translating(run, tmp_path, capsys):
    (tmp_path / "more.fa").write_text(">x of mine\nauggcc\nUAA\n>y\nccc\n", encoding="utf-8")
    capsys.readouterr()
    assert call("translate", "--run", run, "--input", tmp_path / "more.fa") == 0
    captured = capsys.readouterr()
    titles = [line for line in captured.out.splitlines() if line.startswith(">")]
    assert titles == [">x of mine", ">y"]
    assert call("translate", "--run", run, "AUGGCCUAA", "ccc") == 0
    lines = capsys.readouterr().out.split("\n")
    assert captured.out == to_fasta("x of mine", lines[0]) + to_fasta("y", lines[1])
    wrong = [name for name, one, right in zip("xy", lines, ("MA", "")) if one != right]
    assert ("the network is wrong by the standard genetic code" in captured.err) == bool(wrong)
    refused(capsys, "give DNA to translate, or a FASTA file", "translate", "--run", run)
    refused(capsys, "DNA 2: base 2 is 'N'", "translate", "--run", run, "acgt", "anc")
    refused(capsys, "DNA 1 is empty", "translate", "--run", run, "")
    refused(capsys, "DNA 2 has 40 bases, the model allows 39", "translate", "--run", run, "acgt", "a" * 40)
    (tmp_path / "long.fa").write_text(">x\nacgt\n>y\n" + "a" * 50 + "\n", encoding="utf-8")
    refused(capsys, "y has 50 bases, the model allows 39", "translate", "--run", run, "--input", tmp_path / "long.fa")


def test_looking(run, tmp_path, capsys):
    assert call("attention", "--run", run, "ccatgaaatga", "--output", tmp_path / "look.png") == 0
    assert (tmp_path / "look.png").read_bytes()[:4] == b"\x89PNG"
    capsys.readouterr()
    refused(capsys, "there is no folder", "attention", "--run", run, "acgt", "--output", tmp_path / "no" / "x.png")


def test_other_data(run, data, tmp_path, capsys):
    (tmp_path / "own.fa").write_text(">a\nATGAAATAA\n>b\nCATGTGATAA\n", encoding="utf-8")
    (tmp_path / "proteins.fa").write_text(">a\nMK\n>b\nMW\n", encoding="utf-8")
    capsys.readouterr()
    assert call("evaluate", "--run", run, "--data", tmp_path / "own.fa", "--proteins", tmp_path / "proteins.fa") == 0
    captured = capsys.readouterr()
    assert re.search(r"the standard code +50\.0$", captured.out, re.M) and "genes of own.fa: 2 genes" in captured.out
    assert "mutants are left out" in captured.out and "nonsense" not in captured.out
    assert "commonest letters" in captured.out  # of the genes trained on, which are still there
    assert "the protein of b is not what" in captured.err
    refused(
        capsys, "--proteins is for genes of a file", "evaluate", "--run", run, "--proteins", tmp_path / "proteins.fa"
    )
    refused(capsys, "--proteins is for genes of a file", "train", "--proteins", tmp_path / "proteins.fa")
    refused(capsys, "has 2 different sequences, too few", "train", "--data", tmp_path / "own.fa")
    (tmp_path / "long.fa").write_text(f">a\n{'CATG' * 30}\n", encoding="utf-8")
    message = "genes of long.fa: 1 gene, each of more than the 39 letters that the model allows"
    refused(capsys, message, "evaluate", "--run", run, "--data", tmp_path / "long.fa")
    refused(capsys, "--arch gru has no --heads", "train", "--heads", 4)
    refused(capsys, "--arch transformer has no --hidden", "train", "--arch", "transformer", "--hidden", 4)


def test_a_run_of_given_proteins_is_not_judged_by_the_standard_code(run, data, tmp_path, capsys):
    """As if it had been trained with --proteins, of which those that are given are all "W"."""
    proteins, own = tmp_path / "own.fa", tmp_path / "run"
    shutil.copytree(run, own)
    names = re.findall(r"^>(\S+)", data.read_text(encoding="utf-8"), re.M)
    proteins.write_text("".join(f">{name}\nW\n" for name in names), encoding="utf-8")
    config = json.loads((own / "config.json").read_text(encoding="utf-8"))
    config["data"]["proteins"] = str(proteins)
    loaded = genes.Genes().load(config["data"])
    config["data"]["fingerprint"] = genes.Genes().fingerprint(loaded)
    (own / "config.json").write_text(json.dumps(config), encoding="utf-8")
    capsys.readouterr()
    assert call("translate", "--run", own, "ATGTGGTAA", "ccc") == 0
    assert "standard genetic code" not in capsys.readouterr().err
    program, opened = genes.Genes(), Run.open(own, "genes", Settings, ["proteins"])
    options = argparse.Namespace(data=str(data), proteins=None)
    assert program._proteins(options, opened) == {}
    assert load_to_test(program, opened, str(data)) == (loaded, True)
    assert "has changed" not in capsys.readouterr().err
    other = tmp_path / "other.fa"
    other.write_text(proteins.read_text(encoding="utf-8").replace("W", "V"), encoding="utf-8")
    found, mine = load_to_test(program, opened, str(data), proteins=str(other))
    assert not mine and list(found.tests) == ["genes of genes.fa"] and "has changed" not in capsys.readouterr().err
    proteins.write_text(other.read_text(encoding="utf-8"), encoding="utf-8")
    load_to_test(program, opened)
    assert f"note: {data} or {proteins} has changed since" in capsys.readouterr().err
    message = f"was trained on the proteins in {proteins}; give those of {other} by --proteins"
    refused(capsys, message, "evaluate", "--run", own, "--data", other)


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(data, tmp_path, capsys):
    arguments = "--data", data, *TINY, "--schedule", "constant", "--attention", "none"
    assert call("train", *arguments, "--out", tmp_path / "parts", "--steps", 2) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--steps", 4) == 0
    assert call("train", *arguments, "--out", tmp_path / "whole", "--steps", 4) == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]
    assert not (tmp_path / "whole" / "attention.png").exists()
    refused(capsys, "--attention none: there is nothing to draw", "attention", "--run", tmp_path / "whole", "acgt")
