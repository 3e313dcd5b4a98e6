"""Gradients of some of the inputs: a rule may ask which of them are wanted, and is then held to
what it gives if all are.
"""

from __future__ import annotations

import itertools
import zlib

import numpy as np

from minitensor.testing.promises import compare

__all__ = ["check_each_input_alone", "check_pairs_alone"]

PAIRS = 3  # of three inputs


def check_each_input_alone(problem, rtol=1e-12, atol=1e-12):
    """The gradient of an input is the same whether or not others are wanted.

    Of many examples that are of one kind, the first has each input alone; in the others they take
    turns.
    """
    count = len(problem.wanted)
    if count < 2:
        return
    cotangents, together = problem.pulled_back
    first = problem.turns.is_first(problem)
    for k in range(count) if first else [problem.turns.passed % count]:
        i = problem.wanted[k]
        (alone,) = problem.gradients(cotangents, wanted=[i])
        what = f"the gradient of {problem.label(i)} wanted alone"
        compare(problem, what, alone, together[k], "that wanted with others", rtol, atol)


def check_pairs_alone(problem, rtol=1e-12, atol=1e-12):
    """The gradients of two inputs are the same if no other is wanted.

    Of more than three inputs, one pair is looked at that the elements choose, so that an example is
    looked at in the same way each time. Of many examples that are of one kind, the first alone is
    looked at.
    """
    if len(problem.wanted) < 3 or not problem.turns.is_first(problem):
        return
    cotangents, together = problem.pulled_back
    right = dict(zip(problem.wanted, together))
    for pair in _chosen(problem):
        names = " and ".join(problem.label(i) for i in pair)
        for i, gradient in zip(pair, problem.gradients(cotangents, wanted=list(pair))):
            what = f"the gradient of {problem.label(i)}, if {names} alone are wanted,"
            compare(problem, what, gradient, right[i], "that wanted with others", rtol, atol)


def _chosen(problem):
    pairs = list(itertools.combinations(problem.wanted, 2))
    if len(pairs) <= PAIRS:
        return pairs
    number = 0
    for value in problem.values:
        number = zlib.crc32(value.tobytes(), number) if isinstance(value, np.ndarray) else number
    order = np.random.default_rng(number).permutation(len(pairs))
    return [pairs[order[0]]]
