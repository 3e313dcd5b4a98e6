r"""Text from a file or from standard input: UTF-8, packed or not, in one of its equivalent forms,
with one kind of line end.

Unicode writes ``é`` as one character or as two, and calls both the same text: here it is always the
composed one (NFC). A line ends at LF or at CR LF, in a file without any LF at CR, and nowhere else;
the text that is returned has LF alone.

>>> composed("e\u0301") == "\u00e9", lines_of(unified("a\r\nb\u2028c"))
(True, ['a', 'b\u2028c'])
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import sys
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from toolkit.blank import stripped
from toolkit.console import UserError, and_more

__all__ = ["STDIN", "NotText", "as_line", "check_filled", "composed", "lines_of", "read_lines", "read_text", "unified"]

ADVICE = "remove the pair, on both sides"
STDIN = "-"  # the path that means standard input

UNPACKED: dict[
    bytes, tuple[str, Callable[[bytes], bytes]]
] = {  # how a file begins: its usual name, and what unpacks it
    b"\x1f\x8b": (".gz", gzip.decompress),
    b"BZh": (".bz2", bz2.decompress),
    b"\xfd7zXZ\x00": (".xz", lzma.decompress),
}
NO_TEXT = {  # how files begin that are not plain text
    b"PK\x03\x04": "a zip archive or an office document",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\x1f\x9d": "packed by compress",
    b"\x04\x22\x4d\x18": "packed by lz4",
    b"LZIP\x01": "packed by lzip",
    b"%PDF-": "a PDF document",
}
MARKS = {  # of byte order; the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
SAMPLE = 65536  # bytes by which an encoding is judged; a multiple of four
FEW = 0.2  # share of NUL bytes below which they are strays in UTF-8
CONTROLS = bytes(byte for byte in range(32) if chr(byte) not in "\t\n\r\f\x1b")
ODD = 0.02  # share of control characters above which there is no text in any encoding
READABLE = 0.95  # share of characters that are letters, blanks and the like, in any real text


class NotText(UserError):
    """A file that is not text in any encoding; in a folder of texts it may be skipped."""


# --- one form -------------------------------------------------------------------------------------


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC): canonically equivalent texts become equal. Also a
    type for argparse.
    """
    return unicodedata.normalize("NFC", text)


def as_line(text: str) -> str:
    r"""A text that is typed or sent, as if it were a line of a file: composed, without blanks at
    either end. Also a type for argparse. The pages do the same, see browser/blank.js.

    >>> as_line(" e\u0301t\u00e9\x85") == "\u00e9t\u00e9"
    True
    """
    return stripped(composed(text))


def unified(text: str) -> str:
    """The text with LF for each line end: for CR LF, or, if there is no LF at all, for CR."""
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def lines_of(text: str) -> list[str]:
    """The lines of a text that `read_text` gave. (``str.splitlines`` would also cut at U+0085,
    U+2028 and the like.)
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()  # what follows the last line end
    return lines


# --- reading --------------------------------------------------------------------------------------


def read_lines(
    path: str | os.PathLike[str], advice: str = ADVICE, keep_blank: bool = False, what: str = "sentence"
) -> list[str]:
    """The sentences, or ``what`` they are, of a UTF-8 file, packed or not, one a line, without
    blanks at either end; "-" is standard input.

    A line of which nothing is seen, see `is_blank`, is blank; with ``keep_blank`` it stays, as "".
    Raises UserError for a file that cannot be read, a wrong encoding, no line at all, or otherwise
    a blank line, with ``advice``.
    """
    lines = [as_line(line) for line in lines_of(read_text(path))]
    if not keep_blank:
        check_filled(_name(path), (number for number, line in enumerate(lines, start=1) if not line), advice=advice)
    if not lines:
        raise UserError(f"{_name(path)} holds no {what}")
    return lines


def check_filled(name: str, empty: Iterable[int], what: str = "empty", advice: str = ADVICE) -> None:
    """Raise UserError for the line numbers in ``empty``."""
    numbers = list(empty)
    if numbers:
        raise UserError(f"{name} line {numbers[0]} is {what}{and_more(numbers)}; {advice}")


def read_text(path: str | os.PathLike[str]) -> str:
    """A UTF-8 file, plain or packed (.gz, .bz2, .xz), or standard input for "-", `composed` and
    `unified`.

    Raises UserError for one that cannot be read, or is not UTF-8; `NotText`, a subclass, for a file
    that is no text at all.
    """
    name = _name(path)
    return unified(composed(_decode(_unpack(_read(path), name), name)))


def _name(path: str | os.PathLike[str]) -> str:
    """Its name in errors."""
    return "standard input" if str(path) == STDIN else str(path)


def _read(path: str | os.PathLike[str]) -> bytes:
    if str(path) == STDIN and sys.stdin is None:
        raise UserError("standard input is closed; there is nothing to read")
    try:
        return sys.stdin.buffer.read() if str(path) == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {_name(path)}: {error.strerror or error}") from None


def _unpack(data: bytes, name: str) -> bytes:
    """The content of a packed file. Raises NotText for an archive, or another form that is not read
    here.
    """
    for magic, (kind, unpack) in UNPACKED.items():
        if data.startswith(magic) and not _is_plain(data):
            try:
                data = unpack(data)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                raise UserError(f"{name} is a damaged or incomplete {kind} file; fetch it again") from None
            break
    what = next((what for magic, what in NO_TEXT.items() if data.startswith(magic)), "")
    if not what and b"\0" in data[:512] and tarfile.is_tarfile(io.BytesIO(data)):
        what = "a tar archive"
    if what:
        raise NotText(f"{name} is {what}; unpack it, and give the text inside")
    return data


def _is_plain(data: bytes) -> bool:
    """Whether it begins like text: "BZh" may be a word."""
    return data[:3] == b"BZh" and data[4:10] != b"1AY&SY"


# --- encodings ------------------------------------------------------------------------------------


def _decode(data: bytes, name: str) -> str:
    wide = _wide_encoding(data)
    if wide:
        kind = wide[:6].upper()
        raise UserError(f"{name} is {kind}, not UTF-8; {_conversion(wide[:6] + wide[7:])}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + len(data) - len(error.object)  # the decoder does not count the byte-order mark
        sample = data[:SAMPLE]
        if b"\0" in data or len(sample) - len(sample.translate(None, CONTROLS)) > ODD * len(sample):
            raise NotText(f"{name} is no text: it has bytes that no text has, and others that are not UTF-8") from None
        line = data.count(b"\n", 0, start) + 1
        column = start - data.rfind(b"\n", 0, start)
        raise UserError(
            f"{name} line {line}, byte {column}: 0x{data[start]:02x} is not UTF-8; {_conversion('latin1')}"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise NotText(f"{name} line {line} has a byte of zero, which no text has; remove it, or give a file of text")
    return text


def _conversion(encoding: str) -> str:
    return f"convert the file, for instance by: iconv -f {encoding} -t utf-8"


def _wide_encoding(data: bytes) -> str:
    """The encoding of two or four bytes a character that the data are in, with or without a mark;
    "" if they are in neither.

    Without one, by zeros: blanks and line ends have them in these encodings, and in UTF-8 nothing
    has.
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return encoding
    sample = data[:SAMPLE]
    if b"\0" not in sample:
        return ""
    if sample.count(b"\0") < FEW * len(sample) and _decoded(sample, "utf-8") is not None:
        return ""
    found = {encoding: _decoded(sample, encoding) for encoding in WIDE}
    good = {encoding: _plainness(text) for encoding, text in found.items() if text and _is_readable(text)}
    return max(good, key=lambda encoding: good[encoding]) if any(good.values()) else ""


def _decoded(sample: bytes, encoding: str) -> str | None:
    """The sample without a character that is cut off at its end; None if it is not in this
    encoding.
    """
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


def _is_readable(text: str) -> bool:
    return "\0" not in text and sum(c.isprintable() or c.isspace() for c in text) >= READABLE * len(text)


def _plainness(text: str) -> int:
    """The number of ASCII characters: in the wrong byte order they become characters of other
    scripts.
    """
    return sum(character.isascii() for character in text)
