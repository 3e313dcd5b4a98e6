"""Lesson 13, the answers."""

from collections import Counter

import minitensor as mt
import minitensor.nn.functional as F


def smoothed_loss(logits, targets, smoothing):
    """The target's part, and everybody's."""
    log_p = F.log_softmax(logits, axis=-1)
    picked = mt.take_along_axis(log_p, targets[:, None], axis=-1)[:, 0]
    return -((1 - smoothing) * picked + smoothing * log_p.mean(axis=-1)).mean()


def learning_rate(step, d_model, warmup):
    """The two are equal at step = warmup."""
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


def beam_search(next_words, beam, stop, limit):
    """Greedy search is a beam of 1."""
    growing, done = [(0.0, [])], []
    for _ in range(limit):
        grown = [(score + p, [*row, word]) for score, row in growing for word, p in enumerate(next_words(row))]
        best = sorted(grown, key=lambda pair: -pair[0])[:beam]
        done += [pair for pair in best if pair[1][-1] == stop]
        growing = [pair for pair in best if pair[1][-1] != stop]
        if not growing:
            break
    score, row = max(done, key=lambda pair: pair[0])
    return row[:-1], float(score)


def clipped_precision(candidate, reference, n):
    """``&`` of two counters is the smaller of each count."""
    ours, theirs = (
        Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (candidate, reference)
    )
    total = sum(ours.values())
    return sum((ours & theirs).values()) / total if total else 0.0
