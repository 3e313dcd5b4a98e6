"""Slopes at points near by, where a function may be smooth beside a point at which it is not."""

from __future__ import annotations

import itertools

import numpy as np

from minitensor.testing.packing import freeze

__all__ = ["near_by", "outputs_beside", "slopes_near"]

NEAR = (1e-5, 1e-7, 1e-9)  # how far the points near by are, as a part of the elements or of 1
POINTS, MOST_POINTS = 12, 64  # of each distance, at the least and at the most


def near_by(lines, place):
    """``(low, high, mask)``: for each output the least and the greatest slope along one element at
    points near by, and where these differ however near the points are.

    There an output has no derivative, though it may not move with the element alone: of three equal
    numbers that are sorted, each alone becomes the first or the last. The slopes near by span
    Clarke's generalized gradient (Clarke 1983, section 2.5), of which a rule may give any. Among
    equal elements, with which it may be tied, it takes each rank at one of the points; and among
    those of its size as well, if some have the other sign.
    """
    rng = np.random.default_rng(0)
    ties = _ties(lines.value, place)
    points = [(tied, number) for tied in ties for number in range(min(max(POINTS, len(tied) + 1), MOST_POINTS))]
    with np.errstate(all="ignore"):
        seen = []
        for size in NEAR:
            found = [_slopes_beside(lines, place, size, rng, tied, number) for tied, number in points]
            seen.append([np.stack(each) for each in zip(*found)])  # outputs: (points, both sides, ...)
        mask = []
        for each in zip(*seen):
            spread = [np.ptp(slopes.mean(axis=1), axis=0) for slopes in each]
            stays = [b > 0.5 * a for a, b in itertools.pairwise(spread)]
            # At most points f is smooth: what oscillates within the steps is not.
            rough = np.median(np.abs(each[1][:, 0] - each[1][:, 1]), axis=0)
            seen_well = spread[1] > 1e-3 * np.abs(each[1]).max(axis=(0, 1))
            mask.append(np.logical_and.reduce([seen_well, rough < 0.01 * spread[1], *stays, *map(np.isfinite, spread)]))
        low, high = ([bound(slopes, axis=(0, 1)) for slopes in seen[1]] for bound in (np.min, np.max))
    return low, high, mask


def _ties(value, place):
    """The places of other elements equal to that at ``place``, and those of other elements as large
    as it, if these are more.
    """
    other = np.arange(value.size) != place
    equal, alike = (
        np.flatnonzero(same & other) for same in (value == value[place], np.abs(value) == abs(value[place]))
    )
    return [equal] if len(equal) == len(alike) else [equal, alike]


def _slopes_beside(lines, place, size, rng, tied, number):
    """The slopes ahead and behind of each output along one element, all elements moved at random by
    up to ``size`` of them, the one to between two of those that it is ``tied`` with: which two says
    the ``number``.
    """

    def ranked(k, moves):
        if k == lines.i and len(tied):
            moves.reshape(-1)[tied] = rng.permutation(len(tied)) + 1.0
            rank = number if len(tied) < MOST_POINTS else rng.integers(len(tied) + 1)
            moves.reshape(-1)[place] = rank % (len(tied) + 1) + 0.5
            moves.reshape(-1)[[*tied, place]] *= 2 / (len(tied) + 1)  # from 0 to 2
            moves.reshape(-1)[[*tied, place]] -= 1
            opposite = tied[lines.value[tied] != lines.value[place]]
            moves.reshape(-1)[opposite] *= -1  # they rank by size
        return moves

    values, step = _values_beside(lines.problem, size, rng, ranked), 0.01 * size
    live = [k for k, c in enumerate(lines.cotangents) if c is not None]
    return _both_slopes(lines.problem, values, [(lines.i, place, lines.reach[place])], live, step)


def slopes_near(problem, moves, live):
    """``(low, high)``: of each output the least and the greatest slope along ``moves``, see
    ``outputs_beside``, at points near by.
    """
    rng, size, seen = np.random.default_rng(0), NEAR[1], []
    with np.errstate(all="ignore"):
        for _ in range(MOST_POINTS):
            seen.append(_both_slopes(problem, _values_beside(problem, size, rng), moves, live, 0.01 * size))
    found = [np.concatenate(each) for each in zip(*seen)]
    return [np.min(each, axis=0) for each in found], [np.max(each, axis=0) for each in found]


def _values_beside(problem, size, rng, change=lambda k, moves: moves):
    """The values of a problem, the wanted ones moved at random by up to ``size`` of them, or of 1
    where they are 0.
    """
    values = list(problem.values)
    for k in problem.wanted:
        far = np.where(values[k] == 0, 1.0, np.abs(values[k]))
        moves = change(k, rng.uniform(-1.0, 1.0, values[k].shape))
        values[k] = freeze(np.asarray(values[k] + size * far * moves))
    return values


def _both_slopes(problem, values, moves, live, step):
    """The slopes ahead and behind of each ``live`` output where elements of ``values`` move, see
    ``outputs_beside``.
    """
    ends = [outputs_beside(problem, values, moves, live, t) for t in (step, 0.0, -step)]
    return [np.stack([(a - o) / step, (o - b) / step]) for a, o, b in zip(*ends)]


def outputs_beside(problem, values, moves, live, t):
    """The ``live`` outputs at ``values``, of which some elements are moved, in whatever order they
    lie in memory. moves: of each the input, its place in the flat array, and how far ``t`` = 1
    moves it.
    """
    values = list(values)
    for i, place, reach in moves:
        moved = np.array(values[i], dtype=np.float64, order="C")
        moved.reshape(-1)[place] += t * reach
        values[i] = freeze(moved)
    outputs = problem.evaluate_beside(values)
    return [np.asarray(outputs[k], dtype=np.float64) for k in live]
