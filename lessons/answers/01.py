"""Lesson 1, the answers."""

import math

from lessons import load

Value = load(1).Value


def slopes_of_power(x, n):
    """x^n grows n x^(n - 1) times as fast as x."""
    return x**n, n * x ** (n - 1)


def sigmoid(x):
    """The slope is written with the result, which is at hand."""
    y = 1.0 / (1.0 + math.exp(-x.number))
    return Value(y, (x,), (y * (1.0 - y),))


def backward(output):
    """From the youngest to the oldest: a value's slope is complete when we come to it."""
    found, stack = {output}, [output]
    while stack:
        for parent in stack.pop().parents:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    slopes = dict.fromkeys(found, 0.0)
    slopes[output] = 1.0
    for value in sorted(found, key=lambda v: v.order, reverse=True):
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] += slopes[value] * slope
    return slopes
