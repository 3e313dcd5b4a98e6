"""Recordings of a person's own, and what is said in them, as utterances in parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.blank import is_blank
from toolkit.console import UserError, counted, note
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
    """Recordings by a file of lines ``path.wav<TAB>words``, or ``path.wav<TAB>words<TAB>speaker``.

    Paths are relative to the folder of the file; of the words there is what `spoken_words` gives.
    If every line names its speaker, a speaker is in one part only, otherwise each recording stands
    for itself. Speakers who share a recording, and copies of one, stay together; what is repeated
    with the same words is read once; stderr says so. whole: all are there to be tested by.

    Raises UserError for a bad line, words of which nothing is said, what `read_utterance` refuses,
    and too few speakers to hold some out.
    """
    rows = [(n, line.split("\t")) for n, line in enumerate(lines_of(read_text(path)), start=1) if not is_blank(line)]
    if not rows:
        raise UserError(f"{path} holds no line")
    folder = os.path.dirname(os.path.abspath(path))
    width, found = len(rows[0][1]), []
    for number, row in rows:
        if len(row) != width or width not in (2, 3) or any(map(is_blank, row)):
            raise UserError(
                f"{path} line {number} must be the path of a WAV file, a tab and its words (and in all lines or none"
                " another tab and the name of the speaker)"
            )
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
        speaker = row[2].strip() if width == 3 else name
        found.append(Utterance(words, speaker, path=name, content=content, sound=sound))
    kept = {(utterance.heard, utterance.words): utterance for utterance in reversed(found)}  # the first of each
    different = len({utterance.heard for utterance in found})
    if different < len(found):
        note(
            f"{path}: of {counted(len(found), 'recording')} {len(found) - different:,} repeat others; copies stay in one"
            f" part, and those with the same words, {len(found) - len(kept):,}, are left out"
        )
    utterances = list(reversed(kept.values()))
    return Spoken([], [], {"all": utterances}) if whole else _split(path, utterances, _joined(found))


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
        what = "recording" if utterances[0].speaker == utterances[0].path else "speaker"
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
