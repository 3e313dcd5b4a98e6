"""Reading sentence pairs: every shape of file, and every way in which files are wrong."""

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
    "line counts": (dict(train__en=["a"]), r"train\.en has 1 lines and .*train\.de\.gz has 2;"),
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
    "few": ("a\tb\n" * 30, r"has 1 different sentences, too few to hold some out; 20 are needed"),
    "nothing": ("", "holds no sentence"),
    "one column": ("a\n", r"line 1 has 1 columns separated by tabs; a line must be"),
    "sentence list": ("1\teng\tA cat.\n", r"line 1 has 3 columns"),
    "other width": ("a\tb\nc\n", r"line 2 has 1 columns separated by tabs, line 1 has 2"),
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
