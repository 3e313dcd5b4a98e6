"""Lesson 14, the answers."""

import numpy as np


def next_word_probabilities(logits, temperature, k):
    """Cut first, so that the softmax shares everything among the kept."""
    kept = np.full(len(logits), -np.inf)
    best = np.argsort(-logits)[:k]
    kept[best] = logits[best] / temperature
    e = np.exp(kept - kept.max())
    return e / e.sum()


def hide(ids, chosen, what, random_words, mask_id):
    """What is shown may be anything; what is asked for is the word."""
    shown = np.choose(what, [np.full_like(ids, mask_id), random_words, ids])
    return np.where(chosen, shown, ids), np.where(chosen, ids, -100)


def corrupt(ids, spans, sentinels):
    """What is cut out of the one stands in the other."""
    source, target, place = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels):
        source += [*ids[place:start], sentinel]
        target += [sentinel, *ids[start:end]]
        place = end
    return source + ids[place:], [*target, sentinels[len(spans)]]


def distance_bias(table, length):
    """A number for each distance, wherever it is."""
    m = len(table) // 2
    steps = np.arange(length)
    return table[np.clip(steps - steps[:, None], -m, m) + m]


def patches(image, size):
    """Cut both axes in two, bring the places of the patches to the front."""
    C, H, W = image.shape
    cut = image.reshape(C, H // size, size, W // size, size)
    return cut.transpose(1, 3, 0, 2, 4).reshape(-1, C * size * size)
