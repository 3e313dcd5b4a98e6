"""Lesson 14: the family. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np


def next_word_probabilities(logits, temperature, k):
    """Return the probabilities (V,) from which a GPT draws its next word, an array.

    logits: an array (V,). Only the ``k`` words with the largest logits are kept, the others get
    the probability 0. The kept logits are divided by the temperature, and a softmax makes them add
    up to 1. A low temperature makes the likeliest word still likelier.
    """
    raise NotImplementedError("exercise 14.1")


def hide(ids, chosen, what, random_words, mask_id):
    """Return BERT's input and its targets, two arrays of integers (B, T).

    ids (B, T). chosen (B, T), True at the words that are asked for: their targets are the words
    themselves, all other targets are -100. what (B, T) says what the input shows at a chosen place:
    0 the ``mask_id``, 1 the word of ``random_words`` (B, T) there, 2 the word as it was.
    """
    raise NotImplementedError("exercise 14.2")


def corrupt(ids, spans, sentinels):
    """Return T5's source and target, two lists of ids.

    ids: a list. spans: a list of pairs (start, end), in order, apart from each other; the words
    ids[start:end] are cut out. In the source the n-th sentinel stands in the place of the n-th
    span. The target is the first sentinel and the first span, the second sentinel and the second
    span, ..., and one sentinel more, which says that nothing follows.
    """
    raise NotImplementedError("exercise 14.3")


def distance_bias(table, length):
    """Return the bias (length, length) that T5 adds to the scores, an array.

    table: an array of 2 m + 1 numbers, for the distances -m, ..., 0, ..., m of key minus query.
    Larger distances take the number of m or of -m. Rows are queries, columns keys.
    """
    raise NotImplementedError("exercise 14.4")


def patches(image, size):
    """Return the patches of an image (C, H, W) as rows: an array (N, C * size * size).

    Patches are squares of ``size`` by ``size`` pixels, in reading order: from left to right, then
    down. A row has the first channel's pixels in reading order, then the second channel's, ...
    H and W are multiples of size.
    """
    raise NotImplementedError("exercise 14.5")
