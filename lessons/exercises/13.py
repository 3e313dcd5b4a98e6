"""Lesson 13: the translator. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def smoothed_loss(logits, targets, smoothing):
    """Return the mean label-smoothed cross-entropy, a Tensor without axes.

    logits: a Tensor (N, V). targets: an array of N integers. The model is asked for the
    distribution that gives ``1 - smoothing`` to the target, and in addition ``smoothing / V`` to
    each of the V words. The loss of a place is minus the sum of asked times log-probability.
    """
    raise NotImplementedError("exercise 13.1")


def learning_rate(step, d_model, warmup):
    """Return the learning rate of the Transformer paper in step 1, 2, 3, ...:

        d_model ** -0.5 * min(step ** -0.5, step * warmup ** -1.5)

    It rises in a straight line for ``warmup`` steps, and then falls.
    """
    raise NotImplementedError("exercise 13.2")


def beam_search(next_words, beam, stop, limit):
    """Return the best row of ids (a list, without stop) and its log-probability.

    ``next_words(row)`` returns the log-probabilities (V,) of the word after the list ``row``. Begin
    with the empty row. In each step, let every growing row grow by every word, and keep the
    ``beam`` rows with the largest *sums* of log-probabilities. A row that ends in ``stop`` is done
    and grows no more. After ``limit`` words, or if no row grows any more, return the best of those
    that are done. You may take it that there is one.
    """
    raise NotImplementedError("exercise 13.3")


def clipped_precision(candidate, reference, n):
    """Return the share of the candidate's n-grams that are in the reference, as BLEU counts it.

    Both are lists of words. An n-gram that is c times in the candidate and r times in the reference
    counts min(c, r) times. The share is of all n-grams of the candidate; 0 if it has none.
    """
    raise NotImplementedError("exercise 13.4")
