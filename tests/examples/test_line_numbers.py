"""What is told of a pair names it as a person finds it: by its line in the file."""

import pytest
import translate
from scripts import caller
from toolkit.checking import report
from toolkit.corpus import load_parallel
from toolkit.suspicions import without

call = caller(translate.main)
LANGUAGES = "--source", "en", "--target", "de"
TINY = "--d-model 8 --heads 2 --layers 1 --d-ff 8 --vocab 300 --max-tokens 300 --warmup 2 --steps 2 --max-length 30".split()
LONG = "A very long sentence with far more words than the model reads, " * 5


def written(path, count=60, gaps=()):
    """A file whose line n + 1 is pair n, under its names; gaps are lines without a translation."""
    lines = ["en\tde", *(f"Line {n}.\t" + ("" if n in gaps else f"Zeile {n}.") for n in range(2, count))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_line(path, number):
    return tuple(path.read_text(encoding="utf-8").split("\n")[number - 1].split("\t"))


@pytest.mark.parametrize("whole", [False, True])
def test_each_pair_has_its_line(tmp_path, whole):
    path = written(tmp_path / "pairs.tsv", gaps=(7, 30))
    corpus = load_parallel(path, "en", "de", skip_blank=True, whole=whole)
    parts = {"train": corpus.train, "validation": corpus.validation, **corpus.tests}
    assert sum(map(len, parts.values())) == 56
    for part, pairs in parts.items():
        numbers = [corpus.line(part, n + 1) for n in range(len(pairs))]
        assert [read_line(path, number) for number in numbers] == pairs
        assert not pairs or corpus.numbers(part, pairs[1:]) == (numbers[1:], ", line")


def test_lines_of_a_folder(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.en").write_text("One here.\n\nThree here.\n", encoding="utf-8")
        (tmp_path / f"{name}.de").write_text("Eins da.\nZwei da.\nDrei da.\n", encoding="utf-8")
    corpus = load_parallel(tmp_path, "en", "de", skip_blank=True)
    assert corpus.numbers("test", corpus.tests["test"]) == ([1, 3], ", line") and corpus.line("train", 2) == 3
    (tmp_path / "test.en").write_text("One here.\nTwo here.\nThree here.\n", encoding="utf-8")
    corpus = load_parallel(tmp_path, "en", "de", skip_blank=True)
    assert corpus.numbers("test", corpus.tests["test"][1:]) == ([2, 3], " sentence")


def test_check_names_lines_of_the_file(tmp_path):
    path = written(tmp_path / "pairs.tsv", gaps=(7, 30))
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[44] = "A <b>bold</b> line.\tZeile 45."
    path.write_text("\n".join(lines), encoding="utf-8")
    corpus = load_parallel(path, "en", "de", skip_blank=True)
    (line,) = (line for line in report(corpus, "en", "de") if "bold" in line and ", line 45: " in line)
    assert line.endswith("A <b>bold</b> line. = Zeile 45.")
    kept = without(corpus)  # lines go with their pairs
    assert [read_line(path, kept.line("train", n + 1)) for n in range(len(kept.train))] == kept.train


def test_evaluate_names_lines_of_the_file(tmp_path, capsys):
    run = tmp_path / "run"
    assert call("train", "--data", written(tmp_path / "pairs.tsv"), *LANGUAGES, *TINY, "--out", run) == 0
    other = tmp_path / "other.tsv"
    other.write_text(f"en\tde\n{LONG}\tLang.\n \tLeer.\nLine 4.\tZeile 4.\nLine 5.\tZeile 5.\n", encoding="utf-8")
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert call("evaluate", "--run", run, "--data", other, "--skip-blank", "--details", "--page", page) == 0
    printed = capsys.readouterr()
    assert "the worst sentences, by chrF, numbered as the lines of the file:" in printed.out
    assert "\n  4: Line 4.\n" in printed.out and "\n  5: Line 5.\n" in printed.out
    assert "<dt>4</dt>" in page.read_text(encoding="utf-8") and "numbered as the lines" in page.read_text("utf-8")
    assert "the output for test, line 4, 5 is cut off at 30 tokens" in printed.err
    other.write_text(f"en\tde\nLine 2.\tZeile 2.\n{LONG}\tLang.\n", encoding="utf-8")
    assert call("score", "--run", run, "--data", other) == 2
    assert "the sentence of test, line 3 has" in capsys.readouterr().err
