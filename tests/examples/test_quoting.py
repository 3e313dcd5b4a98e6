"""Texts in quotes as csv writes them: read as csv reads them where that is sure, and told."""

import csv

import pytest
import translate
from scripts import caller
from toolkit.checking import report
from toolkit.console import UserError
from toolkit.corpus import load_parallel
from toolkit.labelled import read_labelled
from toolkit.quoting import read_quoted

call = caller(translate.main)

SAID = [(f'He said "I am {n}."', f'Er sagte "Ich bin {n}."') for n in range(10)]
PLAIN = [(f"There are {n}, or more.", f"Es sind {n}, oder mehr.") for n in range(30)]
PAIRS = [*SAID, *PLAIN]
NAMES = [("en", "de")]


def written(path, rows, quoting=csv.QUOTE_MINIMAL, delimiter="\t", **how):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n", **how).writerows(rows)
    return path


def whole(path):
    read = load_parallel(path, "en", "de", whole=True)
    (pairs,) = read.tests.values()
    return pairs, read.notes


def test_numbers_may_be_without_quotes(tmp_path):
    pairs = [*PAIRS, ("The number is:", "12")]
    quote = lambda text: text if text == "12" else '"' + text.replace('"', '""') + '"'  # noqa: E731
    (tmp_path / "pairs.tsv").write_text("".join("\t".join(map(quote, pair)) + "\n" for pair in pairs), encoding="utf-8")
    assert whole(tmp_path / "pairs.tsv")[0] == pairs


@pytest.mark.parametrize("names", [NAMES, []])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_file_that_csv_has_written_is_read_as_csv_does(tmp_path, quoting, names):
    path = written(tmp_path / "pairs.tsv", [*names, *PAIRS], quoting)
    pairs, notes = whole(path)
    assert pairs == PAIRS
    count = 20 if quoting == csv.QUOTE_MINIMAL else 80
    line = len(names) + 1
    assert notes == (
        f"{path}: {count} cells are quoted as csv writes them, the first in line {line}; read as csv does, without these quotes",
    )


def test_a_spreadsheet_puts_commas_in_quotes_too(tmp_path):
    quote = lambda text: '"' + text.replace('"', '""') + '"' if set('",') & set(text) else text  # noqa: E731
    path = tmp_path / "pairs.tsv"
    for pairs in ([*PAIRS, ("Yes.", "Ja.")], [*PLAIN, ("Yes.", "Ja.")]):
        path.write_text("".join("\t".join(map(quote, pair)) + "\n" for pair in pairs), encoding="utf-8")
        assert whole(path)[0] == pairs and "read as csv does" in whole(path)[1][0]


REAL = [
    ['"Hello."', "Hello."],
    ['"Hello," he said.', "He said, hello."],
    ['"Hello," he said, "my dear."', "Hello."],
    ['"Hello." "Hi."', "Hello."],
    ['He said: "Hello."', "Hello."],
    ["Five o'clock, 5\" wide.", '"'],
    ["Hello, you.", '"Well, hello."'],
]


@pytest.mark.parametrize("texts", [*REAL, [text for some in REAL for text in some]])
def test_sentences_with_quotes_stay_as_they_are(texts):
    assert read_quoted(texts) == (texts, [], False)


@pytest.mark.parametrize("real", ['"Hello."', '"Hello," he said.'])
def test_what_is_not_sure_is_told_and_kept(tmp_path, real):
    path = tmp_path / "pairs.tsv"
    lines = ["Yes.\tJa.", '"He said ""Hi."""\t"Er sagte ""Hi."""', f"{real}\tHallo."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pairs, (note,) = whole(path)
    assert pairs == [tuple(line.split("\t")) for line in lines]
    assert note.startswith(
        f"{path}: 3 cells are quoted as csv writes them, the first in line 2, which does not make it sure that csv has;"
        if real == '"Hello."'
        else f"{path}: 2 cells are quoted as csv writes them, the first in line 2, which does not make it sure"
    )


def test_a_few_cells_without_quotes_are_no_reason_to_keep_the_others(tmp_path):
    path = written(tmp_path / "pairs.tsv", [*PAIRS, *PLAIN], csv.QUOTE_ALL)
    for last in ('"No."\t', '"Yes."\tNA', '3,14\t"3,14"'):
        path.write_text("\n".join([*path.read_text(encoding="utf-8").splitlines()[:70], last, ""]), encoding="utf-8")
        read = load_parallel(path, "en", "de", skip_blank=True, whole=True)
        assert read.tests["test"][:70] == [*PAIRS, *PLAIN] and "read as csv does" in read.notes[0], last


QUOTATIONS = [
    [('"I see a cat."', '"Je vois un chat."')],
    [('"I see a cat."', "« Je vois un chat. »")],
    [
        *[(f"A dog {n}.", f"Un chien {n}.") for n in range(100)],
        *[(f'"Hello, mister {n}."', f"« Bonjour {n}. »") for n in range(12)],
    ],
    [("12", '"Douze"'), ('"Twelve"', "12")],
]


@pytest.mark.parametrize("pairs", QUOTATIONS)
def test_quotations_keep_their_quotes(tmp_path, pairs):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join("\t".join(pair) + "\n" for pair in pairs), encoding="utf-8")
    assert whole(path)[0] == pairs
    for side, language in enumerate(("en", "de")):
        (tmp_path / f"test.{language}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    assert load_parallel(tmp_path, "en", "de", whole=True).tests["test"] == pairs


def test_a_file_is_read_alike_whichever_others_are(tmp_path):
    """One line with a quote that csv would have quoted, in any file, leaves all as they are."""
    odd, said = [('A 5" disk.', "Une disquette.")], [('"He said ""hi""."', '"Il a dit ""salut""."')]
    for stem, pairs in {"train": [*PLAIN, *odd], "val": PLAIN[:2], "test": said}.items():
        for side, language in enumerate(("en", "de")):
            (tmp_path / f"{stem}.{language}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    assert (
        load_parallel(tmp_path, "en", "de").tests
        == load_parallel(tmp_path, "en", "de", whole=True).tests
        == {"test": said}
    )


def test_the_cure_that_is_advised_is_one(tmp_path):
    path = written(tmp_path / "pairs.tsv", PAIRS, csv.QUOTE_NONE, quotechar=None)
    assert whole(path) == (PAIRS, ())


@pytest.fixture
def folder(tmp_path):
    """Each language and split a column of its own, of which csv quotes what has a comma."""
    for split, pairs in (("train", PAIRS), ("val", PLAIN[:3]), ("test", SAID[:1])):
        for side, language in enumerate(("en", "de")):
            written(
                tmp_path / f"{split}.{language}", [[pair[side]] for pair in [("Hi.", "Hi."), *pairs]], delimiter=","
            )
    return tmp_path


def test_lines_of_a_folder(folder):
    read = load_parallel(folder, "en", "de")
    assert (read.train[1:], read.validation[1:], read.tests["test"][1:]) == (PAIRS, PLAIN[:3], SAID[:1])
    assert len(read.notes) == 6 and read.notes[0].startswith(
        f"{folder / 'train.en'}: 40 lines are quoted as csv writes them,"
    )
    assert read.notes[4].startswith(f"{folder / 'test.en'}: 1 line is quoted as csv writes them, the first in line 2;")
    text = (folder / "val.en").read_text(encoding="utf-8").replace("Hi.", '""')
    (folder / "val.en").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"val\.en line 1 is empty"):
        load_parallel(folder, "en", "de")
    assert load_parallel(folder, "en", "de", skip_blank=True).blank == 1


def test_check_and_train_tell(tmp_path, capsys):
    path = written(tmp_path / "pairs.tsv", [*NAMES, *PAIRS])
    lines = list(report(load_parallel(path, "en", "de"), "en", "de"))
    assert any("20 cells are quoted as csv writes them, the first in line 2;" in line for line in lines)
    assert "nothing suspicious" not in lines
    size = "--d-model 8 --heads 2 --layers 1 --d-ff 8 --vocab 300 --max-tokens 300 --warmup 2 --steps 2".split()
    assert call("train", "--data", path, "--source", "en", "--target", "de", *size, "--out", tmp_path / "run") == 0
    assert "20 cells are quoted as csv writes them" in capsys.readouterr().err
    for how in (("score",), ("evaluate",)):
        assert call(*how, "--run", tmp_path / "run", "--data", written(tmp_path / "other.tsv", SAID)) == 0
        printed = capsys.readouterr()
        assert "20 cells are quoted" in printed.err and '""' not in printed.out


@pytest.mark.parametrize("names", [[("text", "label")], []])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_labelled_texts(tmp_path, quoting, names):
    rows = [(text, n % 2) for n, (text, _) in enumerate(PAIRS)]
    path = str(written(tmp_path / "reviews.tsv", [*names, *rows], quoting))
    read = read_labelled(path, whole=True)
    assert read.test == [(text, str(label)) for text, label in rows]
    assert "read as csv does, without these quotes" in read.notes[0]
    with open(path, "a", encoding="utf-8") as file:
        file.write('"He said ""no."""\t""\n')
    with pytest.raises(UserError, match=r"line 4\d must be a text, a tab and a label"):
        read_labelled(path)
