"""What translate.py does with the sentences of others: blank lines, pipes, several hypotheses,
limits, other test data.
"""

import io
import itertools
import unicodedata

import pytest
import translate
from scripts import caller, refuser, unreported
from toolkit.pairs import decode
from toolkit.runs import Run
from toolkit.translation import Settings
from toolkit.translator import Translator

from minitensor.models.search import power

NUMBERS = {"two": "deux", "three": "trois", "six": "six", "ten": "dix"}
NOUNS = {"cats": "chats", "stars": "étoiles", "cars": "voitures", "trees": "arbres", "boats": "bateaux"}
COLOURS = {"red": "rouges", "golden": "dorés"}
PAIRS = [
    (f"{n} {c} {w}.", f"{NUMBERS[n]} {NOUNS[w]} {COLOURS[c]}.")
    for n, w, c in itertools.product(NUMBERS, NOUNS, COLOURS)
]
LEARN = "--arch gru --attention none --hidden 8 --d-model 8 --vocab 300 --steps 3 --max-length 40 --dropout 0".split()
LANGUAGES = "--source", "en", "--target", "fr"

call = caller(translate.main)
refused = refuser(call)


def table(path, pairs, form="NFC"):
    """A file of pairs, in a form of Unicode."""
    lines = "".join(f"{source}\t{target}\n" for source, target in pairs)
    path.write_text(unicodedata.normalize(form, lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 40 pairs, of which 2 are to test by, and one with a blank side."""
    return table(tmp_path_factory.mktemp("data") / "pairs.tsv", [*PAIRS, ("one", "")])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run that has hardly learned: its translations never end."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, *LANGUAGES, "--skip-blank", "--out", folder, *LEARN) == 0
    return folder


@pytest.fixture
def pipe(monkeypatch):
    """Standard input of these bytes."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def printed(capsys, *arguments):
    """What a call prints on stdout, its lines."""
    capsys.readouterr()
    assert call(*arguments) == 0
    return capsys.readouterr().out.split("\n")[:-1]


def test_blank_pairs_are_left_out_and_counted(run, data, tmp_path, capsys):
    usual = ["train", "--data", data, *LANGUAGES, "--out", tmp_path / "run", *LEARN]
    refused(capsys, "pairs.tsv line 41 is empty on the target side", *usual)
    lines = printed(capsys, *usual, "--skip-blank")
    assert "36 pairs" in lines[0] and lines[0].endswith("; left out 1 pair with a blank side")
    assert unreported(call)("train", "--resume", "--out", tmp_path / "run", "--steps", 4) == 0  # it reads the same
    refused(capsys, "--skip-blank is for --data", "train", "--skip-blank", "--out", tmp_path / "other")


def test_a_blank_line_stays_where_it_is(run, tmp_path, capsys):
    (tmp_path / "in.en").write_text("two red cars.\n\u3000\t\nsix golden trees.\n\n", encoding="utf-8")
    translated = "translate", "--run", run, "--input", tmp_path / "in.en"
    refused(capsys, "in.en line 2 is empty (and 1 more); remove it, or give --skip-blank", *translated)
    one, two = printed(capsys, "translate", "--run", run, "two red cars.", "six golden trees.")
    assert one and printed(capsys, *translated, "--skip-blank") == [one, "", two, ""]
    assert printed(capsys, *translated, "--skip-blank", "--beam", 2, "--n-best", 2)[2:4] == ["", ""]
    assert printed(capsys, "translate", "--run", run, "--skip-blank", " ", "two red cars.") == ["", one]
    (tmp_path / "in.en").write_text("\n" + "word " * 60 + "\n", encoding="utf-8")
    refused(capsys, "in.en line 2 has", *translated, "--skip-blank")


def test_an_argument_is_what_a_line_of_a_file_is(run, data, tmp_path, capsys):
    """Blanks at either end and the form of Unicode change nothing: neither what is translated, nor
    how probable a translation is, whichever way a text comes in.
    """
    source, target = PAIRS[2]  # with an accent
    typed = f" \t{source}\u3000", f"\u2003{unicodedata.normalize('NFD', target)} "
    (tmp_path / "in.en").write_text(f"{typed[0]}\n", encoding="utf-8")
    translated = "translate", "--run", run, "--scores"
    expected = printed(capsys, *translated, source)
    assert (
        printed(capsys, *translated, typed[0])
        == printed(capsys, *translated, "--input", tmp_path / "in.en")
        == expected
    )
    pairs = table(tmp_path / "pairs.tsv", [PAIRS[2], PAIRS[3]])
    expected = printed(capsys, "score", "--run", run, "--data", pairs)
    found = printed(capsys, "score", "--run", run, *typed, PAIRS[3][0], f"{PAIRS[3][1]} ")
    assert found == expected and found[0].endswith(f"\t{source}\t{target}")
    page, other = tmp_path / "one.html", tmp_path / "other.html"
    assert (
        printed(capsys, "explain", "--run", run, typed[0], "--out", page)[:-1]
        == printed(capsys, "explain", "--run", run, source, "--out", other)[:-1]
    )
    assert page.read_bytes() == other.read_bytes()


def test_standard_input(run, capsys, pipe):
    expected = printed(capsys, "translate", "--run", run, "two red cars.")
    for options in ((), ("--input", "-")):
        pipe(b"two red cars.\r\n")
        assert printed(capsys, "translate", "--run", run, *options) == expected
    pipe(b"this is not read")
    assert printed(capsys, "translate", "--run", run, "two red cars.") == expected
    pipe(b"fine\n\n")
    refused(capsys, "standard input line 2 is empty", "translate", "--run", run)
    pipe(b"")
    refused(capsys, "standard input holds no sentence", "translate", "--run", run, "--input", "-")
    refused(
        capsys, "give sentences to translate, or a file", "translate", "--run", run, "--input", "-", "two red cars."
    )


def test_several_hypotheses(run, tmp_path, capsys):
    beam = "translate", "--run", run, "--beam", 4, "--length-penalty", 0.3
    sentences = "two red cars.", "six golden trees."
    best, several = printed(capsys, *beam, *sentences), printed(capsys, *beam, *sentences, "--n-best", 3)
    assert len(several) == 6 and several[::3] == best and len(set(several[:3])) == 3
    (tmp_path / "in.en").write_text("\n".join(sentences), encoding="utf-8")
    files = "--input", tmp_path / "in.en", "--output", tmp_path / "out.fr"
    assert printed(capsys, *beam, "--n-best", 3, *files) == []
    assert (tmp_path / "out.fr").read_text(encoding="utf-8").split("\n") == [*several, ""]
    refused(capsys, "--n-best 3 needs as many hypotheses: --beam 3", "translate", "--run", run, "--n-best", 3, "a")
    for command in (("translate", "a"), ("explain", "a"), ("evaluate",)):
        refused(capsys, "there is none: give --beam 5 too", *command, "--run", run, "--length-penalty", 1)
        if command[0] != "explain":
            refused(capsys, "there is none: give --beam 5 too", *command, "--run", run, "--length-reward", 1)
            refused(capsys, "there is none: give --beam 5 too", *command, "--run", run, "--beam-patience", 1)
            refused(capsys, "there is none: give --beam 5 too", *command, "--run", run, "--length-power", 1)
    refused(capsys, "give one of them", *beam, "--length-power", 1, "a")
    refused(capsys, "patience must be a positive number", *beam, "--beam-patience", 0, "a")
    refused(capsys, "wanted: give 0.5 or more", *beam, "--n-best", 2, "--beam-patience", 0.2, "a")


def test_a_reward_of_length(run, monkeypatch, capsys):
    beam = "translate", "--run", run, "--beam", 4, "two red cars.", "six golden trees."
    translator = Translator(Run.open(run, "translate", Settings))
    for options, how in (
        (("--length-reward", 3), dict(length_reward=3.0, length_penalty=0.0, patience=2.0)),
        (("--length-reward", 3, "--beam-patience", 0.5), dict(length_reward=3.0, length_penalty=0.0, patience=0.5)),
        (("--length-reward", 3, "--length-penalty", 1), dict(length_reward=3.0, length_penalty=1.0, patience=2.0)),
        (("--length-reward", 0), dict(length_penalty=0.6)),
        (("--length-power", 2), dict(length_penalty=2.0, penalty=power)),
        (("--beam-patience", 1), dict(length_penalty=0.6, patience=1.0)),
    ):
        found = decode(translator.model, translator.encode(beam[-2:], ""), "cpu", 40, 4, **how)
        assert printed(capsys, *beam, *options) == [translator.tokenizer.decode(one[0]) for one in found]
    with pytest.raises(ValueError, match="beam search neither samples"):
        translator.model.generate([[3]], beam_size=4, temperature=1.0, length_reward=1.0)
    with pytest.raises(ValueError, match="and beam_size is 1: give beam_size=5"):
        translator.model.generate([[3]], temperature=1.0, patience=1.0)
    with pytest.raises(TypeError, match="penalty must be a function .* got float"):
        translator.model.generate([[3]], beam_size=4, penalty=1.0)
    with pytest.raises(ValueError, match="and beam_size is 1: give beam_size=5"):
        translator.model.generate([[3]], penalty=power)
    asked = []
    monkeypatch.setattr(Translator, "translate", lambda self, texts, **how: asked.append(how) or list(texts))
    scored = printed(capsys, "evaluate", "--run", run, *beam[3:5], "--length-reward", 3, "--beam-patience", 0.5)
    assert [line for line in scored if "sentences" in line][0].endswith(", beam 4, length reward 3, patience 0.5:")
    assert (asked[0]["beam"], asked[0]["length_reward"], asked[0]["patience"]) == (4, 3.0, 0.5)
    scored = printed(capsys, "evaluate", "--run", run, *beam[3:5], "--length-power", 1)
    assert [line for line in scored if "sentences" in line][0].endswith(", beam 4, length power 1:")


@pytest.mark.parametrize("beam", [1, 3])
def test_what_is_cut_off_is_as_long_as_training_allows_and_told(run, capsys, beam):
    translator = Translator(Run.open(run, "translate", Settings))
    sentences = ["two red cars."] * 7
    found = decode(translator.model, translator.encode(sentences, "line"), "cpu", 40, beam)
    assert [len(tokens) for (tokens,) in found] == [40] * 7
    translator.translate(sentences, beam, where="line")
    assert capsys.readouterr().err == (
        "note: the output for line 1, 2, 3, 4, 5 (and 2 more) is cut off at 40 tokens, the most that the model was trained for"
        " (see train --max-length)\n"
    )
    cut = []
    translator.translate(["two red cars.", "", "ten cats."], beam, skip_blank=True, cut=cut)
    assert cut == [True, False, True] and not capsys.readouterr().err
    translator.explain("two red cars.", beam)
    assert "note: the output for sentence 1 is cut off at 40 tokens, the most" in capsys.readouterr().err


def test_translations_are_lines(run, monkeypatch):
    translator = Translator(Run.open(run, "translate", Settings))
    monkeypatch.setattr(type(translator.tokenizer), "decode", lambda *_: "a\u2028b\u0085c\nd\r\ne\u0301")
    assert translator.translate(["two red cars."]) == ["a\u2028b\u0085c d \u00e9"]


def test_equivalent_sentences_have_one_translation(run, capsys):
    sentences = [unicodedata.normalize(form, "trois étoiles dorées") for form in ("NFC", "NFD")]
    assert len(set(printed(capsys, "translate", "--run", run, *sentences))) == 1


def test_other_data_are_scored_as_a_whole(run, data, tmp_path, capsys):
    def scored(path):
        return [line for line in printed(capsys, "evaluate", "--run", run, "--data", path) if "sentence" in line]

    assert scored(table(tmp_path / "own.tsv", PAIRS[:30])) == ["test, 30 sentences:"]
    assert scored(table(tmp_path / "few.tsv", PAIRS[:1])) == ["test, 1 sentence:"]
    # the run's own
    assert scored(table(tmp_path / "moved.tsv", [*PAIRS, ("one", "")], "NFD")) == ["test, 2 sentences:"]
    (tmp_path / "folder").mkdir()
    for side, language in enumerate(("en", "fr")):
        text = "".join(pair[side] + "\n" for pair in PAIRS[:12])
        (tmp_path / "folder" / f"test_mine.{language}").write_text(text, encoding="utf-8")
    assert scored(tmp_path / "folder") == ["test_mine, 12 sentences:"]
    capsys.readouterr()
    assert call("evaluate", "--run", run, "--data", table(tmp_path / "turned.tsv", PAIRS[::-1])) == 0
    assert "note: of 40 inputs to be tested by, " in capsys.readouterr().err
    arguments = "evaluate", "--run", run, "--data", tmp_path / "own.tsv", "--split", "validation"
    refused(capsys, "there is no split 'validation'; there are: test", *arguments)


def test_data_that_have_changed_are_told(data, tmp_path, capsys):
    path = table(tmp_path / "pairs.tsv", PAIRS)
    assert unreported(call)("train", "--data", path, *LANGUAGES, "--out", tmp_path / "run", *LEARN) == 0
    table(path, [*PAIRS, ("seven cups.", "sept tasses.")])
    for options in ((), ("--data", path)):
        capsys.readouterr()
        assert call("evaluate", "--run", tmp_path / "run", *options) == 0
        assert "pairs.tsv has changed since the training" in capsys.readouterr().err


def test_sentences_too_long_to_be_tested_by_are_left_out(tmp_path, capsys):
    long = [("one " * 50 + source, target) for source, target in PAIRS]
    path = table(tmp_path / "pairs.tsv", PAIRS + long)
    lines = printed(capsys, "train", "--data", path, *LANGUAGES, "--out", tmp_path / "run", *LEARN)
    left_out = [line for line in lines if line.startswith("test, ")]
    assert (
        len(left_out) == 1
        and "; left out " in left_out[0]
        and "of more than 39 tokens, see train --max-length" in left_out[0]
    )
