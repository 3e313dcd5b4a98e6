"""The sounds of English words, as a formant synthesiser makes them: tables alone.

A sound is one or more segments, and a segment is what the vocal tract and its three sources do for
some milliseconds: the targets of the first three formants, and how loud the voice (pulses of the
vocal folds), the breath (noise of the open folds) and the hiss (noise at a narrow place in the
mouth) are. Vowels have the formants that Peterson and Barney measured on 33 men ("Control methods
used in a study of the vowels", 1952, table II); consonants those of Klatt ("Software for a
cascade/parallel formant synthesizer", 1980, table III). Amplitudes, durations and the places of
hisses are our own, for sounds of up to 4 kHz.

The names of sounds are those of ARPAbet, as in the CMU pronouncing dictionary; "0" behind a vowel
is one without stress.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

__all__ = ["PRONUNCIATIONS", "Segment", "segments_of"]

Formants = tuple[float, float, float]

VOWELS: dict[str, Formants] = {  # hertz, of men
    "IY": (270, 2290, 3010),
    "IH": (390, 1990, 2550),
    "EH": (530, 1840, 2480),
    "AE": (660, 1720, 2410),
    "AA": (730, 1090, 2440),
    "AO": (570, 840, 2410),
    "UH": (440, 1020, 2240),
    "UW": (300, 870, 2240),
    "AH": (640, 1190, 2390),
    "ER": (490, 1350, 1690),
}
DIPHTHONGS = {"AY": ("AA", "IH"), "EY": ("EH", "IY"), "OW": ("AO", "UW"), "AW": ("AA", "UH")}
SONORANTS: dict[str, Formants] = {
    "W": (290, 610, 2150),
    "Y": (260, 2070, 3020),
    "R": (310, 1060, 1380),
    "L": (310, 1050, 2880),
    "M": (480, 1270, 2130),
    "N": (480, 1340, 2470),
}
# Formants of the neighbours' transitions; the middle of the hiss and its width in hertz, and how
# loud it is.
FRICATIVES: dict[str, tuple[Formants, tuple[float, float], float]] = {
    "F": ((340, 1100, 2080), (1800, 2500), 0.04),
    "TH": ((320, 1290, 2540), (2900, 2000), 0.03),
    "S": ((320, 1390, 2530), (3700, 700), 0.20),
    "SH": ((300, 1840, 2750), (2500, 600), 0.25),
}
STOPS: dict[str, tuple[Formants, tuple[float, float], float]] = {
    "P": ((400, 1100, 2150), (900, 900), 0.10),
    "T": ((400, 1600, 2600), (3500, 900), 0.16),
    "K": ((300, 1990, 2850), (1900, 500), 0.16),
}
# The voiced sounds, which are made at the same places as the voiceless ones.
VOICED_FRICATIVES, VOICED_STOPS = {"V": "F", "DH": "TH", "Z": "S"}, {"B": "P", "D": "T", "G": "K"}
UNSTRESSED = 0.6  # of the length of a vowel with stress, and of its loudness


@dataclass(frozen=True)
class Segment:
    """What the vocal tract does for some ``milliseconds``; amplitudes are relative to a vowel's.

    ``formants`` None: whatever the neighbours have.
    """

    milliseconds: float
    formants: Formants | None = None
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    hiss_at: tuple[float, float] = (2000, 2000)  # middle and width in hertz


# A word, and its sounds.
PRONUNCIATIONS = {
    word: tuple(sounds.split())
    for word, sounds in {
        "zero": "Z IH R OW", "one": "W AH N", "two": "T UW", "three": "TH R IY", "four": "F AO R", "five": "F AY V",
        "six": "S IH K S", "seven": "S EH V AH0 N", "eight": "EY T", "nine": "N AY N", "ten": "T EH N",
        "eleven": "IH0 L EH V AH0 N", "twelve": "T W EH L V", "thirteen": "TH ER0 T IY N", "fourteen": "F AO R T IY N",
        "fifteen": "F IH F T IY N", "sixteen": "S IH K S T IY N", "seventeen": "S EH V AH0 N T IY N",
        "eighteen": "EY T IY N", "nineteen": "N AY N T IY N", "twenty": "T W EH N T IY0", "thirty": "TH ER T IY0",
        "forty": "F AO R T IY0", "fifty": "F IH F T IY0", "sixty": "S IH K S T IY0", "seventy": "S EH V AH0 N T IY0",
        "eighty": "EY T IY0", "ninety": "N AY N T IY0", "hundred": "HH AH N D R AH0 D",
        "turn": "T ER N", "go": "G OW", "move": "M UW V", "left": "L EH F T", "right": "R AY T", "up": "AH P",
        "down": "D AW N", "back": "B AE K", "open": "OW P AH0 N", "close": "K L OW Z", "lock": "L AA K",
        "door": "D AO R", "window": "W IH N D OW0", "light": "L AY T", "call": "K AO L", "stop": "S T AA P",
        "start": "S T AA R T", "yes": "Y EH S", "no": "N OW", "please": "P L IY Z", "show": "SH OW",
    }.items()
}  # fmt: skip


def _sounds() -> dict[str, tuple[Segment, ...]]:
    """The segments of each sound."""
    made: dict[str, tuple[Segment, ...]] = {
        name: (Segment(130, formants, voice=1.0),) for name, formants in VOWELS.items()
    }
    for name, (first, last) in DIPHTHONGS.items():
        made[name] = (Segment(95, VOWELS[first], voice=1.0), Segment(75, VOWELS[last], voice=0.8))
    for name, formants in SONORANTS.items():
        made[name] = (Segment(65, formants, voice=0.3 if name in "MN" else 0.55),)
    for name, (formants, at, loud) in FRICATIVES.items():
        made[name] = (Segment(105, formants, hiss=loud, hiss_at=at),)
    for name, like in VOICED_FRICATIVES.items():
        formants, at, loud = FRICATIVES[like]
        made[name] = (Segment(65, formants, voice=0.3, hiss=0.5 * loud, hiss_at=at),)
    for name, (formants, at, loud) in STOPS.items():
        closed = Segment(60, formants)
        burst = Segment(12, formants, hiss=loud, hiss_at=at, breath=0.3 * loud)
        made[name] = (closed, burst, Segment(35, breath=0.05))
    for name, like in VOICED_STOPS.items():
        formants, at, loud = STOPS[like]
        made[name] = (Segment(50, formants, voice=0.12), Segment(10, formants, 0.3, hiss=0.6 * loud, hiss_at=at))
    made["HH"] = (Segment(60, breath=0.06),)
    return made


SOUNDS = _sounds()


@cache
def segments_of(word: str) -> tuple[Segment, ...]:
    """The segments of a word of `PRONUNCIATIONS`, one after the other."""
    found: list[Segment] = []
    for sound in PRONUNCIATIONS[word]:
        for segment in SOUNDS[sound.rstrip("0")]:
            weak = sound.endswith("0")
            length, voice = (UNSTRESSED * x if weak else x for x in (segment.milliseconds, segment.voice))
            found.append(replace(segment, milliseconds=length, voice=voice))
    return tuple(found)
