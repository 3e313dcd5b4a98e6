"""Reading text: line ends, equivalent forms, encodings, what is packed, and standard input."""

import bz2
import gzip
import io
import lzma
import tarfile
import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.console import UserError
from toolkit.corpus import load_parallel
from toolkit.documents import load_documents
from toolkit.labelled import read_labelled
from toolkit.reading import NotText, as_line, composed, lines_of, read_lines, read_text, unified
from toolkit.series import read_series
from toolkit.text import load_text

TEXT = "Où est le chat ?\nIci, près du café.\n"
NO_ENDS = "a\u0085b\u2028c\u2029d\x0be\x0cf\x1cg\x1dh\x1ei"  # str.splitlines() cuts at each of these


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_at_lf_or_cr_lf_and_where_there_is_none_at_cr(tmp_path, end):
    (tmp_path / "text").write_bytes(end.join(["one", NO_ENDS, "three", ""]).encode())
    assert lines_of(read_text(tmp_path / "text")) == read_lines(tmp_path / "text") == ["one", NO_ENDS, "three"]


def test_a_lone_cr_among_lf_ends_no_line():
    assert lines_of(unified("a\rb\nc\r\nd")) == ["a\rb", "c", "d"]


@given(st.text())
def test_lines_are_those_of_lf_alone(text):
    assert "\n".join(lines_of(text)) == text.removesuffix("\n")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_equivalent_texts_are_read_as_one(tmp_path, form):
    (tmp_path / "text").write_text(unicodedata.normalize(form, "Ångström, 한국어, ệ"), encoding="utf-8")
    assert read_text(tmp_path / "text") == "Ångström, 한국어, ệ" == composed("Ångström, 한국어, ệ")


def test_of_pairs_in_two_forms_none_is_trained_on_and_tested_by(tmp_path):
    pairs = [f"un café n° {n}\ta coffee, no. {n}" for n in range(60)]
    forms = [unicodedata.normalize(form, line) for form in ("NFC", "NFD") for line in pairs]
    (tmp_path / "pairs.tsv").write_text("\n".join(forms), encoding="utf-8")
    corpus = load_parallel(tmp_path / "pairs.tsv", "fr", "en")
    assert len({source for source, _ in corpus.train}) == 54 and len(corpus.train) == 108
    assert not {source for source, _ in corpus.train} & {source for source, _ in corpus.tests["test"]}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_is_packed_is_read(tmp_path, pack):
    (tmp_path / "text").write_bytes(pack(TEXT.encode()))
    assert read_text(tmp_path / "text") == TEXT
    (tmp_path / "text").write_bytes(pack(TEXT.encode() * 99)[:-9])
    with pytest.raises(UserError, match="is a damaged or incomplete"):
        read_text(tmp_path / "text")


def archive(kind):
    """The bytes of an archive of one text."""
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w") as file:
            file.writestr("text", TEXT)
    else:
        with tarfile.open(fileobj=made, mode="w:gz" if kind == "tar.gz" else "w") as file:
            member = tarfile.TarInfo("text")
            member.size = len(TEXT.encode())
            file.addfile(member, io.BytesIO(TEXT.encode()))
    return made.getvalue()


READERS = {
    "lines": read_lines,
    "pairs": lambda path: load_parallel(path, "en", "fr"),
    "labels": read_labelled,
    "text": load_text,
    "documents": load_documents,
    "series": lambda path: read_series(str(path), None),
}
OTHERS = {
    "zip": (archive("zip"), "is a zip archive"),
    "tar": (archive("tar"), "is a tar archive; unpack it"),
    "tar.gz": (archive("tar.gz"), "is a tar archive; unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), "is packed by zstd; unpack it"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(20), "is no text"),
    "binary without zeros": (bytes(range(1, 256)), "is no text: it has bytes that no text has"),
    "stray zero": (b"one\ttwo\nth\0ree\tfour\n" + b"a\tb\n" * 20, "line 2 has a byte of zero"),
    "latin1": ("café\n".encode("latin1"), "line 1, byte 4: 0xe9 is not UTF-8; convert the file, for instance by: iconv"),
} | {
    f"{encoding}, {name}": (mark + text.encode(encoding), f"is {encoding[:6].upper()}, not UTF-8; convert the file")
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    for name, text in {"ASCII": "two cats\tdeux chats\n" * 9, "French": TEXT, "Chinese": "有三只红色的猫。\n" * 9}.items()
    for mark in (b"", "\ufeff".encode(encoding))
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", OTHERS)
def test_every_reader_names_what_is_no_utf_8(tmp_path, reader, kind):
    data, message = OTHERS[kind]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError, match=message):
        READERS[reader](tmp_path / "file")


def test_bzh_may_be_a_word(tmp_path):
    (tmp_path / "text").write_text("BZh is how some write Breizh", encoding="utf-8")
    assert read_text(tmp_path / "text").startswith("BZh is")


def test_blank_lines_may_be_kept(tmp_path):
    (tmp_path / "text").write_text("one\n\u3000\n\u00a0\x1c \ntwo\n\n", encoding="utf-8")
    assert read_lines(tmp_path / "text", keep_blank=True) == ["one", "", "", "two", ""]
    with pytest.raises(UserError, match=r"text line 2 is empty \(and 2 more\); remove it"):
        read_lines(tmp_path / "text", "remove it")


def test_what_is_typed_is_what_a_line_of_a_file_is(tmp_path):
    lines = [" e\u0301te\u0301\t", "\x1cb\u2028c\x85", "\u200bd \u3000", "\u200b ", "e"]
    (tmp_path / "text").write_text("\n".join(lines), encoding="utf-8")
    found = read_lines(tmp_path / "text", keep_blank=True)
    assert [as_line(line) for line in lines] == found == ["été", "b\u2028c", "\u200bd", "", "e"]


def test_standard_input_is_read_like_a_file(monkeypatch):
    def pipe(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    pipe(gzip.compress("\ufeffe\u0301te\u0301\r\nb\u2028c\r\n".encode()))
    assert read_lines("-") == ["été", "b\u2028c"]
    pipe(b"one\n\xff\n")
    with pytest.raises(UserError, match="standard input line 2, byte 1: 0xff is not UTF-8"):
        read_lines("-")
    pipe(b"")
    with pytest.raises(UserError, match="standard input holds no sentence"):
        read_lines("-")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        read_lines("-")


def test_what_is_no_text_can_be_told_from_text_in_another_encoding(tmp_path):
    for data, error in ((archive("zip"), NotText), ("café".encode("latin1"), UserError)):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(UserError) as caught:
            read_text(tmp_path / "file")
        assert type(caught.value) is error
