"""`translate.py diversify`: which pairs are made, what is told, and what is written."""

import json
import re

import pytest
import translate
from scripts import caller, refuser, unreported, write_parallel
from toolkit import translator as translator_file
from toolkit.corpus import Corpus, load_parallel
from toolkit.diversifying import translated, write_corpus
from toolkit.runs import Run
from toolkit.translation import Settings
from toolkit.translator import Translator

NOUNS = {
    "cats": "chats",
    "dogs": "chiens",
    "cars": "voitures",
    "trees": "arbres",
    "boats": "bateaux",
    "stars": "étoiles",
}
COLOURS = {"red": "rouges", "golden": "dorés", "white": "blancs", "black": "noirs"}
PAIRS = [(f"{c} {w}", f"{v} {d}") for c, d in COLOURS.items() for w, v in NOUNS.items()]
SPLITS = {"train": PAIRS[:18], "val": PAIRS[18:21], "test_small": PAIRS[21:]}
LEARN = "--arch gru --attention dot --layers 1 --hidden 16 --d-model 16 --vocab 300 --max-length 20 --dropout 0".split()
LEARN += "--label-smoothing 0 --lr 0.02 --warmup 5 --schedule constant --max-tokens 600 --steps 20 --validate-every 20".split()

call = caller(translate.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_parallel(tmp_path_factory.mktemp("data"), ("en", "fr"), SPLITS)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Runs that have hardly learned, from English and from French."""
    made = []
    for languages in (("en", "fr"), ("fr", "en")):
        made.append(tmp_path_factory.mktemp("runs") / "-".join(languages))
        train = ["train", "--data", data, "--source", languages[0], "--target", languages[1], "--out", made[-1], *LEARN]
        assert unreported(call)(*train) == 0
    return made


class Dictionary:
    """Translates by a table; what is longer than ten letters it cannot read."""

    def __init__(self, table):
        self.table = table

    def short_enough(self, pairs, name):
        return [pair for pair in pairs if len(pair[0]) <= 10], ""

    def translate(self, sentences, where, **how):
        return [self.table[sentence] for sentence in sentences]


def test_only_new_pairs_are_made_on_either_side():
    pairs = [("a", "A"), ("a", "B"), ("b", "C"), ("c", "D"), ("d" * 11, "E")]
    forward = translated(Dictionary({"a": "A", "b": " X ", "c": ""}), pairs, 0, set(pairs))
    assert forward.pairs == [("b", "X")] and (forward.known, forward.none, forward.long) == (1, 1, 1)
    assert str(forward) == "1 new pair; left out 1 there already, 1 without a whole translation, 1 too long"
    known = {*pairs, *forward.pairs}
    backward = translated(Dictionary({"A": "a", "B": "b", "C": "c", "D": "c", "E": "e"}), pairs, 1, known)
    assert backward.pairs == [("b", "B"), ("c", "C"), ("e", "E")] and backward.known == 2
    assert str(backward) == "3 new pairs; left out 2 there already"


def test_what_is_written_is_read_again_as_it_was(tmp_path):
    odd = [("a\u2028b", "b\x85c\rd"), ("<stop>", "é")]
    corpus = Corpus(PAIRS, odd, {"test_a": odd[:1], "test_b": PAIRS[:2]})
    write_corpus(tmp_path / "new", corpus, ("en", "pt-BR"))
    assert load_parallel(tmp_path / "new", "en", "pt-BR") == corpus


def test_a_folder_that_training_takes(data, runs, tmp_path, capsys):
    en_fr, fr_en = runs
    out = tmp_path / "more"
    usual = ["diversify", "--data", data, "--source", "en", "--target", "fr", "--out", out]
    assert call(*usual, "--forward", en_fr, "--backward", fr_en, "--beam", 2) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{data}: 18 pairs to train on\n{en_fr}: ") and f"--data {out}" in captured.out
    assert "was not trained on" not in captured.err
    old, new = load_parallel(data, "en", "fr"), load_parallel(out, "en", "fr")
    assert (new.validation, new.tests) == (old.validation, old.tests) and new.train[:18] == old.train
    forward, backward = (int(count) for count in re.findall(r"(\d+) new pair", captured.out))
    made = new.train[18:]
    assert forward + backward == len(made) and min(forward, backward) > 0 and len(set(new.train)) == len(new.train)
    sources, targets = ({pair[side] for pair in old.train} for side in (0, 1))
    assert all(source in sources for source, _ in made[:forward])
    assert all(target in targets for _, target in made[forward:])
    refused(capsys, "exists; name a new folder", *usual, "--forward", en_fr)


def test_the_search_is_as_it_is_asked_for(data, runs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Translator, "translate", lambda self, texts, **how: asked.append(how) or ["x"] * len(texts))
    usual = ["diversify", "--data", data, "--source", "en", "--target", "fr", "--out", tmp_path / "more"]
    assert call(*usual, "--forward", runs[0], "--beam", 3, "--length-reward", 2, "--beam-patience", 1) == 0
    (how,) = asked
    assert (how["beam"], how["length_penalty"], how["length_reward"], how["patience"]) == (3, None, 2.0, 1.0)


def test_a_translation_that_is_cut_off_is_none(runs, monkeypatch, capsys):
    translator = Translator(Run.open(runs[0], "translate", Settings))
    ends, goes_on = translator.tokenizer.encode("chats"), translator.tokenizer.encode("chats " * 20)[:20]
    monkeypatch.setattr(translator_file, "decode", lambda *_, **__: [[ends], [goes_on]])
    assert translator.translate(["cats", "dogs"], whole=True) == ["chats", ""] and not capsys.readouterr().err
    assert translator.translate(["cats", "dogs"])[1].startswith("chats chats")
    assert "sentence 2 is cut off at 20 tokens" in capsys.readouterr().err


def test_what_does_not_fit_is_refused_before_anything_is_translated(data, runs, tmp_path, capsys):
    en_fr, fr_en = runs
    usual = ["diversify", "--data", data, "--source", "en", "--target", "fr", "--out", tmp_path / "more"]
    refused(capsys, "diversify needs a trained run", *usual)
    refused(capsys, "translates fr to en; --forward takes runs of en to fr", *usual, "--forward", en_fr, fr_en)
    refused(capsys, "translates en to fr; --backward takes runs of fr to en", *usual, "--backward", en_fr)
    refused(capsys, "is given twice", *usual, "--forward", en_fr, en_fr)
    refused(capsys, "there is no run", *usual, "--forward", tmp_path / "nothing")
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (untrained / name).write_bytes((en_fr / name).read_bytes())
    refused(capsys, "has no trained weights yet", *usual, "--forward", en_fr, untrained)
    refused(capsys, "there is no folder", *usual[:-1], tmp_path / "no" / "more", "--forward", en_fr)
    refused(capsys, "cannot be named train.e.n", *usual, "--source", "e.n", "--forward", en_fr)
    assert not (tmp_path / "more").exists()


def test_a_run_of_other_data_is_told(data, runs, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for path in runs[0].glob("*.*"):
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["data"]["fingerprint"] = "0" * 16
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    usual = ["diversify", "--data", data, "--source", "en", "--target", "fr", "--out", tmp_path / "more", "--beam", 1]
    assert call(*usual, "--forward", other) == 0
    assert f"{other} was not trained on the pairs of {data}" in capsys.readouterr().err
