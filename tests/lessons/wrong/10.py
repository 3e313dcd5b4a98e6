import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


def padded(rows, pad):
    length = max(map(len, rows))
    return np.array([list(row) + [pad] * (length - len(row)) for row in rows])


@wrong("10.1", "it would only copy")
def teacher_forcing(sentences, start, stop, pad):
    says = padded([[*row, stop] for row in sentences], pad)
    return says, says


@wrong("10.1", "the shift goes the wrong way")
def teacher_forcing(sentences, start, stop, pad):
    says = padded([[*row, stop] for row in sentences], pad)
    return np.pad(says[:, 1:], ((0, 0), (0, 1)), constant_values=pad), says


@wrong("10.1", "it would never learn to end")
def teacher_forcing(sentences, start, stop, pad):
    return padded([[start, *row] for row in sentences], pad), padded(sentences, pad)


@wrong("10.1", "right behind the last word")
def teacher_forcing(sentences, start, stop, pad):
    says = [[*row, stop] for row in padded(sentences, pad).tolist()]
    return padded([[start, *row] for row in sentences], pad), np.array(says)


@wrong("10.1", "the padding is on the left")
def teacher_forcing(sentences, start, stop, pad):
    length = 1 + max(map(len, sentences))
    reads = [[pad] * (length - 1 - len(row)) + [start, *row] for row in sentences]
    return np.array(reads), padded([[*row, stop] for row in sentences], pad)


@wrong("10.2", "padding has a loss too")
def masked_loss(logits, targets, pad):
    return F.cross_entropy(logits, targets)


@wrong("10.2", "divided by all places")
def masked_loss(logits, targets, pad):
    log_p = mt.take_along_axis(F.log_softmax(logits, axis=-1), targets[..., None], axis=-1)[..., 0]
    return -mt.where(targets != pad, log_p, 0.0).mean()


@wrong("10.2", "words of short sentences count more")
def masked_loss(logits, targets, pad):
    real = targets != pad
    log_p = mt.take_along_axis(F.log_softmax(logits, axis=-1), targets[..., None], axis=-1)[..., 0]
    return -(mt.where(real, log_p, 0.0).sum(axis=1) / real.sum(axis=1)).mean()


@wrong("10.2", "it must be over the words")
def masked_loss(logits, targets, pad):
    real = targets != pad
    log_p = mt.take_along_axis(F.log_softmax(logits, axis=1), targets[..., None], axis=-1)[..., 0]
    return -mt.where(real, log_p, 0.0).sum() / real.sum()


@wrong("10.2", "no gradient gets back")
def masked_loss(logits, targets, pad):
    return F.cross_entropy(logits.detach(), targets, ignore_index=pad)


@wrong("10.3", "at the end of the padding")
def last_states(states, lengths):
    return states[:, -1]


@wrong("10.3", "off by one")
def last_states(states, lengths):
    return states[np.arange(len(lengths)), np.minimum(lengths, states.shape[1]) % states.shape[1]]


@wrong("10.3", "take one of each row")
def last_states(states, lengths):
    return states[:, lengths - 1]


@wrong("10.3", "IndexError")
def last_states(states, lengths):
    return states[np.arange(len(lengths)), lengths]


@wrong("10.4", "it must read the newest word")
def greedy(step, state, start, stop, limit):
    written = []
    for _ in range(limit):
        log_p, state = step(start, state)
        if np.argmax(log_p) == stop:
            break
        written.append(int(np.argmax(log_p)))
    return written


@wrong("10.4", "the state does not move on")
def greedy(step, state, start, stop, limit):
    newest, written = start, []
    for _ in range(limit):
        log_p, _ = step(newest, state)
        newest = int(np.argmax(log_p))
        if newest == stop:
            break
        written.append(newest)
    return written


@wrong("10.4", "it ends the sentence and is no word")
def greedy(step, state, start, stop, limit):
    newest, written = start, []
    while newest != stop and len(written) < limit:
        log_p, state = step(newest, state)
        newest = int(np.argmax(log_p))
        written.append(newest)
    return written


@wrong("10.4", "it went on behind the stop token")
def greedy(step, state, start, stop, limit):
    newest, written = start, []
    for _ in range(limit):
        log_p, state = step(newest, state)
        newest = int(np.argmax(log_p))
        written.append(newest)
    return written


@wrong("10.4", "the start token is in the list")
def greedy(step, state, start, stop, limit):
    written = [start]
    while len(written) <= limit:
        log_p, state = step(written[-1], state)
        if np.argmax(log_p) == stop:
            break
        written.append(int(np.argmax(log_p)))
    return written


@wrong("10.4", "with limit 2 it wrote 3")
def greedy(step, state, start, stop, limit):
    newest, written = start, []
    while len(written) <= limit:
        log_p, state = step(newest, state)
        newest = int(np.argmax(log_p))
        if newest == stop:
            break
        written.append(newest)
    return written
