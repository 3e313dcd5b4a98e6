"""Lesson 7: a layer, a loss, Adam. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt


def initial_weight(rng, n_in, n_out):
    """Return the first weights of a layer, an array (n_in, n_out), drawn from ``rng``.

    Normal numbers with mean 0, so large that ``x @ weight`` is about as large as x: with a variance
    of ``1 / n_in``. rng is NumPy's, and has ``rng.standard_normal(shape)``.
    """
    raise NotImplementedError("exercise 7.1")


def cross_entropy(logits, labels):
    """Return the mean of ``-log(softmax(logits)[i, labels[i]])``, a Tensor with one number.

    logits: a Tensor (N, C), also of large numbers such as 1000, which must not overflow. labels: an
    array of N whole numbers. ``mt.logsumexp`` helps.
    """
    raise NotImplementedError("exercise 7.2")


def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    """Return the new ``(p, m, v)`` after a step of Adam.

    p: the parameter, g: its gradient, m and v: the running means of g and of g², arrays of one
    shape. t: which step this is, from 1. The means are updated first; then they are divided by
    ``1 - a ** t`` and ``1 - b ** t`` for the step, but returned as they are. eps is added to the
    root of the divided v.
    """
    raise NotImplementedError("exercise 7.3")
