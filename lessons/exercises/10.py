"""Lesson 10: sequence to sequence. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def teacher_forcing(sentences, start, stop, pad):
    """Return what the decoder reads and what it must say: two arrays of integers (B, T).

    sentences: a list of lists of ids, of different lengths. A row that is read is the start token
    and the sentence; a row to be said is the sentence and the stop token. Both are filled up with
    ``pad`` on the right, to the length of the longest.
    """
    raise NotImplementedError("exercise 10.1")


def masked_loss(logits, targets, pad):
    """Return the mean cross-entropy over the targets that are not ``pad``, a Tensor without axes.

    logits: a Tensor (B, T, V). targets: an array of integers (B, T). Write it with
    ``F.log_softmax``; the loss of a place is minus the log-probability of its target. Logits at
    padding get no gradient.
    """
    raise NotImplementedError("exercise 10.2")


def last_states(states, lengths):
    """Return the state of each sentence at its last real word, a Tensor (B, H).

    states: a Tensor (B, T, H). lengths: an array (B,), how many words of each row are real; behind
    them is padding.
    """
    raise NotImplementedError("exercise 10.3")


def greedy(step, state, start, stop, limit):
    """Return the list of ids that are written, without start and stop.

    ``step(id, state)`` returns the log-probabilities (V,) of the word after ``id``, and the next
    state. Take the most probable word each time, until it is ``stop`` or ``limit`` words are
    written.
    """
    raise NotImplementedError("exercise 10.4")
