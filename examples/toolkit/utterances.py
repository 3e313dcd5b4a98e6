"""What is said, and by whom: utterances, and how they are made. (For recordings see
`toolkit.recordings`.)

The made ones are numbers, digits and commands; in training words in any order, too. A voice has a
pitch and a length of the vocal tract; the plane of the two is cut into regions, and a region is in
one part only: to train on, to validate by, or to test. What is said to validate by and to test is
not said in training. Some pairs of neighbouring words are kept from training wherever they stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.english_french import Dice
from toolkit.loading import digest
from toolkit.mel import log_mel
from toolkit.phonemes import PRONUNCIATIONS
from toolkit.speaking import RATE, Voice, say

__all__ = [
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Spoken",
    "Utterance",
    "features",
    "is_held_out",
    "number_words",
    "synthesised",
]

ONES = list(PRONUNCIATIONS)[:20]  # zero to nineteen
TENS = list(PRONUNCIATIONS)[20:28]  # twenty to ninety
VERBS, PLACES = ("go", "turn", "move"), ("left", "right", "up", "down", "back")
ACTIONS, THINGS = ("open", "close", "lock", "show"), ("door", "window", "light")
VOCABULARY = list(PRONUNCIATIONS)

TRAIN, VALIDATION, TEST = "train", "validation", "test"
VOICES = {TRAIN: 360, VALIDATION: 20, TEST: 40}
EACH = {TRAIN: 20, VALIDATION: 10, TEST: 10}  # utterances of a voice; of each kind to test
NOISES = (30.0, 20.0, 15.0, 10.0)  # decibels of speech above noise
REGIONS = 8  # steps of pitch, and of the tract, of women and of men
PAIRS = 8  # of so many pairs of words one is held out


@dataclass(frozen=True)
class Utterance:
    """Some words as said once: by a voice that is made, or in a recording."""

    words: str
    speaker: str
    voice: Voice | None = None
    seed: int = 0
    path: str = ""
    content: str = ""  # a fingerprint of the file of the recording
    sound: np.ndarray | None = field(default=None, repr=False, compare=False)  # (T,), of a recording

    @property
    def speaker_named(self) -> bool:
        """Whether it is known who says it; a recording without one stands for itself, by its
        path.
        """
        return self.speaker != self.path

    @property
    def heard(self) -> str:
        """What makes its sound itself: copies of a recording have it in common, whatever their
        names.
        """
        return f"{self.words}\t{self.speaker} {self.seed}" if self.sound is None else digest([self.sound.tobytes()])


@dataclass(frozen=True)
class Spoken:
    """Utterances in parts that share no speaker, if these are named; tests by their names.

    ``notes``: what became of the lines of a file.
    """

    train: list[Utterance]
    validation: list[Utterance]
    tests: dict[str, list[Utterance]]
    notes: tuple[str, ...] = ()


def features(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Log-mel features (S, F) of each; made utterances are said now."""
    new = [u for u in utterances if u.sound is None and u.voice is not None]
    said = iter(say([(u.words, u.voice, u.seed) for u in new if u.voice]))
    return [log_mel(next(said) if u.sound is None else u.sound, RATE) for u in utterances]


# --- made utterances ------------------------------------------------------------------------------


def synthesised(seed: int = 0) -> Spoken:
    """The utterances to train on, to validate by, and to test.

    All voices to test by say what training has not heard; in "unseen pairs" that has two neighbours
    which are kept from training, in "unseen voices" it has none.
    """
    dice = Dice(seed)
    numbers = iter(range(seed * 1_000_000, (seed + 1) * 1_000_000))
    voices = {part: [_voice(dice, part, number) for number in range(VOICES[part])] for part in VOICES}
    heard: set[str] = set()

    def some(part: str, wanted: bool) -> list[Utterance]:
        found, draw = [], _exercise if part == TRAIN else _saying
        for voice in voices[part]:
            for _ in range(EACH[part]):
                words = draw(dice)
                while is_held_out(words) != wanted or words in heard:
                    words = draw(dice)
                found.append(Utterance(words, voice.name, voice, next(numbers)))
        return found

    train = some(TRAIN, False)
    heard.update(utterance.words for utterance in train)
    validation = some(VALIDATION, False)
    return Spoken(train, validation, {"unseen voices": some(TEST, False), "unseen pairs": some(TEST, True)})


def is_held_out(words: str) -> bool:
    """Whether two neighbours are a pair that is never heard in training."""
    each = words.split()
    return any(_hash(f"{a} {b}") % PAIRS == 0 for a, b in zip(each, each[1:], strict=False))


def number_words(number: int) -> str:
    """A number from 0 to 999 in words.

    >>> number_words(742), number_words(300), number_words(15)
    ('seven hundred forty two', 'three hundred', 'fifteen')
    """
    hundreds, rest = divmod(number, 100)
    words = [ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        words += [TENS[rest // 10 - 2]] + ([ONES[rest % 10]] if rest % 10 else [])
    elif rest or not hundreds:
        words.append(ONES[rest])
    return " ".join(words)


def _exercise(dice: Dice) -> str:
    """Something to say in training: also single words, and words in any order, of which the next
    cannot be guessed without listening.
    """
    kind = dice.random()
    if kind < 0.15:
        return dice.pick(VOCABULARY)
    if kind < 0.4:
        return " ".join(dice.pick(VOCABULARY) for _ in range(2 + int(3 * dice.random())))
    return _saying(dice)


def _saying(dice: Dice) -> str:
    """A number, digits, or a command."""
    kind = dice.random()
    if kind < 0.25:
        return _number(dice)
    if kind < 0.5:
        return " ".join(dice.pick(ONES[:10]) for _ in range(2 + int(4 * dice.random())))
    if kind < 0.75:
        return " ".join([dice.pick(VERBS), dice.pick(PLACES)] + ([_number(dice)] if dice.chance(0.5) else []))
    return " ".join([dice.pick(ACTIONS), dice.pick(THINGS), "please" if dice.chance(0.3) else _number(dice)])


def _number(dice: Dice) -> str:
    return number_words(int(dice.random() * (1000 if dice.chance(0.4) else 100)))


def _voice(dice: Dice, part: str, number: int) -> Voice:
    """A voice whose region is one of ``part``."""
    while True:
        woman, pitch, tract = dice.chance(0.5), dice.random(), dice.random()
        place = int(REGIONS * pitch) + 3 * int(REGIONS * tract)
        if {0: TEST, 1: VALIDATION}.get(place % REGIONS, TRAIN) == part:
            break
    return Voice(
        f"{part} {number + 1}",
        pitch=160 * 1.6**pitch if woman else 85 * 1.7**pitch,
        tract=1.1 + 0.12 * tract if woman else 0.93 + 0.13 * tract,
        speed=0.85 + 0.4 * dice.random(),
        breath=0.005 + 0.03 * dice.random(),
        tilt=70 + 130 * dice.random(),
        shifts=(0.97 + 0.06 * dice.random(), 0.97 + 0.06 * dice.random(), 0.97 + 0.06 * dice.random()),
        noise=dice.pick(NOISES),
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
