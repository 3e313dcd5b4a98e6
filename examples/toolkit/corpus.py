"""Sentence pairs from files: a folder of one file per language and split, or one file of
tab-separated pairs.

A folder holds lines that belong together by their number, as in Multi30k, WMT and OPUS::

    train.en  train.de  val.en.gz  val.de.gz  test_2016_flickr.en.gz  test_2016_flickr.de.gz

A file of pairs has, on each line, ``sentence<TAB>translation``; or the same with an attribution
after it (Anki); or ``id<TAB>sentence<TAB>id<TAB>translation`` (Tatoeba's own export); or any
columns, if its first line names them.

Pairs may be of other texts than two languages: texts and their summaries, inputs and outputs. Their
file has two columns, or names for them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.blank import is_blank
from toolkit.column_names import Wanted
from toolkit.console import UserError, counted
from toolkit.copies import copies_note
from toolkit.quoting import in_quotes, quotes_note, read_cells, read_quoted
from toolkit.reading import check_filled, composed, lines_of, read_lines, read_text
from toolkit.two_sides import Pairs

__all__ = ["Corpus", "Pair", "load_parallel", "split_pairs"]

Pair = tuple[str, str]
Row = tuple[int, list[str]]  # the number of a line, and its cells

SPLITS = {"train": ("train",), "validation": ("val", "valid", "dev")}  # a split, and the names of its files
FILE = re.compile(r"(?P<stem>train|val|valid|dev|test[^.]*)\.(?P<language>[^.]+)(\.(gz|bz2|xz))?")
HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 1000  # sentences of a file of pairs that go to validation, and as many to test


@dataclass(frozen=True)
class Corpus:
    """Pairs (source, target) to train on, to choose the best model by, and the test
    sets by name.
    """

    train: list[Pair]
    validation: list[Pair]
    tests: dict[str, list[Pair]]
    blank: int = 0  # pairs that were left out since a side of them is blank
    ragged: int = 0  # lines of a file of pairs, since they have more or fewer columns than the others
    bad: int = 0  # pairs, since they are suspicious: see `suspicions`
    columns: tuple[int, int] | None = field(default=None, compare=False)  # of a file of pairs: which it took, from 0
    languages: tuple[str, str] = field(default=("", ""), compare=False)  # source and target, if it is known
    notes: tuple[str, ...] = field(default=(), compare=False)  # what became of the lines of a file
    lines: Mapping[str, Sequence[int]] = field(
        default_factory=dict, compare=False
    )  # in files, if not 1, 2, ...; by part

    def line(self, part: str, number: int) -> int:
        """The line in its file of the pair of this number, from 1, of a part."""
        return self.lines[part][number - 1] if part in self.lines else number

    def numbers(self, part: str, kept: Iterable[Pair]) -> tuple[list[int], str]:
        """What a person finds the ``kept`` pairs of a part by: the lines in the file, or their
        numbers; and a word for which of these.
        """
        pairs, chosen = {"train": self.train, "validation": self.validation, **self.tests}[part], set(kept)
        numbers = [self.line(part, n) for n, pair in enumerate(pairs, start=1) if pair in chosen]
        return numbers, ", line" if part in self.lines else " sentence"


def load_parallel(
    path: str | os.PathLike[str],
    source: str,
    target: str,
    skip_blank: bool = False,
    skip_ragged: bool = False,
    whole: bool = False,
    names: Wanted | None = None,
) -> Corpus:
    """Read the pairs of two languages from a folder or a file of pairs (see above).

    From a folder: the test sets that exist in both languages, by the name of their files. From a
    file of pairs: the first sentence of a line is the source and the second the target, unless the
    first line names the columns (`toolkit.columns`); the split into train, validation and test
    depends on the source sentences alone, not on their order, and all translations of one sentence
    stay together.

    skip_blank: leave out pairs of which a side is blank, and count them. skip_ragged: leave out the
    lines of a file of pairs that have more or fewer columns than most, and count them. whole: all
    that is there is to be tested by; of a folder its test sets, or its other files if it has no
    test sets. names: of the columns, if source and target are kinds of text: a file then has two
    columns unless its first line names others, and what is blank between its lines is passed over;
    a note tells of copies, and of a first line that is taken for names that are not known.

    Raises UserError for a missing file or folder, an unknown language, unequal line counts, text
    that is not UTF-8, a blank line, a damaged .gz file, a line without its tabs.
    """
    path = Path(path)
    if source == target:
        raise UserError(f"source and target are both {source!r}; name two languages")
    if path.is_dir():
        return (_load_tests if whole else _load_folder)(path, source, target, skip_blank)
    if path.exists():
        kind = Pairs(source, target, names)
        read = _read_pairs(path, kind, skip_blank, skip_ragged)
        if not kind.languages:
            pairs = read.tests["test"]
            copies = copies_note(str(path), kind.one, len(pairs), len({text for text, _ in pairs}), whole=whole)
            read = replace(read, notes=read.notes + copies)
        if whole:
            return read
        split = split_pairs(path, read.tests["test"], kind.one, read.lines["test"])
        return replace(read, train=split.train, validation=split.validation, tests=split.tests, lines=split.lines)
    raise UserError(f"{path} does not exist; give a folder of train/val/test files, or a file of tab-separated pairs")


def _load_folder(folder: Path, source: str, target: str, skip_blank: bool) -> Corpus:
    files = _list_files(folder)
    languages = sorted({language for stem, language in files if stem == "train"})
    if not languages:
        raise UserError(f"{folder} has no training data; it must hold train.{source} and train.{target} (or .gz)")
    for language in (source, target):
        if language not in languages:
            raise UserError(f"{folder} has no language {language!r}; there are: {', '.join(languages)}")
    chosen = {}
    for split, names in SPLITS.items():
        stems = [name for name in names if (name, source) in files and (name, target) in files]
        if len(stems) != 1:
            have = f"has both {stems[0]} and {stems[1]} files" if stems else "has no files"
            wanted = " or ".join(f"{name}.{source}, {name}.{target}" for name in names)
            raise UserError(f"{folder} {have} for {split} in {source} and {target}; it must hold one of: {wanted}")
        chosen[split] = stems[0]
    chosen |= {stem: stem for stem in _stems(files, source, target) if stem.startswith("test")}
    read = _read_splits(files, chosen, source, target, skip_blank)
    tests = dict(read.tests)
    return replace(read, train=tests.pop("train"), validation=tests.pop("validation"), tests=tests)


def _load_tests(folder: Path, source: str, target: str, skip_blank: bool) -> Corpus:
    """A folder used only for testing: its test sets, or its validation sets, or else any pairs."""
    files = _list_files(folder)
    stems = _stems(files, source, target)
    if not stems:
        have = ", ".join(sorted(path.name for path in files.values())) or "none of that kind"
        raise UserError(f"{folder} holds no test.{source} with its test.{target} (or val, or train); there are: {have}")
    chosen = next(
        found
        for names in (("test",), SPLITS["validation"], SPLITS["train"])
        if (found := [stem for stem in stems if stem.startswith(names)])
    )
    read = _read_splits(files, dict(zip(chosen, chosen)), source, target, skip_blank)
    others = [stem for stem in stems if stem not in chosen]
    left = f"of {folder} only {' and '.join(chosen)} {'is' if len(chosen) == 1 else 'are'} used, not {' and '.join(others)}"
    return replace(read, notes=read.notes + ((left,) if others else ()))


def _stems(files: dict[tuple[str, str], Path], source: str, target: str) -> list[str]:
    """The stems of files in both languages."""
    return sorted(stem for stem, language in files if language == source and (stem, target) in files)


def _read_splits(
    files: dict[tuple[str, str], Path], chosen: dict[str, str], source: str, target: str, skip_blank: bool
) -> Corpus:
    """The pairs of splits, given by the stems of their files, all as test sets."""
    read = {name: _read_aligned(files[stem, source], files[stem, target], skip_blank) for name, stem in chosen.items()}
    notes: tuple[str, ...] = ()
    texts = [text for sides in read.values() for side in sides for text in side]
    others = [stem for stem in _stems(files, source, target) if stem not in chosen.values()]
    if any(map(in_quotes, texts)):  # by all files, so that each is read alike whichever others are
        paths = [files[stem, language] for stem in others for language in (source, target)]
        texts += [text for path in paths for text in read_lines(path, keep_blank=True)]
    texts, quoted, certain = read_quoted(texts)
    end = 0
    for name, stem in chosen.items():
        for side, language in enumerate((source, target)):
            start, end = end, end + len(read[name][side])
            own, path = [n - start + 1 for n in quoted if start <= n < end], files[stem, language]
            notes += quotes_note(str(path), "line", len(own), own[0] if own else 0, certain)
            read[name][side] = texts[start:end]
            if not skip_blank:
                check_filled(str(path), (n for n, text in enumerate(read[name][side], start=1) if not text))
    filled = {
        name: _filled(list(zip(*read[name], strict=True)), f"{files[stem, source]} and {files[stem, target]}")
        for name, stem in chosen.items()
    }
    lines = {name: numbers for name, (pairs, numbers) in filled.items() if len(pairs) < len(read[name][0])}
    blank = sum(len(read[name][0]) - len(pairs) for name, (pairs, _) in filled.items())
    return Corpus([], [], {name: pairs for name, (pairs, _) in filled.items()}, blank, notes=notes, lines=lines)


def _list_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The files by their stem and language: ``("test_2016_flickr", "en")``."""
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        match = FILE.fullmatch(composed(path.name))
        if match:
            key = match["stem"], match["language"]
            if key in files:
                raise UserError(f"{folder} has both {files[key].name} and {path.name}; remove one of them")
            files[key] = path
    return files


def _read_aligned(source: Path, target: Path, skip_blank: bool) -> list[list[str]]:
    """The lines of both files, equally many."""
    sources, targets = (read_lines(path, keep_blank=skip_blank) for path in (source, target))
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {counted(len(sources), 'line')} and {target} has {len(targets):,}; line n of one must"
            " belong to line n of the other"
        )
    return [sources, targets]


def _filled(pairs: list[Pair], where: str, lines: Iterable[int] | None = None) -> tuple[list[Pair], list[int]]:
    """The pairs without a blank side, and their lines, by default from 1. Raises UserError if
    nothing is left.
    """
    kept = [(pair, line) for pair, line in zip(pairs, lines or range(1, len(pairs) + 1)) if all(pair)]
    if not kept:
        raise UserError(f"{where}: of each pair a side is blank")
    return [pair for pair, _ in kept], [line for _, line in kept]


def _read_pairs(path: Path, kind: Pairs, skip_blank: bool, skip_ragged: bool) -> Corpus:
    """The pairs of a file, as a test set, and what was left out."""
    rows = [(number, line.split("\t")) for number, line in enumerate(lines_of(read_text(path)), start=1)]
    blank = [number for number, row in rows if is_blank("".join(row))]
    if kind.languages and not skip_blank:
        check_filled(str(path), blank)
    rows = [(number, row) for number, row in rows if not is_blank("".join(row))]
    if not rows:
        raise UserError(f"{path} holds no {kind.one}")
    rows, ragged = _equally_wide(path, rows, kind, skip_ragged)
    (first, second), header, notes = kind.columns([row for _, row in rows], str(path), rows[0][0])
    all_quoted = header and any(map(in_quotes, rows[0][1]))
    rows = rows[1:] if header else rows
    if not rows:
        raise UserError(f"{path} holds no {kind.one}, only a line of names")
    cells, more = read_cells(str(path), [(number, (row[first], row[second])) for number, row in rows], all_quoted)
    notes, pairs = notes + more, [(source, target) for source, target in cells]
    if not skip_blank:
        for side in (0, 1):
            kind.check_side(
                path, (number for (number, _), pair in zip(rows, pairs, strict=True) if not pair[side]), side
            )
    pairs, lines = _filled(pairs, str(path), [number for number, _ in rows])
    left_out = len(blank) + len(rows) - len(pairs)
    kept: dict[str, Any] = {"columns": (first, second), "notes": notes, "lines": {"test": lines}}
    return Corpus([], [], {"test": pairs}, left_out, ragged, **kept)


def _equally_wide(path: Path, rows: list[Row], kind: Pairs, skip: bool) -> tuple[list[Row], int]:
    """The rows with as many cells as the first, and the number of the others; if these are to be
    skipped, with as many as most. Raises UserError for the others unless they are.
    """
    line, width = rows[0][0], len(rows[0][1])
    if skip:
        width = Counter(len(row) for _, row in rows).most_common(1)[0][0]
    kept = [(number, row) for number, row in rows if len(row) == width]
    if not skip and len(kept) < len(rows):
        number, row = next((number, row) for number, row in rows if len(row) != width)
        advice = f"; it must be {kind.line}" if width == 2 else ""
        raise UserError(
            f"{path} line {number} has {counted(len(row), 'column')} separated by tabs, line {line} has {width}{advice}"
        )
    return kept, len(rows) - len(kept)


def split_pairs(path: str | Path, pairs: list[Pair], what: str = "sentence", lines: Sequence[int] = ()) -> Corpus:
    """Hold out the source sentences of the smallest hashes: the same ones wherever they are in the
    file. lines: of the pairs. Raises UserError if there are too few.
    """
    sources = sorted({source for source, _ in pairs}, key=lambda text: hashlib.sha256(text.encode()).digest())
    held_out = min(HELD_OUT_MOST, int(len(sources) * HELD_OUT_SHARE))
    if not held_out:
        least = round(1 / HELD_OUT_SHARE)
        raise UserError(
            f"{path} has {counted(len(sources), f'different {what}')}, too few to hold some out; {least} are needed"
        )
    part_of = dict.fromkeys(sources, "train") | dict.fromkeys(sources[: 2 * held_out], "validation")
    part_of |= dict.fromkeys(sources[:held_out], "test")
    made: dict[str, list[Pair]] = {"train": [], "validation": [], "test": []}
    places: dict[str, list[int]] = {part: [] for part in made} if lines else {}
    for n, pair in enumerate(pairs):
        made[part_of[pair[0]]].append(pair)
        if lines:
            places[part_of[pair[0]]].append(lines[n])
    return Corpus(made["train"], made["validation"], {"test": made["test"]}, lines=places)
