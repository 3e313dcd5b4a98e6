"""Sentence pairs from files: a folder of one file per language and split, or one file of tab-separated pairs.

A folder holds lines that belong together by their number, as Multi30k, WMT and OPUS give them, plain or gzipped::

    train.en  train.de  val.en.gz  val.de.gz  test_2016_flickr.en.gz  test_2016_flickr.de.gz

A file of pairs has, on each line, ``sentence<TAB>translation``; or the same with an attribution after it (Anki); or
``id<TAB>sentence<TAB>id<TAB>translation`` (Tatoeba's own export).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.console import UserError
from toolkit.reading import check_filled, lines_of, read_lines, read_text

__all__ = ["Corpus", "Pair", "load_parallel"]

Pair = tuple[str, str]

SPLITS = {"train": ("train",), "validation": ("val", "valid", "dev")}  # a split, and the names of its files
FILE = re.compile(r"(?P<stem>train|val|valid|dev|test[^.]*)\.(?P<language>[^.]+)(\.gz)?")
HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 1000  # sentences of a file of pairs that go to validation, and as many to test


@dataclass(frozen=True)
class Corpus:
    """Pairs (source, target) to train on, to choose the best model by, and the test sets by name."""

    train: list[Pair]
    validation: list[Pair]
    tests: dict[str, list[Pair]]


def load_parallel(path: str | os.PathLike[str], source: str, target: str) -> Corpus:
    """Read the pairs of two languages from a folder or a file of pairs (see above).

    From a folder: the test sets that exist in both languages, by the name of their files. From a file of pairs: the
    first sentence of a line is the source and the second the target, unless a first line ``de<TAB>en`` names the
    columns; the split into train, validation and test depends on the source sentences alone, not on their order, and
    all translations of one sentence stay together.

    Raises UserError for a missing file or folder, an unknown language, unequal line counts, text that is not UTF-8,
    an empty line, a damaged .gz file, a line without its tabs.
    """
    path = Path(path)
    if source == target:
        raise UserError(f"source and target are both {source!r}; name two languages")
    if path.is_dir():
        return _load_folder(path, source, target)
    if path.exists():
        return _split(path, _read_pairs(path, source, target))
    raise UserError(f"{path} does not exist; give a folder of train/val/test files, or a file of tab-separated pairs")


def _load_folder(folder: Path, source: str, target: str) -> Corpus:
    files = _list_files(folder)
    languages = sorted({language for stem, language in files if stem == "train"})
    if not languages:
        raise UserError(f"{folder} has no training data; it must hold train.{source} and train.{target} (or .gz)")
    for language in (source, target):
        if language not in languages:
            raise UserError(f"{folder} has no language {language!r}; there are: {', '.join(languages)}")

    def pairs(stem: str) -> list[Pair]:
        return _read_aligned(files[stem, source], files[stem, target])

    splits: dict[str, list[Pair]] = {}
    for split, names in SPLITS.items():
        stems = [name for name in names if (name, source) in files and (name, target) in files]
        if len(stems) != 1:
            have = f"has both {stems[0]} and {stems[1]} files" if stems else "has no files"
            wanted = " or ".join(f"{name}.{source}, {name}.{target}" for name in names)
            raise UserError(f"{folder} {have} for {split} in {source} and {target}; it must hold one of: {wanted}")
        splits[split] = pairs(stems[0])
    tests = sorted(stem for stem, language in files if stem.startswith("test") and language == source)
    found = {stem: pairs(stem) for stem in tests if (stem, target) in files}
    return Corpus(splits["train"], splits["validation"], found)


def _list_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The files by their stem and language: ``("test_2016_flickr", "en")``."""
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        match = FILE.fullmatch(path.name)
        if match:
            key = match["stem"], match["language"]
            if key in files:
                raise UserError(f"{folder} has both {files[key].name} and {path.name}; remove one of them")
            files[key] = path
    return files


def _read_aligned(source: Path, target: Path) -> list[Pair]:
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {len(sources)} lines and {target} has {len(targets)}; line n of one must translate line n"
            " of the other"
        )
    return list(zip(sources, targets, strict=True))


def _read_pairs(path: Path, source: str, target: str) -> list[Pair]:
    rows = [line.split("\t") for line in lines_of(read_text(path))]
    if not rows:
        raise UserError(f"{path} holds no sentence")
    check_filled(str(path), (number for number, row in enumerate(rows, start=1) if not "".join(row).strip()))
    first, second = _columns(path, rows[0])
    header = (rows[0][first], rows[0][second])
    if header == (target, source):
        first, second = second, first
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise UserError(f"{path} line {number} has {len(row)} columns separated by tabs, line 1 has {width}")
    pairs = [(row[first].strip(), row[second].strip()) for row in rows]
    for side, name in enumerate(("source", "target")):
        empty = (number for number, pair in enumerate(pairs, start=1) if not pair[side])
        check_filled(str(path), empty, f"empty on the {name} side")
    return pairs[1:] if set(header) == {source, target} else pairs


def _columns(path: Path, row: list[str]) -> tuple[int, int]:
    """Where the two sentences stand, judged by the first row."""
    numbers = [cell.strip().isdecimal() for cell in row]
    if len(row) == 4 and numbers[0] and numbers[2]:
        return 1, 3
    if len(row) == 2 or (len(row) == 3 and not numbers[0]):
        return 0, 1
    raise UserError(
        f"{path} line 1 has {len(row)} columns separated by tabs; a line must be sentence and translation (2 columns),"
        " those and an attribution (3), or id, sentence, id, translation (4)"
    )


def _split(path: Path, pairs: list[Pair]) -> Corpus:
    """Hold out the source sentences of the smallest hashes: the same ones wherever they stand in the file."""
    sources = sorted({source for source, _ in pairs}, key=lambda text: hashlib.sha256(text.encode()).digest())
    held_out = min(HELD_OUT_MOST, int(len(sources) * HELD_OUT_SHARE))
    if not held_out:
        least = round(1 / HELD_OUT_SHARE)
        raise UserError(f"{path} has {len(sources)} different sentences, too few to hold some out; {least} are needed")
    test, validation = set(sources[:held_out]), set(sources[held_out : 2 * held_out])
    return Corpus(
        train=[pair for pair in pairs if pair[0] not in test and pair[0] not in validation],
        validation=[pair for pair in pairs if pair[0] in validation],
        tests={"test": [pair for pair in pairs if pair[0] in test]},
    )
