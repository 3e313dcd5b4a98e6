"""Recordings of a person's own, and what is said in them, as utterances in parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from toolkit.blank import is_blank
from toolkit.column_names import RECORDED, SPEAKERS, find_named, is_no_file, known_names
from toolkit.console import UserError, counted
from toolkit.copies import copies_note
from toolkit.loading import digest
from toolkit.reading import lines_of, read_text
from toolkit.speaking import RATE
from toolkit.utterances import TEST, TRAIN, VALIDATION, Spoken, Utterance
from toolkit.wav import read_wav
from toolkit.word_errors import spoken_words

__all__ = ["read_spoken", "read_utterance"]

SHORTEST = 0.1  # seconds that the shortest word takes
LEVEL = 1e-6  # of the largest sample: what a constant varies by after its rate was changed
SHARE = 0.15  # of the recordings, or of the speakers, to validate by, and as many to test


def read_utterance(path: str | os.PathLike[str]) -> np.ndarray:
    """The sound (T,) of a WAV file in which something may be said. Raises UserError for what
    `read_wav` refuses, and for one that is too short to hold a word, or a constant.
    """
    sound = read_wav(path, RATE)
    if len(sound) < SHORTEST * RATE:
        raise UserError(
            f"{path} lasts {1000 * len(sound) / RATE:.1f} milliseconds, too short to hold a word; record it again, or leave"
            " it out"
        )
    if np.ptp(sound) <= LEVEL * np.abs(sound).max():
        raise UserError(f"{path} holds one number all along, and so no sound; record it again, or leave it out")
    return sound


def read_spoken(path: str, whole: bool = False) -> Spoken:
    """Recordings by a file of lines ``path.wav<TAB>words``, or ``path.wav<TAB>words<TAB>speaker``,
    or of any columns if its first line names those of recordings and words.

    Paths are relative to the folder of the file; of the words there is what `spoken_words` gives.
    If every line names its speaker, a speaker is in one part only, otherwise each recording stands
    for itself. Speakers who share a recording, and copies of one, stay together; what is repeated
    with the same words is read once; a note says so. whole: all are there to be tested by.

    Raises UserError for a bad line, words of which nothing is said, what `read_utterance` refuses,
    and too few speakers to hold some out.
    """
    folder, found = os.path.dirname(os.path.abspath(path)), []
    for number, row in _rows(path, Path(folder)):
        name, words = row[0].strip(), " ".join(spoken_words(row[1]))
        if not words:
            raise UserError(
                f"{path} line {number} has no word, only {row[1].strip()!r}; write what is said, or remove it"
            )
        try:
            sound = read_utterance(os.path.join(folder, name))
        except UserError as error:
            raise UserError(f"{path} line {number}: {error}") from None
        content = digest([Path(folder, name).read_bytes()])
        speaker = row[2].strip() if len(row) == 3 else name
        found.append(Utterance(words, speaker, path=name, content=content, sound=sound))
    kept = {(utterance.heard, utterance.words): utterance for utterance in reversed(found)}  # the first of each
    different = len({utterance.heard for utterance in found})
    notes = copies_note(path, "recording", len(found), different, "words", len(found) - len(kept), whole)
    utterances = list(reversed(kept.values()))
    made = Spoken([], [], {"all": utterances}) if whole else _split(path, utterances, _joined(found))
    return replace(made, notes=notes)


def _rows(path: str, folder: Path) -> list[tuple[int, list[str]]]:
    """The lines of a file by number: a path, words, and if there is a column of speakers, one."""
    rows = [(n, line.split("\t")) for n, line in enumerate(lines_of(read_text(path)), start=1) if not is_blank(line)]
    if not rows:
        raise UserError(f"{path} holds no line")
    line, first = rows[0]
    width, where = len(first), f"{path} line {line}"
    no_file = is_no_file(first[0].strip(), folder)
    named = find_named(first, RECORDED, where) if no_file else None
    if named:
        named += [n for n, cell in enumerate(first) if SPEAKERS.names(cell) and n not in named][:1]
        rows = rows[1:]
    elif no_file:
        raise UserError(
            f"{where}: there is no file {folder / first[0].strip()}; if this line names the columns, known are names of"
            f" {known_names(RECORDED)}, and if wanted of speakers ({', '.join(SPEAKERS.words)})"
        )
    columns = named or range(width)
    if not rows:
        raise UserError(f"{path} holds no recording, only a line of names")
    for number, row in rows:
        if len(row) != width or len(columns) not in (2, 3) or any(is_blank(row[n]) for n in columns):
            if named and len(row) == width:
                names = ", ".join(first[n].strip() for n in columns)
                raise UserError(
                    f"{path} line {number} has an empty cell below one of {names}; fill it in, or remove the line"
                )
            if named:
                have = f"{counted(len(row), 'column')} separated by tabs"
                raise UserError(f"{path} line {number} has {have}, the line of names has {width}")
            raise UserError(
                f"{path} line {number} must be the path of a WAV file, a tab and its words (and in all lines or none another"
                " tab and the name of the speaker)"
            )
    return [(number, [row[n] for n in columns]) for number, row in rows]


def _joined(utterances: Sequence[Utterance]) -> dict[str, str]:
    """For each speaker one that stands for all that are held out together, since they share
    recordings.
    """
    stands = {utterance.speaker: utterance.speaker for utterance in utterances}
    first: dict[str, str] = {}  # who has a sound

    def of(speaker: str) -> str:
        while stands[speaker] != speaker:
            speaker = stands[speaker]
        return speaker

    for utterance in utterances:
        one, other = of(utterance.speaker), of(first.setdefault(utterance.heard, utterance.speaker))
        stands[max(one, other)] = min(one, other)
    return {speaker: of(speaker) for speaker in stands}


def _split(path: str, utterances: Sequence[Utterance], joined: dict[str, str]) -> Spoken:
    """Hold out the speakers of the smallest hashes: the same ones wherever they are."""
    speakers = sorted(set(joined.values()), key=lambda name: hashlib.sha256(name.encode()).digest())
    count = int(len(speakers) * SHARE)
    if not count:
        what = "speaker" if utterances[0].speaker_named else "recording"
        raise UserError(
            f"{path} has {counted(len(speakers), f'different {what}')}, too few to hold some out;"
            f" {int(1 / SHARE) + 1} are needed"
        )
    part = {
        speaker: TEST if i < count else VALIDATION if i < 2 * count else TRAIN for i, speaker in enumerate(speakers)
    }
    parts: dict[str, list[Utterance]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for utterance in utterances:
        parts[part[joined[utterance.speaker]]].append(utterance)
    return Spoken(parts[TRAIN], parts[VALIDATION], {TEST: parts[TEST]})
