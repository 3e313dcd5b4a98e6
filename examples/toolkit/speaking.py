"""A formant synthesiser after Klatt ("Software for a cascade/parallel formant synthesizer", 1980),
much simplified.

    pulses of the voice -> low-pass -> (+ breath) -> formants 1 to 3, one behind the other -> sound
    hiss -> a resonator of its own                                                         -> sound

Each box is a resonator of second order, given by its frequency F and bandwidth W:

    y(t) = a x(t) + b y(t - 1) + c y(t - 2)
    c = -exp(-2 pi W / R)    b = 2 exp(-pi W / R) cos(2 pi F / R)    a = 1 - b - c

A voice is a pitch, a length of the vocal tract, which sets all formants, and the like. Many
utterances are computed side by side, one sample after the other.

Letters: N utterances, K frames of `FRAME` samples, T samples, R samples a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.phonemes import Segment, segments_of
from toolkit.samples import random_words

__all__ = ["RATE", "Voice", "say"]

RATE = 8000  # samples a second
FRAME = 40  # samples between changes of the resonators
MILLISECONDS = 1000 * FRAME / RATE  # that is 5
ROWS = 256  # utterances computed side by side
BOXES, HISS = 5, 4  # low-pass, three formants, and the resonator of the hiss
HIGHEST = 3700.0  # hertz, of any resonator
WIDTHS = (70.0, 100.0, 180.0)  # hertz, of the formants
MOVING = 0.35  # the share of a segment at either end in which its formants move
LOUD = 0.1  # root mean square of what is said, of 1 at the most


@dataclass(frozen=True)
class Voice:
    """Who speaks, and where: ``noise`` is decibels of the speech above the noise of the room."""

    name: str
    pitch: float = 120.0  # hertz
    tract: float = 1.0  # formants over those of a man: 1.17 is a woman's in the mean
    speed: float = 1.0
    breath: float = 0.01  # noise within the voice
    tilt: float = 100.0  # hertz, the bandwidth of the low-pass: less is duller
    shifts: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of each formant, beside the tract's
    noise: float = 30.0


def _unit_numbers(seed: int, stream: int, count: int) -> np.ndarray:
    """``count`` numbers of [0, 1) that depend on (seed, stream) alone, the same everywhere."""
    return (random_words(seed, stream, count) >> np.uint64(11)) * 2.0**-53


def _noise(seed: int, stream: int, count: int) -> np.ndarray:
    """White noise from -1 to 1, ``count`` samples; four of a word of random bits."""
    words = random_words(seed, stream, -(-count // 4)).astype("<u8").view("<u2")
    return words[:count] / 32767.5 - 1


def say(what: Sequence[tuple[str, Voice, int]]) -> list[np.ndarray]:
    """Sounds (T,) float32, of words, the voice that says them, and a seed of what is never twice
    the same.

    The words are those of `phonemes.PRONUNCIATIONS`.
    """
    plans = [_plan(words, voice, seed) for words, voice, seed in what]
    order = sorted(range(len(what)), key=lambda index: len(plans[index].pitch))
    made: list[np.ndarray] = [np.zeros(0)] * len(what)
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        sounds = _synthesise([plans[row] for row in rows], [what[row][2] for row in rows])
        for row, sound in zip(rows, sounds, strict=True):
            voice, seed = what[row][1:]
            made[row] = _in_a_room(sound[: FRAME * len(plans[row].pitch)], voice, seed)
    return made


# --- what is to be done -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """The course of an utterance, frame by frame."""

    pitch: np.ndarray  # (K,) hertz
    loud: np.ndarray  # (K, 3) voice, breath, hiss
    centres: np.ndarray  # (K, BOXES) hertz
    widths: np.ndarray  # (K, BOXES) hertz


def _plan(words: str, voice: Voice, seed: int) -> _Plan:
    """The frames of an utterance; lengths, pauses and the melody differ from one to the next."""
    random = iter(_unit_numbers(seed, 1, 64 + 24 * len(words)))
    segments = _segments(words, random)
    lengths = np.array([s.milliseconds / MILLISECONDS / voice.speed * (0.85 + 0.3 * next(random)) for s in segments])
    ends = np.rint(np.cumsum(lengths)).astype(int)  # (segments,) in frames
    frames = np.arange(ends[-1])
    which = np.searchsorted(ends, frames, side="right")  # (K,) the segment of each frame
    loud = np.array([(s.voice, s.breath, s.hiss) for s in segments])[which]
    loud[:, 1] += voice.breath * loud[:, 0]
    around = np.pad(loud, ((1, 1), (0, 0)), "edge")
    loud = (around[:-2] + 2 * around[1:-1] + around[2:]) / 4  # nothing starts at once
    hiss = np.array([s.hiss_at for s in segments])[which]  # (K, 2)
    still = np.ones(len(frames))
    centres = np.stack([0 * still, *_formants(segments, ends, voice), hiss[:, 0]], axis=1)
    widths = np.stack([voice.tilt * still, *(width * still for width in WIDTHS), hiss[:, 1]], axis=1)
    t = frames / len(frames)
    wave = 0.05 * np.sin(2 * np.pi * (next(random) + (1 + next(random)) * t))
    return _Plan(voice.pitch * (1.1 - 0.2 * t + wave), loud, np.minimum(centres, HIGHEST), widths)


def _segments(words: str, random: Iterator[float]) -> list[Segment]:
    """The segments of all words, with silence around them and short pauses between some."""
    segments = [Segment(60 + 100 * next(random))]
    for number, word in enumerate(words.split()):
        if number:
            segments.append(Segment(max(0.0, 160 * next(random) - 60)))
        segments += segments_of(word)
    return [*segments, Segment(60 + 100 * next(random))]


def _formants(segments: Sequence[Segment], ends: np.ndarray, voice: Voice) -> list[np.ndarray]:
    """The first three formants (K,) of each frame: steady in the middle of a segment that has some,
    and on straight ways in between.
    """
    targets = np.array([(s.formants or (np.nan,) * 3) for s in segments]) * voice.tract * voice.shifts
    starts = np.concatenate([[0], ends[:-1]])
    known = np.flatnonzero(np.isfinite(targets[:, 0]))
    moments = starts[known, None] + (ends - starts)[known, None] * np.array([MOVING, 1 - MOVING])
    return [np.interp(np.arange(ends[-1]), moments.reshape(-1), np.repeat(targets[known, i], 2)) for i in range(3)]


# --- how it sounds --------------------------------------------------------------------------------


def _synthesise(plans: Sequence[_Plan], seeds: Sequence[int]) -> np.ndarray:
    """The sounds (N, T) of plans; what is behind the end of one is not to be used."""
    n, longest = len(plans), max(len(plan.pitch) for plan in plans)

    def together(name: str) -> np.ndarray:  # (K, ..., N), the last frame of the shorter ones repeated
        rows = [getattr(plan, name) for plan in plans]
        return np.stack([row[np.minimum(np.arange(longest), len(row) - 1)] for row in rows], axis=-1)

    loud = together("loud")  # (K, 3, N)
    steps = together("pitch") / RATE  # (K, N) periods a sample
    phases = np.cumsum(FRAME * steps, axis=0) - FRAME * steps  # (K, N) at the start of each frame
    noise = np.stack([_noise(seed, 2, longest * FRAME) for seed in seeds], axis=1)  # (T, N)
    a, b, c = _coefficients(together("centres"), together("widths"))  # (K, BOXES, N)
    x, y, y1, y2, part = (np.zeros((BOXES, n)) for _ in range(5))
    sound = np.zeros((longest * FRAME, n))
    within = np.arange(FRAME + 1)[:, None]
    for k in range(longest):
        here = slice(k * FRAME, (k + 1) * FRAME)
        pulses = np.diff(np.floor(phases[k] + within * steps[k]), axis=0) * loud[k, 0]  # (FRAME, N)
        breath, hiss = noise[here] * loud[k, 1], noise[here] * loud[k, 2]
        for t, heard in enumerate(sound[here]):
            # A box gets what the one before gave a sample ago, so that all are computed at once.
            x[1:HISS] = y1[: HISS - 1]
            x[0], x[HISS] = pulses[t], hiss[t]
            x[1] += breath[t]
            np.multiply(a[k], x, out=y)
            y += np.multiply(b[k], y1, out=part)
            y += np.multiply(c[k], y2, out=part)
            np.add(y[HISS - 1], y[HISS], out=heard)
            y, y1, y2 = y2, y, y1
    return np.diff(sound, axis=0, prepend=0).T  # what leaves a mouth is the derivative of the flow


def _coefficients(centres: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b and c of resonators, all (K, BOXES, N)."""
    radius = np.exp(-np.pi * widths / RATE)
    b, c = 2 * radius * np.cos(2 * np.pi * centres / RATE), -(radius**2)
    a = 1 - b - c
    # The hiss has no formants behind it that would make up for its frequency: 1 at its middle.
    r, angle = radius[:, HISS], 4 * np.pi * centres[:, HISS] / RATE
    a[:, HISS] = (1 - r) * np.sqrt(1 - 2 * r * np.cos(angle) + r**2)
    return a, b, c


def _in_a_room(sound: np.ndarray, voice: Voice, seed: int) -> np.ndarray:
    """The sound at its usual loudness, with the noise of the room."""
    level = np.sqrt(np.mean(sound**2)) or 1.0
    noise = np.sqrt(3) * _noise(seed, 3, len(sound)) * 10 ** (-voice.noise / 20)
    return (LOUD * (sound / level + noise)).astype(np.float32)
