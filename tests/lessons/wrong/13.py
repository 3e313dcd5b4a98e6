from collections import Counter

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("13.1", "missing its V")
def smoothed_loss(logits, targets, smoothing):
    log_p = F.log_softmax(logits, axis=-1)
    picked = mt.take_along_axis(log_p, targets[:, None], axis=-1)[:, 0]
    return -((1 - smoothing) * picked + smoothing * log_p.sum(axis=-1)).mean()


@wrong("13.1", "smoothing / (V - 1)")
def smoothed_loss(logits, targets, smoothing):
    V = logits.shape[-1]
    asked = np.full(logits.shape, smoothing / (V - 1))
    asked[np.arange(len(targets)), targets] = 1 - smoothing
    return -(F.log_softmax(logits, axis=-1) * asked).sum(axis=-1).mean()


@wrong("13.1", "must give up what the others get")
def smoothed_loss(logits, targets, smoothing):
    return F.cross_entropy(logits, targets) - smoothing * F.log_softmax(logits, axis=-1).mean()


@wrong("13.1", "what is asked of it should be")
def smoothed_loss(logits, targets, smoothing):
    V = logits.shape[-1]
    p = (1 - smoothing) * F.softmax(logits, axis=-1) + smoothing / V
    return -mt.log(mt.take_along_axis(p, targets[:, None], axis=-1)).mean()


@wrong("13.2", "it is the smaller, min")
def learning_rate(step, d_model, warmup):
    return d_model**-0.5 * max(step**-0.5, step * warmup**-1.5)


@wrong("13.2", "there is no warm-up")
def learning_rate(step, d_model, warmup):
    return (d_model * step) ** -0.5


@wrong("13.2", "d_model is missing")
def learning_rate(step, d_model, warmup):
    return min(step**-0.5, step * warmup**-1.5)


@wrong("13.2", "both must be equal")
def learning_rate(step, d_model, warmup):
    return d_model**-0.5 * min(step**-0.5, step * warmup**-0.5)


@wrong("13.3", "this is what greedy search finds")
def beam_search(next_words, beam, stop, limit):
    row, score = [], 0.0
    for _ in range(limit):
        p = next_words(row)
        word = int(np.argmax(p))
        score += p[word]
        if word == stop:
            break
        row.append(word)
    return row, score


@wrong("13.3", "the log-probabilities of a row add up")
def beam_search(next_words, beam, stop, limit):
    growing, done = [(0.0, [])], []
    for _ in range(limit):
        grown = [(p, [*row, word]) for _, row in growing for word, p in enumerate(next_words(row))]
        best = sorted(grown, key=lambda pair: -pair[0])[:beam]
        done += [pair for pair in best if pair[1][-1] == stop]
        growing = [pair for pair in best if pair[1][-1] != stop]
    score, row = done[0]
    return row[:-1], score


@wrong("13.3", "a row that has stopped grew on")
def beam_search(next_words, beam, stop, limit):
    rows = [(0.0, [])]
    for _ in range(limit):
        grown = [(score + p, [*row, word]) for score, row in rows for word, p in enumerate(next_words(row))]
        rows = sorted(grown, key=lambda pair: -pair[0])[:beam]
    return rows[0][1], rows[0][0]


@wrong("13.3", "leave it out")
def beam_search(next_words, beam, stop, limit):
    growing, done = [(0.0, [])], []
    for _ in range(limit):
        grown = [(score + p, [*row, word]) for score, row in growing for word, p in enumerate(next_words(row))]
        best = sorted(grown, key=lambda pair: -pair[0])[:beam]
        done += [pair for pair in best if pair[1][-1] == stop]
        growing = [pair for pair in best if pair[1][-1] != stop]
    score, row = max(done)
    return row, score


@wrong("13.3", "a better one is done later")
def beam_search(next_words, beam, stop, limit):
    growing = [(0.0, [])]
    for _ in range(limit):
        grown = [(score + p, [*row, word]) for score, row in growing for word, p in enumerate(next_words(row))]
        done = [pair for pair in grown if pair[1][-1] == stop]
        if done:
            score, row = max(done)
            return row[:-1], score
        growing = sorted(grown, key=lambda pair: -pair[0])[:beam]


@wrong("13.3", "rows of one length grow")
def beam_search(next_words, beam, stop, limit):
    growing, done = [(0.0, [])], []
    for _ in range(limit):
        grown = []
        for score, row in growing:
            p = next_words(row)
            grown += [(score + p[word], [*row, int(word)]) for word in np.argsort(-p)[:beam]]
        done += [pair for pair in grown if pair[1][-1] == stop]
        growing = [pair for pair in grown if pair[1][-1] != stop]
    score, row = max(done)
    return row[:-1], score


@wrong("13.4", "not clipped")
def clipped_precision(candidate, reference, n):
    ours, theirs = ([tuple(text[i : i + n]) for i in range(len(text) - n + 1)] for text in (candidate, reference))
    return sum(gram in theirs for gram in ours) / len(ours)


@wrong("13.4", "each word counts once")
def clipped_precision(candidate, reference, n):
    ours, theirs = ([tuple(text[i : i + n]) for i in range(len(text) - n + 1)] for text in (candidate, reference))
    return len(set(ours) & set(theirs)) / len(ours)


@wrong("13.4", "that is recall")
def clipped_precision(candidate, reference, n):
    ours, theirs = (
        Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (candidate, reference)
    )
    return sum((ours & theirs).values()) / sum(theirs.values())


@wrong("13.4", "these are single words")
def clipped_precision(candidate, reference, n):
    return sum((Counter(candidate) & Counter(reference)).values()) / len(candidate)


@wrong("13.4", "ZeroDivisionError")
def clipped_precision(candidate, reference, n):
    ours, theirs = (
        Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (candidate, reference)
    )
    return sum((ours & theirs).values()) / sum(ours.values())
