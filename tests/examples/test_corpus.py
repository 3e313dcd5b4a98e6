"""Reading sentence pairs: every shape of file, and every way in which files are wrong."""

import csv
import gzip
import random

import pytest
from toolkit.console import UserError
from toolkit.corpus import load_parallel
from toolkit.reading import read_lines


def write(folder, **files):
    """Files by their names, ``train_en`` for train.en, with lines or bytes."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(
        tmp_path,
        train__en=["a cat", "a dog"],
        train__de__gz=gzip.compress(b"eine Katze\nein Hund\n"),
        val__en=["a cow"],
        val__de=["eine Kuh"],
        test_2016_flickr__en=["a hen"],
        test_2016_flickr__de=["ein Huhn"],
        test_2017__en=["a pig"],
        test_2017__fr=["un cochon"],
        README=["Not text of the corpus."],
    )


def test_a_folder_of_plain_and_gzipped_files(folder):
    corpus = load_parallel(folder, "en", "de")
    assert corpus.train == [("a cat", "eine Katze"), ("a dog", "ein Hund")]
    assert corpus.validation == [("a cow", "eine Kuh")]
    assert corpus.tests == {"test_2016_flickr": [("a hen", "ein Huhn")]}
    assert load_parallel(folder, "de", "en").train[0] == ("eine Katze", "a cat")


@pytest.mark.parametrize("name", ["valid", "dev"])
def test_other_names_of_validation(folder, name):
    for language in ("en", "de"):
        (folder / f"val.{language}").rename(folder / f"{name}.{language}")
    assert load_parallel(folder, "en", "de").validation == [("a cow", "eine Kuh")]


def test_only_a_line_feed_ends_a_line(tmp_path):
    write(tmp_path, text=b"\xef\xbb\xbfone\r\n two\xe2\x80\xa8three \nfour")
    assert read_lines(tmp_path / "text") == ["one", "two\u2028three", "four"]


BAD_FOLDERS = {
    "line counts": (dict(train__en=["a"]), r"train\.en has 1 line and .*train\.de\.gz has 2;"),
    "encoding": (dict(train__en=b"ok\nna\xefve\n"), r"train\.en line 2, byte 3: 0xef is not UTF-8"),
    "encoding after a mark": (dict(val__en=b"\xef\xbb\xbf\xff\n"), r"val\.en line 1, byte 4: 0xff is not UTF-8"),
    "empty line": (dict(train__en=["a", " "]), r"train\.en line 2 is empty; remove the pair"),
    "empty lines": (dict(val__de=["", "b", ""]), r"val\.de line 1 is empty \(and 1 more\)"),
    "empty file": (dict(val__de=[]), r"val\.de holds no sentence"),
    "damaged gzip": (dict(train__de__gz=gzip.compress(b"x" * 999)[:-9]), r"train\.de\.gz is a damaged or incomplete"),
    "plain and gzipped": (dict(train__de=["a", "b"]), r"has both train\.de and train\.de\.gz; remove one"),
    "val and dev": (dict(dev__en=["a"], dev__de=["b"]), r"has both val and dev files for validation"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_explained(folder, case):
    files, message = BAD_FOLDERS[case]
    with pytest.raises(UserError, match=message):
        load_parallel(write(folder, **files), "en", "de")


def test_missing_things_are_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"has no language 'es'; there are: de, en"):
        load_parallel(folder, "en", "es")
    with pytest.raises(UserError, match="name two languages"):
        load_parallel(folder, "en", "en")
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_parallel(tmp_path / "nowhere", "en", "de")
    (folder / "val.de").unlink()
    with pytest.raises(UserError, match=r"has no files for validation in en and de; .*val\.en, val\.de or valid\.en"):
        load_parallel(folder, "en", "de")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no training data; it must hold train\.en and train\.de"):
        load_parallel(folder / "empty", "en", "de")
    with pytest.raises(UserError, match="cannot read .*: No such file"):
        read_lines(tmp_path / "nowhere")


PAIRS = [(f"sentence {n}", f"Satz {n}") for n in range(100)] + [("sentence 7", "Aussage 7")]
SHAPES = {
    "two columns": "{0}\t{1}",
    "Anki": "{0}\t{1}\tCC-BY 2.0 (France) Attribution: tatoeba.org #1 (CM) & #2",
    "Tatoeba": "12\t{0}\t345\t{1}",
}


def table(path, pairs, shape="two columns", header=()):
    """A file of pairs in one of the shapes."""
    path.write_text("".join(SHAPES[shape].format(*pair) + "\n" for pair in [*header, *pairs]), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_files_of_pairs_are_split_alike_in_any_shape_and_order(tmp_path, shape):
    corpus = load_parallel(table(tmp_path / "pairs.tsv", PAIRS, shape), "en", "de")
    parts = [corpus.train, corpus.validation, corpus.tests["test"]]
    assert sorted(pair for part in parts for pair in part) == sorted(PAIRS)
    sources = [{source for source, _ in part} for part in parts]
    assert [len(part) for part in sources] == [90, 5, 5]
    assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]

    shuffled = random.Random(1).sample(PAIRS, len(PAIRS))
    again = load_parallel(table(tmp_path / "again.tsv", shuffled), "en", "de")
    assert sorted(again.tests["test"]) == sorted(corpus.tests["test"])
    assert sorted(again.validation) == sorted(corpus.validation)


def test_a_gzipped_file_of_pairs(tmp_path):
    plain = table(tmp_path / "pairs.tsv", PAIRS)
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert load_parallel(tmp_path / "pairs.tsv.gz", "en", "de") == load_parallel(plain, "en", "de")


def test_a_header_names_the_columns(tmp_path):
    path = table(tmp_path / "pairs.tsv", PAIRS, header=[("en", "de")])
    assert load_parallel(path, "en", "de") == load_parallel(table(tmp_path / "plain.tsv", PAIRS), "en", "de")
    backwards = load_parallel(path, "de", "en")
    assert all(source.split()[0] in ("Satz", "Aussage") for source, _ in backwards.train)


BAD_TABLES = {
    "few": ("a\tb\n" * 30, r"has 1 different sentence, too few to hold some out; 20 are needed"),
    "nothing": ("", "holds no sentence"),
    "one column": ("a\n", r"line 1 has 1 column separated by tabs; a line must be"),
    "sentence list": ("1\teng\tA cat.\n", r"line 1 has 3 columns"),
    "other width": ("a\tb\nc\n", r"line 2 has 1 column separated by tabs, line 1 has 2"),
    "empty line": ("a\tb\n\nc\td\n", r"line 2 is empty; remove the pair"),
    "empty source": ("a\tb\n \td\n", r"line 2 is empty on the source side"),
    "empty target": ("a\tb\nc\t\n", r"line 2 is empty on the target side"),
    "encoding": (b"a\tb\nc\xe9\td\n", r"line 2, byte 2: 0xe9 is not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_file_of_pairs_is_explained(tmp_path, case):
    content, message = BAD_TABLES[case]
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_parallel(path, "en", "de")


WORDS = [
    one + other
    for one in ("cat", "dog", "cow", "hen", "pig")
    for other in ("", "s", "let", "like", "food", "fur", "nap", "toy")
]
ROWS = [
    (
        f"s{n}",
        WORDS[n % 40] + f" is word {n}",
        f"{WORDS[n % 40]} ist das Wort {n}",
        f"1.{n:03}",
        f"https://example.org/{n}",
        "deu",
        f"line {n}",
        ("news commentary", "some talks")[n % 2],
        "en",
    )
    for n in range(40)
]
PAIRS_OF_ROWS = sorted((row[1], row[2]) for row in ROWS)
COLUMNS = {  # which columns of these rows are written, and the names above them
    "id first": (0, 1, 2),
    "score first": (3, 1, 2),
    "score last": (1, 2, 3),
    "address and tag": (4, 1, 5, 2),
    "id and score around": (0, 1, 2, 3, 5),
    "numbers in words first": (6, 1, 2),
    "a phrase first": (7, 1, 2),
    "languages beside": (5, 2, 8, 1, ("", "German", "", "English")),
    "languages in each line": (8, 1, 5, 2),
    "named in the target's words": (2, 1, ("Deutsch", "Englisch")),
    "named": (0, 1, 2, ("id", "en", "de")),
    "named backwards": (2, 3, 1, ("German", "score", "English")),
    "named in their own words": (2, 0, 1, ("Deutsch", "Nr", "english sentence")),
    "three letters": (2, 1, ("deu", "eng")),
    "source and target": (0, 2, 1, ("id", "target", "source")),
    "of two columns": (2, 1, ("target_text", "Source (en)")),
    "languages before sources": (4, 1, 2, ("source", "text_en", "text_de")),
}


def columns_of(tmp_path, chosen):
    """A file of some columns of `ROWS`, the last entry their names."""
    names = [chosen[-1]] if isinstance(chosen[-1], tuple) else []
    rows = [[row[n] for n in chosen if isinstance(n, int)] for row in ROWS]
    path = tmp_path / "rows.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [*names, *rows]), encoding="utf-8")
    return path


def test_names_and_sentences_in_quotes_as_programs_of_tables_write_them(tmp_path):
    rows = [("id", "de", "en"), *((row[0], row[2] + ' "so"', row[1] + ' "so"') for row in ROWS)]
    path = tmp_path / "rows.tsv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    (found,) = load_parallel(path, "en", "de", whole=True).tests.values()
    assert found == [(english, german) for _, german, english in rows[1:]]


@pytest.mark.parametrize("case", COLUMNS)
def test_the_columns_of_sentences_are_found(tmp_path, case):
    corpus = load_parallel(columns_of(tmp_path, COLUMNS[case]), "en", "de")
    assert sorted([*corpus.train, *corpus.validation, *corpus.tests["test"]]) == PAIRS_OF_ROWS


def test_without_names_the_first_of_two_columns_is_the_source(tmp_path):
    corpus = load_parallel(columns_of(tmp_path, (2, 1)), "en", "de")
    assert "das Wort" in corpus.train[0][0]
    numbers = [(str(n), str(n + 1)) for n in range(40)]  # of two columns numbers are sentences too
    assert load_parallel(table(tmp_path / "numbers.tsv", numbers), "a", "b").train[0] in numbers


UNCLEAR = {
    "one of sentences": ((0, 3, 1), r"line 1 has 3 columns .* but for numbers and codes it has 1 of them; put a line of names"),
    "four of sentences": ((1, 2, 1, 2), "of them 4 could be sentences; put a line of names above"),
    "another language": ((0, 1, 2, ("id", "en", "fr")), "line 1 names its columns: id, en, fr; none of them is 'de'"),
    "two other languages": ((1, 2, ("Spanish", "French")), "names its columns: Spanish, French; none of them is 'en'"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNCLEAR)
def test_columns_that_may_be_others_are_refused(tmp_path, case):
    chosen, message = UNCLEAR[case]
    with pytest.raises(UserError, match=message):
        load_parallel(columns_of(tmp_path, chosen), "en", "de")


def test_names_of_languages_may_be_what_is_translated(tmp_path):
    pairs = [("Deutsch", "German"), ("italiano", "Italian"), *PAIRS]
    corpus = load_parallel(table(tmp_path / "pairs.tsv", pairs), "de", "en")
    assert pairs[0] in [*corpus.train, *corpus.validation, *corpus.tests["test"]]


def test_pairs_with_a_blank_side_may_be_left_out(folder, tmp_path):
    write(folder, train__en=["a cat", " ", "a cow", "a pig"], train__de__gz=gzip.compress("A\nB\n\u3000\nD\n".encode()))
    corpus = load_parallel(folder, "en", "de", skip_blank=True)
    assert corpus.train == [("a cat", "A"), ("a pig", "D")] and corpus.blank == 2
    lines = [f"{source}\t{target}\n" for source, target in PAIRS]
    lines[3:3] = ["\n", "\u00a0\tx\n", "x\t\n"]
    (tmp_path / "pairs.tsv").write_text("\n" + "".join(lines), encoding="utf-8")
    corpus = load_parallel(tmp_path / "pairs.tsv", "en", "de", skip_blank=True)
    assert corpus.blank == 4 and len([*corpus.train, *corpus.validation, *corpus.tests["test"]]) == len(PAIRS)
    (tmp_path / "pairs.tsv").write_text(" \tx\n" * 30, encoding="utf-8")
    with pytest.raises(UserError, match="of each pair a side is blank"):
        load_parallel(tmp_path / "pairs.tsv", "en", "de", skip_blank=True)


def test_all_of_other_data_is_to_be_tested_by(folder, tmp_path):
    read = load_parallel(folder, "en", "de", whole=True)
    assert read.tests == {"test_2016_flickr": [("a hen", "ein Huhn")]}
    assert read.notes == (f"of {folder} only test_2016_flickr is used, not train and val",)
    for language in ("en", "de"):
        (folder / f"test_2016_flickr.{language}").unlink()
    assert load_parallel(folder, "en", "de", whole=True).tests == {"val": [("a cow", "eine Kuh")]}
    (tmp_path / "own").mkdir()
    own = write(tmp_path / "own", test_mine__en=["a"], test_mine__de=["b"])
    assert load_parallel(own, "en", "de", whole=True).tests == {"test_mine": [("a", "b")]}
    with pytest.raises(UserError, match=r"own holds no test\.en with its test\.fr .*: test_mine\.de, test_mine\.en"):
        load_parallel(own, "en", "fr", whole=True)
    assert load_parallel(tmp_path / "own", "en", "de", whole=True).notes == ()
    made = load_parallel(table(tmp_path / "few.tsv", PAIRS[:3]), "en", "de", whole=True)
    assert made.tests == {"test": PAIRS[:3]} and not made.train
