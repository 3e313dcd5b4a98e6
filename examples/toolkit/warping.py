"""Words known by their recordings alone: one-stage dynamic time warping, as it was done before
networks (Ney, "The use of a one-stage dynamic programming algorithm for connected word
recognition", 1984).

    cost(t, j) = distance(t, j) + min(cost(t - 1, j), cost(t - 1, j - 1), cost(t - 1, j - 2))

for moment t of an utterance and moment j of a template, which is a word said alone by somebody; a
template begins where the best one of the moment before has ended, for a price. The answer is the
sequence of templates of the least cost.

Letters: S moments of an utterance, J moments of all templates together, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Templates"]

EVERY = 3  # moments of 10 ms from one that is compared to the next
ENTRY = 3.0  # the price of a word
QUIET = 0.3  # of the way from the quietest to the loudest moment of a recording, where its word begins
PAUSES = 8  # moments of silence that are templates, too
SILENCE = ""  # what they say


class Templates:
    """Words as they were said alone."""

    def __init__(self, words: Sequence[str], sounds: Sequence[np.ndarray]) -> None:
        """``sounds`` are features (S, F); their quiet beginnings and ends are cut off, and some of
        these are the templates of silence.
        """
        compared = [sound[::EVERY] for sound in sounds]
        spoken = [_is_spoken(sound) for sound in compared]
        rows = [sound[active] for sound, active in zip(compared, spoken, strict=True)]
        quiet = np.concatenate([sound[~active] for sound, active in zip(compared, spoken, strict=True)])
        pauses = quiet[np.linspace(0, len(quiet) - 1, min(PAUSES, len(quiet))).astype(int)]
        rows += [pause[None] for pause in pauses]
        self.words = [*words, *[SILENCE] * len(pauses)]
        self._frames = np.concatenate(rows)  # (J, F)
        ends = np.cumsum([len(row) for row in rows])
        self._last, self._first = ends - 1, np.concatenate([[0], ends[:-1]])
        # Where a step of two would come from another template.
        self._early = np.unique(np.concatenate([self._first, np.minimum(self._first + 1, self._last)]))
        self._price = np.where([word == SILENCE for word in self.words], 0.0, ENTRY)

    def transcribe(self, sound: np.ndarray) -> str:
        """The words of an utterance, features (S, F)."""
        x = sound[::EVERY]
        squares = (x**2).sum(1)[:, None] + (self._frames**2).sum(1) - 2 * x @ self._frames.T
        distances = np.sqrt(np.maximum(squares, 0))  # (S, J)
        count = len(self._frames)
        places = np.arange(count)
        cost, since = np.full(count, np.inf, np.float32), np.zeros(count, int)  # and when its template was begun
        best, trace = 0.0, []
        for t, distance in enumerate(distances):
            one, two = np.roll(cost, 1), np.roll(cost, 2)
            one[self._first], two[self._early] = best + self._price, np.inf
            step = (one < cost).astype(int)
            least = np.minimum(cost, one)
            step[two < least] = 2
            cost = np.minimum(least, two) + distance
            since = since[places - step]
            since[self._first[step[self._first] == 1]] = t
            ended = int(cost[self._last].argmin())
            best = float(cost[self._last[ended]])
            trace.append((ended, since[self._last[ended]]))
        found, t = [], len(trace) - 1
        while t >= 0:
            template, begun = trace[t]
            found.append(self.words[template])
            t = begun - 1
        return " ".join(word for word in reversed(found) if word != SILENCE)


def _is_spoken(sound: np.ndarray) -> np.ndarray:
    """Which moments (S,) of a word said alone lie from its first to its last loud one."""
    level = sound.mean(axis=1)
    loud = np.flatnonzero(level >= level.min() + QUIET * np.ptp(level))
    spoken = np.zeros(len(level), dtype=bool)
    spoken[max(0, loud[0] - 2) : loud[-1] + 3] = True  # and a little around
    return spoken
