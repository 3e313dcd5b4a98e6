"""Lesson 1: the graders."""

import math

from lessons import load
from lessons.grading import exercise, need, same

scalar = load(1)
Value = scalar.Value


@exercise("1.1", "The slope of a power")
def slopes_of_power(solution):
    """Values and slopes at a few places, 0 among them."""
    for x, n in ((2.0, 3), (-1.5, 4), (5.0, 1), (0.0, 2)):
        got = solution(x, n)
        need(isinstance(got, (tuple, list)) and len(got) == 2, f"it should return two numbers, and returns {got!r}")
        same(got[0], x**n, f"{x} ** {n}", {"this is x times n, not x to the n-th": x * n})
        same(
            got[1], n * x ** (n - 1), f"the slope of x ** {n} at x = {x}",
            {
                "the factor n is missing": x ** (n - 1),
                "the exponent falls by one: n * x ** (n - 1)": n * x**n,
                "that is the slope with respect to n, not to x": x**n * math.log(x) if x > 0 else math.nan,
            },
        )  # fmt: skip


@exercise("1.2", "A new function: the sigmoid")
def sigmoid(solution):
    """The value, the parent, the slope, and a gradient through it."""
    for number in (0.5, -2.0, 3.0):
        x = Value(number)
        y = solution(x)
        need(isinstance(y, Value), f"it should return a Value, and returns {type(y).__name__}")
        right = 1 / (1 + math.exp(-number))
        same(
            y.number, right, f"sigmoid({number})",
            {
                "the sign is wrong: it is exp(-x)": 1 / (1 + math.exp(number)),
                "this is tanh": math.tanh(number),
            },
        )  # fmt: skip
        need(
            len(y.parents) == 1 and y.parents[0] is x,
            "its one parent should be the x that was given: no gradient gets back to x",
        )
        need(len(y.slopes) == 1, f"it has one parent, so one slope, and has {len(y.slopes)}")
        same(
            y.slopes[0], right * (1 - right), f"the slope at {number}",
            {
                "this is 1 - y * y, the slope of tanh": 1 - right * right,
                "y * (1 - y) is written with the result y, not with x": number * (1 - number),
                "the factor (1 - y) is missing": right,
            },
        )  # fmt: skip


@exercise("1.3", "The backward pass")
def backward(solution):
    """Graphs on which each typical mistake shows, then the lesson's own engine beside it."""
    x = Value(3.0)
    got = _slopes(solution(x))
    same(got.get(x, 0.0), 1.0, "d x / d x", {"the result itself begins with slope 1": 0.0})

    x, y = Value(2.0), Value(5.0)
    got = _slopes(solution(x * y))
    need(x in got and y in got, "the parents are not in the dictionary: are they collected?")
    same(got[x], 5.0, "d (x * y) / d x at x = 2, y = 5", {"the slopes have changed places": 2.0})

    x = Value(3.0)
    got = _slopes(solution(x * x))
    same(
        got.get(x, 0.0), 6.0, "d (x * x) / d x at x = 3",
        {"x comes in twice, and both ways add up: += instead of =": 3.0},
    )  # fmt: skip

    x = Value(0.5)
    inner = scalar.tanh(x)
    outer = inner * inner
    result = inner + outer * x + outer
    right = scalar.gradients([result], [1.0])
    got = _slopes(solution(result))
    for value in right:
        need(
            value in got, "a value far from the result is not in the dictionary: are the parents of parents collected?"
        )
    same(
        got[x], right[x], "the slope of x in a graph with many paths",
        {
            "a value was passed on before all its children had been: go from the youngest to the oldest": _by_stack(result)[x],
            "slopes along a path multiply": _added(result)[x],
        },
    )  # fmt: skip


def _slopes(found):
    need(isinstance(found, dict), f"it should return a dictionary, and returns {type(found).__name__}")
    return found


def _by_stack(output):
    """The wrong order: as a stack finds the values."""
    slopes, stack, seen = {output: 1.0}, [output], {output}
    while stack:
        value = stack.pop()
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] = slopes.get(parent, 0.0) + slopes[value] * slope
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return slopes


def _added(output):
    """The wrong rule: slopes added along a path."""
    slopes = dict.fromkeys(scalar.gradients([output], [1.0]), 0.0)
    slopes[output] = 1.0
    for value in sorted(slopes, key=lambda v: v.order, reverse=True):
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] += slopes[value] + slope
    return slopes
