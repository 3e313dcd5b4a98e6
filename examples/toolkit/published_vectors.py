"""A person's own table of word vectors: a text file as GloVe, word2vec and fastText publish them,
or the embedding table in a folder of Hugging Face transformers.

    text file   a word and its numbers a line, parted by blanks; word2vec and fastText put a line
                with the numbers of words and of features above; packed by gzip, bzip2 or xz too
    folder      model.safetensors (or its parts), and the words in tokenizer.json, vocab.json or
                vocab.txt; of the tokens those are taken that are a whole word or begin one

Letters: V words, D numbers of each.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minitensor.models.stored_tensors import StoredTensors
from toolkit.console import UserError, counted, system_words
from toolkit.files import read_back, read_json
from toolkit.reading import NO_TEXT

__all__ = ["read_vectors"]

TABLES = (  # how the name of the embedding table ends, by the model: BERT and its like, GPT-2, T5, Llama and its like
    "embeddings.word_embeddings.weight", "wte.weight", "shared.weight", "embed_tokens.weight",
)  # fmt: skip
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
STARTS = ("\u0120", "\u2581")  # in front of a token that begins a word: of byte-level BPE, of SentencePiece
INSIDE = "##"  # in front of one that does not: of WordPiece


def read_vectors(path: str, most: int) -> tuple[list[str], np.ndarray]:
    """The first ``most`` words of a file or folder, and their vectors (V, D) in float32.

    Of a word that is there twice the first counts. Raises UserError for what cannot be read, with
    the line at fault.
    """
    where = Path(path)
    words, table = _of_folder(where, most) if where.is_dir() else _of_file(where, most)
    if not np.isfinite(table).all():
        bad = words[int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])]
        raise UserError(f"{path}: the vector of {bad!r} has a number that is not finite")
    return words, table


# --- text -----------------------------------------------------------------------------------------


def _of_file(path: Path, most: int) -> tuple[list[str], np.ndarray]:
    rows: dict[str, np.ndarray] = {}
    twice = False
    said = width = 0
    for number, line in enumerate(_lines(path), start=1):
        cells = line.split(" ")
        if number == 1 and len(cells) == 2 and all(cell.isdecimal() for cell in cells):
            said, width = int(cells[0]), int(cells[1])  # of word2vec
            continue
        width = width or len(cells) - 1
        # A few words of GloVe have blanks inside; a number before the last ones is none of those.
        if width < 2 or len(cells) <= width or (len(cells) > width + 1 and _is_number(cells[-width - 1])):
            raise UserError(f"{path} line {number} has {len(cells) - 1} numbers{_wanted(width)}")
        word = " ".join(cells[:-width])
        try:
            with np.errstate(over="ignore"):  # what is too large is found to be infinite
                vector = np.array(cells[-width:], dtype=np.float32)
        except ValueError:
            raise UserError(f"{path} line {number}: what follows {word!r} is not {width} numbers") from None
        twice = twice or word in rows
        rows.setdefault(word, vector)
        if len(rows) == most:
            break
    if not rows:
        raise UserError(f"{path} holds no vectors; a line must be a word and its numbers, parted by blanks")
    if len(rows) < min(said, most) and not twice:
        raise UserError(f"{path} line 1 says {counted(said, 'word')}, and {len(rows):,} follow; fetch it again")
    return list(rows), np.array(list(rows.values()))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _wanted(width: int) -> str:
    if width < 2:
        return "; a line must be a word and its numbers, parted by blanks (word2vec's binary form is not read)"
    return f"; by the lines above it must have {width}"


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text in UTF-8, packed or not, one by one: such files are of gigabytes."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
        kind = next((kind for magic, kind in NO_TEXT.items() if head.startswith(magic)), "")
        if kind:
            raise UserError(f"{path} is {kind}; unpack it, and give the text inside")
        opener = next((opener for magic, opener in OPENERS.items() if head.startswith(magic)), open)
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \t\r\n").replace("\t", " ")
                if text:
                    yield text
    except UnicodeDecodeError:
        raise UserError(f"{path} line {number} is not UTF-8; give vectors in text form") from None
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile):
        raise UserError(f"{path} is damaged or cut short; fetch it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None


# --- folders --------------------------------------------------------------------------------------


def _of_folder(folder: Path, most: int) -> tuple[list[str], np.ndarray]:
    try:
        stored = StoredTensors(folder)
        names = [name for ending in TABLES for name in stored.files if f".{name}".endswith(f".{ending}")]
        if not names:
            raise UserError(f"{folder} has no table of words; looked for were names that end in {', '.join(TABLES)}")
        table = stored.read(names[0]).astype(np.float32)
    except (ValueError, OSError) as error:  # the message names the file
        raise UserError(str(error)) from None
    ids = _ids_of_words(folder)
    last = max(ids.values(), default=-1)
    if last >= len(table):
        raise UserError(
            f"{folder}: its vocabulary has an id {last}, its table {names[0]} has {counted(len(table), 'row')}"
        )
    words = sorted(ids, key=lambda word: ids[word])[:most]
    if not words:
        raise UserError(f"{folder}: its vocabulary has no words")
    return words, table[[ids[word] for word in words]]


def _ids_of_words(folder: Path) -> dict[str, int]:
    """Id by word, of the tokens that begin a word."""
    tokens = _tokens(folder)
    mark = next((mark for mark in STARTS if any(token.startswith(mark) for token in tokens)), "")
    ids: dict[str, int] = {}
    for token, number in tokens.items():
        word = token[len(mark) :]
        # Byte-level tokens spell other letters than those of ASCII in an alphabet of their own.
        readable = word.isprintable() and (mark != STARTS[0] or word.isascii())
        if word and readable and token.startswith(mark) and not token.startswith(INSIDE):
            ids.setdefault(word, number)
    return ids


def _tokens(folder: Path) -> dict[str, int]:
    """Id by token, as the folder has it."""
    files = {name: folder / name for name in ("tokenizer.json", "vocab.json", "vocab.txt")}
    if files["tokenizer.json"].is_file():
        found = read_json(files["tokenizer.json"], "tokenizer")
        model = found.get("model") if isinstance(found, dict) else None
        tokens = model.get("vocab") if isinstance(model, dict) else None
        if isinstance(tokens, list):  # SentencePiece: a token and its score
            tokens = _numbered(entry[0] for entry in tokens if isinstance(entry, list) and entry)
        source = files["tokenizer.json"]
    elif files["vocab.json"].is_file():
        source, tokens = files["vocab.json"], read_json(files["vocab.json"], "vocabulary")
    elif files["vocab.txt"].is_file():
        source = files["vocab.txt"]
        tokens = _numbered(read_back(source, "vocabulary").splitlines())
    else:
        raise UserError(f"{folder} has no words: it needs {', '.join(files)}, any of them")
    if not isinstance(tokens, dict) or not all(type(number) is int and number >= 0 for number in tokens.values()):
        raise UserError(f"{source} is damaged or not a vocabulary: it must give each token its number")
    return tokens


def _numbered(tokens: Iterable[Any]) -> dict[str, int]:
    return {str(token): number for number, token in enumerate(tokens)}
